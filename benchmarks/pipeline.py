"""End to end: a stream, a follower, a pipeline, a real sink and a control store, until the last checkpoint is
durable."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.timing import Clock, clock
from benchmarks.workload import IMAGES, View
from dynaview.projections.attributes import Shape
from dynaview.sinks.port import Target
from dynaview.sources.pages import RecordsDecoder
from dynaview.sources.port import Page, Shard, StreamReader
from dynaview.views.control.records import Progress
from dynaview.views.control.store import ControlStore
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.pipeline import PipelineContext, ViewPipeline
from dynaview.views.streaming.plan import PipelinePlan
from dynaview.views.streaming.stream_reader import Follower

_DEADLINE = 600.0


class PagesStream:
    """A `StreamReader` of one open shard whose pages lie in memory, or are made as they are read; they are decoded as
    those of AWS are."""

    def __init__(self, bodies: Sequence[bytes], lasts: Sequence[int], shape: Shape) -> None:
        self.arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/in-memory"
        self._bodies = bodies
        self._lasts = lasts
        self._decoder = RecordsDecoder(shape, IMAGES)

    def shards(self) -> list[Shard]:
        return [Shard("shardId-0", None, "0", None)]

    def children(self, shard_id: str) -> list[Shard]:
        return []

    def open(self, shard_id: str, after: str | None) -> str:
        return "0" if after is None else str(self._lasts.index(int(after)) + 1)

    def read(self, iterator: str, limit: int = 1000) -> Page[Any]:
        index = int(iterator)
        if index >= len(self._bodies):
            return Page([], [], iterator)
        page = self._decoder.decode(self._bodies[index])
        return Page(page.changes, page.broken, str(index + 1))


class WatchedControl(ControlStore):
    """A control store that says when a checkpoint has reached `last`."""

    def __init__(self, file: Path, last: int) -> None:
        super().__init__(f"sqlite:///{file}")
        self._last = last
        self.reached = threading.Event()

    def commit(self, view: str, progress: Progress, watermark: float | None) -> None:
        super().commit(view, progress, watermark)
        if any(
            part.checkpoint is not None and (part.checkpoint.sequence or -1) >= self._last
            for part in progress.parts.values()
        ):
            self.reached.set()


class Followed:
    """One view being followed. `start`, then `wait`, then `stop`."""

    def __init__(self, stream: StreamReader, view: View, target: Target, folder: Path, last: int) -> None:
        self.control = WatchedControl(folder / f"{uuid4().hex}.db", last)
        record = self.control.add_view(view.name, "shop", "sink", "", stream.arn)
        context = PipelineContext(self.control)
        plan = PipelinePlan(replace(record, filled=True), [GenerationWriter(view.name, view.bound, target)], {})
        self.pipeline = ViewPipeline(plan, context)
        self._follower = Follower(stream, [self.pipeline], context)
        self._thread = threading.Thread(target=self.pipeline.run)

    def prepare(self) -> None:
        """Let the pipeline make ready what its sink needs."""
        self._thread.start()
        self.pipeline.prepared.wait()

    def start(self) -> None:
        """Begin to read."""
        self._follower.start()

    def wait(self) -> None:
        """Until the checkpoint of the last change is durable."""
        if not self.control.reached.wait(_DEADLINE):
            raise TimeoutError(
                f"not at the end after {_DEADLINE:.0f} s: {self.pipeline.failed or self.control.views()}"
            )

    def stop(self) -> None:
        """End all threads; tells what was counted."""
        self._follower.stop()
        self.pipeline.end()
        self._thread.join()
        self.control.close()


def follow(stream: StreamReader, view: View, target: Target, folder: Path, last: int, records: int) -> Clock:
    """Time one run from the first read to the commit of the last checkpoint."""
    followed = Followed(stream, view, target, folder, last)
    followed.prepare()
    try:
        with clock(records) as timed:
            followed.start()
            followed.wait()
        counts = followed.control.views()[0].counts
        if counts.applied != records:
            raise RuntimeError(f"{records} changes, but counted {counts}")
    finally:
        followed.stop()
    return timed
