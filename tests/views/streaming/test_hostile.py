"""What AWS does not promise: shards that are listed and gone, listings that lag, pages that are empty in runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynaview.sources.errors import StreamGone
from dynaview.views.control.records import ViewRecord
from tests.support.follower_harness import QUICK, FollowerHarness
from tests.support.until import until

LAG = 0.05
"""What `QUICK` believes listings to lag at the most."""


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[FollowerHarness]:
    made = FollowerHarness(tmp_path)
    made.settings = replace(QUICK, tip_pages=20)
    yield made
    made.stop()


def put(harness: FollowerHarness, number: int, value: object) -> None:
    harness.table.put({"pk": f"p{number}", "sk": "s", "value": value})


def record(harness: FollowerHarness) -> ViewRecord:
    found = harness.control.view("one")
    assert found is not None
    return found


def following(harness: FollowerHarness) -> None:
    """Wait until the view is at the tip and says so."""
    until(lambda: record(harness).state == "following" and record(harness).watermark is not None, "the view to follow")
    passed(harness, time.time())


def passed(harness: FollowerHarness, at: float) -> None:
    until(lambda: (record(harness).watermark or 0.0) > at, "the watermark to pass a moment")


def reads(harness: FollowerHarness, shard: str) -> int:
    return sum(call.operation == "read" and call.shard == shard for call in list(harness.table.calls))


def expired(harness: FollowerHarness) -> None:
    harness.table.exhaust("shard-0")


def gone(harness: FollowerHarness) -> None:
    harness.table.expire("shard-0")
    harness.table.reveal("shard-0")


# Shards that are listed, and of which nothing is left


@pytest.mark.parametrize("left", [expired, gone])
@pytest.mark.parametrize("lingers", [False, True])
def test_a_listed_shard_of_which_nothing_is_left_holds_up_no_new_view(
    harness: FollowerHarness, left: Callable[[FollowerHarness], None], lingers: bool
) -> None:
    put(harness, 1, 1)
    harness.table.split("shard-0", linger=lingers)
    put(harness, 2, 2)
    left(harness)
    harness.start()
    harness.wait_equal()
    following(harness)
    assert harness.control.checkpoints("one")["shard-0"].finished
    put(harness, 1, 3)
    harness.wait_equal()


def test_a_listed_shard_that_does_not_exist_is_a_gap_to_a_view_that_had_to_read_it(harness: FollowerHarness) -> None:
    harness.start()
    put(harness, 1, 1)
    following(harness)
    harness.stop()
    child = harness.table.roll("shard-0")
    put(harness, 2, 2)
    harness.table.roll(child)
    harness.table.expire(child)
    harness.table.reveal(child)
    harness.start()
    until(lambda: record(harness).state == "gap", "a gap")
    assert f"shard {child}" in record(harness).reason
    assert "-0000" not in record(harness).reason


def test_an_open_shard_that_does_not_exist_is_waited_for(harness: FollowerHarness) -> None:
    """It may only not be there yet: what is listed by one server of AWS may not be known to another one."""
    harness.table.expire("shard-0")
    harness.table.reveal("shard-0")
    harness.start()
    until(lambda: record(harness).state == "waiting", "the trouble to show")
    assert "shard-0" in record(harness).reason
    with harness.table._lock:
        harness.table._stream.shards["shard-0"].gone = False
    put(harness, 1, 1)
    harness.wait_equal()
    following(harness)


def test_an_open_shard_that_is_listed_no_more_and_does_not_exist_is_gone(harness: FollowerHarness) -> None:
    """It was open when it was listed last, and nothing of it was read."""
    put(harness, 1, 1)
    with harness.table.hold("open", shard="shard-0"):
        harness.start()
        until(lambda: "shard-0" in harness.control.checkpoints("one"), "the shard to be listed")
        harness.table.expire("shard-0")
        listed = harness.table.counts()["shards"]
        until(lambda: harness.table.counts()["shards"] > listed + 2, "listings without it")
    harness.wait_equal()
    until(lambda: harness.control.checkpoints("one")["shard-0"].finished, "the end of the shard")
    until(lambda: record(harness).state == "following", "the view to follow")


def test_an_expired_shard_that_is_listed_again_is_no_gap(harness: FollowerHarness) -> None:
    harness.settings = replace(QUICK, forget_after=60.0)
    harness.start()
    put(harness, 1, 1)
    following(harness)
    child = harness.table.roll("shard-0")
    put(harness, 2, 2)
    harness.wait_counted()
    harness.table.roll(child)
    put(harness, 3, 3)
    harness.wait_counted()
    for shard in ("shard-0", child):
        harness.table.expire(shard)
    listed = harness.table.counts()["shards"]
    until(lambda: harness.table.counts()["shards"] > listed + 3, "some listings without it")
    harness.table.reveal("shard-0")
    put(harness, 4, 4)
    harness.wait_equal()
    following(harness)


# Listings that lag


def test_a_shard_that_some_listings_leave_out_is_not_lost(harness: FollowerHarness) -> None:
    harness.start()
    put(harness, 1, 1)
    following(harness)
    harness.table.hide("shard-0")
    listed = harness.table.counts()["shards"]
    until(lambda: harness.table.counts()["shards"] > listed + 3, "some listings without it")
    put(harness, 2, 2)
    harness.wait_equal()
    assert record(harness).state == "following"


@pytest.mark.parametrize("which", ["the shard", "its parent"])
def test_a_shard_that_the_first_listings_leave_out_is_read_nevertheless(harness: FollowerHarness, which: str) -> None:
    harness.start()
    put(harness, 1, 1)
    following(harness)
    harness.stop()
    put(harness, 2, 2)
    if which == "its parent":
        harness.table.roll("shard-0")
        put(harness, 3, 3)
    harness.table.hide("shard-0")
    harness.start()
    harness.wait_equal()
    harness.wait_counted()
    until(lambda: record(harness).state == "following", "the view to follow")


def test_listings_that_flicker_lose_nothing(harness: FollowerHarness) -> None:
    harness.table.flicker = 0.4
    harness.start()
    for number in range(60):
        put(harness, number, number)
        if number % 10 == 9:
            for shard in harness.table.leaves[:2]:
                harness.table.split(shard)
    harness.wait_equal()
    harness.wait_counted()
    until(lambda: record(harness).state == "following", "the view to follow")


def test_the_watermark_waits_for_the_sister_of_a_child(harness: FollowerHarness) -> None:
    """A child that is listed says nothing of the half of its parent's keys that another one has."""
    harness.settings = replace(QUICK, listing_lag=1.0, discover_every=60.0)
    harness.start()
    put(harness, 1, 1)
    following(harness)
    late, early = harness.table.split("shard-0", listed=False)
    harness.table.reveal(early)
    until(lambda: early in harness.control.checkpoints("one"), "one child to be followed")
    number = next(number for number in range(99) if harness.table.shard_of({"pk": f"p{number}", "sk": "s"}) == late)
    put(harness, number, "of the other child")
    written = time.time()
    for _ in range(20):
        seen = reads(harness, early)
        until(lambda seen=seen: reads(harness, early) > seen + 1, "one child to be read")  # type: ignore[misc]  # a default is not inferred
        watermark = record(harness).watermark
        assert watermark is not None
        assert watermark < written
    harness.table.reveal(late)
    passed(harness, written)
    assert harness.rows("one") == harness.expected()


