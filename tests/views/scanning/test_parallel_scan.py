"""A scan in parallel segments: what holds up one of them, and what ends all."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from dynaview.projections.attributes import Shape
from dynaview.sources.errors import AccessDenied, SourceError, Throttled, Trimmed
from dynaview.sources.port import ScanFilter, ScanPage
from dynaview.views.control.records import PageCost, PageResult, Segment
from dynaview.views.retry import Retrier
from dynaview.views.scanning.page_writer import PendingPage
from dynaview.views.scanning.parallel_scan import ParallelScan
from dynaview.views.scanning.segment_reader import SegmentPages

PAGES = 4


class Table:
    """Two segments of four pages. The second one ends only once the first one has failed as often as it is to."""

    view = "view"

    def __init__(self, error: SourceError, times: int) -> None:
        self.read: list[tuple[int, int]] = []
        """Segment and page."""
        self.saved: dict[int, str | None] = {}
        self._error, self._left = error, times
        self._failed = threading.Event()

    def scan(
        self, segment: int, segments: int, after: str | None, shape: Shape, only: ScanFilter | None = None
    ) -> Iterator[ScanPage[Any]]:
        for number in range(0 if after is None else int(after) + 1, PAGES):
            if (segment, number) == (0, 2) and self._left:
                self._left -= 1
                if not self._left:
                    self._failed.set()
                raise self._error
            if (segment, number) == (1, 2):
                assert self._failed.wait(20)
            self.read.append((segment, number))
            yield ScanPage([], [], [], None if number == PAGES - 1 else str(number), 0.0)

    def take(self, page: ScanPage[Any]) -> PendingPage | None:
        return PendingPage(PageResult)

    def settle(self, page: PendingPage) -> PageResult | None:
        return page.settle()

    def segments(self, count: int) -> list[Segment]:
        return [Segment(index, count) for index in range(count)]

    def save(self, segment: Segment, cost: PageCost, results: Mapping[str, PageResult]) -> None:
        self.saved[segment.segment] = segment.position

    def check(self) -> None:
        pass

    def retrier(self, end: threading.Event) -> Retrier:
        return Retrier(end, "the scan")

    def run(self) -> None:
        ParallelScan(SegmentPages(self, Shape(None), None, [self]), self, None).run(2)


def test_a_page_that_cannot_be_had_holds_up_its_own_segment_only() -> None:
    table = Table(Throttled("scripted"), 3)
    table.run()
    assert sorted(table.read) == [(segment, page) for segment in range(2) for page in range(PAGES)]
    assert table.saved == {0: None, 1: None}


def test_what_does_not_heal_ends_all_segments() -> None:
    table = Table(Trimmed("scripted"), 1)
    with pytest.raises(Trimmed):
        table.run()
    assert table.saved[0] == "1"


def test_what_ends_the_scan_ends_a_segment_that_tries_again_too() -> None:
    table = Table(AccessDenied("no", "dynamodb:Scan", "shop"), 1000)  # for as long as it takes
    table._failed.set()

    class Cancelled(Exception):
        pass

    def check() -> None:
        if table._left < 999:
            raise Cancelled

    table.check = check  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        table.run()


def test_no_view_begins_with_a_page_that_is_not_let_through() -> None:
    class Taking(Table):
        def take(self, page: ScanPage[Any]) -> PendingPage | None:
            taken.append(page.position)
            return super().take(page)

    taken: list[str | None] = []
    table = Taking(Throttled("never"), 0)
    paid = iter([True, True, False])
    pages = SegmentPages(table, Shape(None), None, [table])
    found = [page.position for page in pages.pages(Segment(0, 2), Retrier(), lambda units: next(paid))]
    assert found == taken == ["0", "1"]
