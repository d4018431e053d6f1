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
from tests.support.house import QUICK, House, until

LAG = 0.05
"""What `QUICK` believes listings to lag at the most."""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.settings = replace(QUICK, tip_pages=20)
    yield made
    made.stop()


def put(house: House, number: int, value: object) -> None:
    house.table.put({"pk": f"p{number}", "sk": "s", "value": value})


def record(house: House) -> ViewRecord:
    found = house.control.view("one")
    assert found is not None
    return found


def following(house: House) -> None:
    """Wait until the view is at the tip and says so."""
    until(lambda: record(house).state == "following" and record(house).watermark is not None, "the view to follow")
    passed(house, time.time())


def passed(house: House, at: float) -> None:
    until(lambda: (record(house).watermark or 0.0) > at, "the watermark to pass a moment")


def reads(house: House, shard: str) -> int:
    return sum(call.operation == "read" and call.shard == shard for call in list(house.table.calls))


def expired(house: House) -> None:
    house.table.exhaust("shard-0")


def gone(house: House) -> None:
    house.table.expire("shard-0")
    house.table.reveal("shard-0")


# Shards that are listed, and of which nothing is left


@pytest.mark.parametrize("left", [expired, gone])
@pytest.mark.parametrize("lingers", [False, True])
def test_a_listed_shard_of_which_nothing_is_left_holds_up_no_new_view(
    house: House, left: Callable[[House], None], lingers: bool
) -> None:
    put(house, 1, 1)
    house.table.split("shard-0", linger=lingers)
    put(house, 2, 2)
    left(house)
    house.start()
    house.wait_equal()
    following(house)
    assert house.control.checkpoints("one")["shard-0"].finished
    put(house, 1, 3)
    house.wait_equal()


def test_a_listed_shard_that_does_not_exist_is_a_gap_to_a_view_that_had_to_read_it(house: House) -> None:
    house.start()
    put(house, 1, 1)
    following(house)
    house.stop()
    child = house.table.roll("shard-0")
    put(house, 2, 2)
    house.table.roll(child)
    house.table.expire(child)
    house.table.reveal(child)
    house.start()
    until(lambda: record(house).state == "gap", "a gap")
    assert f"shard {child}" in record(house).reason
    assert "-0000" not in record(house).reason


def test_an_open_shard_that_does_not_exist_is_waited_for(house: House) -> None:
    """It may only not be there yet: what is listed by one server of AWS may not be known to another one."""
    house.table.expire("shard-0")
    house.table.reveal("shard-0")
    house.start()
    until(lambda: record(house).state == "waiting", "the trouble to show")
    assert "shard-0" in record(house).reason
    with house.table._lock:
        house.table._stream.shards["shard-0"].gone = False
    put(house, 1, 1)
    house.wait_equal()
    following(house)


def test_an_open_shard_that_is_listed_no_more_and_does_not_exist_is_gone(house: House) -> None:
    """It was open when it was listed last, and nothing of it was read."""
    put(house, 1, 1)
    with house.table.hold("open", shard="shard-0"):
        house.start()
        until(lambda: "shard-0" in house.control.checkpoints("one"), "the shard to be listed")
        house.table.expire("shard-0")
        listed = house.table.counts()["shards"]
        until(lambda: house.table.counts()["shards"] > listed + 2, "listings without it")
    house.wait_equal()
    until(lambda: house.control.checkpoints("one")["shard-0"].finished, "the end of the shard")
    until(lambda: record(house).state == "following", "the view to follow")


def test_an_expired_shard_that_is_listed_again_is_no_gap(house: House) -> None:
    house.settings = replace(QUICK, forget_after=60.0)
    house.start()
    put(house, 1, 1)
    following(house)
    child = house.table.roll("shard-0")
    put(house, 2, 2)
    house.wait_counted()
    house.table.roll(child)
    put(house, 3, 3)
    house.wait_counted()
    for shard in ("shard-0", child):
        house.table.expire(shard)
    listed = house.table.counts()["shards"]
    until(lambda: house.table.counts()["shards"] > listed + 3, "some listings without it")
    house.table.reveal("shard-0")
    put(house, 4, 4)
    house.wait_equal()
    following(house)


# Listings that lag


def test_a_shard_that_some_listings_leave_out_is_not_lost(house: House) -> None:
    house.start()
    put(house, 1, 1)
    following(house)
    house.table.hide("shard-0")
    listed = house.table.counts()["shards"]
    until(lambda: house.table.counts()["shards"] > listed + 3, "some listings without it")
    put(house, 2, 2)
    house.wait_equal()
    assert record(house).state == "following"


