"""Verifying parts of a view, and what stands in the way of a verification."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dynaview.projections.rows import Write
from dynaview.sources.errors import AccessDenied, Throttled
from dynaview.sources.port import Key
from dynaview.views.budget import Capacity
from dynaview.views.retry import Retrier
from dynaview.views.states import ViewState
from dynaview.views.verify.changed_since import Recent
from dynaview.views.verify.findings import VerifyError
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.verifier import Verification
from tests.support.follower_harness import FollowerHarness
from tests.support.listing import Listing
from tests.support.scripted import ScriptedTable
from tests.support.simple import SHAPE
from tests.support.until import until
from tests.support.verifying import (
    by_hand,
    filled,
    found,
    held,
    item,
    row,
    subject,
    verification,
    whole,
)


def test_a_sample_costs_its_share_and_finds_no_orphans(harness: FollowerHarness) -> None:
    filled(harness, 400)
    target = harness.targets["one"]
    held(harness).clear()
    by_hand(target, "orphan", (1,))
    (report,) = verification(harness).sample(0.25, random.Random(1))
    assert 40 <= report.units <= 160
    assert report.items == report.rows == report.missing == report.units
    assert report.extra == 0
    assert "only found by verifying the whole view" in report.notes[0]


def keys(*numbers: int) -> list[Key]:
    return [{"pk": SHAPE.pack(item(number))["pk"], "sk": SHAPE.pack(item(number))["sk"]} for number in numbers]


def test_single_items_are_read_and_nothing_else(harness: FollowerHarness) -> None:
    filled(harness)
    by_hand(harness.targets["one"], row(1), ("x",))
    by_hand(harness.targets["one"], row(2), ("x",))
    by_hand(harness.targets["one"], row(50), ("x",))
    before = harness.table.counts()["scan"]
    (report,) = verification(harness).items(keys(1, 3))
    assert report.error == ""
    assert found(report) == {("different", row(1))}
    rows = [("one", key, Write(row(number), None, 0)) for number, key in zip((2, 50), keys(2, 50), strict=True)]
    (report,) = verification(harness).items(keys(2, 50), rows)
    assert found(report) == {("different", row(2)), ("extra", row(50))}
    assert harness.table.counts()["scan"] == before


def test_what_has_changed_of_late_is_taken_from_the_stream(tmp_path: Path) -> None:
    table = ScriptedTable(clock=__import__("time").time)
    harness = FollowerHarness(tmp_path, table)
    filled(harness)
    long_ago = table.now
    table.advance(100)
    since = table.now
    for number in (3, 4, 5):
        table.put(item(number, "late"))
    table.delete(item(6))
    harness.wait_equal()
    table.split(table.leaves[0])
    target = harness.targets["one"]
    for number in (1, 3, 6):
        by_hand(target, row(number), ("x",))
    no_wait = lambda at: None  # noqa: E731 - the table's clock is not the watermark's
    (report,) = verification(harness, hold=no_wait).since(since)
    assert found(report) == {("different", row(3)), ("extra", row(6))}
    (report,) = verification(harness, hold=no_wait).since(long_ago - 100)
    assert found(report) == {("different", row(1)), ("different", row(3)), ("extra", row(6))}
    harness.stop()


def test_since_a_time_that_the_stream_does_not_reach_is_refused(harness: FollowerHarness) -> None:
    filled(harness)
    with pytest.raises(VerifyError, match="reaches back 24 hours"):
        verification(harness).since(harness.table.now - 25 * 3600)
    harness.table.disable_stream()
    with pytest.raises(VerifyError, match="is off"):
        verification(harness).since(harness.table.now - 5)


def test_since_a_time_before_the_stream_was_switched_on_is_refused() -> None:
    table = ScriptedTable()
    on = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    recent = Recent(table, table.describe(), SHAPE, Retrier(seconds=0.0), clock=lambda: on + 3600)
    assert recent.obstacle(on) is None
    assert "is on only since 2026-01-01T00:00:00Z: verify the whole view" in (recent.obstacle(on - 1) or "")


# What stands in the way


def test_throttling_and_stores_that_are_away_for_a_moment_are_waited_for(harness: FollowerHarness) -> None:
    filled(harness, 250)
    by_hand(harness.targets["one"], row(1), ("x",))
    by_hand(harness.targets["one"], "orphan", ("x",))
    harness.table.fail("scan", Throttled, times=2, after=1)
    harness.table.fail("get", Throttled, times=1)
    target = Listing(harness.targets["one"])
    target.failures = ["rows", "read", "read"]
    report = whole(harness, target=target)
    assert (report.items, found(report)) == (250, {("different", row(1)), ("extra", "orphan")})


def test_a_right_that_is_missing_ends_it_at_once(harness: FollowerHarness) -> None:
    filled(harness)
    harness.table.fail("scan", AccessDenied("not allowed", "dynamodb:Scan", "the table"), times=1)
    with pytest.raises(AccessDenied):
        verification(harness).whole()


def test_a_store_that_refuses_ends_the_verification_of_its_view_only(harness: FollowerHarness) -> None:
    filled(harness)
    by_hand(harness.targets["one"], row(1), ("x",))
    retrier = Retrier(seconds=20)
    target = Listing(harness.targets["one"])
    target.refusing = True
    broken = replace(subject(harness, retrier, target), view="two")
    reports = Verification(harness.table, [broken, subject(harness, retrier)], SHAPE, retrier=retrier).whole()
    assert [(report.error, report.drift) for report in reports] == [("grant everything", 0), ("", 1)]


def test_a_view_that_does_not_catch_up_is_no_result(harness: FollowerHarness) -> None:
    filled(harness)
    retrier = Retrier(seconds=0.2)
    by_hand(harness.targets["one"], row(1), ("x",))
    harness.pipelines["one"].fail(ViewState.GAP, "lost; dynaview drop one")
    until(lambda: harness.state("one") == "gap", "the gap")
    (report,) = Verification(harness.table, [subject(harness, retrier)], SHAPE, retrier=retrier).whole()
    assert "gap: lost; dynaview drop one" in report.error


def test_read_units_are_kept_to(harness: FollowerHarness) -> None:
    filled(harness, 250)
    harness.table.scan_page = 50
    report = whole(harness, limits=Limits(capacity=Capacity(units=125)))
    assert report.units == 250
    assert report.seconds >= 0.9  # all but what one second gives is waited for
