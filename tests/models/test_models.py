"""The protocols of rebuilds and of repairing hold in every history of a small world, and each of their rules is needed.

The world is one item, a few changes, two workers that die or are paused, a controller that dies or is replaced. Laws
1, 2, 6, 9 and 10: readers never see a row go back, vanish without a delete or come back after one; what the watermark
has passed is seen; at rest rows show the table; verification raises no false alarm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.models import beside, inplace, repairing
from tests.models.explore import Explored, Model, explore, smallest
from tests.models.table import shown

OLDER = "that they saw or waited for"
NOT_THERE = "that is not there"
FALSE_ALARM = "a difference is reported that is none"
VERSION_BACK = "the version of the row went back"

BESIDE = {
    beside.Rule.GUARD: OLDER,
    beside.Rule.TOMBSTONES: OLDER,
    beside.Rule.CHECKPOINT: OLDER,
    beside.Rule.LATE_CHECKPOINT: OLDER,
    beside.Rule.LATE_STOPS: OLDER,
    beside.Rule.ORDER_BEFORE_SCAN: OLDER,
    beside.Rule.ALL_WRITE_BOTH: OLDER,
    beside.Rule.NEXT_FIRST: OLDER,
    beside.Rule.STRONG_SCAN: OLDER,
    beside.Rule.SCAN_INSERTS: OLDER,
    beside.Rule.HOLD: OLDER,
    beside.Rule.DURABLE_HOLD: OLDER,
    beside.Rule.CANCEL_ASKS_STORE: NOT_THERE,
    beside.Rule.ONE_CONTROLLER: OLDER,
    beside.Rule.KEPT_IS_WRITTEN: OLDER,
    beside.Rule.ROLLBACK_TURNS: OLDER,
    beside.Rule.ROLLBACK_ACKNOWLEDGED: OLDER,
    beside.Rule.ROLLBACK_HOLD: OLDER,
    beside.Rule.NEW_NUMBER: OLDER,
    beside.Rule.DROP_ACKNOWLEDGED: NOT_THERE,
    beside.Rule.INVOCATIONS_END: NOT_THERE,
    beside.Rule.INVOCATIONS_LOOK: OLDER,
    beside.Rule.INVOCATIONS_ABOVE: OLDER,
    beside.Rule.INVOCATIONS_LATER: OLDER,
    beside.Rule.INVOCATIONS_HOLD: OLDER,
}
"""What goes wrong without each rule of a rebuild beside the live view."""

IN_PLACE = {
    inplace.Rule.TOMBSTONES: OLDER,
    inplace.Rule.NOT_GENERATION_FIRST: VERSION_BACK,
    inplace.Rule.NOT_VERSION_FIRST: OLDER,
    inplace.Rule.LATE_CHECKPOINT: OLDER,
    inplace.Rule.ONE_LANE: OLDER,
    inplace.Rule.TAKE_OVER_READS: OLDER,
    inplace.Rule.STRONG_SCAN: OLDER,
    inplace.Rule.SCAN_COMPARES: OLDER,
    inplace.Rule.SCAN_LOOKS_AGAIN: OLDER,
    inplace.Rule.SCAN_KEEPS_VERSION: VERSION_BACK,
    inplace.Rule.HOLD: OLDER,
    inplace.Rule.DURABLE_HOLD: OLDER,
    inplace.Rule.SWEEP: OLDER,
    inplace.Rule.SWEEP_COMPARES: OLDER,
    inplace.Rule.END_HOLDS: OLDER,
    inplace.Rule.CANCEL_KEEPS_NUMBER: OLDER,
    inplace.Rule.NONE_LATE_AT_LOSS: OLDER,
    inplace.Rule.NEW_NUMBER: OLDER,
}
"""What goes wrong without each rule of a rebuild in place."""

REPAIRING = {
    repairing.Rule.ROW_BEFORE_ITEM: OLDER,
    repairing.Rule.LISTING_BEFORE_SCAN: FALSE_ALARM,
    repairing.Rule.STRONG_READ: FALSE_ALARM,
    repairing.Rule.HOLD: FALSE_ALARM,
    repairing.Rule.HOLD_AFTER_READ: FALSE_ALARM,
    repairing.Rule.DURABLE_HOLD: OLDER,
    repairing.Rule.COMPARES: FALSE_ALARM,
    repairing.Rule.KEEPS_VERSION: OLDER,
    repairing.Rule.TOMBSTONES: OLDER,
    repairing.Rule.OWNER_TWICE: OLDER,
    repairing.Rule.NONE_LATE_AT_LOSS: OLDER,
}
"""What goes wrong without each rule of verification and repair."""


def _holds(model: Model[Any]) -> Explored[Any]:
    """Walk through all of a model; it has to hold, and histories have to come to an end in it."""
    explored = explore(model)
    assert explored.counterexample is None, f"\n{explored.counterexample}"
    assert explored.finished, "no history comes to an end: nothing is proven"
    return explored


def _breaks(model: Callable[[int], Model[Any]], law: str, rule: str) -> None:
    """Without the rule, two changes are enough to break the law; the trace is shown where it is another one."""
    found = smallest(model, 2)
    assert found is not None, f"nothing goes wrong without this rule: {rule}"
    assert law in found.law, f"without this rule: {rule}\n{found}"


@pytest.mark.parametrize(
    ("changes", "regrets"), [(3, False), (2, True)], ids=["three changes", "rollbacks cancelled and two rebuilds"]
)
def test_a_rebuild_beside_the_live_view_holds(changes: int, regrets: bool) -> None:
    """Law 6: swapped, cancelled, rolled back or retired, with crashes anywhere, no reader sees an item go back."""
    explored = _holds(beside.SideBySide(changes, regrets=regrets))
    assert {(state.published, state.order) for state in explored.finished} == {(1, (1,)), (2, (2,))}


def test_a_rebuild_beside_holds_where_invocations_write_too() -> None:
    """The same where any change may be written again at any time, by invocations that know nothing of each other."""
    explored = _holds(beside.SideBySide(2, invoked=True))
    assert {(state.published, state.order) for state in explored.finished} == {(1, (1,)), (2, (2,))}


@pytest.mark.parametrize("rule", BESIDE, ids=lambda rule: rule.name)
def test_each_rule_of_a_rebuild_beside_is_needed(rule: beside.Rule) -> None:
    """Leaving it out gives a counterexample."""
    regrets = rule is beside.Rule.NEW_NUMBER
    invoked = rule.name.startswith("INVOCATIONS")
    _breaks(lambda changes: beside.SideBySide(changes, rule, regrets, invoked), BESIDE[rule], rule.value)


@pytest.mark.parametrize(
    ("changes", "rebuilds", "edits"),
    [(3, 1, False), (2, 1, True), (2, 2, False), (1, 2, True)],
    ids=["three changes", "a row edited by hand", "two rebuilds", "edited between two rebuilds"],
)
def test_a_rebuild_in_place_holds(changes: int, rebuilds: int, edits: bool) -> None:
    """Law 6 where keys are direct: ended or cancelled at any point, and whatever the next rebuild finds."""
    explored = _holds(inplace.InPlace(changes, rebuilds=rebuilds, edits=edits))
    assert {state.swept for state in explored.finished} == {True, False}, "rebuilds end swept, or cancelled"


@pytest.mark.parametrize("rule", IN_PLACE, ids=lambda rule: rule.name)
def test_each_rule_of_a_rebuild_in_place_is_needed(rule: inplace.Rule) -> None:
    """Leaving it out gives a counterexample."""
    rebuilds = 2 if rule is inplace.Rule.NEW_NUMBER else 1
    _breaks(lambda changes: inplace.InPlace(changes, rule, rebuilds), IN_PLACE[rule], rule.value)


@pytest.mark.parametrize(
    ("changes", "replaced"), [(3, False), (1, True)], ids=["three changes", "a verifier is replaced"]
)
def test_mending_holds(changes: int, replaced: bool) -> None:
    """A row edited by hand is found and fixed beside changes and crashes, never by something older, and what nobody
    edited is never reported."""
    _holds(repairing.Repairing(changes, replaced=replaced))


@pytest.mark.parametrize("rule", REPAIRING, ids=lambda rule: rule.name)
def test_each_rule_of_repairing_is_needed(rule: repairing.Rule) -> None:
    """Leaving it out gives a counterexample."""
    _breaks(lambda changes: repairing.Repairing(changes, rule, replaced=False), REPAIRING[rule], rule.value)


def test_a_new_item_is_taken_for_an_orphan_where_the_table_is_scanned_before_the_store_is_listed() -> None:
    """The false extra, step by step: nothing was edited, and a good row is reported."""
    found = smallest(
        lambda changes: repairing.Repairing(changes, repairing.Rule.LISTING_BEFORE_SCAN, replaced=False), 2
    )
    assert found is not None
    assert isinstance(found.state, repairing.State)
    assert not found.state.edited
    assert found.state.row == repairing.Row(1, "A")
    scanned, made, listed = (
        next(number for number, step in enumerate(found.steps) if text in step)
        for text in ("the table is scanned", "the table puts A", "the verifier lists the store")
    )
    assert scanned < made < listed


def test_every_rule_is_expected_to_be_needed() -> None:
    """A rule that is added to a model needs its counterexample here."""
    assert set(BESIDE) == set(beside.Rule)
    assert set(IN_PLACE) == set(inplace.Rule)
    assert set(REPAIRING) == set(repairing.Rule)


@dataclass(frozen=True)
class Counter:
    """A number that goes up by one or two, until `top`; `bad` breaks a law; `end` is where it may stop."""

    top: int
    end: int
    bad: int | None = None

    def start(self) -> int:
        return 0

    def steps(self, state: int) -> Iterator[tuple[str, int]]:
        for step in (1, 2):
            if state + step <= self.top:
                yield f"up by {step}", state + step

    def wrong(self, state: int) -> str | None:
        return "bad" if state == self.bad else None

    def finished(self, state: int) -> bool:
        return state == self.end


def test_the_explorer_visits_every_state_and_finds_the_shortest_way_to_a_wrong_one() -> None:
    whole = explore(Counter(top=10, end=10))
    assert (whole.states, whole.finished, whole.counterexample) == (11, (10,), None)
    found = explore(Counter(top=10, end=10, bad=4)).counterexample
    assert found is not None
    assert (found.law, found.steps, found.state) == ("bad", ("up by 2", "up by 2"), 4)
    assert str(found) == "  1. up by 2\n  2. up by 2\n  => bad\n     4"


def test_the_explorer_finds_histories_that_are_stuck() -> None:
    found = explore(Counter(top=10, end=9)).counterexample
    assert found is not None
    assert (found.law, found.state) == ("nothing can go on", 10)


def test_the_smallest_counterexample_has_the_fewest_changes() -> None:
    found = smallest(lambda changes: Counter(top=changes, end=changes, bad=3), 5)
    assert found is not None
    assert found.steps == ("up by 1", "up by 2")
    assert smallest(lambda changes: Counter(top=changes, end=changes, bad=9), 5) is None


def test_what_readers_may_see() -> None:
    history = ("v1", None, "v3")
    assert shown(history, 0, None) == 0, "before the item was made"
    assert shown(history, 1, "v1") == 1
    assert shown(history, 1, None) == 2, "vanished with its delete"
    assert shown(history, 1, "v3") == 3, "versions may be skipped"
    assert shown(history, 2, "v1") is None, "came back after its delete"
    assert shown(history, 3, "v1") is None, "went back"
    assert shown(history, 3, None) is None, "vanished without a delete"
