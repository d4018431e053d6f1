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
from tests.support.house import QUICK, CutControl, House, until
from tests.support.scripted import ScriptedTable


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    assert not made.crashed.is_set()


def put(table: ScriptedTable, number: int, value: object) -> None:
    table.put({"pk": f"p{number}", "sk": "s", "value": value})


def test_changes_arrive_and_are_counted(house: House) -> None:
    house.start()
    for number in range(300):
        put(house.table, number % 40, number)
    for number in range(10):
        house.table.delete({"pk": f"p{number}", "sk": "s"})
    house.wait_equal()
    house.wait_counted()
    counts = house.counts("one")
    assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered == 310
    house.stop()


def test_the_first_start_fills_from_what_the_stream_no_longer_holds(house: House) -> None:
    for number in range(250):
        put(house.table, number, number)
    house.table.trim("shard-0")
    house.start()
    house.wait_equal()
    until(lambda: house.state("one") == "following", "the fill to be complete")
    house.stop()


def test_a_deleted_item_does_not_come_back_with_the_scan(house: House) -> None:
    put(house.table, 1, "old")
    with house.table.hold("scan") as scan:
        house.start()
        assert scan.reached.wait(10)
        house.wait_equal()
        house.table.delete({"pk": "p1", "sk": "s"})
        house.wait_equal()
    until(lambda: house.state("one") == "following", "the fill to be complete")
    assert house.rows("one") == {}
    house.stop()


def test_parents_come_before_children_and_last_pages_count(house: House) -> None:
    put(house.table, 1, 0)
    house.table.split("shard-0")
    for number in range(60):
        put(house.table, number % 20, number)
    house.table.grow("1>3 2>4,5")
    for number in range(60):
        put(house.table, number % 20, 100 + number)
    house.start()
    house.wait_equal()
    house.wait_counted()
    opened = [call.shard for call in house.table.calls if call.operation == "open"]
    assert opened.index("shard-0") < opened.index("shard-1") < opened.index("shard-3")
    assert opened.index("shard-2") < min(opened.index("shard-4"), opened.index("shard-5"))
    house.stop()


def test_a_shard_that_rolls_while_it_is_followed(house: House) -> None:
    house.start()
    shard = "shard-0"
    for roll in range(4):
        for number in range(15):
            put(house.table, number, f"{roll}.{number}")
        shard = house.table.roll(shard, listed=roll % 2 == 0)
        house.table.reveal()
    house.wait_equal()
    house.wait_counted()
    house.stop()


@pytest.mark.parametrize("error", [Throttled, SourceUnavailable, IteratorExpired, BadPage])
def test_errors_of_the_source_heal(house: House, error: type) -> None:
    house.table.fail("read", error, times=3)
    house.table.fail("shards", SourceUnavailable, times=1)
    house.table.fail("open", Throttled, times=1)
    house.start()
    for number in range(50):
        put(house.table, number, number)
    house.wait_equal()
    house.wait_counted()
    house.stop()


@pytest.mark.parametrize("fault", ["refuse", "lose", "half", "forbid"])
def test_errors_of_the_sink_heal_and_lose_nothing(house: House, fault: str) -> None:
    house.targets["one"].faults = [fault, fault]  # type: ignore[list-item]  # parametrised with the literals
    house.start()
    for number in range(50):
        put(house.table, number, number)
    house.wait_equal()
    house.wait_counted()
    house.stop()


def test_a_view_whose_rows_are_gone_is_not_followed_as_if_it_were_whole(house: House) -> None:
    house.table.put({"pk": "a", "sk": "1", "value": "x"})
    house.start()
    house.wait_equal()
    house.wait_counted()
    house.stop()
    house.targets["one"].drop()
    house.table.put({"pk": "a", "sk": "2", "value": "y"})
    house.start()
    until(lambda: house.state("one") == "refused", "the view to be refused")
    record = house.control.view("one")
    assert record is not None
    assert "is gone" in record.reason
    assert "dynaview rebuild one" in record.reason
    house.stop()
    house.control = CutControl(house.url)
    house.control.drop_view("one")
    house.control.close()
    house.start()
    house.wait_equal()
    house.stop()


def test_a_checkpoint_never_passes_a_write_that_is_not_durable(house: House) -> None:
    target = house.targets["one"]
    house.start()
    until(lambda: house.state("one") == "following", "a start")
    with target.held():
        put(house.table, 1, "held")
        assert target.entered.wait(10)
        put(house.table, 2, "behind it")
        checkpoint = house.control.checkpoints("one")["shard-0"]
        assert checkpoint.sequence is None
        assert house.counts("one").read == 0
    house.wait_equal()
    house.wait_counted()
    house.stop()


def test_a_view_that_hangs_holds_up_no_other_and_catches_up(tmp_path: Path) -> None:
    house = House(tmp_path, names=("fast", "slow"))
    house.start()
    until(lambda: all(house.state(name) == "following" for name in house.names), "a start")
    slow = house.targets["slow"]
    with slow.held():
        for number in range(600):
            put(house.table, number % 90, number)
        house.wait_equal("fast")
        house.wait_counted("fast")
        assert house.counts("slow").read < 600
    house.wait_equal("slow")
    house.wait_counted("slow")
    readers = max(house.table.counts()["open"], 0)
    assert readers <= 4  # the front, the catch-up reader, and a re-opening of each
    house.stop()


