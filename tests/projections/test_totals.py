"""Totals kept by differences are those of a recount, whatever items do."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynaview.projections.totals import (
    Contribution,
    NegativeTotal,
    Summed,
    Total,
    average,
    differences,
    group_key,
    sum_of,
)

LARGEST = Decimal("9.9999999999999999999999999999999999999E+125")
SMALLEST = Decimal("1E-130")
FINEST = Decimal("1.0000000000000000000000000000000000001E-130")

NUMBERS = st.one_of(
    st.sampled_from([LARGEST, -LARGEST, SMALLEST, -SMALLEST, FINEST, Decimal("0.1"), Decimal("-0"), Decimal(0)]),
    st.builds(
        lambda digits, exponent: Decimal((0 if digits >= 0 else 1, Decimal(abs(digits)).as_tuple().digits, exponent)),
        st.integers(-(10**38) + 1, 10**38 - 1),
        st.integers(-130, 88),
    ),
)
CONTRIBUTIONS = st.builds(
    Contribution,
    st.sampled_from(["x", "y", "z"]),
    st.tuples(st.none() | NUMBERS, st.none() | NUMBERS),
)
STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.none() | CONTRIBUTIONS), max_size=30)


def recount(standing: Mapping[str, Contribution]) -> dict[object, list[tuple[int, Fraction]]]:
    """For each group the items and, for each value, how many have it and their sum, by exact fractions."""
    found: dict[object, list[tuple[int, Fraction]]] = {}
    for contribution in standing.values():
        held = found.setdefault(contribution.group, [(0, Fraction(0))] * 3)
        given = [Decimal(0), *contribution.values]
        found[contribution.group] = [
            pair if value is None else (pair[0] + 1, pair[1] + Fraction(value))
            for pair, value in zip(held, given, strict=True)
        ]
    return found


def as_counted(total: Total) -> list[tuple[int, Fraction]]:
    return [(total.items, Fraction(0)), *((each.items, Fraction(each.sum)) for each in total.values)]


@given(STEPS, st.integers(1, 7))
@example([("a", Contribution("x", (LARGEST, None))), ("b", Contribution("x", (FINEST, None)))], 1)
def test_differences_come_to_what_a_recount_finds(steps: list[tuple[str, Contribution | None]], size: int) -> None:
    """In batches of any size; a caller's own decimal context, here one of three digits, has no part in it."""
    standing: dict[str, Contribution] = {}
    totals: dict[object, Total] = {}
    with localcontext(Context(prec=3)):
        for start in range(0, len(steps), size):
            moves = []
            for item, gives in steps[start : start + size]:
                moves.append((standing.pop(item, None), gives))
                if gives is not None:
                    standing[item] = gives
            for group, difference in differences(moves).items():
                totals[group] = totals.get(group, Total.empty(2)).plus(difference)
    expected = recount(standing)
    assert {group: as_counted(total) for group, total in totals.items() if total.items} == expected
    assert all(total == Total.empty(2) for group, total in totals.items() if group not in expected)


@given(st.lists(st.tuples(st.none() | CONTRIBUTIONS, st.none() | CONTRIBUTIONS), max_size=12), st.randoms())
def test_the_order_of_items_makes_no_difference(
    moves: list[tuple[Contribution | None, Contribution | None]], random: Random
) -> None:
    shuffled = [*moves]
    random.shuffle(shuffled)
    assert differences(shuffled) == differences(moves)


def test_an_item_that_gives_what_it_gave_touches_no_group() -> None:
    gives = Contribution("x", (Decimal("1.50"), None))
    same = Contribution("x", (Decimal("1.5"), None))
    assert differences([(gives, same), (None, None)]) == {}


def test_an_item_that_moves_touches_the_group_it_leaves_and_the_one_it_enters() -> None:
    moved = differences([(Contribution("x", (Decimal(5),)), Contribution("y", (Decimal(7),)))])
    assert moved == {
        "x": Total(-1, (Summed(-1, Decimal(-5)),)),
        "y": Total(1, (Summed(1, Decimal(7)),)),
    }


def test_a_group_whose_items_change_places_is_touched_though_its_total_is_the_same() -> None:
    one, other = (Contribution(name, (Decimal(5),)) for name in "xy")
    moved = differences([(one, other), (other, one)])
    assert moved == {"x": Total.empty(1), "y": Total.empty(1)}


@pytest.mark.parametrize(
    ("total", "taken"),
    [
        (Total.empty(1), Contribution("x", (None,))),
        (Total(2, (Summed(0, Decimal(0)),)), Contribution("x", (Decimal(1),))),
        (Total(2, (Summed(1, Decimal(1)),)), Contribution("x", (Decimal(3),))),
        (Total(1, (Summed(1, Decimal(1)),)), Contribution("x", (None,))),
    ],
    ids=["no item", "no item with the value", "a sum of no items", "values without items"],
)
def test_a_total_that_comes_to_less_than_nothing_is_refused(total: Total, taken: Contribution) -> None:
    difference = differences([(taken, None)])["x"]
    with pytest.raises(NegativeTotal, match="wrong before"):
        total.plus(difference)


VALUES = st.text(max_size=3) | st.booleans() | st.binary(max_size=2) | NUMBERS | st.integers(-2, 2).map(Decimal)


@given(st.lists(VALUES, max_size=2), st.lists(VALUES, max_size=2))
@example([True], [Decimal(1)])
@example(["1"], [Decimal(1)])
@example([b"a"], ["YQ=="])
@example(["a", "b"], ['a","b'])
@example([Decimal("1.0")], [Decimal(1)])
def test_groups_are_one_exactly_where_their_values_are(one: list[Any], other: list[Any]) -> None:
    same = len(one) == len(other) and all(
        type(mine) is type(theirs) and mine == theirs for mine, theirs in zip(one, other, strict=True)
    )
    assert (group_key(one) == group_key(other)) is same


def test_a_sum_that_does_not_fit_is_refused_and_never_rounded() -> None:
    with pytest.raises(ArithmeticError):
        differences([(None, Contribution("x", (Decimal("1E+300"),))), (None, Contribution("x", (Decimal("1E-300"),)))])


def test_what_a_row_shows() -> None:
    """As SQL: no value is no sum. An average is of the items that have a value, to 38 digits, half to even."""
    assert (sum_of(Summed(0, Decimal(0))), average(Summed(0, Decimal(0)))) == (None, None)
    assert str(sum_of(Summed(2, Decimal("1.50")))) == "1.5"
    assert str(average(Summed(4, Decimal("6.0")))) == "1.5"
    assert str(average(Summed(3, Decimal(2)))) == "0." + "6" * 37 + "7"
    assert str(average(Summed(2, Decimal(10**38 + 1)))) == "5" + "0" * 37
    assert str(average(Summed(2, Decimal(10**38 + 3)))) == "5" + "0" * 36 + "2"
