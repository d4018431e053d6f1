"""Repairing a view in memory: exactly what was found is repaired, and a newer change always wins."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dynaview.projections.rows import RowKey
from dynaview.sinks.port import ConditionalWrite, Foreign, Outcome, Rejected, SinkUnavailable, Target
from dynaview.views.control.records import DeadLetterFilter
from dynaview.views.retry import Retrier
from dynaview.views.verify.findings import Finding
from dynaview.views.verify.repair import Repair, Repairer, RowRepair
from dynaview.views.verify.verifier import Verification
from tests.support.follower_harness import FollowerHarness
from tests.support.simple import SHAPE
from tests.support.verifying import Moving, by_hand, filled, held, item, row, settled, subject, whole


class Mending:
    """A target whose repairs can be watched and made to fail."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.before: Callable[[], object] = lambda: None
        self.failures = 0
        self.lost = False
        self.reject: dict[Any, str] = {}
        self.batches: list[int] = []

    def write_if_unchanged(self, mends: Sequence[ConditionalWrite]) -> list[Outcome]:
        self.batches.append(len(mends))
        before, self.before = self.before, lambda: None
        before()
        if self.failures:
            self.failures -= 1
            if self.lost:
                self.inner.write_if_unchanged(mends)
            raise SinkUnavailable("away")
        outcomes: list[Outcome] = []
        for each in mends:
            reason = None if each.write.values is None else self.reject.get(each.write.key)
            outcomes += [Rejected(reason)] if reason else self.inner.write_if_unchanged([each])
        return outcomes

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def repaired(harness: FollowerHarness, target: Any = None) -> tuple[Repair, list[RowRepair]]:
    retrier = Retrier(seconds=20)
    told: list[RowRepair] = []
    repairer = Repairer("one", target or harness.targets["one"], retrier, told.append)
    made = Verification(harness.table, [subject(harness, retrier, target, found=repairer)], SHAPE, retrier=retrier)
    (report,) = made.whole()
    assert report.error == ""
    return repairer.repair, told


def damage(target: Target, harness: FollowerHarness) -> None:
    by_hand(target, row(1), None)
    by_hand(target, row(2), ("x",))
    by_hand(target, "orphan", (5,))
    held(harness).pop(row(3))


def test_exactly_what_was_found_is_mended_and_a_second_repair_finds_nothing(harness: FollowerHarness) -> None:
    filled(harness)
    damage(harness.targets["one"], harness)
    before = {stored.key: stored for stored in harness.targets["one"].rows()}
    repair, told = repaired(harness)
    assert harness.rows("one") == harness.expected()
    assert {(one.finding.kind, one.finding.key, one.outcome) for one in told} == {
        ("missing", row(1), "mended"),
        ("different", row(2), "mended"),
        ("missing", row(3), "mended"),
        ("extra", "orphan", "mended"),
    }
    assert (repair.number("mended"), repair.number("mended", "missing"), repair.left) == (4, 2, [])
    after = {stored.key: stored for stored in harness.targets["one"].rows()}
    untouched = {row(number) for number in (0, 4, 5, 6, 7, 8, 9)}
    assert {key: after[key] for key in untouched} == {key: before[key] for key in untouched}
    repair, told = repaired(harness)
    assert (repair.counts, told) == ({}, [])


def test_a_newer_change_wins(harness: FollowerHarness) -> None:
    """Without the compare, the repairs would bring back what the stream has moved on from."""
    filled(harness)
    damage(harness.targets["one"], harness)
    target = Mending(harness.targets["one"])

    def change() -> None:
        harness.table.put(item(1, "newer"))
        harness.table.delete(item(2))
        harness.table.put(item(3, hidden=True))
        harness.wait_counted()

    target.before = change
    repair, told = repaired(harness, target)
    harness.table.put({"pk": "last", "sk": "s", "value": 1})
    harness.wait_equal()
    outcomes = {one.finding.key: one.outcome for one in told}
    assert outcomes == {row(1): "changed", row(2): "changed", row(3): "changed", "orphan": "mended"}
    assert repair.number("left") == 0


