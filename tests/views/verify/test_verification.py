"""Verifying a view in memory: what is found, and that a busy table yields no false alarm."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from dynaview.views.retry import Retrier
from dynaview.views.verify.caught_up import CaughtUp
from dynaview.views.verify.findings import Finding, Report
from dynaview.views.verify.limits import Limits
from tests.support.follower_harness import FollowerHarness
from tests.support.listing import Listing, once
from tests.support.simple import SimpleBound
from tests.support.until import until
from tests.support.verifying import (
    Moving,
    by_hand,
    filled,
    found,
    held,
    item,
    row,
    settled,
    whole,
)

# What is found


def test_a_view_in_step_has_no_differences(harness: FollowerHarness) -> None:
    filled(harness, 250)
    report = whole(harness)
    assert (report.drift, report.stale, report.changing, report.dead_lettered) == (0, 0, 0, 0)
    assert (report.items, report.rows, report.units) == (250, 250, 250.0)
    assert harness.targets["one"].count() == 250


def test_what_was_changed_by_hand_is_found_exactly(harness: FollowerHarness) -> None:
    filled(harness)
    harness.table.delete(item(9))
    harness.wait_equal()
    target = harness.targets["one"]
    by_hand(target, row(1), None)
    by_hand(target, row(2), ("x",))
    by_hand(target, "orphan", (5,))
    held(harness).pop(row(3))  # as DEL does: not even a tombstone
    held(harness).pop(row(9))  # a tombstone that is gone is no difference
    report = whole(harness)
    expected = {("missing", row(1)), ("different", row(2)), ("extra", "orphan"), ("missing", row(3))}
    assert found(report) == expected
    assert (report.missing, report.different, report.extra, report.drift) == (2, 1, 1, 4)
    by_key = {finding.key: finding for finding in report.listed}
    assert by_key[row(2)].fields == ("value",)
    assert by_key[row(1)].seen is not None
    assert by_key[row(3)].seen is None
    assert (by_key["orphan"].item, by_key["orphan"].write.values) == (None, None)
    plain = by_key[row(2)].plain()
    assert plain["seen"]["version"].isdigit()
    assert "x" not in str(plain.values())  # no row values unless asked for
    assert by_key[row(2)].plain(values=True)["stored"] == {"value": "x"}


def test_numbers_that_python_hashes_alike_are_told_apart(harness: FollowerHarness) -> None:
    harness.table.put(item(1, -1))
    harness.table.put(item(2, 0))
    harness.start()
    settled(harness)
    by_hand(harness.targets["one"], row(1), (-2,))
    by_hand(harness.targets["one"], row(2), (2**61 - 1,))
    assert found(whole(harness)) == {("different", row(1)), ("different", row(2))}


def test_all_that_differs_is_counted_and_heard_and_some_is_listed(harness: FollowerHarness) -> None:
    filled(harness, 230)
    held(harness).clear()
    for number in range(30):
        by_hand(harness.targets["one"], f"orphan {number}", (number,))
    heard: list[Finding] = []
    report = whole(harness, limits=Limits(listed=3, segments=3, read=5, waiting=7), found=heard.extend)
    assert (report.missing, report.extra, len(report.listed)) == (230, 30, 3)
    assert len({finding.key for finding in heard}) == len(heard) == 260


# What is not


def test_a_change_on_its_way_is_waited_for(harness: FollowerHarness) -> None:
    """Without the hold, or without the second look, these would be false alarms."""
    filled(harness)
    target = harness.targets["one"]
    reports: list[Report] = []
    with target.held():
        harness.table.put(item(1, "new"))
        harness.table.delete(item(2))
        harness.table.put(item(20))
        harness.table.put(item(3, hidden=True))
        reached = threading.Event()
        record = harness.control.view("one")
        assert record is not None
        hold = CaughtUp(harness.control, record, Retrier(seconds=20))

        def held(at: float) -> None:
            reached.set()
            hold(at)

        work = threading.Thread(target=lambda: reports.append(whole(harness, hold=held)))
        work.start()
        assert reached.wait(20)
        assert not reports
    work.join(20)
    (report,) = reports
    assert report.drift == 0, report
    assert report.stale == 2
    harness.wait_equal()


def test_a_delete_on_its_way_leaves_no_orphan(harness: FollowerHarness) -> None:
    """No row is mismatch before the end of the scan, so only the hold at the end stands against the alarm."""
    filled(harness)
    reports: list[Report] = []
    asked = threading.Event()
    record = harness.control.view("one")
    assert record is not None
    wait = CaughtUp(harness.control, record, Retrier(seconds=20))

    def hold(at: float) -> None:
        asked.set()
        wait(at)

    with harness.targets["one"].held():
        harness.table.delete(item(2))
        work = threading.Thread(target=lambda: reports.append(whole(harness, hold=hold)))
        work.start()
        waited = asked.wait(20)
    work.join(20)
    assert waited
    assert [report.drift for report in reports] == [0]
    harness.wait_equal()


def test_a_row_made_after_the_listing_is_no_orphan(harness: FollowerHarness) -> None:
    """With the table read before the store's listing, it would be one."""
    filled(harness)
    target = Listing(harness.targets["one"])

    def later() -> None:
        harness.table.put(item(77))
        harness.wait_equal()

    target.after = later
    report = whole(harness, target=target)
    assert report.drift == 0, report
    assert report.items == 11


