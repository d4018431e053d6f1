"""Rows as Redis holds them: everything is text (UTF-8) or raw bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain
from typing import Any, Final, TypeAlias

import msgspec

from dynaview.projections.canonical import json_encoder, number_text
from dynaview.projections.rows import EXPIRE, Field, Layout, RedisOptions, Write, ends_at

Cell: TypeAlias = "str | msgspec.Raw"
"""A value as it travels: text, or bytes under the header of a MessagePack text (Redis's reader has no bytes)."""

_TEXT_HEADER: Final = b"\xdb"
"""MessagePack: a text whose length follows in four bytes."""

_NEVER: Final = 2**31
"""More cells than a row can have."""

_FURTHEST: Final = 2**53
"""Milliseconds since 1970 beyond which a Lua number is not exact (the year 287396)."""


class Unstorable(ValueError):
    """A value that Redis cannot hold as this view wants it; names types and fields, not values."""


def double_text(value: float) -> str:
    """A double in the one form of numbers; exact: reading it back gives the same double."""
    if not math.isfinite(value):
        raise Unstorable("a number that is not finite")
    return number_text(Decimal(repr(float(value))))


def timestamp_text(value: datetime) -> str:
    """ISO 8601 in UTC with Z; microseconds only where there are some."""
    utc = value.astimezone(UTC) if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return utc.isoformat().removesuffix("+00:00") + "Z"


def binary_cell(value: bytes) -> msgspec.Raw:
    """Bytes as they are."""
    return msgspec.Raw(_TEXT_HEADER + len(value).to_bytes(4, "big") + value)


def json_text(value: Any) -> str:
    """Compact JSON, numbers exact."""
    try:
        return json_encoder.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Unstorable(f"cannot be written as JSON ({type(error).__name__})") from error


def natural_text(value: Any) -> Cell:
    """The text of a value whose type the declaration left open."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return] # just checked, but `type(…) is` does not narrow
    if kind is bytes:
        return binary_cell(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is Decimal or kind is int:
        return number_text(value)
    if kind is float:
        return double_text(value)
    if kind is datetime:
        return timestamp_text(value)
    if kind is date:
        return str(value)
    return json_text(value)


_CONVERT: dict[str, Callable[[Any], Cell] | None] = {
    "any": natural_text,
    "text": None,
    "integer": str,
    "bigint": str,
    "decimal": number_text,
    "double": double_text,
    "boolean": lambda value: "true" if value else "false",
    "timestamp": timestamp_text,
    "date": str,
    "json": json_text,
    "binary": binary_cell,
}


class Content:
    """How one view's values become the contents of Redis keys."""

    def __init__(self, layout: Layout) -> None:
        if not isinstance(layout.options, RedisOptions):
            raise ValueError(f"view {layout.view} is not laid out for Redis")  # noqa: TRY004 - the port asks for it
        self.options = layout.options
        self.type = layout.options.type
        fields = layout.fields
        if fields is not None and self.options.expire_field:
            if not fields or fields[-1].name != EXPIRE:
                raise ValueError(f"the last field of view {layout.view} should be {EXPIRE}")
            fields = fields[:-1]
        if self.type in ("set", "sorted_set"):
            if fields is None or len(fields) != (self.type == "sorted_set"):
                raise ValueError(f"view {layout.view}: a set has no fields, a sorted set has its score only")
            if self.expires:
                raise ValueError(f"view {layout.view}: members of a {self.type} cannot expire one by one in Redis")
        reserved = [one.name for one in fields or () if one.name.startswith("_")]
        if reserved:
            raise ValueError(f"view {layout.view}: names beginning with _ are dynaview's own: {', '.join(reserved)}")
        self.names: tuple[str, ...] | None = None if fields is None else tuple(one.name for one in fields)
        self._template: list[Any] = [*chain.from_iterable((name, None) for name in self.names or ())]
        self.field_types = tuple(one.type for one in fields or ())
        self.plan = tuple(_plan(fields or ()))
        """Which cells are converted, and how."""
        self.binary = fields is None or any(one.type in ("binary", "any") for one in fields)
        """Whether some cells may be bytes."""

    @property
    def expires(self) -> bool:
        return self.options.expire_field or self.options.expire_after is not None

    @property
    def complete(self) -> int:
        """How many cells a hash has that lacks no declared field, and so may keep none that it had before."""
        return _NEVER if self.names is None else len(self._template)

    def cells(self, write: Write) -> list[Cell]:
        """The names and values of an upsert in turns, without what is missing and without `EXPIRE`.

        Raises `Unstorable`.
        """
        values = write.values
        if isinstance(values, dict):
            pairs = (
                (name, self._open(name, one)) for name, one in values.items() if one is not None and name != EXPIRE
            )
            return [*chain.from_iterable(pairs)]
        cells = self._template.copy()
        cells[1::2] = values[:-1] if self.options.expire_field else values  # type: ignore[index,assignment] # an upsert
        for index, convert in self.plan:
            value = cells[index]
            if value is not None:
                try:
                    cells[index] = convert(value)
                except Unstorable as error:
                    raise Unstorable(f"field {cells[index - 1]}: {error}") from None
        if None in cells:
            there = (pair for pair in zip(cells[::2], cells[1::2], strict=True) if pair[1] is not None)
            return [*chain.from_iterable(there)]
        return cells

    def _open(self, name: Any, value: Any) -> Cell:
        if not isinstance(name, str) or name.startswith("_"):
            raise Unstorable("a field whose name is no text, or begins with _ (reserved)")
        try:
            name.encode()
            return natural_text(value)
        except UnicodeEncodeError:
            raise Unstorable("a field whose name is no valid Unicode") from None
        except Unstorable as error:
            raise Unstorable(f"field {name}: {error}") from None

    def document(self, write: Write) -> str:
        """The JSON document of an upsert: only the fields that are there. Raises `Unstorable`."""
        values = write.values
        if isinstance(values, dict):
            fields = {name: one for name, one in values.items() if name != EXPIRE and one is not None}
            if any(not isinstance(name, str) or name.startswith("_") for name in fields):
                raise Unstorable("a field whose name is no text, or begins with _ (reserved)")
        else:
            # The hidden EXPIRE is the last value and beyond the names.
            fields = {name: one for name, one in zip(self.names or (), values or (), strict=False) if one is not None}
        return json_text(fields)

    def score(self, write: Write) -> str:
        """The score of a member: the nearest double. Raises `Unstorable`."""
        score = write.values[0] if isinstance(write.values, tuple) and write.values else None
        if score is None:
            raise Unstorable("a member of a sorted set without a score")
        return repr(_finite(score))

    def expires_at(self, write: Write) -> int | None:
        """When the row expires, in milliseconds since 1970; None for never. Raises `Unstorable`."""
        if not self.options.expire_field or not write.values:
            return None
        return self.milliseconds(write.values.get(EXPIRE) if isinstance(write.values, dict) else write.values[-1])

    @staticmethod
    def milliseconds(expire: Any) -> int | None:
        """The moment that `EXPIRE` names as `expires_at` does. Raises `Unstorable`."""
        at = ends_at(expire, time.time())
        if at is None:
            return None
        milliseconds = int(at * 1000)
        if abs(milliseconds) > _FURTHEST:
            raise Unstorable("an expiry too far away: it is in seconds since 1970")
        return milliseconds


def _finite(score: Any) -> float:
    value = float(score)
    if not math.isfinite(value):
        raise Unstorable("a score that is not finite")
    return value


def _plan(fields: Iterable[Field]) -> Iterable[tuple[int, Callable[[Any], Cell]]]:
    for index, one in enumerate(fields):
        convert = json_text if one.type.endswith("[]") else _CONVERT[one.type]
        if convert is not None:
            yield 2 * index + 1, convert


def hash_content(flat: Sequence[bytes]) -> dict[str, bytes]:
    """A hash as Redis answers it, without dynaview's own fields."""
    names = (name.decode(errors="surrogateescape") for name in flat[::2])
    return {name: value for name, value in zip(names, flat[1::2], strict=True) if not name.startswith("_")}


def stored(cell: Cell) -> bytes:
    """What Redis holds once `cell` has arrived."""
    return cell.encode() if isinstance(cell, str) else bytes(cell)[5:]