def test_in_the_steady_state_each_shard_is_read_once(tmp_path: Path) -> None:
    house = House(tmp_path, names=("a", "b", "c"))
    house.start()
    for number in range(100):
        put(house.table, number, number)
        if number % 10 == 0:
            house.wait_equal()
    house.wait_counted()
    assert house.table.counts()["open"] == 1
    house.stop()


def test_what_cannot_be_projected_becomes_a_dead_letter_and_the_rest_flows(house: House) -> None:
    house.start()
    put(house.table, 1, 1)
    house.table.put({"pk": "p2", "sk": "s", "bad": True})
    house.table.break_record({"pk": "p3", "sk": "s"})
    put(house.table, 4, 4)
    house.wait_equal()
    house.wait_counted()
    counts = house.counts("one")
    assert (counts.applied, counts.dead_lettered) == (2, 2)
    letters = [kept.letter for kept in house.control.dead_letters.find()]
    assert {letter.kind for letter in letters} == {"projection", "unreadable"}
    assert any('{"S":"p2"}' in letter.item_key for letter in letters)
    house.stop()


def test_trimmed_data_is_a_gap(house: House) -> None:
    house.start()
    put(house.table, 1, 1)
    house.wait_counted()
    until(lambda: house.state("one") == "following", "the first fill to end")
    house.stop()
    put(house.table, 2, 2)
    house.table.trim("shard-0")
    put(house.table, 3, 3)
    house.start()
    until(lambda: house.state("one") == "gap", "a gap")
    record = house.control.view("one")
    assert record is not None
    assert "dynaview rebuild one" in record.reason
    assert "p3/s" not in house.rows("one")  # nothing goes on past a gap
    house.stop()


def test_a_vanished_shard_is_a_gap(house: House) -> None:
    house.start()
    put(house.table, 1, 1)
    house.wait_counted()
    until(lambda: house.state("one") == "following", "the first fill to end")
    house.stop()
    child = house.table.roll("shard-0")
    put(house.table, 2, 2)
    grandchild = house.table.roll(child)
    put(house.table, 3, 3)
    house.table.expire("shard-0")
    house.table.expire(child)
    assert house.table.leaves == [grandchild]
    house.start()
    until(lambda: house.state("one") == "gap", "a gap")
    assert "p3/s" not in house.rows("one")
    house.stop()


def test_a_missed_generation_of_shards_is_a_gap(house: House) -> None:
    """The view had finished its shard; its child came, closed and expired while the view was away."""
    house.start()
    put(house.table, 1, 1)
    house.wait_counted()
    until(lambda: house.state("one") == "following", "the first fill to end")
    house.table.close("shard-0")
    until(lambda: house.control.checkpoints("one")["shard-0"].finished, "the end of the shard")
    house.stop()
    house.table.reveal()
    child = house.table.leaves[0]
    put(house.table, 2, 2)
    house.table.roll(child)
    put(house.table, 3, 3)
    house.table.expire("shard-0")
    house.table.expire(child)
    house.start()
    until(lambda: house.state("one") == "gap", "a gap")
    assert "p3/s" not in house.rows("one")
    house.stop()


def test_checkpoints_of_shards_that_are_gone_are_forgotten(house: House) -> None:
    house.start()
    shard = "shard-0"
    for number in range(4):
        put(house.table, 1, number)
        house.wait_counted()
        after = house.table.roll(shard)
        until(lambda after=after: after in house.control.checkpoints("one"), "the child to be followed")  # type: ignore[misc]  # a default is not inferred
        house.table.expire(shard)
        shard = after
    put(house.table, 1, "last")
    house.wait_equal()
    until(lambda: len(house.control.checkpoints("one")) <= 2, "old checkpoints to go")
    house.stop()
    house.start()
    put(house.table, 1, "after a restart")
    house.wait_equal()
    assert house.state("one") == "following"
    house.stop()


def test_the_watermark_moves_at_the_tip_and_stays_while_a_sink_is_down(house: House) -> None:
    house.start()

    def watermark() -> float:
        record = house.control.view("one")
        assert record is not None
        return record.watermark or 0.0

    put(house.table, 1, 1)
    house.wait_counted()
    before = watermark()
    until(lambda: watermark() > before, "an idle view's watermark to move")
    house.targets["one"].down = True
    put(house.table, 2, 2)
    until(lambda: house.state("one") == "retrying", "the outage to show")
    stuck = watermark()
    put(house.table, 3, 3)
    assert watermark() == stuck
    house.targets["one"].down = False
    until(lambda: watermark() > stuck, "the watermark to move again")
    house.wait_equal()
    house.stop()


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
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder), names=("one", "two"))
        table = house.table
        table.page, table.late_end, table.scan_page = page, late_end, 3
        table.hollow, table.flicker = odd
        house.settings = replace(QUICK, tip_pages=20)
        house.pipeline_settings.buffer, house.pipeline_settings.batch = 4, 3
        for number in before:
            put(table, number, "before")
        house.start()
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
                if len(house.targets[house.names[second]].faults) < 3:
                    house.targets[house.names[second]].faults.append(first)
            elif what == "read":
                if table.pending("read") < 3:
                    table.fail("read", first)
            else:
                house.crash() if what == "crash" else house.stop()
                house.start()
        if not table.flicker:  # else two children may be listed far apart
            now = time.time()
            for name in house.names:
                until(lambda name=name: (house.record(name).watermark or 0.0) > now, "the watermark", 60)  # type: ignore[misc]
                assert house.rows(name) == house.expected()
        house.wait_equal(seconds=60)
        house.wait_counted()
        for name in house.names:
            counts = house.counts(name)
            assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered == table.made
        house.stop()
