"""Advancing the rebuilds of one source: one job after the other, in the process whose turn it is.

Whatever a job does is recorded first and may be done twice, so a process that is killed at any moment leaves nothing
but work for the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from dynaview.sinks.port import SinkError
from dynaview.sources.errors import BadExport, SourceError
from dynaview.sources.filters import scan_filter
from dynaview.sources.port import ScanPage
from dynaview.views.budget import Budget
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import GIVEN_UP, Generation, Options, Phase, Rebuild, Segment, ViewRecord
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.policy import Backoff, Repeats
from dynaview.views.reasons import fault_reason
from dynaview.views.rebuild.catch_up import History, TooLate
from dynaview.views.rebuild.context import Cancelled, Interrupted, RebuildContext, RebuildFailed, describe
from dynaview.views.rebuild.disputes import settle
from dynaview.views.rebuild.exports import Exports, Part
from dynaview.views.rebuild.side_by_side import FillStrategy, PageResult, PendingPage
from dynaview.views.rebuild.view_rebuild import ViewRebuild, retire
from dynaview.views.scanning.parallel_scan import SegmentScan, run_all
from dynaview.views.states import ViewState

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 1024 * 1024
"""About how much of a table one scan segment takes, up to `MOST_SEGMENTS`."""

MOST_SEGMENTS = 8

AGAIN = 600.0
"""Seconds after a failed (or cancelled) rebuild before a declaration asks for another one."""

LOOK = 0.5
"""Seconds between two looks for new requests."""

BEFORE_SCAN: tuple[Phase, ...] = ("requested", "starting", "scanning")


class RebuildScheduler:
    """Advances every rebuild of a source, and drops generations that need not be kept any longer. `run` is a thread's
    own; each job has a thread of its own, as one that waits for an answer holds up no other (law 7)."""

    def __init__(self, site: RebuildContext) -> None:
        self._site = site
        self._scanning = threading.Lock()
        self._running: dict[frozenset[str], threading.Thread] = {}
        """What is under way, by its views."""

    def run(self) -> None:
        """Until the site's `stop` is set, or its `left`."""
        site, repeats = self._site, Repeats()
        while not (site.stop.wait(LOOK) or site.left.is_set()):
            self._running = {views: thread for views, thread in self._running.items() if thread.is_alive()}
            try:
                if site.mine():
                    self._look()
            except ControlUnavailable as error:
                if (line := repeats.line(site.source.name, error, news=False)) is not None:
                    log.warning("rebuilds of table %s: %s", site.source.table, line)
        for thread in self._running.values():
            thread.join()

    def _look(self) -> None:
        site = self._site
        self._ask()
        jobs: dict[str, list[Rebuild]] = {}
        for each in site.store.all(site.source.name):
            if not each.ended:
                jobs.setdefault(each.job, []).append(each)
        for job, rebuilds in jobs.items():
            ours = [each for each in rebuilds if each.view in site.views]
            if ours and len(ours) < len(rebuilds):
                site.store.part(job, [each.view for each in ours])  # found with the next look
            elif ours:
                self._spawn([each.view for each in ours], Job(site, ours, self._scanning).run)
        rebuilding = {each.view for rebuilds in jobs.values() for each in rebuilds}
        for view in site.views:
            if view not in rebuilding and (due := self._due(view)):
                self._spawn([view], partial(self._retire, view, due))

    def _spawn(self, views: Sequence[str], act: Callable[[], None]) -> None:
        """Do it in a thread of its own, unless something is under way for one of the views."""
        named = frozenset(views)
        if any(named & other for other in self._running):
            return

        def run() -> None:
            try:
                act()
            except Interrupted:
                pass
            except ControlUnavailable as error:
                log.warning("rebuilding %s: %s; it is tried again", ", ".join(sorted(named)), error)
            except Exception:
                # Whatever it is, it ends nothing else (law 7). What it did is recorded, so it is tried again.
                log.exception("rebuilding %s: a fault of dynaview, please report it", ", ".join(sorted(named)))
                self._site.stop.wait(AGAIN)

        thread = threading.Thread(target=run, name=f"rebuild-{'-'.join(sorted(named))}", daemon=True)
        self._running[named] = thread
        thread.start()

    def _ask(self) -> None:
        """Request what declarations ask for by themselves: `on_gap: rebuild`, `on_change: rebuild`."""
        site = self._site
        asked = {each.view: each for each in site.store.all(site.source.name)}
        for view in site.views.values():
            record = site.control.view(view.name)
            mark = fingerprint(view, site.source.table)
            if record is None or ((last := asked.get(view.name)) is not None and not _may_ask(last, mark)):
                continue
            known = {each.fingerprint for each in site.control.generations(view.name)}
            why = ""
            if record.state is ViewState.GAP and view.on_gap == "rebuild":
                why = "on_gap"
            elif record.fingerprint != mark and view.on_change == "rebuild" and mark not in known:  # not rolled back
                why = "on_change"
            if why:
                log.warning("view %s: a rebuild begins, as its %s asks", view.name, why)
                site.store.request([view.name], site.source.name, {view.name: mark}, Options(asked_by=why))

    def _due(self, view: str) -> list[int]:
        """Generations of the view that are kept no longer: their time is over, or somebody removed them."""
        site = self._site
        due = []
        for each in site.control.generations(view):
            if each.role == "live":
                continue
            kept = each.role == "previous" and (each.keep_until or 0.0) > time.time()
            if not kept or self._is_gone(each):
                due.append(each.generation)
        return due

    def _is_gone(self, generation: Generation) -> bool:
        """Whether a kept generation was removed by hand. Asked only where a store refuses to write something."""
        site = self._site
        record = site.control.view(generation.view)
        if record is None or record.state is not ViewState.REFUSED:
            return False
        declared = site.opening.declared(site.views[generation.view], generation)
        if declared is None or declared.sink not in site.sinks:
            return False
        try:
            return site.sinks[declared.sink].gone(declared.layout, generation.generation) is not None
        except SinkError:
            return False

    def _retire(self, view: str, generations: Sequence[int]) -> None:
        site = self._site
        insist = partial(site.insist, what=f"view {view}")

        def order(record: ViewRecord) -> list[int]:
            return [each for each in record.write_order if each not in generations]

        insist(lambda: site.write_in(view, order))
        site.wait_written(view, site.check)
        for generation in generations:
            retire(site, view, generation, insist)


