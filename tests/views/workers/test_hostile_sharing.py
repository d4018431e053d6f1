"""What AWS does not promise, where several workers share a stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dynaview.views.control.records import Options
from dynaview.views.states import ViewState
from tests.support.band import Band
from tests.support.band import band as made_band
from tests.support.until import until
from tests.support.worker_harness import CARDS, WorkerHarness


@pytest.fixture
def band(tmp_path: Path) -> Iterator[Band]:
    with made_band(tmp_path) as made:
        yield made


def exhaust(band: Band) -> None:
    band.table.exhaust("shard-0")


def vanish(band: Band) -> None:
    band.table.expire("shard-0")
    band.table.reveal("shard-0")


@pytest.mark.parametrize("lose", [exhaust, vanish])
def test_what_is_left_of_an_expired_shard_holds_up_no_new_view(band: Band, lose: Callable[[Band], None]) -> None:
    for number in range(10):
        band.put(number, "in the parent")
    band.table.split("shard-0", 4)
    lose(band)
    made = band.table.made
    for number in range(20):
        band.put(number, number)
    for _ in range(3):
        band.join()
    now = time.time()
    for name in band.names:
        until(
            lambda name=name: band.counted(name) == band.table.made - made and band.record(name).state == "following",  # type: ignore[misc]
            f"{name} to follow",
        )
        until(lambda name=name: (band.record(name).watermark or 0.0) > now, f"the watermark of {name}")  # type: ignore[misc]


def test_the_watermark_waits_for_a_child_that_no_worker_has_been_shown(band: Band) -> None:
    band.follower.listing_lag = 1.0
    for _ in range(2):
        band.join()
    band.put(1, 1)
    band.wait_done()
    late, early = band.table.split("shard-0", listed=False)
    band.table.reveal(early)
    until(lambda: early in band.control.checkpoints("one"), "one child to be followed")
    number = next(each for each in range(99) if band.table.shard_of({"pk": f"p{each}", "sk": "s"}) == late)
    band.put(number, "of the other child")
    written = time.time()
    for _ in range(20):
        seen = band.table.counts()["read"]
        until(lambda seen=seen: band.table.counts()["read"] > seen + 5, "some reads")  # type: ignore[misc]
        assert (band.record("one").watermark or 0.0) < written
    band.table.reveal(late)
    until(lambda: (band.record("one").watermark or 0.0) > written, "the watermark")
    band.wait_done()


def test_a_gap_is_logged_by_one_worker(band: Band, caplog: pytest.LogCaptureFixture) -> None:
    band.table.split("shard-0", 4)
    for number in range(20):
        band.put(number, number)
    for _ in range(3):
        band.join()
    band.wait_done()
    with caplog.at_level(logging.ERROR):
        lost = band.table.leaves[0]
        with band.table.hold("read", shard=lost) as held:
            assert held.reached.wait(20)
            number = next(each for each in range(99) if band.table.shard_of({"pk": f"p{each}", "sk": "s"}) == lost)
            band.put(number, "lost")
            band.table.trim(lost)
        for name in band.names:
            until(lambda name=name: band.record(name).state == "gap", f"the gap of {name}")  # type: ignore[misc]
            until(lambda name=name: all(hand.pipeline(name).failed for hand in band.hands), "all to hear of it")  # type: ignore[misc]
        band.join()
        until(lambda: len(band.hands[-1].failures) == 2, "the next one to hear of it")
    told = [record.message for record in caplog.records if ": gap: " in record.message]
    assert len(told) == len(band.names)


def test_what_a_worker_knew_before_a_rebuild_began_is_not_said_over_it(tmp_path: Path) -> None:
    harness = WorkerHarness(tmp_path, CARDS)
    harness.start()
    harness.wait_state("cards", "following")
    before = harness.record("cards")
    with harness.table.hold("scan") as held:
        harness.rebuild("cards", options=Options())
        assert held.reached.wait(20)
        assert harness.record("cards").revision > before.revision
        harness.worker.view_refused(before, ViewState.GAP, "of the past")
        assert harness.record("cards").state == "rebuilding"
    harness.wait_ended("cards")
    harness.close()
