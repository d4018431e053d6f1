"""Durations and shares as declarations write them: ``90s``, ``15m``, ``24h``, ``7d``; ``5%`` or 0.05."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

DURATION = r"^[0-9]+(\.[0-9]+)?[smhd]$"
"""A duration as text; a number counts seconds."""

SHARE = r"^[0-9]+(\.[0-9]+)?%$"
"""A share as text; a number is from 0 to 1."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST_DAYS = 3650


class QuantityError(ValueError):
    """A duration or share that makes no sense where it stands. Says what would."""


def duration(written: Any, *, least: float = 0, most: float | None = None) -> float:
    """The seconds of a duration of at least `least` seconds, and `most` at the most. Raises `QuantityError`.

    `written` is a number of seconds, or text that fits `DURATION` (which the schema has seen to).
    """
    number = _decimal(written)
    if not number.is_finite():
        raise QuantityError("has to be a finite number")
    if number < Decimal(str(least)):
        raise QuantityError(f"has to be at least {duration_text(least)}")
    if most is not None and number > Decimal(str(most)):
        raise QuantityError(f"has to be at most {duration_text(most)}")
    if number > _LONGEST_DAYS * _SECONDS["d"]:
        raise QuantityError(f"has to be at most {_LONGEST_DAYS}d")
    return float(number)


def share(written: Any, *, above_zero: bool = False) -> float:
    """A share as a number from 0 to 1. Raises `QuantityError`.

    `written` is a number, or text that fits `SHARE` (which the schema has seen to).
    """
    if isinstance(written, str):
        number = Decimal(written.strip().removesuffix("%")) / 100
        if number > 1:
            raise QuantityError("has to be at most 100%")
    else:
        number = Decimal(written)
        if not number.is_finite():
            raise QuantityError("has to be a finite number")
        if number > 1:
            raise QuantityError("a number here is from 0 to 1: write a percentage with its sign, such as 5%")
    if number < 0 or (above_zero and number == 0):
        raise QuantityError(f"has to be {'more than' if above_zero else 'at least'} 0%")
    return float(number)


def _decimal(written: Any) -> Decimal:
    if not isinstance(written, str):
        return Decimal(written)
    text = written.strip()
    return Decimal(text[:-1]) * _SECONDS[text[-1]]


def duration_text(seconds: float) -> str:
    """The shortest way to write so many seconds: ``24h``, not ``86400s``; ``7d`` from a week on."""
    for unit, length in (("d", 7 * _SECONDS["d"]), ("h", _SECONDS["h"]), ("m", _SECONDS["m"])):
        if seconds >= length and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{_plain(Decimal(repr(float(seconds))))}s"


def share_text(number: float) -> str:
    """A share as a percentage: ``5%``."""
    return f"{_plain(Decimal(repr(float(number))) * 100)}%"


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
