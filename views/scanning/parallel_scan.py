"""One scan of a table for several views: parallel segments within a read budget. A page counts as done once every view
that takes part has it; a scan that was ended goes on behind the last such page."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dynaview.views.budget import Budget
from dynaview.views.control.records import PageCost, PageResult, Segment
from dynaview.views.retry import Retrier
from dynaview.views.scanning.segment_reader import SegmentReader, TakenPage

SEGMENT_BYTES = 64 * 1024 * 1024
"""About how much of a table one segment takes, up to `MOST_SEGMENTS`."""

MOST_SEGMENTS = 8

LOOK = 0.2
"""Seconds between two looks whether a scan is to go on."""


@dataclass(frozen=True, slots=True)
class Held:
    """What may wait to be settled: a rebuild in place holds each page for some seconds."""

    bytes: int = 64 << 20
    """Of all segments together."""
    seconds: float = 10.0
    """After which a page is settled though there is room for more: whatever waits is scanned again after a crash. Only
    where a view lags behind by more does the scan wait for that."""


class Journal(Protocol):
    """Where a scan keeps how far it is. Called from the threads of all segments."""

    def segments(self, count: int) -> list[Segment]:
        """The segments as they were planned when the scan began, `count` of them where it begins now."""

    def save(self, segment: Segment, cost: PageCost, results: Mapping[str, PageResult]) -> None:
        """Record, at once, how far a segment is and what became of its last page in each view."""

    def check(self) -> None:
        """Raises what is to end the scan."""

    def retrier(self, end: threading.Event) -> Retrier:
        """What reads a page again that cannot be had now; it gives up where the event is set."""


@dataclass(frozen=True, slots=True)
class ParallelScan:
    """See the module. `run` it as often as it takes."""

    reader: SegmentReader
    journal: Journal
    rate: float | None
    """Read capacity units a second; None: without a limit."""
    held: Held = Held()

    def run(self, segments: int) -> None:
        """Scan what is left of (about) so many segments side by side. A page that cannot be had now holds up its own
        segment only. The first error that does not heal ends all of them and is raised once they have ended:
        `SourceError`, or what the journal and participants raise."""
        planned = self.journal.segments(segments)
        end = threading.Event()
        budget = Budget(self.rate, lambda seconds: self._wait(end, seconds))
        retrier = self.journal.retrier(end)
        errors: list[BaseException] = []

        def run(segment: Segment) -> None:
            try:
                _SegmentScan(self, segment, len(planned), budget, retrier, end).run()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
                errors.append(error)
                end.set()

        threads = [
            threading.Thread(target=run, args=(segment,), name=f"scan-{segment.segment}", daemon=True)
            for segment in planned
            if not segment.finished
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            next(thread for thread in threads if thread.is_alive()).join(LOOK)
            try:
                self.journal.check()  # heard also while the table does not answer
            except BaseException as error:  # noqa: BLE001 - raised below
                if not end.is_set():
                    errors.append(error)
                    end.set()
        if errors:
            raise errors[0]

    def _wait(self, end: threading.Event, seconds: float) -> bool:
        self.journal.check()
        return end.wait(seconds)


class _SegmentScan:
    """One segment, in a thread of its own."""

    def __init__(
        self,
        whole: ParallelScan,
        segment: Segment,
        segments: int,
        budget: Budget,
        retrier: Retrier,
        end: threading.Event,
    ) -> None:
        self._whole = whole
        self._segment = segment
        self._room = whole.held.bytes // segments
        self._budget = budget
        self._retrier = retrier
        self._end = end

    def run(self) -> None:
        """Until the segment's end, or until another one has failed."""
        begun, held = deque[tuple[float, TakenPage]](), 0
        for page in self._whole.reader.pages(self._segment, self._retrier, self._pay):
            begun.append((time.monotonic() + self._whole.held.seconds if page.held else 0.0, page))
            held += page.held
            while begun and (held > self._room or time.monotonic() > begun[0][0]):
                held -= self._settle(begun.popleft()[1])
        while begun and not self._end.is_set():
            self._settle(begun.popleft()[1])

    def _pay(self, units: float) -> bool:
        self._whole.journal.check()
        self._budget.spend(units)
        return not self._end.is_set()

    def _settle(self, page: TakenPage) -> int:
        self._whole.journal.check()
        segment = self._segment
        results = page.settle()
        segment.scanned += page.cost.items
        segment.position, segment.finished = page.position, page.position is None
        self._whole.journal.save(segment, page.cost, results)
        return page.held
