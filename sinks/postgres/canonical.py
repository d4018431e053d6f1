"""Canonical bytes of Postgres rows: one JSON object of all columns but the key's, made by the server and, alike, by us.

``row_to_json(ROW(…))`` is compact and calls its members f1, f2, …; so a struct with such fields encodes to the same
bytes, once the values of a few types are written as Postgres writes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from dynaview.projections.canonical import json_encoder
from dynaview.projections.rows import RowKey
from dynaview.sinks.canonical import owned
from dynaview.sinks.port import CanonicalRows, state_of
from dynaview.sinks.postgres.values import Column

NONE = b"-"
"""The canonical bytes that no row of the store has."""

_WHOLE = 1e15
"""From here on Postgres writes whole doubles with an exponent."""

_SCALED = re.compile(r"numeric\(\d+(?:,(\d+))?\)")

_Show: TypeAlias = Callable[[Any], Any]


class Canonical:
    """Of the rows of one layout."""

    def __init__(self, columns: Sequence[Column], places: Sequence[int | None]) -> None:
        """`columns` are those beside the key's, `places` where their values stand in a write's."""
        fields = [(f"f{number}", Any) for number in range(1, len(columns) + 1)]
        self._row: Callable[..., Any] = msgspec.defstruct("Row", fields, gc=False)
        self._places = tuple(place for place in places if place is not None)
        self._shows = [(number, show) for number, show in enumerate(map(_show_of, columns)) if show is not None]

    def canonical(self, owner: str, values: Sequence[Any]) -> bytes:
        """Of an upsert. Any error means that it has none."""
        shown = [values[place] for place in self._places]
        for number, show in self._shows:
            value = shown[number]
            if value is not None:
                shown[number] = show(value)
        encoded = json_encoder.encode(self._row(*shown))
        return owned(owner, encoded) if owner else encoded

    def page(
        self, keys: Sequence[RowKey], states: Sequence[str], owners: Sequence[str], shown: Sequence[str]
    ) -> CanonicalRows:
        """What `Statements.canonical bytes` selected, column by column."""
        if any(owners):
            canonical_rows = [owned(owner, text.encode()) for owner, text in zip(owners, shown, strict=True)]
        else:
            canonical_rows = [*map(str.encode, shown)]
        if any(map(_written_oddly, states)):
            parts = (state.split(" ", 2) for state in states)
            states = [state_of(int(Decimal(one)), int(generation), owner) for one, generation, owner in parts]
        return CanonicalRows(keys, states, canonical_rows)


def _written_oddly(state: str) -> bool:
    return "." in state


def _show_of(column: Column) -> _Show | None:
    """What makes of a value what encodes as Postgres shows it; None where the value itself does."""
    element = column.cast.removeprefix("::") or column.wire
    scaled = _SCALED.fullmatch(column.sql.removesuffix("[]").rstrip())
    kind = element.removesuffix("[]")
    show = partial(_scaled, int(scaled[1] or 0)) if scaled is not None else _SHOWS.get(kind)
    return show if show is None or kind == element else partial(_list, show)


def _list(show: _Show, value: Any) -> Any:
    return [None if inner is None else show(inner) for inner in value]


def _time(value: datetime) -> str:
    text = value.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if value.microsecond else text) + "+00:00"


def _double(value: float) -> Any:
    if value.is_integer() and abs(value) < _WHOLE:
        return int(value)
    return msgspec.Raw(repr(value).encode()) if value - value == 0 else _NOT_FINITE[str(value)]


_NOT_FINITE = {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}


def _bytes(value: bytes) -> str:
    return f"\\x{value.hex()}"


def _jsonb(value: Any) -> Any:
    """Scalars as they are; lists and objects with blanks, and names by length."""
    return msgspec.Raw(_jsonb_text(value).encode()) if isinstance(value, dict | list | tuple) else value


def _jsonb_text(value: Any) -> str:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        return "{" + ", ".join([f"{_jsonb_text(name)}: {_jsonb_text(value[name])}" for name in names]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_jsonb_text, value)) + "]"
    return json_encoder.encode(value).decode()


def _uuid(value: str) -> str:
    return str(UUID(value))


def _scaled(scale: int, value: Any) -> Any:
    return msgspec.Raw(f"{Decimal(value):.{scale}f}".encode())


_SHOWS: dict[str, _Show] = {
    "float8": _double,
    "timestamptz": _time,
    "timestamp": _time,
    "bytea": _bytes,
    "jsonb": _jsonb,
    "uuid": _uuid,
}
