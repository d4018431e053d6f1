"""Totals of groups of items: what an item gives to its group, and what the group's row shows of it. Pure.

No declaration can ask for such rows yet.

A group's total is kept by differences: what an item gave is taken away, what it gives now is added. So it is only as
right as what is said to have been given: that has to come from where the total itself is kept, never from a change's
old image, which is not what was counted where changes were skipped, repeated, or beside a scan.

Sums are exact. Whatever is added and taken away again leaves nothing behind, in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation
from typing import NamedTuple, TypeAlias

from dynaview.projections.canonical import canonical_number, canonical_value, json_text

DIGITS = 400
"""Of a sum. DynamoDB's numbers reach from the 126th digit before the point to the 167th after it (38 digits at an
exponent of -130), and as many numbers as there can be items add less than 60 digits to that."""

_EXACT = Context(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation, DivisionByZero])
_AVERAGE = Context(prec=38, rounding=ROUND_HALF_EVEN, Emax=MAX_EMAX, Emin=MIN_EMIN)

GroupKey: TypeAlias = str
"""As `group_key` writes it. No tuple of the values: to Python, True and the number 1 are one key."""


class NegativeTotal(ArithmeticError):
    """More was taken out of a group than was ever in it: its total was wrong before, and is not to be gone on with."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one item gives to one group: for each summed value the number, or None where the item has none."""

    group: GroupKey
    values: tuple[Decimal | None, ...]


class Summed(NamedTuple):
    """Of one summed value: how many items have it, and what they come to."""

    items: int
    sum: Decimal


class Total(NamedTuple):
    """What a group keeps, and, with negative numbers, a difference between two of these."""

    items: int
    values: tuple[Summed, ...]

    @classmethod
    def empty(cls, width: int) -> Total:
        """Of a group without items, for so many summed values."""
        return cls(0, (Summed(0, Decimal(0)),) * width)

    def plus(self, difference: Total) -> Total:
        """The total after a difference. Raises `NegativeTotal` where fewer items than none would be left, or none that
        have a value, but some of it."""
        after = _added(self, difference)
        for items, total in (Summed(after.items, Decimal(0)), *after.values):
            if items < 0 or items > after.items or (not items and total):
                raise NegativeTotal(
                    "a group is left with fewer items than none, or with a sum of none: its total was wrong before"
                )
        return after


def group_key(values: Iterable[str | Decimal | bool | bytes]) -> GroupKey:
    """The key of the group of these values, in the view's order: the same exactly where they are equal and of the same
    kind, so that 1 and 1.0 are one group, and "1", true and bytes are others."""
    return json_text([{"bytes": value} if isinstance(value, bytes) else canonical_value(value) for value in values])


def differences(
    moves: Iterable[tuple[Contribution | None, Contribution | None]],
) -> dict[GroupKey, Total]:
    """What each group gains or loses by items of which the first was given and the second is given now (None: nothing).

    A group that an item leaves, one it enters and one in which it gives other values than before are in it, also where
    it comes to nothing: other items stand in the group now. An item that gives what it gave touches none.
    """
    found: dict[GroupKey, Total] = {}
    for gave, gives in moves:
        if gave == gives:
            continue
        for contribution, times in ((gave, -1), (gives, 1)):
            if contribution is not None:
                step = _of(contribution, times)
                before = found.get(contribution.group)
                found[contribution.group] = step if before is None else _added(before, step)
    return found


def average(summed: Summed) -> Decimal | None:
    """Of the items that have the value, to 38 digits, half to even; None where none has it."""
    return canonical_number(_AVERAGE.divide(summed.sum, Decimal(summed.items))) if summed.items else None


def sum_of(summed: Summed) -> Decimal | None:
    """The exact sum; None where no item has the value, as in SQL."""
    return canonical_number(summed.sum) if summed.items else None


def _of(contribution: Contribution, times: int) -> Total:
    return Total(
        times,
        tuple(
            Summed(0, Decimal(0)) if value is None else Summed(times, value if times > 0 else value.copy_negate())
            for value in contribution.values
        ),
    )


def _added(one: Total, other: Total) -> Total:
    return Total(
        one.items + other.items,
        tuple(
            Summed(mine.items + theirs.items, _EXACT.add(mine.sum, theirs.sum))
            for mine, theirs in zip(one.values, other.values, strict=True)
        ),
    )
