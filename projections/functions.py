"""JMESPath's functions over exact values.

They answer what the `jmespath` package answers on plain JSON, with numbers as `Decimal` or int and never through a
float: ``sum`` is exact to 1000 digits, ``avg`` is rounded to 38 digits (half to even), comparisons are exact. Bytes,
which JSON does not know, are opaque: `type` calls them ``binary`` and `to_string` writes base64.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow, Underflow
from typing import Any

from dynaview.projections.canonical import canonical_number, canonical_value, json_text

Evaluate = Callable[[Any], Any]
"""An expression given to a function with ``&``, compiled."""

EXACT = Context(prec=1000, Emax=5000, Emin=-5000, traps=[Inexact, InvalidOperation, Overflow, Underflow])
"""Arithmetic that is exact or an error; Python's own context would round to 28 digits."""

QUOTIENT = Context(prec=38, Emax=5000, Emin=-5000, traps=[InvalidOperation, Overflow])
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", re.ASCII)
_LARGEST_EXPONENT = 1000


class FunctionError(ValueError):
    """A function was given what it cannot take; names the function and the types, never the value."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function. `parameters` are type words joined with | as JMESPath's specification has them; the last one
    repeats where `variadic`."""

    parameters: tuple[str, ...]
    call: Callable[..., Any]
    variadic: bool = False
    optional: int = 0
    """How many of the last parameters may be left out."""


