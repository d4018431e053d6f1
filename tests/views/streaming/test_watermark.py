"""What a watermark proves; and it stays true whatever the creation times of later records are cut to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.attributes import attribute
from dynaview.projections.changes import Body, Change
from dynaview.sinks.memory import MemorySink
from dynaview.views.control.records import Checkpoint, Part, Progress
from dynaview.views.control.store import ControlStore
from dynaview.views.states import ViewState
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.offsets import Delivery
from dynaview.views.streaming.pipeline import PipelineContext, PipelineSettings, ViewPipeline
from dynaview.views.streaming.plan import PipelinePlan
from dynaview.views.streaming.shard_discovery import ShardDiscovery
from tests.support.follower_harness import QUICK, FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.shards import tree
from tests.support.simple import SHAPE, SimpleBound, layout
from tests.support.until import until


class Half:
    """A pipeline without readers: tests offer and look by hand."""

    def __init__(self, folder: Path, checkpoints: dict[str, Checkpoint] | None = None) -> None:
        self.control = ControlStore(f"sqlite:///{folder / 'control.db'}")
        record = self.control.add_view("one", "shop", "memory", "f", "arn")
        if checkpoints:
            self.control.commit("one", Progress({shard: Part(at) for shard, at in checkpoints.items()}), None)
        target = MemorySink("memory").open(layout("one"), 1)
        target.prepare()
        output = GenerationWriter("one", SimpleBound(), target)
        plan = PipelinePlan(record, [output], self.control.checkpoints("one"))
        self.pipeline = ViewPipeline(plan, PipelineContext(self.control, PipelineSettings(commit_every=0.0)))

    def apply(self, shard: str, start: int, *records: tuple[int, int], end: bool = False) -> None:
        """Take and commit records (position, creation time)."""
        changes = []
        for position, at in records:
            item = {"pk": "p", "sk": str(position)}
            key = {name: attribute(value) for name, value in item.items()}
            body: Body[Any] = Body(sequence=str(position), key=key, time=at, new=SHAPE.pack(item), old=None)
            changes.append(Change("INSERT", body, None))
        positions = [position for position, _ in records]
        last = positions[-1] if positions else start
        assert self.pipeline.inbox.offer(Delivery(shard, start, last, changes, positions, (), end))
        self.pipeline._apply(self.pipeline.inbox.take(1000, 0.05))
        self.pipeline._commit()


@pytest.fixture
def half(tmp_path: Path) -> Iterator[Half]:
    made = Half(tmp_path)
    yield made
    made.control.close()


def test_a_record_proves_what_is_before_its_second(half: Half) -> None:
    """Of ten records of one second five may have been read."""
    half.pipeline.inbox.track("a", None)
    assert half.pipeline.inbox.watermark() is None
    half.apply("a", -1, (1, 100), (2, 105))
    mark = half.pipeline.inbox.watermark()
    assert mark is not None
    assert 104.9 < mark < 105
    half.pipeline.inbox.tip("a", 2, 105.4)
    assert half.pipeline.inbox.watermark() == 105.4
    half.pipeline.inbox.tip("a", 2, 104.2)  # a tip that is older than what was read adds nothing
    assert half.pipeline.inbox.watermark() == mark


def test_a_tip_beyond_what_is_applied_proves_nothing(half: Half) -> None:
    half.pipeline.inbox.track("a", None)
    half.pipeline.inbox.tip("a", 3, 200.0)
    assert half.pipeline.inbox.watermark() is None
    half.apply("a", -1, (2, 105))
    assert (half.pipeline.inbox.watermark() or 0) < 105
    half.apply("a", 2, (3, 106))
    assert (half.pipeline.inbox.watermark() or 0) < 106  # another reader's look at what the view had not taken
    assert half.pipeline.inbox.offer(Delivery("a", 3, 4, [], []))
    half.pipeline.inbox.tip("a", 4, 300.0)
    assert (half.pipeline.inbox.watermark() or 0) < 106
    half.apply("a", 4)
    assert half.pipeline.inbox.watermark() == 300.0


def test_the_watermark_is_the_lowest_of_all_leaves(half: Half) -> None:
    for shard in "abc":
        half.pipeline.inbox.track(shard, None)
    half.apply("a", -1, (1, 300))
    half.apply("b", -1, (2, 200))
    assert half.pipeline.inbox.watermark() is None
    half.apply("c", -1, (3, 400))
    assert 199 < (half.pipeline.inbox.watermark() or 0) < 200


def test_a_finished_shard_whose_child_is_not_listed_yet_holds_the_watermark(half: Half) -> None:
    half.pipeline.inbox.track("a", None)
    half.pipeline.inbox.track("b", None)
    half.apply("a", -1, (1, 100), end=True)
    half.apply("b", -1, (2, 200))
    half.pipeline.inbox.tip("b", 2, 250.0)
    assert (half.pipeline.inbox.watermark() or 0) < 100  # a's child may hold changes from 100 on
    half.pipeline.inbox.track("c", "a")
    half.apply("c", -1, (3, 150))
    assert (half.pipeline.inbox.watermark() or 0) < 100  # and so may another child of it
    half.pipeline.inbox.cover(["a"])
    assert 149 < (half.pipeline.inbox.watermark() or 0) < 150


def test_a_stream_without_an_open_shard_stands_at_its_lowest_end(half: Half) -> None:
    half.pipeline.inbox.track("a", None)
    half.pipeline.inbox.track("b", None)
    half.apply("a", -1, (1, 100), end=True)
    half.apply("b", -1, (2, 200), end=True)
    assert (half.pipeline.inbox.watermark() or 0) < 100


def test_a_tip_of_a_shard_that_has_a_child_proves_nothing(half: Half) -> None:
    """DynamoDB lists open parents beside their children: what is written goes to the child."""
    half.pipeline.inbox.track("a", None)
    half.apply("a", -1, (1, 100))
    half.pipeline.inbox.track("b", "a")
    half.pipeline.inbox.tip("a", 1, 300.0)
    half.apply("a", 1)
    assert (half.control.view("one").watermark or 0) < 100  # type: ignore[union-attr]  # it is there
    half.apply("a", 1, end=True)
    half.pipeline.inbox.cover(["a"])
    half.pipeline.inbox.tip("b", -1, 310.0)
    half.apply("b", -1)
    assert half.pipeline.inbox.watermark() == 310.0


def test_a_shard_that_rolls_does_not_take_back_what_was_said(half: Half) -> None:
    half.pipeline.inbox.track("a", None)
    half.apply("a", -1, (1, 100))
    half.pipeline.inbox.tip("a", 1, 300.0)
    half.apply("a", 1)
    half.pipeline.inbox.track("b", "a")
    half.apply("a", 1, end=True)
    record = half.control.view("one")
    assert record is not None
    assert record.watermark == 300.0
    half.pipeline.inbox.cover(["a"])
    half.apply("b", -1, (5, 310))
    assert 309 < (half.pipeline.inbox.watermark() or 0) < 310


def test_a_listing_that_is_half_tracked_makes_no_watermark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = Half(tmp_path, {"a": Checkpoint(1, 500.0), "b": Checkpoint(2, 100.0)})
    seen: list[float | None] = []
    looks: list[threading.Thread] = []
    track = half.pipeline.inbox.track

    def tracked(shard: str, parent: str | None) -> None:
        track(shard, parent)
        looks.append(threading.Thread(target=lambda: seen.append(half.pipeline.inbox.watermark())))
        looks[-1].start()
        looks[-1].join(0.1)  # it has to wait; without that it is through by now

    monkeypatch.setattr(half.pipeline.inbox, "track", tracked)
    stream = ScriptedTable().stream(ScriptedTable().arn, SHAPE)
    ShardDiscovery(stream, [half.pipeline]).take(tree("a b"), None, 0.0)
    for look in looks:
        look.join(10)
    assert len(seen) == 2
    assert all(mark is not None and mark < 100 for mark in seen)
    half.control.close()


def test_a_pipeline_that_is_ended_at_its_gap_says_it(half: Half) -> None:
    half.pipeline.fail(ViewState.GAP, "lost")
    half.pipeline.end()
    half.pipeline.run()
    record = half.control.view("one")
    assert record is not None
    assert (record.state, record.reason) == ("gap", "lost")


def test_a_restart_does_not_take_back_the_watermark(tmp_path: Path) -> None:
    """Creation times are cut: to the second by AWS, to the minute by DynamoDB Local."""
    harness = FollowerHarness(tmp_path)

    def watermark() -> float:
        record = harness.control.view("one")
        assert record is not None
        return record.watermark or 0.0

    harness.start()
    harness.table.put({"pk": "a", "sk": "s", "value": 1})
    harness.wait_counted()
    first = watermark()
    until(lambda: watermark() > first, "the tip to be seen")
    harness.stop()
    said = watermark()
    harness.table.advance(-60)
    harness.table.put({"pk": "a", "sk": "s", "value": 2})
    harness.settings = replace(QUICK, tip_pages=10**9)  # from here on records alone tell
    harness.start()
    harness.wait_counted()
    assert watermark() >= said
    harness.stop()
