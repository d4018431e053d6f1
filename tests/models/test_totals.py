"""How totals are kept holds in every history of a small world, and each of its rules is needed.

Laws 1, 2 and 9 for groups: a change counts once, a row is its group at one moment, readers never see an item older than
they saw it or waited for, and at rest every row shows the table.
"""

from __future__ import annotations

import pytest

from tests.models.explore import explore
from tests.models.groups import Readers, counted, read
from tests.models.totals import Rule, Totals

OLDER = "older than what they saw or waited for"
TWICE = "more than once"
AT_REST = "does not show the table"

HOLDS = {
    "a worker and an emitter are paused": Totals((1, 1)),
    "two items": Totals((2, 1), pauses=(False, False)),
    "a worker is paused": Totals((2, 0), pauses=(True, False)),
    "an emitter is paused": Totals((2, 0), pauses=(False, True)),
    "what is empty is forgotten": Totals((3, 0), pauses=(False, False), forgets=True),
    "it is forgotten and an emitter is paused": Totals((2, 0), pauses=(False, True), forgets=True),
}

WORKER = ((2, 0), (True, False), False)
EMITTER = ((2, 0), (False, True), False)
FORGETS = ((2, 0), (False, True), True)
RETURNS = ((3, 0), (False, False), True)

BREAKS = {
    Rule.GUARD: (WORKER, OLDER),
    Rule.TOMBSTONES: (WORKER, OLDER),
    Rule.ONE_TRANSACTION: (WORKER, AT_REST),
    Rule.LOCKED_OLD: (WORKER, TWICE),
    Rule.STORED_OLD: (WORKER, TWICE),
    Rule.BOTH_GROUPS: (WORKER, AT_REST),
    Rule.ONE_SNAPSHOT: (WORKER, AT_REST),
    Rule.DURABLE: (WORKER, AT_REST),
    Rule.MARK_AFTER: (WORKER, AT_REST),
    Rule.MARK_WRITTEN: (WORKER, AT_REST),
    Rule.WATERMARK_FIRST: (WORKER, OLDER),
    Rule.WATERMARK_LAST: (WORKER, OLDER),
    Rule.CHECKPOINT: (WORKER, AT_REST),
    Rule.SINK_GUARD: (EMITTER, OLDER),
    Rule.SINK_TOMBSTONES: (EMITTER, OLDER),
    Rule.FLOOR: (RETURNS, OLDER),
    Rule.FORGET_SHOWN: (FORGETS, AT_REST),
    Rule.FORGET_SAVED: (FORGETS, OLDER),
}
"""For each rule a world in which it is missed, and what goes wrong there without it."""


@pytest.mark.parametrize("world", HOLDS)
def test_totals_hold(world: str) -> None:
    """Every history is right at each step and comes to rest."""
    explored = explore(HOLDS[world])
    assert explored.counterexample is None, str(explored.counterexample)
    assert explored.finished


@pytest.mark.parametrize("rule", BREAKS, ids=lambda rule: rule.name)
def test_each_rule_of_totals_is_needed(rule: Rule) -> None:
    """Leaving it out gives a counterexample."""
    (changes, pauses, forgets), law = BREAKS[rule]
    found = explore(Totals(changes, rule, pauses, forgets)).counterexample
    assert found is not None, f"nothing goes wrong without: {rule.value}"
    assert law in found.law, str(found)


def test_every_rule_is_expected_to_be_needed() -> None:
    """A rule that is added to the model needs its counterexample here."""
    assert set(BREAKS) == set(Rule)


def test_a_bag_keeps_what_was_taken_away_too_often() -> None:
    assert counted((), give=(0, 1)) == (((0, 1), 1),)
    assert counted(counted((), give=(0, 1)), take=(0, 1)) == ()
    assert counted((), take=(0, 1)) == (((0, 1), -1),)
    assert counted((((0, 1), 1),), give=(0, 2), take=(0, 1)) == (((0, 2), 1),)


def test_what_readers_of_totals_may_see() -> None:
    histories = (("x", "y", None), ())
    knows = Readers((1, 0), ((0, 0), (0, 0)))
    assert read(knows, histories, [(((0, 1), 1),), ()]) == Readers((1, 0), ((1, 0), (1, 0)))
    assert read(knows, histories, [(), (((0, 2), 1),)]) == Readers((1, 0), ((2, 0), (2, 0)))
    late = Readers((2, 0), ((0, 0), (0, 0)))
    assert OLDER in str(read(late, histories, [(((0, 1), 1),), ()])), "it went to y before the watermark"
    assert OLDER in str(read(late, histories, [(), (((0, 1), 1),)])), "it was never in y with that change"
    assert TWICE in str(read(knows, histories, [(((0, 1), 2),), ()]))
    assert TWICE in str(read(knows, histories, [(((0, 1), 1), ((0, 2), 1)), ()]))
    assert TWICE in str(read(knows, histories, [(((0, 1), -1),), ()]))
    assert read(knows, histories, [None, None]) == knows, "nothing can be told of rows that are not there yet"
