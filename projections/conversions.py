"""Typed fields: from natural values to the Python types that sinks store.

Strict where a value could be changed silently, kind where it has one meaning only; docs/types.md shows every pair.
A conversion gets a value that is not None and returns the field's Python type (see `rows.Field`; blank text is no time,
so there it is None), or raises `ConversionError`, which names what was wanted and the type found, never the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, TypeAlias, TypeVar

from dynaview.projections.canonical import canonical_number, canonical_value, number_text
from dynaview.projections.functions import parse_number
from dynaview.projections.rows import SCALARS
from dynaview.projections.times import (
    UNITS,
    TimeError,
    Unit,
    moment,
    seconds_of,
    since_1970,
    timestamp_text,
    with_zone,
)
from dynaview.projections.times import day as written_day

Convert: TypeAlias = Callable[[Any], Any]
T = TypeVar("T")

_WHOLE = re.compile(r"[+-]?[0-9]{1,60}", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


class ConversionError(ValueError):
    """A value that does not fit its field's type."""


def found(value: Any) -> str:
    """The type of `value` in the words of messages: text, a number, a list, ..."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "text"
        case Decimal() | int() | float():
            return "a number"
        case bytes():
            return "binary"
        case list():
            return "a list"
        case dict():
            return "a map"
        case datetime() | date():
            return "a date"
    return f"a Python {type(value).__name__}"


def _unfit(wanted: str, value: Any, reason: str = "") -> ConversionError:
    return ConversionError(f"wanted {wanted}, found {found(value)}{reason}")


def text(value: Any) -> str:
    """Text as it is; numbers as `number_text`; booleans as ``true`` and ``false``; dates as ISO 8601."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case Decimal() | int():
            return number_text(value)
        case float():
            return number_text(decimal(value))
        case datetime():
            try:
                return timestamp_text(with_zone(value))
            except TimeError as error:
                raise _unfit("text", value, str(error)) from None
        case date():
            return value.isoformat()
    raise _unfit("text", value)


def _whole(value: Any, wanted: str, bits: int) -> int:
    match value:
        case bool():
            raise _unfit(wanted, value)
        case int():
            whole = value
        case Decimal() | float():
            if not -(1 << 70) < value < 1 << 70:  # nor a float that is infinite or not a number
                raise _unfit(wanted, value, " out of its range")
            whole = int(value)
            if whole != value:
                raise _unfit(wanted, value, " with a fraction")
        case str():
            if not _WHOLE.fullmatch(value):
                raise _unfit(wanted, value, " that is not a whole number")
            whole = int(value)
        case _:
            raise _unfit(wanted, value)
    if not -(1 << bits - 1) <= whole < 1 << bits - 1:
        raise _unfit(wanted, value, " out of its range")
    return whole


def integer(value: Any) -> int:
    """A whole number of 32 bits, from a number or from text of digits."""
    return _whole(value, "integer", 32)


def bigint(value: Any) -> int:
    """A whole number of 64 bits, from a number or from text of digits."""
    return _whole(value, "bigint", 64)


def decimal(value: Any) -> Decimal:
    """An exact number, from a number or from text that writes one. A Python float counts as its shortest text."""
    match value:
        case bool():
            raise _unfit("decimal", value)
        case Decimal() if value.is_finite():
            return canonical_number(value)
        case int():
            return Decimal(value)
        case float():
            exact = parse_number(repr(value))
        case str():
            exact = parse_number(value)
        case _:
            raise _unfit("decimal", value)
    if exact is None:
        raise _unfit("decimal", value, " that is not a finite number")
    return exact


def double(value: Any) -> float:
    """The nearest 64-bit float, from a number or from text that writes one; never infinite."""
    match value:
        case bool():
            raise _unfit("double", value)
        case Decimal() | int() | float() | str():
            try:
                nearest = float(decimal(value))
            except ConversionError:
                raise _unfit("double", value, " that is not a finite number") from None
            except OverflowError:
                nearest = float("inf")
        case _:
            raise _unfit("double", value)
    if nearest in (float("inf"), float("-inf")):
        raise _unfit("double", value, " out of its range")
    return nearest


def boolean(value: Any) -> bool:
    """BOOL, or the text ``true`` or ``false``."""
    match value:
        case bool():
            return value
        case str() if value in _BOOLEANS:
            return _BOOLEANS[value]
        case str():
            raise _unfit("boolean", value, " that is neither true nor false")
    raise _unfit("boolean", value)


def timestamp(value: Any, unit: Unit | None) -> datetime | None:
    """A moment in UTC: from text as `times` has it (without an offset it is taken as UTC; a date is its midnight), or
    from a number of `unit` since 1970. With a `unit`, text that writes a number counts as that number. Blank text is
    null."""
    return _time("timestamp", value, unit, moment)


