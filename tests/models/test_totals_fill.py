"""The first fill of totals holds in every history of a small world, and each of its rules is needed."""

from __future__ import annotations

import pytest

from tests.models.explore import explore
from tests.models.totals_fill import Rule, TotalsFill

OLDER = "older than what they saw or waited for"
TWICE = "more than once"
AT_REST = "does not show the table"

HOLDS = {
    "a worker and the scan are paused": TotalsFill((1, 1)),
    "two items": TotalsFill((2, 1), pauses=(False, False)),
    "three changes of one item": TotalsFill((3, 0), pauses=(False, False)),
    "a worker is paused": TotalsFill((2, 0), pauses=(True, False)),
    "the scan is paused": TotalsFill((2, 0), pauses=(False, True)),
}

BREAKS = {
    Rule.STREAM_FIRST: ((1, 1), AT_REST),
    Rule.STRONG_SCAN: ((1, 1), AT_REST),
    Rule.SCAN_INSERTS: ((2, 0), AT_REST),
    Rule.SCANNED_ENTRIES: ((1, 1), TWICE),
    Rule.TOMBSTONES: ((2, 0), AT_REST),
    Rule.KEPT_TOMBSTONES: ((2, 0), AT_REST),
    Rule.GUARD: ((2, 0), OLDER),
    Rule.SILENT: ((1, 1), OLDER),
    Rule.HOLD: ((2, 0), OLDER),
    Rule.HOLD_FROM_END: ((2, 0), OLDER),
}
"""For each rule a world in which it is missed though nobody is paused, and what goes wrong there without it."""


@pytest.mark.parametrize("world", HOLDS)
def test_the_first_fill_of_totals_holds(world: str) -> None:
    """Every history is right at each step and comes to rest."""
    explored = explore(HOLDS[world])
    assert explored.counterexample is None, str(explored.counterexample)
    assert explored.finished


@pytest.mark.parametrize("rule", BREAKS, ids=lambda rule: rule.name)
def test_each_rule_of_the_first_fill_of_totals_is_needed(rule: Rule) -> None:
    """Leaving it out gives a counterexample."""
    changes, law = BREAKS[rule]
    found = explore(TotalsFill(changes, rule, pauses=(False, False))).counterexample
    assert found is not None, f"nothing goes wrong without: {rule.value}"
    assert law in found.law, str(found)


def test_every_rule_is_expected_to_be_needed() -> None:
    """A rule that is added to the model needs its counterexample here."""
    assert set(BREAKS) == set(Rule)