def test_a_change_that_comes_just_after_a_mend_wins_too(harness: FollowerHarness) -> None:
    filled(harness)
    damage(harness.targets["one"], harness)
    repaired(harness)
    for number in (1, 2, 3):
        harness.table.put(item(number, f"later {number}"))
    harness.wait_equal()
    assert whole(harness).drift == 0


def test_a_store_that_is_away_for_a_moment_is_waited_for(harness: FollowerHarness) -> None:
    filled(harness)
    damage(harness.targets["one"], harness)
    target = Mending(harness.targets["one"])
    target.failures = 2
    repair, _ = repaired(harness, target)
    assert repair.number("mended") == 4
    assert harness.rows("one") == harness.expected()


def test_an_answer_that_is_lost_does_no_harm(harness: FollowerHarness) -> None:
    filled(harness)
    damage(harness.targets["one"], harness)
    target = Mending(harness.targets["one"])
    target.failures, target.lost = 1, True
    repair, _ = repaired(harness, target)
    assert repair.number("mended") + repair.number("changed") == 4
    assert harness.rows("one") == harness.expected()
    assert repaired(harness)[0].counts == {}


def test_what_the_store_cannot_hold_is_left_with_its_reason(harness: FollowerHarness) -> None:
    filled(harness)
    damage(harness.targets["one"], harness)
    target = Mending(harness.targets["one"])
    target.reject = {row(2): "too long"}
    repair, _ = repaired(harness, target)
    assert (repair.number("mended"), repair.number("left")) == (3, 1)
    assert [(one.finding.key, one.reason) for one in repair.left] == [(row(2), "too long")]


def test_rows_that_dead_letters_left_behind_are_removed(harness: FollowerHarness) -> None:
    """As they were left before dead letters took the rows of their items."""
    filled(harness)
    harness.table.put(item(1, bad=True))
    harness.wait_counted()
    by_hand(harness.targets["one"], row(1), (1,))
    repair, _ = repaired(harness)
    assert repair.counts == {("extra", "mended"): 1}
    assert row(1) not in harness.rows("one")


def test_a_row_before_one_that_the_store_cannot_hold_is_removed(harness: FollowerHarness) -> None:
    filled(harness)
    target = Mending(harness.targets["one"])
    target.reject = {row(2): "too long"}
    by_hand(harness.targets["one"], row(2), ("before",))
    repair, _ = repaired(harness, target)
    assert repair.counts == {("different", "left"): 1}
    assert row(2) not in harness.rows("one")


def test_a_wrong_owner_is_mended_and_a_conflict_is_left(harness: FollowerHarness) -> None:
    harness.bound = Moving()
    harness.table.put(item(1, at=["a", "b"]))
    harness.start()
    settled(harness)
    harness.table.put(item(2, at=["b", "c"]))  # two items on one row key
    harness.wait_counted()
    harness.control.dead_letters.discard(DeadLetterFilter(view="one"))
    by_hand(harness.targets["one"], "a", (1,), by="0123456789abcdef")
    repair, told = repaired(harness)
    kinds = sorted((one.finding.kind, one.finding.key, one.outcome) for one in told)
    assert kinds == [("owner", "a", "mended"), ("owner", "b", "left")]
    assert "both items ask for this row" in repair.left[0].reason
    harness.table.put(item(1, "later", at=["a"]))
    harness.wait_counted()
    assert harness.rows("one")["a"] == {"value": "later"}


