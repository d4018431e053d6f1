"""Following a scripted stream into views in memory: laws 2, 3, 4, 7 and 8."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.sources.errors import BadPage, IteratorExpired, SourceUnavailable, Throttled
from tests.support import running
from tests.support.follower_harness import QUICK, CutControl, FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.until import until


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[FollowerHarness]:
    made = FollowerHarness(tmp_path)
    yield made
    assert not made.crashed.is_set()


def put(table: ScriptedTable, number: int, value: object) -> None:
    table.put({"pk": f"p{number}", "sk": "s", "value": value})


def test_changes_arrive_and_are_counted(harness: FollowerHarness) -> None:
    harness.start()
    for number in range(300):
        put(harness.table, number % 40, number)
    for number in range(10):
        harness.table.delete({"pk": f"p{number}", "sk": "s"})
    harness.wait_equal()
    harness.wait_counted()
    counts = harness.counts("one")
    assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered == 310
    harness.stop()


def test_the_first_start_fills_from_what_the_stream_no_longer_holds(harness: FollowerHarness) -> None:
    for number in range(250):
        put(harness.table, number, number)
    harness.table.trim("shard-0")
    harness.start()
    harness.wait_equal()
    until(lambda: harness.state("one") == "following", "the fill to be complete")
    harness.stop()


def test_a_deleted_item_does_not_come_back_with_the_scan(harness: FollowerHarness) -> None:
    put(harness.table, 1, "old")
    with harness.table.hold("scan") as scan:
        harness.start()
        assert scan.reached.wait(10)
        harness.wait_equal()
        harness.table.delete({"pk": "p1", "sk": "s"})
        harness.wait_equal()
    until(lambda: harness.state("one") == "following", "the fill to be complete")
    assert harness.rows("one") == {}
    harness.stop()


def test_parents_come_before_children_and_last_pages_count(harness: FollowerHarness) -> None:
    put(harness.table, 1, 0)
    harness.table.split("shard-0")
    for number in range(60):
        put(harness.table, number % 20, number)
    harness.table.grow("1>3 2>4,5")
    for number in range(60):
        put(harness.table, number % 20, 100 + number)
    harness.start()
    harness.wait_equal()
    harness.wait_counted()
    opened = [call.shard for call in harness.table.calls if call.operation == "open"]
    assert opened.index("shard-0") < opened.index("shard-1") < opened.index("shard-3")
    assert opened.index("shard-2") < min(opened.index("shard-4"), opened.index("shard-5"))
    harness.stop()


def test_a_shard_that_rolls_while_it_is_followed(harness: FollowerHarness) -> None:
    harness.start()
    shard = "shard-0"
    for roll in range(4):
        for number in range(15):
            put(harness.table, number, f"{roll}.{number}")
        shard = harness.table.roll(shard, listed=roll % 2 == 0)
        harness.table.reveal()
    harness.wait_equal()
    harness.wait_counted()
    harness.stop()


@pytest.mark.parametrize("error", [Throttled, SourceUnavailable, IteratorExpired, BadPage])
def test_errors_of_the_source_heal(harness: FollowerHarness, error: type) -> None:
    harness.table.fail("read", error, times=3)
    harness.table.fail("shards", SourceUnavailable, times=1)
    harness.table.fail("open", Throttled, times=1)
    harness.start()
    for number in range(50):
        put(harness.table, number, number)
    harness.wait_equal()
    harness.wait_counted()
    harness.stop()


@pytest.mark.parametrize("fault", ["refuse", "lose", "half", "forbid"])
def test_errors_of_the_sink_heal_and_lose_nothing(harness: FollowerHarness, fault: str) -> None:
    harness.targets["one"].faults = [fault, fault]  # type: ignore[list-item]  # parametrised with the literals
    harness.start()
    for number in range(50):
        put(harness.table, number, number)
    harness.wait_equal()
    harness.wait_counted()
    harness.stop()


def test_a_view_whose_rows_are_gone_is_not_followed_as_if_it_were_whole(harness: FollowerHarness) -> None:
    harness.table.put({"pk": "a", "sk": "1", "value": "x"})
    harness.start()
    harness.wait_equal()
    harness.wait_counted()
    harness.stop()
    harness.targets["one"].drop()
    harness.table.put({"pk": "a", "sk": "2", "value": "y"})
    harness.start()
    until(lambda: harness.state("one") == "refused", "the view to be refused")
    record = harness.control.view("one")
    assert record is not None
    assert "is gone" in record.reason
    assert "dynaview rebuild one" in record.reason
    harness.stop()
    harness.control = CutControl(harness.url)
    harness.control.drop_view("one")
    harness.control.close()
    harness.start()
    harness.wait_equal()
    harness.stop()


def test_a_checkpoint_never_passes_a_write_that_is_not_durable(harness: FollowerHarness) -> None:
    target = harness.targets["one"]
    harness.start()
    until(lambda: harness.state("one") == "following", "a start")
    with target.held():
        put(harness.table, 1, "held")
        assert target.entered.wait(10)
        put(harness.table, 2, "behind it")
        checkpoint = harness.control.checkpoints("one")["shard-0"]
        assert checkpoint.sequence is None
        assert harness.counts("one").read == 0
    harness.wait_equal()
    harness.wait_counted()
    harness.stop()


def test_a_view_that_hangs_holds_up_no_other_and_catches_up(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path, names=("fast", "slow"))
    harness.start()
    until(lambda: all(harness.state(name) == "following" for name in harness.names), "a start")
    slow = harness.targets["slow"]
    with slow.held():
        for number in range(600):
            put(harness.table, number % 90, number)
        harness.wait_equal("fast")
        harness.wait_counted("fast")
        assert harness.counts("slow").read < 600
    harness.wait_equal("slow")
    harness.wait_counted("slow")
    readers = max(harness.table.counts()["open"], 0)
    assert readers <= 4  # the front, the catch-up reader, and a re-opening of each
    harness.stop()


def test_in_the_steady_state_each_shard_is_read_once(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path, names=("a", "b", "c"))
    harness.start()
    for number in range(100):
        put(harness.table, number, number)
        if number % 10 == 0:
            harness.wait_equal()
    harness.wait_counted()
    assert harness.table.counts()["open"] == 1
    harness.stop()


def test_what_cannot_be_projected_becomes_a_dead_letter_and_the_rest_flows(harness: FollowerHarness) -> None:
    harness.start()
    put(harness.table, 1, 1)
    harness.table.put({"pk": "p2", "sk": "s", "bad": True})
    harness.table.break_record({"pk": "p3", "sk": "s"})
    put(harness.table, 4, 4)
    harness.wait_equal()
    harness.wait_counted()
    counts = harness.counts("one")
    assert (counts.applied, counts.dead_lettered) == (2, 2)
    letters = [kept.letter for kept in harness.control.dead_letters.find()]
    assert {letter.kind for letter in letters} == {"projection", "unreadable"}
    assert any('{"S":"p2"}' in letter.item_key for letter in letters)
    harness.stop()


def test_trimmed_data_is_a_gap(harness: FollowerHarness) -> None:
    harness.start()
    put(harness.table, 1, 1)
    harness.wait_counted()
    until(lambda: harness.state("one") == "following", "the first fill to end")
    harness.stop()
    put(harness.table, 2, 2)
    harness.table.trim("shard-0")
    put(harness.table, 3, 3)
    harness.start()
    until(lambda: harness.state("one") == "gap", "a gap")
    record = harness.control.view("one")
    assert record is not None
    assert "dynaview rebuild one" in record.reason
    assert "p3/s" not in harness.rows("one")  # nothing goes on past a gap
    harness.stop()


def test_a_vanished_shard_is_a_gap(harness: FollowerHarness) -> None:
    harness.start()
    put(harness.table, 1, 1)
    harness.wait_counted()
    until(lambda: harness.state("one") == "following", "the first fill to end")
    harness.stop()
    child = harness.table.roll("shard-0")
    put(harness.table, 2, 2)
    grandchild = harness.table.roll(child)
    put(harness.table, 3, 3)
    harness.table.expire("shard-0")
    harness.table.expire(child)
    assert harness.table.leaves == [grandchild]
    harness.start()
    until(lambda: harness.state("one") == "gap", "a gap")
    assert "p3/s" not in harness.rows("one")
    harness.stop()


def test_a_missed_generation_of_shards_is_a_gap(harness: FollowerHarness) -> None:
    """The view had finished its shard; its child came, closed and expired while the view was away."""
    harness.start()
    put(harness.table, 1, 1)
    harness.wait_counted()
    until(lambda: harness.state("one") == "following", "the first fill to end")
    harness.table.close("shard-0")
    until(lambda: harness.control.checkpoints("one")["shard-0"].finished, "the end of the shard")
    harness.stop()
    harness.table.reveal()
    child = harness.table.leaves[0]
    put(harness.table, 2, 2)
    harness.table.roll(child)
    put(harness.table, 3, 3)
    harness.table.expire("shard-0")
    harness.table.expire(child)
    harness.start()
    until(lambda: harness.state("one") == "gap", "a gap")
    assert "p3/s" not in harness.rows("one")
    harness.stop()


def test_checkpoints_of_shards_that_are_gone_are_forgotten(harness: FollowerHarness) -> None:
    harness.start()
    shard = "shard-0"
    for number in range(4):
        put(harness.table, 1, number)
        harness.wait_counted()
        after = harness.table.roll(shard)
        until(lambda after=after: after in harness.control.checkpoints("one"), "the child to be followed")  # type: ignore[misc]  # a default is not inferred
        harness.table.expire(shard)
        shard = after
    put(harness.table, 1, "last")
    harness.wait_equal()
    until(lambda: len(harness.control.checkpoints("one")) <= 2, "old checkpoints to go")
    harness.stop()
    harness.start()
    put(harness.table, 1, "after a restart")
    harness.wait_equal()
    assert harness.state("one") == "following"
    harness.stop()


def test_the_watermark_moves_at_the_tip_and_stays_while_a_sink_is_down(harness: FollowerHarness) -> None:
    harness.start()

    def watermark() -> float:
        record = harness.control.view("one")
        assert record is not None
        return record.watermark or 0.0

    put(harness.table, 1, 1)
    harness.wait_counted()
    before = watermark()
    until(lambda: watermark() > before, "an idle view's watermark to move")
    harness.targets["one"].down = True
    put(harness.table, 2, 2)
    until(lambda: harness.state("one") == "retrying", "the outage to show")
    stuck = watermark()
    put(harness.table, 3, 3)
    assert watermark() == stuck
    harness.targets["one"].down = False
    until(lambda: watermark() > stuck, "the watermark to move again")
    harness.wait_equal()
    harness.stop()


operation = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 12), st.integers(0, 5)),
    st.tuples(st.just("hide"), st.integers(0, 12), st.just(0)),
    st.tuples(st.just("bad"), st.integers(0, 12), st.just(0)),
    st.tuples(st.just("delete"), st.integers(0, 12), st.just(0)),
    st.tuples(st.just("split"), st.integers(0, 3), st.integers(1, 3)),
    st.tuples(st.just("crash"), st.just(0), st.just(0)),
    st.tuples(st.just("restart"), st.just(0), st.just(0)),
    st.tuples(st.just("expire iterators"), st.just(0), st.just(0)),
    st.tuples(st.just("sink"), st.sampled_from(["refuse", "lose", "half"]), st.integers(0, 1)),
    st.tuples(st.just("read"), st.sampled_from([Throttled, BadPage, SourceUnavailable]), st.just(0)),
)


@settings(max_examples=40, deadline=None)
@given(
    before=st.lists(st.integers(0, 12), max_size=10),
    script=st.lists(operation, min_size=1, max_size=60),
    page=st.integers(1, 7),
    late_end=st.booleans(),
    odd=st.sampled_from([(0.0, 0.0), (0.4, 0.0), (0.0, 0.3), (0.4, 0.3)]),
)
def test_whatever_happens_every_change_is_accounted_for_once(
    before: list[int], script: list[tuple[Any, ...]], page: int, late_end: bool, odd: tuple[float, float]
) -> None:
    with tempfile.TemporaryDirectory() as folder, running.none_left():
        harness = FollowerHarness(Path(folder), names=("one", "two"))
        table = harness.table
        table.page, table.late_end, table.scan_page = page, late_end, 3
        table.hollow, table.flicker = odd
        harness.settings = replace(QUICK, tip_pages=20)
        harness.pipeline_settings.buffer, harness.pipeline_settings.batch = 4, 3
        for number in before:
            put(table, number, "before")
        harness.start()
        for what, first, second in script:
            if what == "put":
                put(table, first, second)
            elif what == "hide":
                table.put({"pk": f"p{first}", "sk": "s", "hidden": True})
            elif what == "bad":
                table.put({"pk": f"p{first}", "sk": "s", "bad": True})
            elif what == "delete":
                table.delete({"pk": f"p{first}", "sk": "s"})
            elif what == "split":
                table.split(table.leaves[first % len(table.leaves)], second)
            elif what == "expire iterators":
                table.expire_iterators()
            elif what == "sink":  # few in a row: each doubles the wait before the next try
                if len(harness.targets[harness.names[second]].faults) < 3:
                    harness.targets[harness.names[second]].faults.append(first)
            elif what == "read":
                if table.pending("read") < 3:
                    table.fail("read", first)
            else:
                harness.crash() if what == "crash" else harness.stop()
                harness.start()
        if not table.flicker:  # else two children may be listed far apart
            now = time.time()
            for name in harness.names:
                until(lambda name=name: (harness.record(name).watermark or 0.0) > now, "the watermark", 60)  # type: ignore[misc]
                assert harness.rows(name) == harness.expected()
        harness.wait_equal(seconds=60)
        harness.wait_counted()
        for name in harness.names:
            counts = harness.counts(name)
            assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered == table.made
        harness.stop()