def day(value: Any, unit: Unit | None) -> date | None:
    """A date: from text of a date, whatever its offset, or from a moment, of which it is the date in UTC."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    found = _time("date", value, unit, written_day)
    return found.date() if isinstance(found, datetime) else found


def _time(wanted: str, value: Any, unit: Unit | None, read: Callable[[str], T]) -> T | datetime | None:
    try:
        match value:
            case datetime():
                return with_zone(value)
            case date():
                return datetime(value.year, value.month, value.day, tzinfo=UTC)
            case bool():
                raise _unfit(wanted, value)
            case Decimal() | int() | float():
                if unit is None:
                    raise _unfit(wanted, value, f": say what it counts (unit: {', '.join(UNITS[:-1])} or {UNITS[-1]})")
                return since_1970(decimal(value), unit)
            case str():
                exact = parse_number(value) if unit else None
                if exact is not None and unit is not None:
                    return since_1970(exact, unit)
                return read(value) if value and not value.isspace() else None
    except TimeError as error:
        much = not isinstance(value, datetime | date | str) and unit == "seconds" and abs(value) < 10**18
        hint = ": does it count milliseconds or microseconds? Then say so by unit" if much else ""
        raise _unfit(wanted, value, f"{error}{hint}") from None
    raise _unfit(wanted, value)


def binary(value: Any) -> bytes:
    """B only: text is not taken for base64, because whether it is cannot be known."""
    if isinstance(value, bytes):
        return value
    raise _unfit("binary", value)


def natural(value: Any) -> Any:
    """The value as it is, if it is one that an item can hold."""
    match value:
        case None | bool() | str() | bytes() | int():
            return value
        case Decimal() | float():
            if not math.isfinite(value):
                raise _unfit("a finite number", value)
            return value
        case list():
            for element in value:
                natural(element)
            return value
        case dict():
            for name, element in value.items():
                if not isinstance(name, str):
                    raise ConversionError(f"the names of a map are text, found {found(name)}")
                natural(element)
            return value
    raise ConversionError(
        f"{found(value)} is not a value of an item: give text, a number, a boolean, bytes, a list, a dict or None"
    )


_PLAIN: Mapping[str, Convert] = {
    "any": natural,
    "json": natural,
    "text": text,
    "integer": integer,
    "bigint": bigint,
    "decimal": decimal,
    "double": double,
    "boolean": boolean,
    "binary": binary,
}

NATURAL = frozenset({"any", "json"})
"""Types that keep every value that comes from an item."""

KEPT: Mapping[str, type] = {"text": str, "decimal": Decimal, "boolean": bool, "binary": bytes}
"""The Python type that needs no conversion from an item's value, by field type; compiled code tests it inline."""


def converter(type_: str, unit: Unit | None = None) -> Convert:
    """The conversion of a field type (``text``, ``decimal[]``). Raises ValueError for a type that does not exist."""
    scalar = type_.removesuffix("[]")
    if scalar not in SCALARS or (scalar in NATURAL and scalar != type_):
        raise ValueError(f"{type_} is not a field type")
    convert: Convert
    if scalar == "timestamp":
        convert = _with_unit(timestamp, unit)
    elif scalar == "date":
        convert = _with_unit(day, unit)
    else:
        convert = _PLAIN[scalar]
    return convert if scalar == type_ else _each(convert, type_)


def _with_unit(convert: Callable[[Any, Unit | None], Any], unit: Unit | None) -> Convert:
    return lambda value: convert(value, unit)


def _each(convert: Convert, type_: str) -> Convert:
    def array(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _unfit(type_, value)
        try:
            return [None if element is None else convert(element) for element in value]
        except ConversionError as error:
            raise ConversionError(f"an element of {type_}: {error}") from None

    return array


def convert_default(type_: str, plain: Any) -> Any:
    """The default of a field of `type_`, from what YAML or Python wrote; None stays None.

    YAML's floats count as the text they were written as, its dates as dates. Raises `ConversionError`.
    """
    if plain is None:
        return None
    if type_ in NATURAL and isinstance(plain, date):
        raise ConversionError("a date has no natural value here: put it in quotes, or give the field a type")
    return converter(type_)(canonical_value([*plain] if isinstance(plain, tuple) else plain))


def expire_seconds(value: Any, unit: Unit | None) -> Decimal | None:
    """When a row expires, in seconds since 1970, exact; None where it never does.

    A number counts `unit` (seconds where none is given), as DynamoDB's own time to live does, and what that one never
    deletes stays here too: 0, numbers below it, and text that writes a number. Other text has to be a time.
    """
    match value:
        case bool():
            pass
        case Decimal() | int() | float() if decimal(value) <= 0:
            return None
        case str() if parse_number(value) is not None:
            return None
    try:
        end = timestamp(value, unit or "seconds")
    except ConversionError as error:
        raise ConversionError(str(error).replace("wanted timestamp", "wanted a time to live", 1)) from None
    if end is None:
        raise _unfit("a time to live", value, " that is blank")
    return canonical_number(seconds_of(end))