@pytest.mark.parametrize("operation", ["shards", "children"])
def test_an_answer_that_a_stream_does_not_exist_is_not_believed_at_once(
    harness: FollowerHarness, operation: Any
) -> None:
    harness.start()
    put(harness, 1, 1)
    following(harness)
    harness.table.fail(operation, StreamGone, times=2)
    harness.table.split("shard-0")
    until(lambda: not harness.table.pending(operation), "the answers")
    put(harness, 2, 2)
    harness.wait_equal()
    following(harness)
    harness.table.forget_stream(harness.table.arn)
    until(lambda: record(harness).state == "gap", "the gap")
    assert "is gone" in record(harness).reason or "no longer holds" in record(harness).reason


# Empty pages


@pytest.mark.parametrize(("hollow", "run"), [(0.4, 1), (0.7, 1), (0.2, 5)])
def test_a_moment_that_has_passed_is_shown_though_pages_are_empty(
    harness: FollowerHarness, hollow: float, run: int
) -> None:
    harness.settings = replace(QUICK, tip_pages=40)
    harness.table.hollow, harness.table.hollow_run = hollow, run
    harness.start()
    following(harness)
    for number in range(12):
        put(harness, number % 5, number)
        passed(harness, time.time())
        assert harness.rows("one") == harness.expected()


# The tail of an open shard is gone


def test_a_view_that_begins_behind_a_trimmed_tail_catches_up(tmp_path: Path) -> None:
    """Another view has passed what is trimmed: the position of the front cannot be reached by reading."""
    harness = FollowerHarness(tmp_path, names=("one",))
    for number in range(20):
        put(harness, number, number)
    harness.start()
    following(harness)
    harness.stop()
    for shard in harness.table.leaves:
        harness.table.trim(shard)
    harness.add("two")
    harness.start()
    until(lambda: (mark := harness.record("two").watermark) is not None and mark > time.time() - 1, "its watermark")
    until(lambda: harness.state("two") == "following", "the view to follow")
    put(harness, 1, "new")
    harness.wait_equal("two")  # the other has lost something
    until(lambda: not harness.follower._catch_up._behind, "nobody to be behind")
    harness.stop()


def test_the_catch_up_reader_gives_every_shard_its_turn(tmp_path: Path) -> None:
    """One shard that has nothing to give is no reason to leave the others unread, nor to read it without rest."""
    harness = FollowerHarness(tmp_path)
    harness.settings = replace(QUICK, poll_first=0.05, poll_cap=0.05)
    harness.table.split("shard-0", 4)
    for number in range(40):
        put(harness, number, number)
    harness.start()
    following(harness)
    harness.stop()
    first = harness.table.leaves[0]
    harness.table.cut = lambda shard, available: 0 if shard == first else available
    harness.add("two")
    begun, before = time.monotonic(), reads(harness, first)
    harness.start()
    until(lambda: harness.counts("two").read >= 20, "the other shards to be read")
    until(lambda: reads(harness, first) > before + 10, "the first to be looked at again")
    assert reads(harness, first) - before < 20 + 2 * (time.monotonic() - begun) / 0.05  # the front and the catch-up
    harness.table.cut = None
    harness.wait_equal("two")
    harness.wait_counted("two")
    harness.stop()
