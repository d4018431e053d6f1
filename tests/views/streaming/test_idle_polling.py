"""What a quiet table costs: requests a second, by a clock of the test's own, and how soon a change is read for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dynaview.views.cost import stream_reads
from dynaview.views.streaming import stream_reader
from dynaview.views.streaming.offsets import START
from dynaview.views.streaming.stream_reader import Follower, FollowerSettings
from tests.support.follower_harness import FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.simple import SHAPE

SHARDS = 250


class Quiet:
    """A follower of many idle shards whose front is turned by hand: what would be waited for passes at once."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, shards: int, settings: FollowerSettings) -> None:
        self.now = 1000.0
        self.table = ScriptedTable(shards=shards, clock=time.time)
        self.harness = FollowerHarness(folder, self.table)
        self.harness.start()
        self.harness.follower.stop()
        monkeypatch.setattr(stream_reader, "time", SimpleNamespace(monotonic=lambda: self.now))
        stream = self.table.stream(self.table.arn, SHAPE)
        pipelines = list(self.harness.pipelines.values())
        self.follower = Follower(stream, pipelines, self.harness.context, settings, now=lambda: self.now)
        self.follower.discover(stream.shards(), None, self.now)

    @property
    def reads(self) -> int:
        return self.table.counts()["read"]

    @property
    def has_read(self) -> bool:
        return any(cursor.position > START for cursor in self.follower._discovery.cursors.values())

    def pass_time(self, seconds: float) -> float:
        """Let seconds pass; answers the reads a second."""
        before, end = self.reads, self.now + seconds
        while self.follower._due[0][0] <= end:
            self.now = max(self.now, self.follower._due[0][0])
            cursor = self.follower._next()
            assert cursor is not None
            self.follower._schedule(cursor, self.follower._read_front(cursor))
        self.now = end
        return (self.reads - before) / seconds

    def close(self) -> None:
        self.harness.stop()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Quiet]]:
    quiet: list[Quiet] = []
    yield quiet
    for each in quiet:
        each.close()


@pytest.mark.parametrize(
    ("latency", "shards", "most"),
    [
        (0.5, 4, 8.0),
        (0.5, SHARDS, 250.0),  # so many shards wait for each other: above 250 requests a second none is made
        (1.0, SHARDS, 250.0),
        (5.0, SHARDS, 50.0),
        (10.0, SHARDS, 25.0),
    ],
)
def test_a_quiet_table_costs_what_its_latency_asks_for_and_no_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: list[Quiet],
    latency: float,
    shards: int,
    most: float,
) -> None:
    quiet = Quiet(tmp_path, monkeypatch, shards, replace(FollowerSettings(), poll_cap=latency))
    made.append(quiet)
    quiet.pass_time(4 * latency)  # the waits grow to their longest
    rate = quiet.pass_time(20 * latency)
    assert rate <= most * 1.02
    assert rate >= most * 0.9  # and each is looked at as often as was asked for
    assert stream_reads(shards, latency, 1.0) == pytest.approx(rate, rel=0.1)


@pytest.mark.parametrize("latency", [1.0, 5.0])
def test_a_change_in_one_of_many_quiet_shards_is_read_within_the_latency_and_wakes_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[Quiet], latency: float
) -> None:
    quiet = Quiet(tmp_path, monkeypatch, SHARDS, replace(FollowerSettings(), poll_cap=latency))
    made.append(quiet)
    idle = (quiet.pass_time(4 * latency), quiet.pass_time(5 * latency))[1]
    quiet.table.put({"pk": "p", "sk": "s", "value": 1})
    begun = quiet.now
    while not quiet.has_read and quiet.now - begun <= 2 * latency:
        quiet.pass_time(latency / 20)
    assert quiet.now - begun <= latency * 1.06
    # Its shard is read at once again, and at growing intervals until it rests like the others.
    assert quiet.pass_time(5 * latency) <= idle + 12 / (5 * latency)
