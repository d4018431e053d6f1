"""What a rebuild in place keeps of a page until it may write: as it was, small, and bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from dynaview.projections.attributes import Shape
from dynaview.projections.changes import SCANNED
from dynaview.projections.rows import Rule, Write
from dynaview.sinks.port import Stored
from dynaview.sources.pages import ItemsDecoder
from dynaview.sources.port import Broken, ScanPage
from dynaview.views.control.records import PageCost, PageResult, Segment
from dynaview.views.dead_letters import scanned_letter
from dynaview.views.rebuild.packed_page import Observed, PackedPage
from dynaview.views.retry import Retrier
from dynaview.views.scanning.page_writer import PendingPage
from dynaview.views.scanning.parallel_scan import Held, ParallelScan
from dynaview.views.scanning.segment_reader import SegmentPages

VALUES = ("a\nb", Decimal("1.10"), 7, True, None, b"\x00", 1.5, datetime(2026, 11, 24, tzinfo=UTC), {"m": [1, "ü"]})


def page(shape: Shape, count: int = 3) -> ScanPage[Any]:
    items = [
        {"pk": {"S": f"p\n{n}"}, "sk": {"N": str(n)}, "note": {"S": "line\nü\x85\u2028" * 3}} for n in range(count)
    ]
    return ItemsDecoder(shape, ("pk", "sk")).decode(msgspec.json.encode({"Items": items}))


@pytest.mark.parametrize("shape", [Shape(None), Shape({"pk", "sk", "note"})])
def test_what_is_held_comes_back_as_it_was(shape: Shape) -> None:
    scanned = page(shape)
    scanned.broken = [Broken(3, b"{}", "odd")]
    due = [
        Observed(0, Write("k0", VALUES, SCANNED, "owner", Rule.ABSENT), None),
        Observed(1, Write(("k", 1), VALUES, SCANNED, "", Rule.ABSENT), Stored(("k", 1), 10**39 + 1, "o", 3, True)),
        Observed(2, Write("k2", None, SCANNED), Stored("k2", 5, "", 1, None)),
    ]
    held = PackedPage.of(scanned, due)
    assert held.due() == due
    again = held.page()
    assert again.keys == scanned.keys
    assert again.broken == scanned.broken
    letters = [
        [scanned_letter("view", each.keys[at], each.images[at], "why", "content", "k").change for at in range(3)]
        for each in (scanned, again)
    ]
    assert letters[0] == letters[1]


def test_rows_that_wait_are_held_in_a_fraction_of_what_they_take_unpacked() -> None:
    scanned = page(Shape({"pk", "sk"}), 1000)
    values = ("PLACED", Decimal("17.25"), 3, "2026-11-24T09:30:00Z")
    due = [Observed(at, Write(f"key:{at}", values, SCANNED), None) for at in range(1000)]
    assert PackedPage.of(scanned, due).size < 200 * len(due)


class Segmented:
    """A scan of `count` empty pages, and a view that holds `size` bytes a page; `log` hears of both."""

    view = "view"

    def __init__(self, count: int, size: int) -> None:
        self.log: list[str] = []
        self._count, self._size = count, size

    def scan(self, *_: Any) -> Iterator[ScanPage[Any]]:
        for number in range(self._count):
            yield ScanPage([], [], [], str(number) if number + 1 < self._count else None, 0.0)

    def take(self, taken: ScanPage[Any]) -> PendingPage | None:
        name = taken.position or "end"
        self.log.append(f"take {name}")

        def settled() -> PageResult:
            self.log.append(f"settle {name}")
            return PageResult()

        return PendingPage(settled, self._size)

    def settle(self, page: PendingPage) -> PageResult | None:
        return page.settle()

    def segments(self, count: int) -> list[Segment]:
        return [Segment(index, count) for index in range(count)]

    def save(self, segment: Segment, cost: PageCost, results: Mapping[str, PageResult]) -> None:
        assert results == {"view": PageResult()}

    def check(self) -> None:
        pass

    def retrier(self, end: threading.Event) -> Retrier:
        return Retrier(end)

    def run(self, held: Held) -> list[str]:
        ParallelScan(SegmentPages(self, Shape(None), None, [self]), self, None, held).run(1)
        return self.log


def test_pages_wait_only_as_long_as_there_is_room_for_them() -> None:
    assert Segmented(4, 10).run(Held(bytes=25)) == [
        "take 0", "take 1", "take 2", "settle 0", "take end", "settle 1", "settle 2", "settle end",
    ]  # fmt: skip


def test_a_page_of_which_nothing_waits_is_settled_at_once() -> None:
    assert Segmented(2, 0).run(Held()) == ["take 0", "settle 0", "take end", "settle end"]


def test_a_page_that_has_waited_for_long_is_settled_though_there_is_room() -> None:
    assert Segmented(2, 10).run(Held(seconds=-1.0)) == ["take 0", "settle 0", "take end", "settle end"]
