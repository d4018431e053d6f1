"""Scanned items on their way into a generation: projected, in batches that a sink can take, with what was rejected."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dynaview.projections.projection import Bound, OldRowsUnknown, ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import Outcome, Rejected
from dynaview.sources.port import ScanPage
from dynaview.views.control.records import DeadLetter, PageResult
from dynaview.views.dead_letters import scanned_letter, unreadable_letter

BATCH = 1000
"""Rows written together at the most."""


@dataclass(frozen=True, slots=True)
class PendingPage:
    """A page that a view has begun with."""

    act: Callable[[], PageResult]
    held: int = 0
    """About how many bytes are kept until it is settled; 0 where nothing has to be waited for."""

    def settle(self) -> PageResult:
        """Wait until everything of the page is durable in the view."""
        return self.act()


class FillStrategy(Protocol):
    """One way to bring scanned rows into a generation."""

    def take(self, page: ScanPage[Any]) -> PendingPage:
        """Begin with a page; the caller settles pages in their order."""


@dataclass(slots=True)
class ScannedPage:
    """A page of a scan on its way into one generation of a view; `letters` are what it left there."""

    view: str
    generation: int
    page: ScanPage[Any]
    letters: list[DeadLetter] = field(default_factory=list)
    matched: int = 0
    """Items that ask for a row, or of which none can be made."""

    def batches(self, bound: Bound) -> Iterator[tuple[list[int], list[Write]]]:
        """What the items ask for, each batch with the places of its items in the page. No batch holds a row key twice:
        of two items on one key the store decides (law 10)."""
        for record in self.page.broken:
            self._keep(unreadable_letter(self.view, record, "scan", 0))
        self.matched += len(self.page.broken)
        places, writes, keys = list[int](), list[Write](), set[RowKey]()
        for index, image in enumerate(self.page.images):
            try:
                asked = bound.inserts(image)
            except ProjectionError as error:
                if not isinstance(error, OldRowsUnknown):
                    key = self.page.keys[index]
                    self._keep(scanned_letter(self.view, key, image, str(error), "projection", None))
                    self.matched += 1
                asked = list(error.asked)  # of what an export tells in changes
            else:
                self.matched += bool(asked)
            for write in asked:
                if len(writes) >= BATCH or write.key in keys:
                    yield places, writes
                    places, writes, keys = [], [], set()
                places.append(index)
                writes.append(write)
                keys.add(write.key)
        if writes:
            yield places, writes

    def reject(self, places: Sequence[int], writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
        """Keep what a store rejected of writes that items at these places asked for."""
        for at, write, outcome in zip(places, writes, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                key, image = self.page.keys[at], self.page.images[at]
                self._keep(scanned_letter(self.view, key, image, outcome.reason, outcome.kind.value, write.key))

    def _keep(self, letter: DeadLetter) -> None:
        self.letters.append(dataclasses.replace(letter, generation=self.generation))
