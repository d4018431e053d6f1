"""One scan of a table for several views: parallel segments within a read budget. A page counts as done once every view
that takes part has it; a scan that was ended goes on behind the last such page."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dynaview.projections.attributes import Shape
from dynaview.sources.errors import SourceError
from dynaview.sources.port import ScanFilter, ScanPage
from dynaview.views.budget import Budget
from dynaview.views.control.records import PageCost, PageResult, Segment
from dynaview.views.retry import Retrier
from dynaview.views.scanning.page_writer import PendingPage

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


class Scan(Protocol):
    """What is scanned: a table, or an export of it."""

    def scan(
        self, segment: int, segments: int, after: str | None, shape: Shape, only: ScanFilter | None = None
    ) -> Iterator[ScanPage[Any]]:
        """See `TableReader.scan`."""


class Participant(Protocol):
    """A view that takes part in a scan. Called from the threads of all segments."""

    @property
    def view(self) -> str:
        """Its name."""

    def take(self, page: ScanPage[Any]) -> PendingPage | None:
        """Begin with a page; None where the view has dropped out: the scan goes on without it."""

    def settle(self, page: PendingPage) -> PageResult | None:
        """Wait until the page is durable in the view; None where the view has dropped out."""


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


@dataclass(slots=True)
class _Begun:
    """A page that views have begun with."""

    position: str | None
    cost: PageCost
    pending: list[tuple[Participant, PendingPage]]
    held: int
    """In bytes."""
    due: float
    """By when it is settled, as the monotonic clock has it."""


@dataclass(frozen=True, slots=True)
class ParallelScan:
    """See the module. `run` it as often as it takes."""

    source: Scan
    shape: Shape
    only: ScanFilter | None
    """Leaves out nothing that any view asks for."""
    participants: Sequence[Participant]
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
        whole = self._whole
        begun, held = deque[_Begun](), 0
        for page in self._pages():
            whole.journal.check()
            self._budget.spend(page.consumed)
            if self._end.is_set():
                return
            begun.append(self._begin(page))
            held += begun[-1].held
            while begun and (held > self._room or time.monotonic() > begun[0].due):
                held -= self._settle(begun.popleft())
        while begun and not self._end.is_set():
            self._settle(begun.popleft())

    def _pages(self) -> Iterator[ScanPage[Any]]:
        """The pages that are left, each tried for by itself."""
        whole, segment, after = self._whole, self._segment, self._segment.position
        pages: Iterator[ScanPage[Any]] | None = None

        def following() -> ScanPage[Any] | None:
            nonlocal pages
            if pages is None:
                pages = whole.source.scan(segment.segment, segment.segments, after, whole.shape, whole.only)
            try:
                return next(pages, None)
            except SourceError:
                pages = None
                raise

        while (page := self._retrier.insist(following)) is not None:
            after = page.position
            yield page

    def _begin(self, page: ScanPage[Any]) -> _Begun:
        taken = [(each, each.take(page)) for each in self._whole.participants]
        pending = [(each, one) for each, one in taken if one is not None]
        held = sum(one.held for _, one in pending)
        items = max(page.read, len(page.images) + len(page.broken))
        due = time.monotonic() + self._whole.held.seconds if held else 0.0
        return _Begun(page.position, PageCost(items, page.consumed), pending, held, due)

    def _settle(self, begun: _Begun) -> int:
        self._whole.journal.check()
        settled = {each.view: each.settle(page) for each, page in begun.pending}
        results = {view: result for view, result in settled.items() if result is not None}
        segment = self._segment
        segment.scanned += begun.cost.items
        segment.position, segment.finished = begun.position, begun.position is None
        self._whole.journal.save(segment, begun.cost, results)
        return begun.held
