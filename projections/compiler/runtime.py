"""What compiled projections call at run time beside functions and conversions."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from dynaview.projections.attributes import Attr, AttributeValueError, number
from dynaview.projections.canonical import canonical_value, number_text
from dynaview.projections.conversions import ConversionError, decimal, found, natural, text
from dynaview.projections.functions import FunctionError
from dynaview.projections.rows import EXPIRE, RowKey


class RowError(ValueError):
    """An item from which no row can be made, for a reason that is neither a function's nor a conversion's."""


EXPECTED = (RowError, ConversionError, FunctionError, AttributeValueError)
"""What an item's content may cause; anything else is a fault of ours."""


def key_text(attr: Attr | None) -> str | None:
    """The text that patterns are matched on: text itself, numbers as `number_text`; None for anything else."""
    if attr is None:
        return None
    return number_text(number(attr.N)) if attr.N is not None else attr.S


def key_part(value: Any, name: str) -> str:
    """`value` as a part of a row key. Numbers are written as `number_text`, so a number and its text are one part."""
    match value:
        case str() if value:
            return value
        case None | "":
            raise RowError(f"{{{name}}} is {'missing or null' if value is None else 'empty'}, so there is no key")
        case bool():
            return "true" if value else "false"
        case Decimal() | int():
            return number_text(value)
        case float():
            return number_text(decimal(value))
        case bytes() if value:
            return base64.b64encode(value).decode()
        case date():
            return text(value)
    raise RowError(f"{{{name}}} is {found(value)}, which cannot be part of a key")


def key_value(value: Any, name: str) -> Any:
    """`value` as a key column without a type of its own: text, a number or bytes."""
    if isinstance(value, str | bytes | Decimal | int) and not isinstance(value, bool):
        return value
    raise RowError(f"column {name} is {found(value)}, which cannot be part of a key")


def missing(reason: str) -> RowError:
    """A value that has to be there is not."""
    return RowError(f"missing or null{reason}")


def twice(key: RowKey) -> RowError:
    """One item yields one row key twice."""
    return RowError(f"two rows of the item have the same key {key!r}: add to the key what tells them apart")


def elements(yielded: Any) -> Iterator[tuple[int | None, str | None, Any]]:
    """The elements of what ``each`` yields, with position (list) or name (map). Null has none; null ones are left out.

    Raises `RowError` for what is neither a list nor a map.
    """
    match yielded:
        case list():
            return ((index, None, element) for index, element in enumerate(yielded) if element is not None)
        case dict():
            return ((None, name, element) for name, element in yielded.items() if element is not None)
        case None:
            return iter(())
    raise RowError(f"wanted a list or a map, found {found(yielded)}")


def caller(function: Callable[[dict[str, Any]], Any], name: str) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    """Call a Python projection and answer the dicts of its rows."""

    def call(item: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            returned = function(item)
        except Exception as error:  # noqa: BLE001 - a user's code may raise anything; it costs this item only
            # The exception's own text may show values.
            raise RowError(f"{name} raised {type(error).__name__}{_line(error, function)}") from None
        if returned is None:
            return []
        rows = returned if isinstance(returned, list | tuple) else [returned]
        for row in rows:
            if not isinstance(row, dict):
                raise RowError(f"{name} returned {found(row)}, where a dict, a list of dicts or None is wanted")
        return [canonical_value(row) for row in rows]

    return call


def _line(error: Exception, function: Callable[..., Any]) -> str:
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return f" in line {lines[-1]}" if lines else ""


def with_captures(item: Mapping[str, Any], captures: Mapping[str, str | None]) -> dict[str, Any]:
    """The item as a Python projection sees it: captures under their names where no attribute has the same one."""
    return {**{name: text for name, text in captures.items() if text is not None}, **item}


def known_names(row: Mapping[Any, Any], names: frozenset[str]) -> None:
    """Refuse what a Python projection returned beside its declared fields."""
    unknown = sorted(str(name) for name in row if name not in names)
    if unknown:
        raise RowError(f"returned {', '.join(unknown)}, which the view's fields do not declare")


def open_fields(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The values of a row whose fields are left open."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        if not isinstance(name, str) or not name or name.startswith("_"):
            raise RowError("returned a field whose name is not text, is empty or begins with _")
        try:
            values[name] = natural(value)
        except ConversionError as error:
            raise RowError(f"returned field {name}: {error}") from None
    return values


def with_expire(row: Mapping[str, Any], seconds: Decimal | None) -> dict[str, Any]:
    """Open fields and when the row expires."""
    return {**row, EXPIRE: seconds}