def _may_ask(last: Rebuild, mark: str) -> bool:
    """Whether a rebuild may be asked for by itself behind this one: one that failed is not tried again at once."""
    return last.ended and (last.phase == "done" or last.fingerprint != mark or time.time() - last.updated > AGAIN)


class Job:
    """Rebuilds of views that share a scan (or one rollback)."""

    def __init__(self, site: RebuildContext, rebuilds: Sequence[Rebuild], scanning: threading.Lock) -> None:
        """`scanning` is held while a job scans: one scan at a time takes the table's read capacity."""
        self._site = site
        self._scanning = scanning
        exports = rebuilds[0].options.exports
        self._exports = Exports(site, exports) if exports else None
        admit = None if self._exports is None else self._exports.admit
        self._members = [ViewRebuild(site, rebuild, admit) for rebuild in rebuilds]

    def run(self) -> None:
        """Until every member has ended. Raises `Interrupted` where the process is to end."""
        self._each([each for each in self._members if each.rebuild.phase in GIVEN_UP], lambda member: member.leave())
        rollbacks = [member for member in self._members if member.rebuild.kind == "rollback"]
        self._each(self._going(rollbacks), lambda member: member.roll_back())
        members = [member for member in self._members if member not in rollbacks]
        self._each(self._going(members), lambda member: member.resume())
        self._each(self._going(members, ("requested",)), lambda member: member.begin())
        self._each(self._going(members, BEFORE_SCAN), lambda member: member.start())
        if scanned := self._going(members, BEFORE_SCAN):
            self._take_turn(scanned)
        self._each(self._going(members), lambda member: member.finish())

    def _going(self, members: Sequence[ViewRebuild], phases: tuple[Phase, ...] | None = None) -> list[ViewRebuild]:
        return [
            member
            for member in members
            if not member.rebuild.ended and (phases is None or member.rebuild.phase in phases)
        ]

    def _each(self, members: Sequence[ViewRebuild], act: Callable[[ViewRebuild], None]) -> None:
        """Side by side: one that waits for an answer holds up no other."""
        ended: list[Interrupted] = []

        def run(member: ViewRebuild) -> None:
            try:
                self._guarded(member, partial(act, member))
            except Interrupted as error:
                ended.append(error)

        threads = [threading.Thread(target=run, args=(member,), daemon=True) for member in members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if ended:
            raise ended[0]

    def _guarded(self, member: ViewRebuild, act: Callable[[], None]) -> None:
        """What ends the rebuild of one view ends no other."""
        try:
            act()
        except Interrupted:
            raise
        except Cancelled:
            member.give_up("cancelling", "")
        except RebuildFailed as error:
            member.give_up("failing", str(error))
        except (SinkError, SourceError, ControlUnavailable) as error:
            log.warning("%s: %s", describe(member.rebuild), error)
            raise Interrupted from None  # another look follows
        except Exception as error:
            log.exception("the rebuild of view %s failed; this is a fault of dynaview, please report it", member.view)
            member.give_up("failing", fault_reason(error))

    # The scan

    def _take_turn(self, members: list[ViewRebuild]) -> None:
        while not self._scanning.acquire(timeout=0.1):
            for member in members:
                self._guarded(member, member.check)
            members = self._going(members)
        try:
            self._scan(members)
        finally:
            self._scanning.release()

    def _scan(self, members: list[ViewRebuild]) -> None:
        for member in members:
            if member.rebuild.phase != "scanning":
                member.enter("scanning")
                member.update(scan_began=time.time())
        backoff = Backoff()
        while members := self._going(members):
            try:
                self._scan_once(members)
                break
            except (BadExport, TooLate) as error:
                for member in members:
                    self._guarded(member, _Left(member, RebuildFailed(str(error))).again)
            except SourceError as error:
                if backoff.meet(error):
                    log.warning("the scan of table %s: %s", self._site.source.table, error)
                backoff.wait(self._site.stop)
                self._site.check()
            except _Left as left:
                self._guarded(left.member, left.again)
            except Interrupted:
                raise
            except Exception as error:
                log.exception("the scan of table %s: a fault of dynaview, please report it", self._site.source.table)
                for member in members:
                    member.give_up("failing", fault_reason(error))
                return
        for member in self._going(members):
            member.update(scan_end=time.time(), phase="waiting" if member.rebuild.kind == "in place" else "finishing")

    def _scan_once(self, members: list[ViewRebuild]) -> None:
        site, job = self._site, members[0].rebuild.job
        if self._exports is None:
            size = site.opening.description.size
            self._scan_part(members, Part(job, site.table, size // SEGMENT_BYTES, ViewRebuild.filling))
            return
        History(site, job, members, self._exports.time, _leaving).run()
        since = time.time()
        for part in self._exports.parts(job):
            self._scan_part(members, part)
        for member in members:
            with _leaving(member):
                member.hold(since)
                settle(member)

    def _scan_part(self, members: list[ViewRebuild], part: Part) -> None:
        site, job = self._site, part.name
        options = members[0].rebuild.options
        end = threading.Event()
        fillings: list[tuple[str, FillStrategy]] = []
        for member in members:
            with _leaving(member):
                fillings.append((member.view, _Leaving(member, part.filling(member))))
        by_name = {member.view: member for member in members}
        only = scan_filter(member.declared.match for member in members)

        def check() -> None:
            if end.is_set():
                raise Interrupted
            for member in members:
                with _leaving(member):
                    member.check()

        def wait(seconds: float) -> bool:
            check()
            return site.stop.wait(seconds)

        budget = Budget(options.capacity.rate(site.opening.description), wait)

        def taken(view: str, taken: PageResult, items: int, units: float) -> None:
            with _leaving(by_name[view]):
                by_name[view].taken(taken, items, units)

        scans = [
            SegmentScan(
                segment, part.source, site.opening.shape, only, budget, lambda: fillings, taken,
                lambda segment: members[0].insist_once(lambda: site.store.save_segment(job, segment)), check,
            )
            for segment in self._segments(job, options.segments or max(1, min(MOST_SEGMENTS, part.size)))
            if not segment.finished
        ]  # fmt: skip
        run_all(scans, end)

    def _segments(self, job: str, count: int) -> list[Segment]:
        """The segments of the scan, as they were planned when it began."""
        known = {segment.segment: segment for segment in self._site.store.segments(job)}
        for segment in known.values():
            count = segment.segments
        for index in range(count):
            if index not in known:
                known[index] = Segment(index, count)
                self._site.store.save_segment(job, known[index])
        return list(known.values())


class _Left(Exception):
    """A member cannot go on while the scan of the others can."""

    def __init__(self, member: ViewRebuild, error: Exception) -> None:
        super().__init__(str(error))
        self.member = member
        self.error = error

    def again(self) -> None:
        raise self.error


@contextmanager
def _leaving(member: ViewRebuild) -> Iterator[None]:
    """Turns what ends one member into `_Left`."""
    try:
        yield
    except (Cancelled, RebuildFailed) as error:
        raise _Left(member, error) from None


@dataclass(frozen=True, slots=True)
class _Leaving:
    """A filling that a member may leave at any moment."""

    member: ViewRebuild
    inner: FillStrategy

    def take(self, page: ScanPage[Any]) -> PendingPage:
        with _leaving(self.member):
            settle = self.inner.take(page)

        def settled() -> PageResult:
            with _leaving(self.member):
                return settle()

        return PendingPage(settled, settle.held)
