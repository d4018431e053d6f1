"""Thousands of shards, many views: what is asked of AWS and of the control store stays in bounds. Counts, not times."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from dynaview.sources.port import Shard
from dynaview.sources.shards import ShardTree
from dynaview.views.daemon.daemon import paced
from dynaview.views.daemon.table_worker import WorkerSettings
from tests.support.follower_harness import QUICK, FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.until import until


def grown(open_shards: int, rolls: int) -> ScriptedTable:
    """A stream of that many open shards, each behind a chain of closed ones."""
    table = ScriptedTable(shards=open_shards, clock=time.time)
    for roll in range(rolls):
        for shard in table.leaves:
            table.roll(shard)
        table.put({"pk": f"p{roll}", "sk": "s", "value": roll})
    return table


def test_ten_thousand_shards_are_begun_by_one_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready, asked = ShardTree.ready, 0

    def counted(self: ShardTree) -> list[Shard]:
        nonlocal asked
        asked += 1
        return ready(self)

    monkeypatch.setattr(ShardTree, "ready", counted)
    harness = FollowerHarness(tmp_path, grown(1000, 9))
    harness.settings = replace(QUICK, poll_cap=5.0, discover_every=600.0)
    harness.start()
    harness.wait_counted()
    leaves = set(harness.table.leaves)
    until(lambda: leaves <= {call.shard for call in list(harness.table.calls) if call.operation == "read"}, "all", 60)
    counts = harness.table.counts()
    assert counts["open"] == 10_000
    assert counts["shards"] + counts["children"] <= 3
    assert asked <= 3  # going through all shards belongs to a listing, not to every end of a shard
    # New shards are found within seconds, by their parent.
    listings = harness.table.counts()["shards"]
    child = harness.table.roll(harness.table.leaves[0])
    until(
        lambda: child in {call.shard for call in list(harness.table.calls)[-5000:] if call.operation == "read"}, "child"
    )
    assert harness.table.counts()["shards"] == listings
    harness.stop()


def test_idle_shards_share_a_budget_of_reads(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path, grown(200, 0))
    harness.settings = replace(QUICK, poll_first=0.05, poll_cap=1.0, polls=100.0)
    harness.start()
    until(lambda: len(harness.follower._discovery.cursors) == 200, "the shards to be listed")
    cursors = harness.follower._discovery.cursors.values()
    until(lambda: all(cursor.reader.pause for cursor in cursors), "every shard to be read")
    cursor = next(iter(cursors))
    until(lambda: cursor.reader.pause == 1.0, "the longest wait of a shard alone")
    assert harness.follower._read_front(cursor) >= 190 / 100  # 200 shards, but for those being read now
    harness.stop()


def test_fifty_views_read_each_shard_once(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path, names=tuple(f"view{number}" for number in range(50)))
    harness.pipeline_settings.beat = 0.2
    harness.start()
    until(lambda: all(record.state == "following" for record in harness.control.views()), "all views to follow", 60)
    for number in range(40):
        harness.table.put({"pk": f"p{number}", "sk": "s", "value": number})
    harness.wait_equal(seconds=60)
    harness.wait_counted()
    assert harness.table.counts()["open"] <= 2  # the front, and at most one look back
    harness.stop()


@pytest.mark.parametrize(("views", "beat"), [(1, 1.0), (200, 1.0), (1000, 5.0)])
def test_many_views_say_their_watermarks_less_often(views: int, beat: float) -> None:
    assert paced(WorkerSettings(), views).pipeline.beat == beat
