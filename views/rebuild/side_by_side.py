"""Filling a generation that stands beside the live one: scanned rows are inserted only where nothing stands (law 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from dynaview.projections.projection import Bound
from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, Outcome, Target
from dynaview.sources.port import ScanPage
from dynaview.views.control.records import DeadLetter
from dynaview.views.scanning.page_writer import Scanned

T = TypeVar("T")


class Insist(Protocol):
    """Does something however long a store is away; raises where the rebuild is to end."""

    def __call__(self, act: Callable[[], T]) -> T: ...


@dataclass(slots=True)
class PageResult:
    """What became of a page in one view."""

    rows: int = 0
    letters: Iterable[DeadLetter] = ()


@dataclass(frozen=True, slots=True)
class PendingPage:
    """Call it to wait until everything of a page is durable in the view."""

    act: Callable[[], PageResult]
    held: int = 0
    """About how many bytes are kept until then; 0 where nothing has to be waited for."""

    def __call__(self) -> PageResult:
        return self.act()


class FillStrategy(Protocol):
    """One way to bring scanned rows into a generation."""

    def take(self, page: ScanPage[Any]) -> PendingPage:
        """Begin with a page; the caller settles pages in their order."""


@dataclass(frozen=True, slots=True)
class SideBySide:
    """See the module. Safe to use from several threads."""

    view: str
    bound: Bound
    target: Target
    insist: Insist
    write: Callable[[Sequence[Write]], list[Outcome]] | None = None
    """In place of the target's own."""

    def take(self, page: ScanPage[Any]) -> PendingPage:
        """Everything is written at once."""
        scanned, taken = Scanned(self.view, self.target.generation, page), PageResult()
        for places, writes in scanned.batches(self.bound):
            outcomes = self.insist(partial(self.write or self.target.write, writes))
            scanned.reject(places, writes, outcomes)
            taken.rows += sum(outcome is APPLIED for outcome in outcomes)
        taken.letters = scanned.letters
        return PendingPage(lambda: taken)