def kind(value: Any) -> str:
    """JMESPath's word for the type of `value`; ``binary`` for bytes."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case Decimal() | int() | float():
            return "number"
        case list():
            return "array"
        case dict():
            return "object"
        case bytes():
            return "binary"
    return type(value).__name__


def parse_number(text: str) -> Decimal | None:
    """The exact number that `text` writes, or None where it writes none (or one of more than 1000 digits)."""
    if not _NUMBER.fullmatch(text):
        return None
    try:
        value = EXACT.create_decimal(text.strip())
    except DecimalException:
        return None
    return canonical_number(value) if abs(value.adjusted()) <= _LARGEST_EXPONENT else None


def wanted(name: str, argument: Any, *kinds: str) -> None:
    """Check that an argument of function `name` is of one of `kinds`."""
    found = kind(argument)
    if found not in kinds:
        remedy = f" (missing or null: write x && {name}(x) for items without it)" if argument is None else ""
        raise FunctionError(f"{name}() takes {' or '.join(kinds)}, found {found}{remedy}")


def _elements(name: str, array: Any, *kinds: str) -> str | None:
    """Check that `array` is an array of elements of one of `kinds`; which one (None where it is empty)."""
    wanted(name, array, "array")
    if not array:
        return None
    first = kind(array[0])
    if first not in kinds:
        raise FunctionError(f"{name}() takes an array of {' or '.join(kinds)}s, found {first}")
    for element in array:
        if kind(element) != first:
            raise FunctionError(f"{name}() takes an array of {first}s throughout, found {kind(element)}")
    return first


def exact(value: Any) -> Decimal | int:
    """A number as an exact one."""
    # Only what a Python projection returned can be a float; its shortest text is what its author meant.
    return Decimal(repr(value)) if isinstance(value, float) else value


def _abs(value: Any) -> Any:
    wanted("abs", value, "number")
    return value.copy_abs() if isinstance(value, Decimal) else abs(value)


def _total(name: str, numbers: list[Any]) -> Decimal | int:
    total: Decimal | int = 0
    for value in numbers:
        total = _add(name, total, exact(value))
    return total


def _add(name: str, left: Decimal | int, right: Decimal | int) -> Decimal | int:
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    try:
        return canonical_number(EXACT.add(left, right))
    except DecimalException as error:
        raise FunctionError(f"{name}() would need more than {EXACT.prec} digits to stay exact") from error


def _avg(array: Any) -> Any:
    _elements("avg", array, "number")
    return canonical_number(QUOTIENT.divide(Decimal(_total("avg", array)), len(array))) if array else None


def _ceil(value: Any) -> Any:
    wanted("ceil", value, "number")
    return math.ceil(value)


def _floor(value: Any) -> Any:
    wanted("floor", value, "number")
    return math.floor(value)


def _contains(subject: Any, search: Any) -> bool:
    wanted("contains", subject, "array", "string")
    if isinstance(subject, str):
        return isinstance(search, str) and search in subject
    return search in subject


def _ends_with(subject: Any, suffix: Any) -> bool:
    wanted("ends_with", subject, "string")
    wanted("ends_with", suffix, "string")
    return bool(subject.endswith(suffix))


def _starts_with(subject: Any, prefix: Any) -> bool:
    wanted("starts_with", subject, "string")
    wanted("starts_with", prefix, "string")
    return bool(subject.startswith(prefix))


def _join(glue: Any, array: Any) -> str:
    wanted("join", glue, "string")
    _elements("join", array, "string")
    return str(glue.join(array))


def _keys(mapping: Any) -> list[Any]:
    wanted("keys", mapping, "object")
    return list(mapping)


def _values(mapping: Any) -> list[Any]:
    wanted("values", mapping, "object")
    return list(mapping.values())


def _length(subject: Any) -> int:
    wanted("length", subject, "string", "array", "object")
    return len(subject)


def _map(evaluate: Evaluate, array: Any) -> list[Any]:
    wanted("map", array, "array")
    return [evaluate(element) for element in array]


def _merge(*mappings: Any) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for mapping in mappings:
        wanted("merge", mapping, "object")
        merged.update(mapping)
    return merged


def _max(array: Any) -> Any:
    return max(array) if _elements("max", array, "number", "string") else None


def _min(array: Any) -> Any:
    return min(array) if _elements("min", array, "number", "string") else None


def _sort(array: Any) -> list[Any]:
    _elements("sort", array, "number", "string")
    return sorted(array)


def _sum(array: Any) -> Decimal | int:
    _elements("sum", array, "number")
    return _total("sum", array)


def _ranks(name: str, array: Any, evaluate: Evaluate) -> list[Any]:
    wanted(name, array, "array")
    ranks = [evaluate(element) for element in array]
    _elements(name, ranks, "number", "string")
    return ranks


def _max_by(array: Any, evaluate: Evaluate) -> Any:
    ranks = _ranks("max_by", array, evaluate)
    return array[max(range(len(ranks)), key=ranks.__getitem__)] if ranks else None


def _min_by(array: Any, evaluate: Evaluate) -> Any:
    ranks = _ranks("min_by", array, evaluate)
    return array[min(range(len(ranks)), key=ranks.__getitem__)] if ranks else None


def _sort_by(array: Any, evaluate: Evaluate) -> list[Any]:
    ranks = _ranks("sort_by", array, evaluate)
    return [array[index] for index in sorted(range(len(ranks)), key=ranks.__getitem__)]


def first_not_null(*values: Any) -> Any:
    """The first value that is not null."""
    return next((value for value in values if value is not None), None)


def _reverse(subject: Any) -> Any:
    wanted("reverse", subject, "array", "string")
    return subject[::-1]


def _to_array(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _to_number(value: Any) -> Any:
    if isinstance(value, str):
        return parse_number(value)
    return value if kind(value) == "number" else None


def to_string(value: Any) -> str:
    """Text as it is; of all else the canonical JSON text: names sorted, letters as they are."""
    if isinstance(value, str):
        return value
    try:
        text = json_text(canonical_value(value))
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise FunctionError("to_string() cannot write what JSON does not have") from None
    # A number that is not finite, which only a Python projection can return, is written as null.
    if "null" in text and not _finite(value):
        raise FunctionError("to_string() cannot write a number that is not finite")
    return text


def _finite(value: Any) -> bool:
    match value:
        case Decimal() | float():
            return math.isfinite(value)
        case list():
            return all(map(_finite, value))
        case dict():
            return all(map(_finite, value.values()))
    return True


_LISTED: tuple[tuple[str, Function], ...] = (
    ("abs", Function(("number",), _abs)),
    ("avg", Function(("array-number",), _avg)),
    ("ceil", Function(("number",), _ceil)),
    ("contains", Function(("array|string", "any"), _contains)),
    ("ends_with", Function(("string", "string"), _ends_with)),
    ("floor", Function(("number",), _floor)),
    ("join", Function(("string", "array-string"), _join)),
    ("keys", Function(("object",), _keys)),
    ("length", Function(("string|array|object",), _length)),
    ("map", Function(("expref", "array"), _map)),
    ("max", Function(("array-number|array-string",), _max)),
    ("max_by", Function(("array", "expref"), _max_by)),
    ("merge", Function(("object",), _merge, variadic=True)),
    ("min", Function(("array-number|array-string",), _min)),
    ("min_by", Function(("array", "expref"), _min_by)),
    ("not_null", Function(("any",), first_not_null, variadic=True)),
    ("reverse", Function(("array|string",), _reverse)),
    ("sort", Function(("array-number|array-string",), _sort)),
    ("sort_by", Function(("array", "expref"), _sort_by)),
    ("starts_with", Function(("string", "string"), _starts_with)),
    ("sum", Function(("array-number",), _sum)),
    ("to_array", Function(("any",), _to_array)),
    ("to_number", Function(("any",), _to_number)),
    ("to_string", Function(("any",), to_string)),
    ("type", Function(("any",), kind)),
    ("values", Function(("object",), _values)),
)
STANDARD: Mapping[str, Function] = dict(_LISTED)
"""JMESPath's functions by name."""