def test_a_row_that_goes_after_the_listing_is_not_missed_nor_extra(harness: FollowerHarness) -> None:
    filled(harness)
    target = Listing(harness.targets["one"])

    def later() -> None:
        harness.table.delete(item(1))
        harness.table.put(item(2, "new"))
        harness.table.delete(item(3))
        harness.table.put(item(3, "again"))
        harness.wait_equal()

    target.after = later
    assert whole(harness, target=target).drift == 0


def test_an_item_that_moves_there_and_back_during_the_scan_leaves_no_orphan(harness: FollowerHarness) -> None:
    """Its row is listed, its item is scanned while elsewhere, and its row stands again at the end."""
    harness.bound = Moving()
    harness.table.put(item(1, at=["a"]))
    harness.start()
    settled(harness)
    target = Listing(harness.targets["one"])

    def away() -> None:
        harness.table.put(item(1, at=["b"]))

    def back(at: float) -> None:
        harness.table.put(item(1, at=["a"]))
        until(lambda: set(harness.rows("one")) == {"a"}, "the row")
        record = harness.control.view("one")
        assert record is not None
        CaughtUp(harness.control, record, Retrier(seconds=20))(at)

    target.after = away
    assert whole(harness, target=target, hold=back).drift == 0


def test_a_row_that_changes_at_every_look_is_told_as_a_number(harness: FollowerHarness) -> None:
    filled(harness)
    target = Listing(harness.targets["one"])
    values = iter(range(1000, 2000))
    record = harness.control.view("one")
    assert record is not None
    wait = CaughtUp(harness.control, record, Retrier(seconds=20))

    def change() -> None:
        harness.table.put(item(1, next(values)))
        harness.wait_equal()

    def hold(at: float) -> None:
        wait(at)
        change()

    target.after = change
    target.before_read = once(change)
    report = whole(harness, target=target, hold=hold)
    assert (report.drift, report.changing, report.stale) == (0, 1, 0)


def test_a_value_that_goes_to_and_fro_is_no_difference(harness: FollowerHarness) -> None:
    """At both looks at the table it is one, at both looks at the row the other: only a look at the item between the
    two looks at the row tells."""
    filled(harness)
    target = Listing(harness.targets["one"])
    record = harness.control.view("one")
    assert record is not None
    wait = CaughtUp(harness.control, record, Retrier(seconds=20))

    def wrote(value: str) -> None:
        harness.table.put(item(1, value))
        harness.wait_equal()

    target.after = lambda: wrote("A")
    target.before_read = once(lambda: wrote("B"))

    def hold(at: float) -> None:
        wait(at)
        wrote("A")
        wrote("B")

    assert whole(harness, target=target, hold=hold).drift == 0


@pytest.mark.parametrize("moving", [False, True])
def test_a_busy_table_yields_no_false_alarm(tmp_path: Path, moving: bool) -> None:
    harness = FollowerHarness(tmp_path)
    harness.bound = Moving() if moving else SimpleBound()
    chance, stop = random.Random(7), threading.Event()
    count, rounds = 150, 6

    def change() -> None:
        number = chance.randrange(count)
        # Items that share a place would be dead letters, so each has places of its own.
        at = [f"{number}-{place}" for place in chance.sample(range(3), chance.randrange(3))]
        asked = item(number, chance.randrange(3), at=at)
        match chance.randrange(10):
            case 0 | 1 | 2:
                harness.table.delete(asked)
            case 3:
                harness.table.put({**asked, "hidden": True})
            case 4:
                harness.table.split(chance.choice(harness.table.leaves), 1)
            case _:
                harness.table.put(asked)

    def write() -> None:
        while not stop.wait(0.001):
            change()

    for _ in range(300):
        change()
    harness.start()
    until(lambda: bool(harness.control.view("one") and harness.control.view("one").filled), "the fill")  # type: ignore[union-attr]
    work = threading.Thread(target=write)
    record = harness.control.view("one")
    assert record is not None
    wait = CaughtUp(harness.control, record, Retrier(seconds=20))
    held_for: list[float] = []

    def hold(at: float) -> None:
        held_for.append(at)
        wait(at)

    work.start()
    try:
        reports = [whole(harness, limits=Limits(segments=1 + turn % 3), hold=hold) for turn in range(rounds)]
        while len(held_for) < 3:  # so many times there were mismatches
            reports.append(whole(harness, hold=hold))
            assert len(reports) < 100
    finally:
        stop.set()
        work.join()
        harness.stop()
    assert not any(report.drift for report in reports), reports
