"""The scan that the views of a job share: each takes part until it has dropped out, and none holds up the others.

A view that drops out for good is given up while the scan goes on. One that only cannot go on now (its store is away, or
it has stopped) gets a job of its own, with all views of the same store, which goes on from where the scan was.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from dynaview.sources.filters import scan_filter
from dynaview.sources.port import ScanPage
from dynaview.views.control.records import DeadLetter, PageCost, PageResult, Segment
from dynaview.views.reasons import fault_reason
from dynaview.views.rebuild.abandon import give_up
from dynaview.views.rebuild.context import (
    Cancelled,
    Interrupted,
    Paused,
    RebuildContext,
    RebuildFailed,
    Stalled,
    describe,
)
from dynaview.views.rebuild.view_rebuild import ViewRebuild
from dynaview.views.retry import Retrier
from dynaview.views.scanning.page_writer import FillStrategy, PendingPage
from dynaview.views.scanning.parallel_scan import MOST_SEGMENTS, ParallelScan
from dynaview.views.scanning.segment_reader import Scan, SegmentPages
from dynaview.views.states import ViewState

log = logging.getLogger(__name__)

T = TypeVar("T")


class Part(Protocol):
    """What is scanned in one go: the table, or one export in its turn."""

    @property
    def name(self) -> str:
        """Under which its segments are kept."""

    @property
    def source(self) -> Scan:
        """What is read."""

    @property
    def segments(self) -> int:
        """How many would be of use."""

    def strategy(self, rebuild: ViewRebuild) -> FillStrategy:
        """How its rows come into a view's generation."""


