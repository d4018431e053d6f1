"""Functions of expressions beside JMESPath's own: text, arithmetic, parts of times.

They answer null where their first argument is null, as an attribute is that an item lacks. Numbers are exact: what no
decimal can hold is rounded to 38 digits (`divide`) or an error, never a float.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, DecimalException
from functools import wraps
from typing import Any

from dynaview.projections.canonical import canonical_number
from dynaview.projections.functions import EXACT, QUOTIENT, Function, FunctionError, exact, first_not_null, wanted
from dynaview.projections.times import UNITS, TimeError, moment, seconds_of, since_1970, timestamp_text

_PLACES = 1000
"""Places to round to, and digits of a number."""


def _null_first(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which answers null where its first argument is null."""

    @wraps(call)
    def answer(first: Any, *others: Any) -> Any:
        return None if first is None else call(first, *others)

    return answer


# Text


def _upper(subject: Any) -> str:
    wanted("upper", subject, "string")
    return str(subject.upper())


def _lower(subject: Any) -> str:
    wanted("lower", subject, "string")
    return str(subject.lower())


def _trim(subject: Any, characters: Any = None) -> str:
    wanted("trim", subject, "string")
    wanted("trim", characters, "string", "null")
    return str(subject.strip(characters))


def _split(subject: Any, separator: Any) -> list[Any]:
    wanted("split", subject, "string")
    _not_empty("split", separator)
    return [*subject.split(separator)]


def _replace(subject: Any, old: Any, new: Any) -> str:
    wanted("replace", subject, "string")
    _not_empty("replace", old)
    wanted("replace", new, "string")
    return str(subject.replace(old, new))


def _not_empty(name: str, text: Any) -> None:
    wanted(name, text, "string")
    if not text:
        raise FunctionError(f"{name}() looks for a text that is not empty")


def _substring(subject: Any, start: Any, length: Any = None) -> str:
    wanted("substring", subject, "string")
    first = _whole("substring", start)
    if first < 0:
        first = max(len(subject) + first, 0)
    if length is None:
        return str(subject[first:])
    size = _whole("substring", length)
    if size < 0:
        raise FunctionError("substring() takes a length of at least 0")
    return str(subject[first : first + size])


def _whole(name: str, value: Any) -> int:
    number = _number(name, value)
    if abs(number) > 10**18 or number != int(number):
        raise FunctionError(f"{name}() counts in whole numbers")
    return int(number)


# Arithmetic


def _arithmetic(name: str, work: Callable[[Decimal, Decimal], Decimal]) -> Callable[..., Any]:
    """A function of two numbers or more, from left to right."""

    def answer(first: Any, *others: Any) -> Any:
        result = _number(name, first)
        for other in others:
            if other is None:
                return None
            try:
                result = work(result, _number(name, other))
            except DecimalException as error:
                raise FunctionError(f"{name}() would need more than {EXACT.prec} digits to stay exact") from error
        return canonical_number(result)

    return answer


def _number(name: str, value: Any) -> Decimal:
    wanted(name, value, "number")
    number = Decimal(exact(value))
    if not number.is_finite():
        raise FunctionError(f"{name}() takes finite numbers")
    return number


def _quotient(left: Decimal, right: Decimal) -> Decimal:
    if not right:
        raise FunctionError("divide() by 0")
    return QUOTIENT.divide(left, right)


def _remainder(left: Decimal, right: Decimal) -> Decimal:
    if not right:
        raise FunctionError("modulo() by 0")
    return EXACT.remainder(left, right)


def _round(value: Any, places: Any = 0) -> Any:
    number, digits = _number("round", value), _whole("round", places)
    if not -_PLACES < digits < _PLACES:
        raise FunctionError(f"round() takes fewer than {_PLACES} places")
    # Python's own context would refuse more than 28 digits.
    rounding = EXACT.copy()
    rounding.rounding, rounding.traps = ROUND_HALF_UP, dict.fromkeys(rounding.traps, False)
    return canonical_number(number.quantize(Decimal(1).scaleb(-digits), context=rounding))


# Times

_PARTS: Mapping[str, Callable[[datetime], int]] = {
    "year": lambda at: at.year,
    "quarter": lambda at: (at.month + 2) // 3,
    "month": lambda at: at.month,
    "day": lambda at: at.day,
    "hour": lambda at: at.hour,
    "minute": lambda at: at.minute,
    "second": lambda at: at.second,
    "weekday": lambda at: at.isoweekday(),
    "week": lambda at: at.isocalendar().week,
    "yearday": lambda at: at.timetuple().tm_yday,
}


def _date_part(value: Any, part: Any, unit: Any = None) -> Any:
    at = _moment("date_part", value, unit)
    if part not in _PARTS and part != "epoch":
        raise FunctionError(f"date_part() knows {', '.join(_PARTS)} and epoch")
    if at is None:
        return None
    return canonical_number(seconds_of(at)) if part == "epoch" else _PARTS[part](at)


def _format_date(value: Any, unit: Any = None) -> Any:
    at = _moment("timestamp", value, unit)
    return None if at is None else timestamp_text(at)


def _moment(name: str, value: Any, unit: Any) -> datetime | None:
    if unit is not None and unit not in UNITS:
        raise FunctionError(f"{name}() knows the units {', '.join(UNITS)}")
    wanted(name, value, "string", "number")
    try:
        if isinstance(value, str):
            return moment(value) if value and not value.isspace() else None
        if unit is None:
            raise FunctionError(f"{name}() of a number says what it counts, as in {name}(…, 'seconds')")
        return since_1970(_number(name, value), unit)
    except TimeError as error:
        given = "text" if isinstance(value, str) else "a number"
        raise FunctionError(f"{name}() was given {given}{error}") from None


ADDED: Mapping[str, Function] = {
    "add": Function(("number", "number"), _null_first(_arithmetic("add", EXACT.add)), variadic=True),
    "coalesce": Function(("any",), first_not_null, variadic=True),
    "date_part": Function(("string|number", "string", "string"), _null_first(_date_part), optional=1),
    "divide": Function(("number", "number"), _null_first(_arithmetic("divide", _quotient))),
    "lower": Function(("string",), _null_first(_lower)),
    "modulo": Function(("number", "number"), _null_first(_arithmetic("modulo", _remainder))),
    "multiply": Function(("number", "number"), _null_first(_arithmetic("multiply", EXACT.multiply)), variadic=True),
    "replace": Function(("string", "string", "string"), _null_first(_replace)),
    "round": Function(("number", "number"), _null_first(_round), optional=1),
    "split": Function(("string", "string"), _null_first(_split)),
    "substring": Function(("string", "number", "number"), _null_first(_substring), optional=1),
    "subtract": Function(("number", "number"), _null_first(_arithmetic("subtract", EXACT.subtract))),
    "timestamp": Function(("string|number", "string"), _null_first(_format_date), optional=1),
    "trim": Function(("string", "string"), _null_first(_trim), optional=1),
    "upper": Function(("string",), _null_first(_upper)),
}
"""By name; docs/declarations.md has a line for each."""
