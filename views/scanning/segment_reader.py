"""One segment of a scan, up to where every view has begun with a page: read, projected, looked up or written.

Nothing here knows of the other segments, of what a scan may take of the table, or of how far it is recorded to be: all
of that is its caller's (`parallel_scan`), who lets each page through once it is paid for, and settles what was taken in
its order. So whoever reads a segment may be lost at any moment with what it has taken: the next one begins behind the
last page that was settled, and to write a scanned page twice changes nothing (law 6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from dynaview.projections.attributes import Shape
from dynaview.sources.errors import SourceError
from dynaview.sources.port import ScanFilter, ScanPage
from dynaview.views.control.records import PageCost, PageResult, Segment
from dynaview.views.retry import Retrier
from dynaview.views.scanning.page_writer import PendingPage


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


@dataclass(frozen=True, slots=True)
class TakenPage:
    """A page that views have begun with."""

    position: str | None
    """Behind the page; None where the segment ends with it."""
    cost: PageCost
    pending: Sequence[tuple[Participant, PendingPage]]

    @property
    def held(self) -> int:
        """About how many bytes are kept until it is settled."""
        return sum(page.held for _, page in self.pending)

    def settle(self) -> Mapping[str, PageResult]:
        """Wait until it is durable in every view; what became of it in each that still takes part."""
        settled = {each.view: each.settle(page) for each, page in self.pending}
        return {view: result for view, result in settled.items() if result is not None}


class SegmentReader(Protocol):
    """Reads segments for all views that take part. Called from the threads of all segments."""

    def pages(self, segment: Segment, retrier: Retrier, pay: Callable[[float], bool]) -> Iterator[TakenPage]:
        """The pages that are left of a segment, each tried for by itself. `pay` is called with the read units of each
        before any view begins with it, and waits as long as they have to be waited for; False: the scan is to end."""


@dataclass(frozen=True, slots=True)
class SegmentPages:
    """Reads segments in this process."""

    source: Scan
    shape: Shape
    only: ScanFilter | None
    """Leaves out nothing that any view asks for."""
    participants: Sequence[Participant]

    def pages(self, segment: Segment, retrier: Retrier, pay: Callable[[float], bool]) -> Iterator[TakenPage]:
        """See `SegmentReader.pages`."""
        for page in self._scanned(segment, retrier):
            if not pay(page.consumed):
                return
            yield self._taken(page)

    def _scanned(self, segment: Segment, retrier: Retrier) -> Iterator[ScanPage[Any]]:
        after = segment.position
        pages: Iterator[ScanPage[Any]] | None = None

        def following() -> ScanPage[Any] | None:
            nonlocal pages
            if pages is None:
                pages = self.source.scan(segment.segment, segment.segments, after, self.shape, self.only)
            try:
                return next(pages, None)
            except SourceError:
                pages = None
                raise

        while (page := retrier.insist(following)) is not None:
            after = page.position
            yield page

    def _taken(self, page: ScanPage[Any]) -> TakenPage:
        taken = [(each, each.take(page)) for each in self.participants]
        pending = [(each, one) for each, one in taken if one is not None]
        items = max(page.read, len(page.images) + len(page.broken))
        return TakenPage(page.position, PageCost(items, page.consumed), pending)
