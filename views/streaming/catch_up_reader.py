"""The second reader of a stream: it brings again what pipelines that fell behind have missed.

A pipeline that could not take a page (no room, or not there yet) is *behind* in that shard. That follows from positions
alone, so leaving and joining the front are no events that could be missed. The reader starts from the position of the
pipeline that is furthest behind and offers what it reads to all of them, until nobody is behind. Shards take turns, and
one that has nothing to give now is read again as seldom as the front reads an idle one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from dynaview.sources.errors import SourceError
from dynaview.views.streaming.pipeline import ViewPipeline
from dynaview.views.streaming.reading import Reading
from dynaview.views.streaming.shard_discovery import Cursor
from dynaview.views.streaming.shard_reader import ShardReader

log = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks whether a pipeline could take more, where none has said so."""


class CatchUpReader:
    """Reads for the pipelines that are behind. `run` is its own thread's."""

    def __init__(self, reading: Reading, fronts: Mapping[str, Cursor], stop: threading.Event) -> None:
        """`fronts` are the places of the front, by shard."""
        self._reading = reading
        self._fronts = fronts
        self._stop = stop
        self._wake = reading.signals.room
        self._behind: set[str] = set()
        self._readers: dict[str, ShardReader] = {}
        self._due: dict[str, float] = {}
        """When shards may be read again (monotonic); those that were never read are due."""

    def note(self, shard: str) -> None:
        """A pipeline may be behind in a shard."""
        with self._wake:
            self._behind.add(shard)
            self._wake.notify_all()

    def run(self) -> None:
        """Read until `stop` is set."""
        while not self._stop.is_set():
            shard = self._next()
            if shard is not None:
                self._due[shard] = time.monotonic() + self._read(shard)

    def _next(self) -> str | None:
        """The shard that has waited longest, of those in which some pipeline is behind and could take more; waits where
        there is none."""
        with self._wake:
            wait = LOOK
            for shard in sorted(self._behind, key=lambda each: (self._due.get(each, 0.0), each)):
                if not any(self._is_behind(pipeline, shard) for pipeline in self._reading.live()):
                    self._behind.discard(shard)
                    self._readers.pop(shard, None)
                    self._due.pop(shard, None)
                elif self._lowest(shard) is not None:
                    wait = self._due.get(shard, 0.0) - time.monotonic()
                    if wait <= 0:
                        return shard
                    break
            if not self._stop.is_set():
                self._wake.wait(min(wait, LOOK))
            return None

    def _read(self, shard: str) -> float:
        """Read one page of a shard and offer it; the wait until its next read."""
        needed, front = self._lowest(shard), self._fronts.get(shard)
        if needed is None or front is None:
            return 0.0
        reader = self._readers.get(shard)
        if reader is None or reader.position != needed:
            reader = self._readers[shard] = self._reading.reader(front.reader.shard, needed)
        reader.shard = front.reader.shard  # as it was listed last
        try:
            delivery = self._reading.read(reader)
        except SourceError as error:
            return self._reading.failed(reader, error)
        self._reading.offer(delivery)
        if reader.read_up_to is not None:
            # What others have passed was trimmed before a pipeline came that begins with what is left.
            self._reading.tip(reader, reader.read_up_to)
        return self._reading.pause(reader)

    def _is_behind(self, pipeline: ViewPipeline, shard: str) -> bool:
        at, front = pipeline.inbox.position(shard), self._fronts.get(shard)
        return (
            front is not None
            and pipeline.failed is None
            and at.owned
            and not at.ended
            and (at.received < front.position or front.ended)
        )

    def _lowest(self, shard: str) -> int | None:
        """The lowest position among pipelines that are behind in the shard and could take more now."""
        return min(
            (
                pipeline.inbox.position(shard).received
                for pipeline in self._reading.live()
                if self._is_behind(pipeline, shard) and pipeline.inbox.wants(shard)
            ),
            default=None,
        )
