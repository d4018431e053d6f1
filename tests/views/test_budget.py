"""How much read capacity a scan takes: what was asked for, by a clock that is turned by hand."""

from __future__ import annotations

import pytest
from click import BadParameter, Command, Context, Option

from dynaview.sources.port import TableDescription
from dynaview.views.budget import Budget, Capacity
from dynaview.views.cli.written import capacity, capacity_text


def table(units: int | None) -> TableDescription:
    return TableDescription("shop", "arn", ("pk",), None, None, 0, 0, "ACTIVE", read_units=units)


@pytest.mark.parametrize(
    ("asked", "provisioned", "rate"),
    [
        (Capacity(), 100, 50.0),
        (Capacity(), None, None),
        (Capacity(share=0.2), 100, 20.0),
        (Capacity(units=7.0), 100, 7.0),
        (Capacity(units=7.0), None, 7.0),
    ],
)
def test_the_rate(asked: Capacity, provisioned: int | None, rate: float | None) -> None:
    assert asked.rate(table(provisioned)) == rate


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table shop is on demand.*25 % of: name read units a second"):
        Capacity(share=0.25).rate(table(None))


class Clock:
    def __init__(self, ends_at: float = 1e9) -> None:
        self.now = 0.0
        self.waits = 0
        self.ends_at = ends_at

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.waits += 1
        return self.now >= self.ends_at

    def budget(self, units: float | None) -> Budget:
        return Budget(units, self.wait, lambda: self.now)


@pytest.mark.parametrize("units", [1.0, 10.0, 128.0, 1000.0])
def test_pages_dearer_than_a_seconds_worth_are_waited_for_whole(units: float) -> None:
    clock = Clock()
    budget = clock.budget(units)
    for _ in range(20):
        budget.spend(128.0)
    assert clock.now == pytest.approx((20 * 128 - units) / units, rel=1e-6)


def test_what_was_not_taken_for_a_while_is_kept_for_a_second_only() -> None:
    clock = Clock()
    budget = clock.budget(10.0)
    clock.now = 100.0
    budget.spend(10.0)
    assert clock.now == 100.0
    budget.spend(10.0)
    assert clock.now == 101.0


def test_a_scan_that_is_to_end_waits_no_more() -> None:
    clock = Clock(ends_at=2.0)
    clock.budget(1.0).spend(500.0)
    assert clock.waits == 2


def test_without_a_limit_nothing_is_waited_for() -> None:
    clock = Clock()
    clock.budget(None).spend(1e9)
    assert clock.waits == 0


@pytest.mark.parametrize(
    ("written", "asked"),
    [("200", Capacity(units=200)), ("0.5", Capacity(units=0.5)), ("25%", Capacity(share=0.25)), (None, Capacity())],
)
def test_as_people_write_it(written: str | None, asked: Capacity) -> None:
    assert capacity(Context(Command("x")), Option(["--x"]), written) == asked


@pytest.mark.parametrize("written", ["0", "-1", "0%", "101%", "many", "", "%", "inf", "nan", "nan%"])
def test_what_is_none(written: str) -> None:
    with pytest.raises(BadParameter, match=r"such as 200, or a share .* such as 25%"):
        capacity(Context(Command("x")), Option(["--x"]), written)


@pytest.mark.parametrize("written", ["200", "0.5", "25%", "12.5%"])
def test_a_budget_is_handed_on_as_it_was_written(written: str) -> None:
    read = capacity(Context(Command("x")), Option(["--x"]), written)
    assert capacity_text(read) == written
    assert capacity_text(Capacity()) == ""
