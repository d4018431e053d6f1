"""The scan of a rebuild: parallel segments, each page taken by every view of the job before it counts as done."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dynaview.projections.attributes import Shape
from dynaview.sources.port import ScanFilter, ScanPage
from dynaview.views.budget import Budget
from dynaview.views.control.records import Segment
from dynaview.views.rebuild.side_by_side import FillStrategy, PageResult, PendingPage

HELD_BYTES = 64 << 20
"""What may wait to be settled of all segments together: a rebuild in place holds each page for some seconds."""

HELD_FOR = 10.0
"""Seconds after which a page is settled though there is room for more: whatever waits is scanned again after a crash.
Only where a view lags behind by more does the scan wait for that."""


class Scan(Protocol):
    """What is scanned: a table, or an export of it."""

    def scan(
        self, segment: int, segments: int, after: str | None, shape: Shape, only: ScanFilter | None = None
    ) -> Iterator[ScanPage[Any]]:
        """See `TableReader.scan`."""


@dataclass(slots=True)
class Pending:
    """A page that views have begun with."""

    position: str | None
    items: int
    units: float
    settles: list[tuple[str, PendingPage]]
    held: int
    """In bytes."""
    due: float
    """By when it is settled, as the monotonic clock has it."""


@dataclass(frozen=True, slots=True)
class SegmentScan:
    """One segment on its way into the views of a job."""

    segment: Segment
    source: Scan
    shape: Shape
    only: ScanFilter | None
    budget: Budget
    fillings: Callable[[], Sequence[tuple[str, FillStrategy]]]
    """The views that take part now, by name."""
    taken: Callable[[str, PageResult, int, float], None]
    """Hears what became of a page in a view (with its number of items and its read units), before its position
    counts."""
    save: Callable[[Segment], None]
    check: Callable[[], None]
    """Raises where the scan is to end."""

    def run(self) -> None:
        """Until the segment's end. Raises `SourceError`, whatever `check` raises, and what views raise; run again, it
        goes on behind the last page that was settled."""
        segment, held = self.segment, deque[Pending]()
        if segment.finished:
            return
        waiting = 0
        for page in self.source.scan(segment.segment, segment.segments, segment.position, self.shape, self.only):
            self.check()
            self.budget.spend(page.consumed)
            begun = [(view, filling.take(page)) for view, filling in self.fillings()]
            size = sum(settle.held for _, settle in begun)
            held.append(
                Pending(
                    page.position, len(page.images) + len(page.broken), page.consumed, begun, size,
                    time.monotonic() + HELD_FOR if size else 0.0,
                )
            )  # fmt: skip
            waiting += size
            while held and (waiting > HELD_BYTES // segment.segments or time.monotonic() > held[0].due):
                waiting -= self._settle(held.popleft())
        while held:
            self._settle(held.popleft())

    def _settle(self, pending: Pending) -> int:
        self.check()
        for view, settle in pending.settles:
            self.taken(view, settle(), pending.items, pending.units)
        segment = self.segment
        segment.scanned += pending.items
        segment.position, segment.finished = pending.position, pending.position is None
        self.save(segment)
        return pending.held


def run_all(scans: Sequence[SegmentScan], end: threading.Event) -> None:
    """Run segments side by side; the first error ends all (`end` is set) and is raised once all have ended."""
    errors: list[BaseException] = []

    def run(scan: SegmentScan) -> None:
        try:
            scan.run()
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
            errors.append(error)
            end.set()

    threads = [
        threading.Thread(target=run, args=(scan,), name=f"rebuild-{scan.segment.segment}", daemon=True)
        for scan in scans
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
