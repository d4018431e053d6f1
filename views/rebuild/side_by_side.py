"""Filling a generation that stands beside the live one: scanned rows are inserted only where nothing stands (law 6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from dynaview.projections.attributes import Image
from dynaview.projections.projection import Bound
from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, Outcome, Target
from dynaview.sources.port import Key, ScanPage
from dynaview.views.control.records import PageResult
from dynaview.views.scanning.page_writer import PendingPage, ScannedPage

T = TypeVar("T")


class Patient(Protocol):
    """Who waits for stores, tables and watermarks on behalf of one view. Every method raises what ends its rebuild."""

    view: str

    def retry(self, act: Callable[[], T]) -> T:
        """Do it, however long a store is away."""

    def hold(self, at: float) -> None:
        """Wait until the view's watermark has passed a time (seconds since 1970)."""

    def read_again(self, keys: Sequence[Key]) -> list[Image | None]:
        """These items as the table has them now."""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """See the module. Safe to use from several threads."""

    patient: Patient
    bound: Bound
    target: Target
    write: Callable[[Sequence[Write]], list[Outcome]] | None = None
    """In place of the target's own."""

    def take(self, page: ScanPage[Any]) -> PendingPage:
        """Everything is written at once."""
        scanned, rows = ScannedPage(self.patient.view, self.target.generation, page), 0
        for places, writes in scanned.batches(self.bound):
            outcomes = self.patient.retry(partial(self.write or self.target.write, writes))
            scanned.reject(places, writes, outcomes)
            rows += sum(outcome is APPLIED for outcome in outcomes)
        result = PageResult(scanned.matched, rows, scanned.letters)
        return PendingPage(lambda: result)
