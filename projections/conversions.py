"""Typed fields: from natural values to the Python types that sinks store.

Strict where a value could be changed silently, kind where it has one meaning only; docs/types.md shows every pair.
A conversion gets a value that is not None and returns the field's Python type (see `rows.Field`), or raises
`ConversionError`, which names what was wanted and the type found, never the value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from dynaview.projections.canonical import canonical_number, canonical_value, number_text
from dynaview.projections.functions import EXACT, parse_number
from dynaview.projections.rows import SCALARS

Unit: TypeAlias = Literal["seconds", "milliseconds"]
Convert: TypeAlias = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND = {"seconds": 1, "milliseconds": 1000}
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
            return timestamp_text(timestamp(value, None))
        case date():
            return value.isoformat()
    raise _unfit("text", value)


def timestamp_text(value: datetime) -> str:
    """The one way dynaview writes a timestamp as text: ISO 8601 in UTC with Z, fractions only where there are any."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


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


def timestamp(value: Any, unit: Unit | None) -> datetime:
    """A moment in UTC: from ISO 8601 text (without an offset it is taken as UTC; a date is its midnight), or from a
    number of `unit` since 1970. Digits beyond the microsecond are cut off. With a `unit`, text that writes a number
    counts as that number."""
    match value:
        case datetime():
            return _utc(value)
        case date():
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
        case bool():
            raise _unfit("timestamp", value)
        case Decimal() | int() | float():
            return _since_1970(decimal(value), value, unit)
        case str():
            exact = parse_number(value) if unit else None
            if exact is not None:
                return _since_1970(exact, value, unit)
            try:
                return _utc(datetime.fromisoformat(value))
            except ValueError:
                raise _unfit("timestamp", value, " that is not ISO 8601") from None
    raise _unfit("timestamp", value)


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise _unfit("timestamp", moment, " outside the years 1 to 9999") from None


def _since_1970(exact: Decimal, value: Any, unit: Unit | None) -> datetime:
    if unit is None:
        raise _unfit("timestamp", value, ": say in which unit (unit: seconds or unit: milliseconds)")
    # The bound keeps the multiplication exact and small.
    if not -(10**15) < exact < 10**15:
        raise _unfit("timestamp", value, " outside the years 1 to 9999")
    microseconds = math.floor(exact.scaleb(6, EXACT)) // _PER_SECOND[unit]
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise _unfit("timestamp", value, " outside the years 1 to 9999") from None


def day(value: Any, unit: Unit | None) -> date:
    """A date: from ISO 8601 text (of a moment its date in UTC), or from a number of `unit` since 1970."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return timestamp(value, unit).date()
    except ConversionError as error:
        raise ConversionError(str(error).replace("wanted timestamp", "wanted date", 1)) from None


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


def expire_seconds(value: Any, unit: Unit | None) -> int:
    """When a row expires, in whole seconds since 1970: from a number of `unit` (seconds where none is given, as
    DynamoDB's own time to live is) or from a timestamp."""
    try:
        moment = timestamp(value, unit or "seconds")
    except ConversionError as error:
        raise ConversionError(str(error).replace("wanted timestamp", "wanted a time", 1)) from None
    return (moment - _EPOCH) // timedelta(seconds=1)
