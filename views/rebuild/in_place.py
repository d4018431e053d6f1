"""Filling a generation under the very keys that readers use (Redis): no reader may see a row go back in time.

The view's pipeline writes the new generation from its checkpoint on. A scanned page is looked up in the store and held
until the view's watermark has passed that look: then every change that the scan may have missed has been written by
the pipeline. An item is written only where its row is still exactly as it was seen, and not yet of the new generation;
the row keeps its version. In the end rows that are still of an earlier generation belong to no item any more: they are
looked at, held and removed in the same way, each leaving a tombstone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from dynaview.projections.attributes import Image
from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import APPLIED, STALE, ConditionalWrite, Outcome, Rejected, RejectedKind, Stored, Target
from dynaview.sources.port import ScanPage
from dynaview.views.control.records import PageResult
from dynaview.views.rebuild.packed_page import Observed, PackedPage
from dynaview.views.rebuild.side_by_side import Patient
from dynaview.views.scanning.page_writer import BATCH, PendingPage, ScannedPage

HELD = 20
"""Batches that a sweep holds at once."""


@dataclass(frozen=True, slots=True)
class InPlace:
    """See the module. Safe to use from several threads."""

    patient: Patient
    bound: Bound
    target: Target

    def take(self, page: ScanPage[Any]) -> PendingPage:
        """Look now; compare and write when it is settled."""
        scanned = ScannedPage(self.patient.view, self.target.generation, page)
        due: list[Observed] = []
        for places, writes in scanned.batches(self.bound):
            seen = self.patient.retry(partial(self.target.read, [write.key for write in writes], contents=False))
            outcomes = [_conflict(write, row) for write, row in zip(writes, seen, strict=True)]
            scanned.reject(places, writes, outcomes)
            due += [
                Observed(place, write, row)
                for place, write, row, outcome in zip(places, writes, seen, outcomes, strict=True)
                if outcome is STALE and (row is None or row.generation < self.target.generation)
            ]
        at, result = time.time(), PageResult(scanned.matched, 0, scanned.letters)
        if not due:
            return PendingPage(lambda: result)
        held = PackedPage.of(page, due)
        return PendingPage(partial(self._settle, held, result, at), held.size)

    def _settle(self, held: PackedPage, taken: PageResult, at: float) -> PageResult:
        letters = [*taken.letters]
        self.patient.hold(at)
        due = held.due()
        while due:
            changed: list[Observed] = []
            for some in _batches(self._still_asked(due, held)):
                writes = [looked.write for looked in some]
                outcomes = self.patient.retry(
                    partial(
                        self.target.write_if_unchanged, [ConditionalWrite(looked.write, looked.seen) for looked in some]
                    )
                )
                if any(isinstance(outcome, Rejected) for outcome in outcomes):
                    scanned = ScannedPage(self.patient.view, self.target.generation, held.page(), letters)
                    scanned.reject([looked.place for looked in some], writes, outcomes)
                taken.rows += outcomes.count(APPLIED)
                changed += [looked for looked, outcome in zip(some, outcomes, strict=True) if outcome is STALE]
            due = self._looked_again(changed, held)
            if due:
                self.patient.hold(time.time())
        taken.letters = letters
        return taken

    def _looked_again(self, changed: list[Observed], held: PackedPage) -> list[Observed]:
        """Rows that changed under the look, still of an earlier generation: a paused worker wrote late. The sweep
        would take them for orphans; so their items are read anew, and the rows looked at again."""
        if not changed:
            return []
        rows = self.patient.retry(partial(self.target.read, [looked.write.key for looked in changed], contents=False))
        late = [
            looked for looked, row in zip(changed, rows, strict=True) if self._is_due(Observed(0, looked.write, row))
        ]
        if not late:
            return []
        images = self._read_again(held, late)
        asked = [
            (looked.place, write)
            for looked, image in zip(late, images, strict=True)
            for write in self._asked(image)
            if write.key == looked.write.key
        ]
        rows = self.patient.retry(partial(self.target.read, [write.key for _, write in asked], contents=False))
        found = [Observed(place, write, row) for (place, write), row in zip(asked, rows, strict=True)]
        return [looked for looked in found if self._is_due(looked)]

    def _is_due(self, looked: Observed) -> bool:
        if isinstance(_conflict(looked.write, looked.seen), Rejected):
            return False
        return looked.seen is None or looked.seen.generation < self.target.generation

    def _still_asked(self, due: list[Observed], held: PackedPage) -> list[Observed]:
        """A delete that meets the tombstone of another item leaves no trace, so the look cannot tell of it: the items
        of such rows are read again."""
        odd = [looked for looked in due if looked.seen is not None and looked.write.owner != looked.seen.owner]
        if not odd:
            return due
        images = self._read_again(held, odd)
        gone = {id(looked) for looked, image in zip(odd, images, strict=True) if looked.write not in self._asked(image)}
        return [looked for looked in due if id(looked) not in gone]

    def _read_again(self, held: PackedPage, rows: Sequence[Observed]) -> list[Image | None]:
        keys = held.page().keys
        return self.patient.read_again([keys[each.place] for each in rows])

    def _asked(self, image: Image | None) -> Sequence[Write]:
        """What an item asks for now; nothing where no row can be made of it, of which the pipeline keeps a dead
        letter."""
        try:
            return [] if image is None else self.bound.inserts(image)
        except ProjectionError:
            return []

    def sweep(self, swept: Callable[[int], None]) -> None:
        """Remove the rows that are still of an earlier generation once every scanned page is settled."""
        while self._sweep_once(swept):
            pass

    def _sweep_once(self, swept: Callable[[int], None]) -> bool:
        """Whether rows of an earlier generation were met: some of them may have changed under the look."""
        met = False
        held: deque[tuple[float, list[ConditionalWrite]]] = deque()
        for orphans in _pages(self.target.earlier()):
            met = True
            held.append((time.time(), [ConditionalWrite(Write(row.key, None, 0, row.owner), row) for row in orphans]))
            if len(held) >= HELD:
                self._remove(*held.popleft(), swept)
        while held:
            self._remove(*held.popleft(), swept)
        return met

    def _remove(self, at: float, mends: list[ConditionalWrite], swept: Callable[[int], None]) -> None:
        self.patient.hold(at)
        outcomes = self.patient.retry(partial(self.target.write_if_unchanged, mends))
        swept(sum(outcome is APPLIED for outcome in outcomes))


def _conflict(write: Write, seen: Stored | None) -> Outcome:
    if seen is None or seen.content is None or write.owner == seen.owner or not write.owner:
        return STALE
    return Rejected(
        f"row {write.key!r} belongs to item {seen.owner}, so item {write.owner} cannot have it", RejectedKind.OWNER
    )


def _batches(due: Sequence[Observed]) -> Iterator[list[Observed]]:
    """Batches in which no row key comes twice."""
    some, keys = list[Observed](), set[RowKey]()
    for looked in due:
        if len(some) >= BATCH or looked.write.key in keys:
            yield some
            some, keys = [], set()
        some.append(looked)
        keys.add(looked.write.key)
    if some:
        yield some


def _pages(rows: Iterator[Stored]) -> Iterator[list[Stored]]:
    some: list[Stored] = []
    for row in rows:
        some.append(row)
        if len(some) >= BATCH:
            yield some
            some = []
    if some:
        yield some
