"""Ten thousand shards, and a thousand views of one stream: how long it takes to begin, and what it costs when idle.

    python -m benchmarks.scale

The stream is scripted and the stores are in memory, so what is measured is dynaview's own work and its control store's
(an SQLite file). On AWS, listing 10,000 shards takes 100 calls, which at ten a second are ten seconds more.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.idle import processor
from dynaview.views.daemon.daemon import paced
from dynaview.views.daemon.table_worker import WorkerSettings
from dynaview.views.streaming.pipeline import PipelineSettings
from dynaview.views.streaming.stream_reader import FollowerSettings
from tests.support.follower_harness import FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.until import until

PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class Figures:
    """Times in seconds; `idle` is the share of a core, `reads` and `commits` are a second."""

    begun: float
    """Until every open shard is read."""
    begun_processor: float
    following: float
    """Until the views have a watermark."""
    idle: float
    reads: float
    commits: float
    child: float
    """From a parent's end to the first read of its child."""


def measure(open_shards: int, rolls: int, views: int, seconds: float) -> Figures:
    """Follow `open_shards` open shards, each behind `rolls` closed ones, by so many views."""
    table = ScriptedTable(shards=open_shards, clock=time.time)
    for _ in range(rolls):
        for shard in table.leaves:
            table.roll(shard)
    with tempfile.TemporaryDirectory() as folder:
        harness = FollowerHarness(Path(folder), table, tuple(f"view{number}" for number in range(views)))
        harness.settings = FollowerSettings()
        harness.pipeline_settings = paced(WorkerSettings(PipelineSettings()), views).pipeline
        leaves, began, used = set(table.leaves), time.monotonic(), processor()
        harness.start()
        until(lambda: leaves <= _read(table), "every open shard to be read", PATIENCE)
        begun, begun_processor = time.monotonic() - began, processor() - used
        until(lambda: all(view.watermark for view in harness.control.views()), "watermarks", PATIENCE)
        following = time.monotonic() - began
        time.sleep(5.0)  # the waits between two reads grow to their longest
        before, commits, used, start = table.counts(), harness.control.commits, processor(), time.monotonic()
        time.sleep(seconds)
        idle, took = processor() - used, time.monotonic() - start
        reads = (table.counts() - before)["read"] / took
        commits = harness.control.commits - commits
        start = time.monotonic()
        child = table.roll(table.leaves[0])
        until(lambda: child in _read(table), "the child to be read", PATIENCE)
        found = time.monotonic() - start
        harness.stop()
    return Figures(begun, begun_processor, following, idle / took, reads, commits / took, found)


def _read(table: ScriptedTable) -> set[str | None]:
    return {call.shard for call in list(table.calls) if call.operation == "read"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to be idle (20)")
    options = parser.parse_args()
    for title, size in {
        "100 shards, 1 view": (100, 0, 1),
        "1,000 open behind 9,000 closed shards, 1 view": (1000, 9, 1),
        "1 shard, 100 views": (1, 0, 100),
        "1 shard, 1,000 views": (1, 0, 1000),
    }.items():
        found = measure(*size, options.seconds)
        print(
            f"{title}: all shards read after {found.begun:.1f} s ({found.begun_processor:.1f} s of a core), "
            f"following after {found.following:.1f} s; idle: {found.idle:.1%} of a core, {found.reads:.0f} reads and "
            f"{found.commits:.0f} commits a second; a child is read {found.child:.1f} s after its parent's end",
            flush=True,
        )


if __name__ == "__main__":
    main()