def test_a_change_that_was_refused_while_the_owner_was_wrong_shows_after_the_mend(harness: FollowerHarness) -> None:
    """The row was another item's, so the change became a dead letter and left no version that a repair could see."""
    harness.bound = Moving()
    harness.table.put(item(1, at=["a"]))
    harness.start()
    settled(harness)
    by_hand(harness.targets["one"], "a", (1,), by="0123456789abcdef")
    target = Mending(harness.targets["one"])

    def change() -> None:
        harness.table.put(item(1, "refused", at=["a"]))
        harness.wait_counted()

    target.before = change
    retrier = Retrier(seconds=20)
    repairer = Repairer("one", target, retrier)
    made = Verification(harness.table, [subject(harness, retrier, found=repairer)], SHAPE, retrier=retrier)
    (report,) = made.whole()
    assert (report.owner, report.different, repairer.repair.number("mended")) == (1, 1, 2)
    assert harness.rows("one")["a"] == {"value": "refused"}


def test_batches_hold_no_key_twice(harness: FollowerHarness) -> None:
    filled(harness)
    target = Mending(harness.targets["one"])
    repairer = Repairer("one", target, Retrier(seconds=5))
    by_hand(harness.targets["one"], row(1), ("x",))
    found: list[Finding] = []
    whole(harness, found=found.extend)
    repairer([*found, *found])
    assert target.batches == [1, 1]
    assert repairer.repair.number("mended") == 2  # the same again does no harm


def test_repairs_beside_a_busy_writer_end_in_step(tmp_path: Path) -> None:
    """Rows are damaged and repaired while their items change; in the end the view is its table's."""
    harness = FollowerHarness(tmp_path)
    filled(harness, 60)
    chance, stop = random.Random(3), threading.Event()

    def write() -> None:
        while not stop.wait(0.002):
            asked = item(chance.randrange(60), chance.randrange(1000))
            if chance.random() < 0.3:
                harness.table.delete(asked)
            else:
                harness.table.put(asked)

    work = threading.Thread(target=write)
    work.start()
    mended = 0
    try:
        for turn in range(5):
            target = harness.targets["one"]
            for number in chance.sample(range(60), 8):
                try:
                    by_hand(target, row(number), None if turn % 2 else (f"damage {turn}",))
                except AssertionError:  # changed meanwhile
                    continue
            by_hand(target, f"orphan {turn}", (turn,))
            mended += repaired(harness)[0].number("mended")
    finally:
        stop.set()
        work.join()
    harness.wait_counted()
    repaired(harness)
    assert harness.rows("one") == harness.expected()
    assert mended >= 5
    harness.stop()


class Visited:
    """A target where somebody has put something of his own."""

    def __init__(self, inner: Any, *keys: RowKey) -> None:
        self.inner = inner
        self.keys = [*keys]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def foreign(self) -> Iterator[Foreign]:
        return iter([Foreign(key, "a string") for key in self.keys])

    def remove_foreign(self, foreign: Sequence[Foreign]) -> int:
        removed = [one for one in foreign if one.key in self.keys]
        self.keys = [key for key in self.keys if key not in [one.key for one in removed]]
        return len(removed)


def test_what_somebody_put_there_is_named_and_removed_on_request(harness: FollowerHarness) -> None:
    filled(harness)
    target: Any = Visited(harness.targets["one"], "card:by hand", ("set", "member"))
    retrier = Retrier(seconds=20)
    (report,) = Verification(harness.table, [subject(harness, retrier, target)], SHAPE, retrier=retrier).whole()
    assert (report.drift, report.foreign) == (2, 2)
    assert [(one.kind, one.key) for one in report.listed] == [
        ("foreign", "card:by hand"),
        ("foreign", ("set", "member")),
    ]
    assert report.listed[0].stuck == "a string that dynaview did not put there: dynaview repair --foreign removes it"
    repair, _ = repaired(harness, target)
    assert (repair.number("left"), repair.number("mended"), len(target.keys)) == (2, 0, 2)
    retrier = Retrier(seconds=20)
    repairer = Repairer("one", target, retrier, foreign=True)
    made = Verification(harness.table, [subject(harness, retrier, target, repairer)], SHAPE, retrier=retrier)
    made.whole()
    assert (repairer.repair.number("left"), repairer.repair.number("mended"), target.keys) == (0, 2, [])
