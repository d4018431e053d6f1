"""The front reads what some view can take, and nothing else: a page is read once, not once more to catch up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dynaview.projections.changes import Change
from dynaview.sources.errors import Throttled
from dynaview.views.streaming.offsets import START, Delivery
from tests.support.follower_harness import QUICK, FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.simple import SHAPE
from tests.support.until import until


def test_a_page_that_no_view_has_room_for_is_not_read_yet(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path)
    harness.settings = replace(QUICK, page=20)
    for number in range(600):
        harness.table.put({"pk": f"p{number}", "sk": "s", "value": number})
    with harness.targets["one"].held():
        harness.start()
        cursors = harness.follower._discovery.cursors
        until(lambda: "shard-0" in cursors and cursors["shard-0"].refused > 3, "the front to find no room")
        assert harness.table.counts()["read"] < 10
    harness.wait_equal()
    harness.wait_counted()
    assert [call.operation for call in harness.table.calls].count("open") == 1  # nobody had to catch up
    harness.stop()


def test_the_front_goes_on_for_the_view_that_keeps_up(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path, names=("one", "two"))
    harness.settings = replace(QUICK, page=20)
    for number in range(600):
        harness.table.put({"pk": f"p{number}", "sk": "s", "value": number})
    with harness.targets["one"].held():
        harness.start()
        harness.wait_equal("two")
        harness.wait_counted("two")
    harness.wait_equal()
    harness.wait_counted()
    harness.stop()


def all_of(table: ScriptedTable, shard: str) -> list[Change[Any]]:
    """What a closed shard holds."""
    stream = table.stream(table.arn, SHAPE)
    changes: list[Change[Any]] = stream.read(stream.open(shard, None)).changes
    return changes


def split_behind_one_record(table: ScriptedTable) -> Delivery:
    """One record, a split, and one record in a child; answers all that the parent holds, with its end."""
    table.put({"pk": "p1", "sk": "s", "value": 1})
    table.split("shard-0")
    table.put({"pk": "p1", "sk": "s", "value": 2})
    (record,) = all_of(table, "shard-0")
    position = int(record.body.sequence)
    return Delivery("shard-0", START, position, [record], [position], end=True)


def test_the_children_begin_where_the_catch_up_reader_was_first_at_the_end_of_a_shard(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path)
    end = split_behind_one_record(harness.table)
    with harness.table.hold("read", shard="shard-0") as front:
        harness.start()
        assert front.reached.wait(10)
        pipeline = harness.pipelines["one"]
        assert pipeline.inbox.offer(end)  # as the catch-up reader does, while the front still reads
        harness.table.fail("read", Throttled, shard="shard-0")  # so that the front has to begin its read again
    harness.wait_equal()
    harness.wait_counted()
    harness.stop()


def test_the_children_begin_for_the_views_that_this_process_keeps_whatever_others_have(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path, names=("one", "two"))
    end = split_behind_one_record(harness.table)
    with harness.table.hold("read", shard="shard-0") as front:
        harness.start()
        assert front.reached.wait(10)
        harness.pipelines["two"].inbox.position("shard-0").owned = False  # another worker keeps it there
        assert harness.pipelines["one"].inbox.offer(end)
        harness.table.fail("read", Throttled, shard="shard-0")
    try:
        until(lambda: (view := harness.control.view("one")) is not None and view.counts.read == 2, "the child")
    finally:
        harness.stop()
