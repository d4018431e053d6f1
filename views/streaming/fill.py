"""The first fill of a view: a scan of the table beside the stream, inserting only where nothing stands.

The pipeline follows from the oldest retained record at the same time. A scanned row goes in at version 0 and only where
neither a row nor a tombstone stands, so whatever the stream brings wins (law 6). Progress is kept a page at a time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from dynaview.projections.attributes import Shape
from dynaview.projections.projection import Bound
from dynaview.sinks.port import APPLIED, SinkError, Target
from dynaview.sources.errors import SourceError
from dynaview.sources.port import ScanPage, TableReader
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import DeadLetter, Segment
from dynaview.views.control.store import ControlStore
from dynaview.views.policy import Backoff
from dynaview.views.scanning.page_writer import Scanned
from dynaview.views.threads import Threads

log = logging.getLogger(__name__)

T = TypeVar("T")

SEGMENT_BYTES = 256 * 1024 * 1024
"""About how much of a table one scan segment takes, up to `MOST_SEGMENTS`."""

MOST_SEGMENTS = 4


@dataclass(slots=True)
class Fill:
    """The fill of one view. `start` begins (or resumes) it in threads of its own."""

    view: str
    generation: int
    table: TableReader
    shape: Shape
    bound: Bound
    target: Target
    control: ControlStore
    ready: threading.Event
    """Set once the target is prepared (or the pipeline ends)."""
    stop: threading.Event
    done: Callable[[], None]
    threads: Threads
    fault: Callable[[Exception], None] = lambda error: None
    """Hears of an error that nobody expected; the fill has stopped."""
    lettered: Callable[[Sequence[DeadLetter]], bool] = lambda letters: False
    """Hears of dead letters once they are kept; True where they are too many and the fill is to stop."""

    def plan(self, size: int) -> list[Segment]:
        """What is left to do, as the control store has it; `size` is the table's in bytes. Raises
        `ControlUnavailable`; may be asked again."""
        known = {segment.segment: segment for segment in self.control.segments(self.view, self.generation)}
        count = max(1, min(MOST_SEGMENTS, size // SEGMENT_BYTES))
        for segment in known.values():
            count = segment.segments
        for index in range(count):  # a crash may have come between any two of them
            if index not in known:
                known[index] = Segment(index, count)
                self.control.save_segment(self.view, self.generation, known[index])
        return [segment for segment in known.values() if not segment.finished]

    def start(self, left: Sequence[Segment]) -> None:
        """Begin what is left; the threads end by themselves."""
        if not left:  # ended between the last segment and the record of it
            self._spawn("end", self._complete)
        waiting = _CountDown(len(left), self._complete)
        for segment in left:
            self._spawn(str(segment.segment), partial(self._run, segment, waiting))

    def _spawn(self, name: str, act: Callable[[], None]) -> None:
        def run() -> None:
            try:
                act()
            except _Stopped:
                log.info("view %s: its fill was interrupted and goes on at the next start", self.view)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this view's alone (law 7)
                self.fault(error)

        self.threads.spawn(f"fill-{self.view}-{name}", run)

    def _run(self, segment: Segment, waiting: _CountDown) -> None:
        backoff = Backoff()
        self.ready.wait()
        while not (segment.finished or self.stop.is_set()):
            try:
                for page in self.table.scan(segment.segment, segment.segments, segment.position, self.shape):
                    self._take(segment, page)
                    backoff.reset()
                    if self.stop.is_set():
                        break
            except SourceError as error:
                if backoff.meet(error):
                    log.warning("filling view %s: %s", self.view, error)
                backoff.wait(self.stop)
        if segment.finished:
            waiting.down()

    def _take(self, segment: Segment, page: ScanPage[Any]) -> None:
        scanned = Scanned(self.view, self.generation, page)
        for places, writes in scanned.batches(self.bound):
            outcomes = self._retry(partial(self.target.write, writes))
            scanned.reject(places, writes, outcomes)
            segment.inserted += sum(outcome is APPLIED for outcome in outcomes)
        letters = scanned.letters
        segment.scanned += len(page.images) + len(page.broken)
        segment.dead_lettered += len(letters)
        segment.position = page.position
        segment.finished = page.position is None
        self._retry(lambda: self.control.save_segment(self.view, self.generation, segment, letters))
        if letters and self.lettered(letters):
            raise _Stopped

    def _complete(self) -> None:
        self._retry(lambda: self.control.set_filled(self.view))
        log.info("view %s: its first fill is complete", self.view)
        self.done()

    def _retry(self, act: Callable[[], T]) -> T:
        backoff = Backoff()
        while True:
            try:
                return act()
            except (SinkError, ControlUnavailable) as error:
                if backoff.meet(error):
                    log.warning("filling view %s: %s", self.view, error)
            if backoff.wait(self.stop):
                raise _Stopped


class _Stopped(Exception):
    pass


class _CountDown:
    """Calls `done` once, when every part has said that it is done."""

    def __init__(self, parts: int, done: Callable[[], None]) -> None:
        self._left = parts
        self._done = done
        self._lock = threading.Lock()

    def down(self) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._done()
