"""Advancing the rebuilds and first fills of one source, one job beside the other, in the process whose turn it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import SinkError
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import Generation, Kind, Options, Rebuild, Request, ViewRecord
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.policy import Repeats
from dynaview.views.rebuild.abandon import retire
from dynaview.views.rebuild.context import Interrupted, RebuildContext
from dynaview.views.rebuild.job import Job, ScanTurn
from dynaview.views.states import ViewState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """What is under way in a thread of its own."""

    thread: threading.Thread
    views: Callable[[], set[str]]
    """The views that it works for now."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a view asks for by itself."""

    kind: Kind
    why: str


class RebuildScheduler:
    """Advances every rebuild of a source, and drops generations that need not be kept any longer. `run` is a thread's
    own; each job has a thread of its own, as one that waits for an answer holds up no other (law 7)."""

    def __init__(self, context: RebuildContext) -> None:
        self._context = context
        self._scan_turn = ScanTurn()
        self._running: list[_Running] = []
        self._began = time.time()

    def run(self) -> None:
        """Until the process is to end, or leaves the table's stream."""
        turn, repeats = self._context.turn, Repeats()
        while not (turn.stop.wait(self._context.settings.look_every) or turn.left.is_set()):
            self._running = [each for each in self._running if each.thread.is_alive()]
            try:
                if turn.mine():
                    self._look()
            except ControlUnavailable as error:
                if (line := repeats.line(self._context.kept.source.name, error, news=False)) is not None:
                    log.warning("rebuilds of table %s: %s", self._context.kept.source.table, line)
        for each in self._running:
            each.thread.join()

    def _look(self) -> None:
        context = self._context
        # What was asked for, before what came of it: a fill that ends in between is still under way here. The other way
        # round its view would be read as unfilled, its fill as done, and the table be scanned once more.
        asked = {each.view: each for each in context.store.all(context.kept.source.name)}
        records = {record.name: record for record in context.kept.control.views() if record.name in context.kept.views}
        self._ask(asked, records)
        jobs: dict[str, list[Rebuild]] = {}
        for each in context.store.all(context.kept.source.name):
            if not each.ended:
                jobs.setdefault(each.job, []).append(each)
        for job, rebuilds in jobs.items():
            ours = [each for each in rebuilds if each.view in context.kept.views]
            paused = [each for each in ours if _is_paused(records.get(each.view))]
            if ours and len(ours) < len(rebuilds):
                context.store.part(job, [each.view for each in ours])  # found with the next look
            elif paused:
                if len(paused) < len(ours) and not any(self.works_on(each.view) for each in ours):
                    context.store.part(job, [each.view for each in paused])
            elif any(not _stands_still(each, records.get(each.view)) for each in ours):
                made = Job(context, ours, self._scan_turn)
                self._spawn({each.view for each in ours}, made.run, made.views)
        rebuilding = {each.view for rebuilds in jobs.values() for each in rebuilds}
        for view in context.kept.views:
            if view not in rebuilding and not _is_paused(records.get(view)) and (due := self._due(view)):
                self._spawn({view}, partial(self._retire, view, due), lambda view=view: {view})  # type: ignore[misc]  # a default is not inferred

    def works_on(self, view: str) -> bool:
        """Whether something is under way for a view."""
        return any(each.thread.is_alive() and view in each.views() for each in self._running)

    def _spawn(self, views: set[str], act: Callable[[], None], still: Callable[[], set[str]]) -> None:
        """Do it in a thread of its own, unless something is under way for one of the views."""
        if any(views & each.views() for each in self._running):
            return
        named = ", ".join(sorted(views))

        def run() -> None:
            try:
                act()
            except Interrupted:
                pass
            except ControlUnavailable as error:
                log.warning("rebuilding %s: %s; it is tried again", named, error)
            except Exception:
                # Whatever it is, it ends nothing else (law 7). What it did is recorded, so it is tried again.
                log.exception("rebuilding %s: a fault of dynaview, please report it", named)
                self._context.turn.stop.wait(self._context.settings.again_after)

        thread = threading.Thread(target=run, name=f"rebuild-{'-'.join(sorted(views))}", daemon=True)
        self._running.append(_Running(thread, still))
        thread.start()

    # What is asked for by itself

    def _ask(self, asked: Mapping[str, Rebuild], records: Mapping[str, ViewRecord]) -> None:
        """Request first fills, and what declarations ask for (`on_gap: rebuild`, `on_change: rebuild`): whatever is due
        now by one scan. `asked` are the last rebuilds by view, read before `records`."""
        context = self._context
        marks = {view.name: fingerprint(view, context.kept.source.table) for view in context.kept.views.values()}
        due: dict[_Wanted, list[str]] = {}
        for name, record in records.items():
            wanted = self._wanted(context.kept.views[name], record, marks[name])
            if wanted is not None and self._may_ask(asked.get(name), wanted.kind, marks[name]):
                due.setdefault(wanted, []).append(name)
        for wanted, names in due.items():
            if wanted.kind == "fill":
                log.info("view %s: the first fill begins, by one scan of the table", ", ".join(names))
            else:
                log.warning("view %s: a rebuild begins, as %s asks", ", ".join(names), wanted.why)
        capacity = context.settings.capacity
        requests = [
            Request(names, wanted.kind, Options(asked_by=wanted.why, capacity=capacity))
            for wanted, names in due.items()
        ]
        if requests:
            context.store.request_together(context.kept.source.name, marks, requests)

    def _wanted(self, view: ViewDeclaration, record: ViewRecord, mark: str) -> _Wanted | None:
        if record.paused is not None:
            return None
        if record.state is ViewState.GAP:
            return _Wanted("beside", "on_gap") if view.on_gap == "rebuild" else None
        if not record.filled and record.write_order == (record.generation,):
            if record.state.ends:
                return None
            # Nobody has seen a whole view of the declaration before it, so this one's takes its place.
            return _Wanted("fill" if record.fingerprint == mark else "beside", "dynaview run")
        if record.fingerprint != mark and view.on_change == "rebuild":
            known = {each.fingerprint for each in self._context.kept.control.generations(view.name)}
            return None if mark in known else _Wanted("beside", "on_change")  # else it was rolled back
        return None

    def _may_ask(self, last: Rebuild | None, kind: Kind, mark: str) -> bool:
        """Whether it may be asked for by itself behind the last one: what failed is not tried again at once, and a fill
        that was cancelled not before the next start."""
        if last is None:
            return True
        if not last.ended:
            return last.kind == "fill" and kind != "fill"
        if last.phase == "done" or last.fingerprint != mark:
            return True
        if kind == "fill" and last.kind != "fill":  # what had taken its place was given up
            return True
        if kind == "fill" and last.phase == "cancelled":
            return last.updated < self._began
        return time.time() - last.updated > self._context.settings.again_after

    # Generations that are kept no longer

    def _due(self, view: str) -> list[int]:
        """Generations of the view that are kept no longer: their time is over, or somebody removed them."""
        due = []
        for each in self._context.kept.control.generations(view):
            if each.role == "live":
                continue
            kept = each.role == "previous" and (each.keep_until or 0.0) > time.time()
            if not kept or self._is_gone(each):
                due.append(each.generation)
        return due

    def _is_gone(self, generation: Generation) -> bool:
        """Whether a kept generation was removed by hand. Asked only where a store refuses to write something."""
        context = self._context
        record = context.kept.control.view(generation.view)
        if record is None or record.state is not ViewState.REFUSED:
            return False
        declared = context.factory.declared(context.kept.views[generation.view], generation)
        if declared is None or declared.sink not in context.kept.sinks:
            return False
        try:
            return context.kept.sinks[declared.sink].gone(declared.layout, generation.generation) is not None
        except SinkError:
            return False

    def _retire(self, view: str, generations: Sequence[int]) -> None:
        context = self._context
        retry = partial(context.retry, subject=f"view {view}")

        def order(record: ViewRecord) -> list[int]:
            return [each for each in record.write_order if each not in generations]

        retry(lambda: context.write_in(view, order))
        context.wait_written(view, partial(context.check, view))
        for generation in generations:
            retire(context, view, generation, retry)


def _is_paused(record: ViewRecord | None) -> bool:
    return record is not None and record.paused is not None


def _stands_still(rebuild: Rebuild, record: ViewRecord | None) -> bool:
    """Whether a first fill waits until its view goes on."""
    return rebuild.kind == "fill" and record is not None and record.state.ends
