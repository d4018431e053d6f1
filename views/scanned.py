"""Scanned items on their way into a generation: projected, in batches that a sink can take, with what was rejected."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import Outcome, Rejected
from dynaview.sources.port import ScanPage
from dynaview.views.letterbox import DeadLetter
from dynaview.views.letters import scanned_letter, unreadable_letter

BATCH = 1000
"""Rows written together at the most."""


@dataclass(slots=True)
class Scanned:
    """A page of a scan on its way into one generation of a view; `letters` are what it left there."""

    view: str
    generation: int
    page: ScanPage[Any]
    letters: list[DeadLetter] = field(default_factory=list)
    _source: dict[RowKey, int] = field(default_factory=dict)

    def batches(self, bound: Bound) -> Iterator[list[Write]]:
        """What the items ask for. No batch holds a row key twice: of two items on one key the store decides (law 10).

        Each batch has to be dealt with before the next one is asked for.
        """
        for record in self.page.broken:
            self._keep(unreadable_letter(self.view, record, "scan", 0))
        writes: list[Write] = []
        for index, image in enumerate(self.page.images):
            try:
                asked = bound.inserts(image)
            except ProjectionError as error:
                key = self.page.keys[index]
                self._keep(scanned_letter(self.view, key, image, str(error), "projection", None))
                continue
            for write in asked:
                if len(writes) >= BATCH or write.key in self._source:
                    yield writes
                    writes, self._source = [], {}
                writes.append(write)
                self._source[write.key] = index
        if writes:
            yield writes
        self._source = {}

    def reject(self, writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
        """Keep what a store rejected of the batch that was asked for last."""
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, Rejected):
                at = self._source[write.key]
                key, image = self.page.keys[at], self.page.images[at]
                self._keep(scanned_letter(self.view, key, image, outcome.reason, outcome.kind.value, write.key))

    def _keep(self, letter: DeadLetter) -> None:
        self.letters.append(dataclasses.replace(letter, generation=self.generation))
