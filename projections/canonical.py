"""The one form in which values become text: a map has no order in DynamoDB, and a number no fixed way to be written.

The stream, a scan and BatchGetItem may show one item with its names in different orders, and 1.5 as 1.50. So everything
that is stored, compared or hashed as text is written here: names sorted, numbers as `number_text` writes them, letters
as they are (only what JSON asks for is escaped), without blanks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(decimal_format="number", order="deterministic")
_EXPONENT = re.compile(rb"^-?[0-9.]+E-|[\[:,]-?[0-9.]+E-", re.MULTILINE)


def number_text(value: Decimal | int) -> str:
    """The one way dynaview writes a number as text: no exponent, no trailing zeros, no sign on zero.

    Used wherever a number becomes part of a row key or a text, so that 1, 1.0 and 1E0 are one key.
    """
    if isinstance(value, int):
        return str(value)
    if not value:
        return "0"
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def canonical_number(value: Decimal) -> Decimal:
    """An equal number that `str` writes as `number_text` does, but for one below 0.000001, to which it gives an
    exponent. Every Decimal in a row is of this form."""
    if not value:
        return Decimal(0)
    text = str(value)
    if "E" in text or ("." in text and text[-1] == "0"):
        return Decimal(number_text(value))
    return value


def canonical_value(value: Any) -> Any:
    """A copy of plain data with every finite number of `canonical_number`'s form; a float counts as its shortest text.
    What is neither number, list nor dict stays as it is."""
    match value:
        case Decimal() if value.is_finite():
            return canonical_number(value)
        case float() if isfinite(value):
            return canonical_number(Decimal(float.__repr__(value)))
        case list():
            return [canonical_value(inner) for inner in value]
        case dict():
            return {name: canonical_value(inner) for name, inner in value.items()}
    return value


class JsonEncoder:
    """JSON of rows and parts of rows: exact numbers, bytes as base64, times as ISO 8601.

    Decimals have to be of `canonical_number`'s form. Raises what msgspec raises: UnicodeEncodeError, TypeError,
    ValueError, OverflowError, RecursionError.
    """

    @staticmethod
    def encode(value: Any) -> bytes:
        """The canonical JSON of `value`."""
        encoded = _ENCODER.encode(value)
        return _ENCODER.encode(_without_exponents(value)) if _small(encoded) else encoded

    @staticmethod
    def encode_lines(values: Sequence[Any]) -> bytes:
        """The canonical JSON of each of `values`, each with a line feed behind it."""
        encoded = _ENCODER.encode_lines(values)
        return _ENCODER.encode_lines([*map(_without_exponents, values)]) if _small(encoded) else encoded


json_encoder = JsonEncoder()
"""The one way dynaview writes JSON for stores."""


def json_text(value: Any) -> str:
    """`json_encoder.encode` as text."""
    return json_encoder.encode(value).decode()


def _small(encoded: bytes) -> bool:
    """Whether JSON may hold a number with an exponent; text that looks like one only costs time."""
    return b"E-" in encoded and _EXPONENT.search(encoded) is not None


def _without_exponents(value: Any) -> Any:
    """`value` with numbers that msgspec would write with an exponent written out."""
    match value:
        case Decimal() if value.is_finite():
            return msgspec.Raw(number_text(value).encode())
        case list() | tuple():
            return [_without_exponents(inner) for inner in value]
        case dict():
            return {name: _without_exponents(inner) for name, inner in value.items()}
        case msgspec.Struct():
            held = (getattr(value, name) for name in value.__struct_fields__)
            return type(value)(*map(_without_exponents, held))
    return value