class Participant:
    """One view in the scan of a job. It remembers why it has dropped out, and is left alone from then on."""

    def __init__(self, rebuild: ViewRebuild, shared: SharedScan) -> None:
        self.rebuild = rebuild
        self.view = rebuild.view
        self.dropped: Exception | None = None
        """Why it takes part no more."""
        self._shared = shared
        self._strategy: FillStrategy | None = None
        self._inside = 0
        self._changed = threading.Condition()

    def attempt(self, act: Callable[[], T]) -> T | None:
        """Do something for the view; what ends its rebuild drops it out, and None is answered."""
        with self._changed:
            if self.dropped is not None:
                return None
            self._inside += 1
        try:
            with self.rebuild.holding_up():
                return act()
        except Interrupted:
            raise
        except Exception as error:  # noqa: BLE001 - looked at in `drop`
            self._shared.drop(self, error)
            return None
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    def begin(self, part: Part) -> None:
        """Take part in reading a part."""
        self._strategy = self.attempt(lambda: part.strategy(self.rebuild))

    def take(self, page: ScanPage[Any]) -> PendingPage | None:
        """See `segment_reader.Participant`."""
        strategy = self._strategy
        return None if strategy is None else self.attempt(lambda: strategy.take(page))

    def settle(self, page: PendingPage) -> PageResult | None:
        """See `segment_reader.Participant`."""
        return self.attempt(page.settle)

    def wait_idle(self) -> None:
        """Wait until no thread does anything for the view any more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside)


class SharedScan:
    """See the module. `read` part after part, then `close`."""

    def __init__(self, context: RebuildContext, job: str, rebuilds: Sequence[ViewRebuild]) -> None:
        self.context = context
        self.job = job
        self._all = [Participant(each, self) for each in rebuilds]
        self._recording = threading.Lock()
        """Held while the scan's progress, or who takes part in it, is recorded: a view that drops out to go on later
        must find the positions of no page that it does not have."""
        self._leaving: list[threading.Thread] = []

    def participants(self) -> list[Participant]:
        """Those that have not dropped out."""
        return [each for each in self._all if each.dropped is None]

    def rebuilds(self) -> list[ViewRebuild]:
        """Of those."""
        return [each.rebuild for each in self.participants()]

    def stalled(self) -> list[ViewRebuild]:
        """Those that go on later, by a job of their own."""
        return [each.rebuild for each in self._all if isinstance(each.dropped, Stalled)]

    def read(self, part: Part) -> None:
        """Scan a part for all that take part. Raises `SourceError`, `BadExport`, and `Interrupted`, also where nobody
        takes part any more; run again it goes on where it was."""
        for each in self.participants():
            each.begin(part)
        rebuilds, context = self.rebuilds(), self.context
        if not rebuilds:
            raise Interrupted
        only = scan_filter(each.declared.match for each in rebuilds)
        scan = ParallelScan(
            SegmentPages(part.source, context.factory.shape, only, self.participants()),
            PartJournal(self, part.name),
            rebuilds[0].capacity.rate(context.factory.description),
        )
        scan.run(rebuilds[0].rebuild.options.segments or max(1, min(MOST_SEGMENTS, part.segments)))

    def check(self) -> None:
        """Let whoever is to end drop out. Raises `Interrupted`, also where nobody takes part any more."""
        self.context.turn.check()
        for each in self.participants():
            each.attempt(each.rebuild.check)
        if not self.participants():
            raise Interrupted

    def retry(self, act: Callable[[], T]) -> T:
        """Do what concerns all, however long the control store is away."""
        return self.context.retry(act, self.subject)

    @property
    def subject(self) -> str:
        """The scan in the log's words."""
        return f"the scan of table {self.context.kept.source.table}"

    def close(self) -> None:
        """Wait until all that were to be given up are."""
        for thread in self._leaving:
            thread.join()

    # Dropping out

    def drop(self, participant: Participant, error: Exception) -> None:
        """Let a view take part no more, because of an error that ends its rebuild, or `Stalled`."""
        rebuild = participant.rebuild
        fill = rebuild.rebuild.kind == "fill"
        if not isinstance(error, Cancelled | RebuildFailed | Stalled):
            log.error("%s: a fault of dynaview, please report it", describe(rebuild.rebuild), exc_info=error)
            if fill:
                self._stop(rebuild, ViewState.FAILED, fault_reason(error))
                error = Stalled()
        with self._recording:
            if participant.dropped is not None:
                return
            if isinstance(error, Stalled):
                self._part(participant, alone=isinstance(error, Paused))
                return
            participant.dropped = error
        thread = threading.Thread(target=self._give_up, args=(participant, error), daemon=True)
        self._leaving.append(thread)
        thread.start()

    def _part(self, participant: Participant, alone: bool) -> None:
        """Let a view go on by a scan of its own; unless it goes `alone`, all of the same store go with it."""
        sink = participant.rebuild.declared.sink
        parted = [
            each
            for each in self.participants()
            if each is participant or (not alone and each.rebuild.declared.sink == sink)
        ]
        views = [each.view for each in parted]
        if len(views) < len(self.participants()):
            why = "is paused" if alone else "holds up others"
            log.warning("view %s %s: it goes on by a scan of its own", ", ".join(views), why)
            self.retry(lambda: self.context.store.part(self.job, views))
        for each in parted:
            each.dropped = Stalled()

    def _give_up(self, participant: Participant, error: Exception) -> None:
        participant.wait_idle()
        try:
            if isinstance(error, Cancelled):
                give_up(participant.rebuild, "cancelling", "")
            else:
                known = isinstance(error, RebuildFailed)
                give_up(participant.rebuild, "failing", str(error) if known else fault_reason(error))
        except Interrupted:
            pass  # it is recorded, so it goes on at the next start

    def _stop(self, rebuild: ViewRebuild, state: ViewState, reason: str) -> None:
        """A view that is filled for the first time stops, its pipelines too, until the next start goes on."""
        log.error("view %s: %s: %s", rebuild.view, state, reason)
        self.retry(lambda: self.context.kept.control.states.set(rebuild.view, state, reason))

    # Progress

    def save(self, name: str, segment: Segment, cost: PageCost, results: Mapping[str, PageResult]) -> None:
        """See `parallel_scan.Journal`."""
        with self._recording:
            self.retry(lambda: self.context.store.save_page(self.job, name, segment, cost, results))
        for each in self.participants():
            if (result := results.get(each.view)) is not None:
                self._count(each, result.letters)

    def _count(self, participant: Participant, letters: Sequence[DeadLetter]) -> None:
        if not letters or not (reason := participant.rebuild.too_many(letters)):
            return
        if participant.rebuild.rebuild.kind == "fill":
            self._stop(participant.rebuild, ViewState.OVERRUN, reason)
            self.drop(participant, Stalled())
        else:
            self.drop(participant, RebuildFailed(reason))


class PartJournal:
    """Where the scan of one part keeps how far it is."""

    def __init__(self, shared: SharedScan, name: str) -> None:
        self._shared = shared
        self._name = name

    def segments(self, count: int) -> list[Segment]:
        """See `parallel_scan.Journal`."""
        store = self._shared.context.store
        known = {segment.segment: segment for segment in self._shared.retry(lambda: store.segments(self._name))}
        for segment in known.values():
            count = segment.segments
        for index in range(count):  # a crash may have come between any two of them
            if index not in known:
                known[index] = Segment(index, count)
                self._shared.retry(lambda index=index: store.save_segment(self._name, known[index]))  # type: ignore[misc]  # a default is not inferred
        return list(known.values())

    def save(self, segment: Segment, cost: PageCost, results: Mapping[str, PageResult]) -> None:
        """See `parallel_scan.Journal`."""
        self._shared.save(self._name, segment, cost, results)

    def check(self) -> None:
        """See `parallel_scan.Journal`."""
        self._shared.check()

    def retrier(self, end: threading.Event) -> Retrier:
        """See `parallel_scan.Journal`."""
        return Retrier(end, self._shared.subject)