@pytest.mark.parametrize("which", ["the shard", "its parent"])
def test_a_shard_that_the_first_listings_leave_out_is_read_nevertheless(house: House, which: str) -> None:
    house.start()
    put(house, 1, 1)
    following(house)
    house.stop()
    put(house, 2, 2)
    if which == "its parent":
        house.table.roll("shard-0")
        put(house, 3, 3)
    house.table.hide("shard-0")
    house.start()
    house.wait_equal()
    house.wait_counted()
    until(lambda: record(house).state == "following", "the view to follow")


def test_listings_that_flicker_lose_nothing(house: House) -> None:
    house.table.flicker = 0.4
    house.start()
    for number in range(60):
        put(house, number, number)
        if number % 10 == 9:
            for shard in house.table.leaves[:2]:
                house.table.split(shard)
    house.wait_equal()
    house.wait_counted()
    until(lambda: record(house).state == "following", "the view to follow")


def test_the_watermark_waits_for_the_sister_of_a_child(house: House) -> None:
    """A child that is listed says nothing of the half of its parent's keys that another one has."""
    house.settings = replace(QUICK, listing_lag=1.0, discover_every=60.0)
    house.start()
    put(house, 1, 1)
    following(house)
    late, early = house.table.split("shard-0", listed=False)
    house.table.reveal(early)
    until(lambda: early in house.control.checkpoints("one"), "one child to be followed")
    number = next(number for number in range(99) if house.table.shard_of({"pk": f"p{number}", "sk": "s"}) == late)
    put(house, number, "of the other child")
    written = time.time()
    for _ in range(20):
        seen = reads(house, early)
        until(lambda seen=seen: reads(house, early) > seen + 1, "one child to be read")  # type: ignore[misc]  # a default is not inferred
        watermark = record(house).watermark
        assert watermark is not None
        assert watermark < written
    house.table.reveal(late)
    passed(house, written)
    assert house.rows("one") == house.expected()


@pytest.mark.parametrize("operation", ["shards", "children"])
def test_an_answer_that_a_stream_does_not_exist_is_not_believed_at_once(house: House, operation: Any) -> None:
    house.start()
    put(house, 1, 1)
    following(house)
    house.table.fail(operation, StreamGone, times=2)
    house.table.split("shard-0")
    until(lambda: not house.table.pending(operation), "the answers")
    put(house, 2, 2)
    house.wait_equal()
    following(house)
    house.table.forget_stream(house.table.arn)
    until(lambda: record(house).state == "gap", "the gap")
    assert "is gone" in record(house).reason or "no longer holds" in record(house).reason


# Empty pages


@pytest.mark.parametrize(("hollow", "run"), [(0.4, 1), (0.7, 1), (0.2, 5)])
def test_a_moment_that_has_passed_is_shown_though_pages_are_empty(house: House, hollow: float, run: int) -> None:
    house.settings = replace(QUICK, tip_pages=40)
    house.table.hollow, house.table.hollow_run = hollow, run
    house.start()
    following(house)
    for number in range(12):
        put(house, number % 5, number)
        passed(house, time.time())
        assert house.rows("one") == house.expected()


# The tail of an open shard is gone


def test_a_view_that_begins_behind_a_trimmed_tail_catches_up(tmp_path: Path) -> None:
    """Another view has passed what is trimmed: the position of the front cannot be reached by reading."""
    house = House(tmp_path, names=("one",))
    for number in range(20):
        put(house, number, number)
    house.start()
    following(house)
    house.stop()
    for shard in house.table.leaves:
        house.table.trim(shard)
    house.add("two")
    house.start()
    until(lambda: (mark := house.record("two").watermark) is not None and mark > time.time() - 1, "its watermark")
    until(lambda: house.state("two") == "following", "the view to follow")
    put(house, 1, "new")
    house.wait_equal("two")  # the other has lost something
    until(lambda: not house.follower._catch_up._behind, "nobody to be behind")
    house.stop()


def test_the_catch_up_reader_gives_every_shard_its_turn(tmp_path: Path) -> None:
    """One shard that has nothing to give is no reason to leave the others unread, nor to read it without rest."""
    house = House(tmp_path)
    house.settings = replace(QUICK, poll_first=0.05, poll_cap=0.05)
    house.table.split("shard-0", 4)
    for number in range(40):
        put(house, number, number)
    house.start()
    following(house)
    house.stop()
    first = house.table.leaves[0]
    house.table.cut = lambda shard, available: 0 if shard == first else available
    house.add("two")
    begun, before = time.monotonic(), reads(house, first)
    house.start()
    until(lambda: house.counts("two").read >= 20, "the other shards to be read")
    until(lambda: reads(house, first) > before + 10, "the first to be looked at again")
    assert reads(house, first) - before < 20 + 2 * (time.monotonic() - begun) / 0.05  # the front and the catch-up
    house.table.cut = None
    house.wait_equal("two")
    house.wait_counted("two")
    house.stop()
