"""A column of a batch as one array literal: the cheapest way to bring many values into one statement.

Each function here takes all values of one column at once and works on the joined text, so that the cost of a value is
that of a few passes over its bytes. None is SQL NULL. A column that cannot be written down raises `Unfit`; which of
its values is at fault is for the caller to find out, value by value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from dynaview.projections.canonical import json_encoder

Encode: TypeAlias = Callable[[Sequence[Any]], str]

_SEPARATOR = "\x01"
_NULL = "\0"  # stands for None until the end: no text that Postgres can hold contains it
_JSON_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Unfit(ValueError):
    """Some value of a column is not of the column's type, or is one that Postgres cannot hold."""


def plain(values: Sequence[Any]) -> str:
    """Integers, decimals, booleans, timestamps and dates: a JSON array of them is the literal, but for brackets."""
    body = json_encoder.encode(values)[1:-1].decode()
    if body.count(",") != len(values) - 1:
        # A comma inside a value would move all values behind it to other rows.
        raise Unfit
    return "{" + body + "}"


def doubles(values: Sequence[Any]) -> str:
    """Floats; infinity and NaN are values of Postgres, which JSON would turn into null."""
    body = ",".join([repr(value) for value in values])
    if body.count(",") != len(values) - 1:
        raise Unfit
    return "{" + body.replace("None", "NULL") + "}"


def whole_numbers(values: Sequence[Any]) -> str:
    """Decimals for an integer column."""
    return plain([None if value is None else _whole(value) for value in values])


def _whole(value: Any) -> int:
    number = int(value)
    if number != value:
        raise Unfit
    return number


def texts(values: Sequence[Any]) -> str:
    """Text of any kind; neither NUL nor lone surrogates."""
    nulls = 0
    try:
        body = _SEPARATOR.join(values)
    except TypeError:
        nulls = sum(value is None for value in values)
        if not nulls:
            raise
        body = _SEPARATOR.join([_NULL if value is None else value for value in values])
    if body.count(_NULL) != nulls:
        raise Unfit
    if not body.isascii():
        body.encode()
    if body.count(_SEPARATOR) != len(values) - 1:
        return "{" + ",".join(["NULL" if value is None else f'"{_escaped(value)}"' for value in values]) + "}"
    literal = '{"' + _escaped(body).replace(_SEPARATOR, '","') + '"}'
    return literal.replace(f'"{_NULL}"', "NULL") if nulls else literal


def limited(limit: int, padded: bool = False) -> Encode:
    """Text for ``varchar(limit)``, which would cut blanks beyond the limit, or, where `padded`, for ``char(limit)``,
    which would cut all blanks at the end."""

    def encode(values: Sequence[Any]) -> str:
        if any(value is not None and (len(value) > limit or (padded and value.endswith(" "))) for value in values):
            raise Unfit
        return texts(values)

    return encode


def _escaped(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return text.replace('"', '\\"') if '"' in text else text


def json_texts(values: Sequence[Any]) -> str:
    """Natural values as JSON. Postgres has no place for U+0000 in it."""
    # One line a value; within a value line feeds are always escaped.
    body = json_encoder.encode_lines(values).decode()
    if "\\u0000" in body and _JSON_NUL.search(body):
        raise Unfit
    # An element that is nothing but null can only be None itself.
    return ('{"' + _escaped(body[:-1]).replace("\n", '","') + '"}').replace('"null"', "NULL")


def byte_strings(values: Sequence[Any]) -> str:
    """Bytes in the hex form of bytea."""
    return texts([None if value is None else f"\\x{value.hex()}" for value in values])


def lists(element: Encode) -> Encode:
    """Arrays: each an array literal of its own inside the column's (`unnest` would flatten an array of arrays)."""

    def encode(values: Sequence[Any]) -> str:
        return texts([None if value is None else element(value) if value else "{}" for value in values])

    return encode


def within(precision: int, scale: int) -> Encode:
    """Numbers for ``numeric(precision, scale)``, which would round what has more digits after the point."""

    def encode(values: Sequence[Any]) -> str:
        if any(value is not None and not fits(value, precision, scale) for value in values):
            raise Unfit
        return plain(values)

    return encode


def fits(value: Decimal | int, precision: int, scale: int) -> bool:
    """Whether ``numeric(precision, scale)`` holds the number exactly."""
    number = Decimal(value)
    if not number.is_finite():
        return False
    if not number:
        return True
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    zeros = 0
    while digits[-1 - zeros] == 0:
        zeros += 1
    return exponent + zeros >= -scale and number.adjusted() < precision - scale
