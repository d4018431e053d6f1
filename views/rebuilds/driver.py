"""Advancing the rebuilds of one source: one job after the other, in the process whose turn it is.

Whatever a job does is recorded first and may be done twice, so a process that is killed at any moment leaves nothing
but work for the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dynaview.sinks.port import SinkError
from dynaview.sources.errors import BadExport, SourceError
from dynaview.sources.filters import scan_filter
from dynaview.sources.port import ScanPage
from dynaview.views.control import ControlUnavailable
from dynaview.views.faults import fault_reason
from dynaview.views.fingerprint import fingerprint
from dynaview.views.gaps import GAP
from dynaview.views.policy import Backoff
from dynaview.views.rebuilds.beside import Filling, Settle, Taken
from dynaview.views.rebuilds.budget import Budget
from dynaview.views.rebuilds.disputes import settle
from dynaview.views.rebuilds.exported import Exports, Part
from dynaview.views.rebuilds.history import History, TooLate
from dynaview.views.rebuilds.member import Member, retire
from dynaview.views.rebuilds.scan import SegmentScan, run_all
from dynaview.views.rebuilds.site import Cancelled, Ended, Obstructed, Site
from dynaview.views.rebuilds.store import Options, Phase, Rebuild
from dynaview.views.segments import Segment

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 1024 * 1024
"""About how much of a table one scan segment takes, up to `MOST_SEGMENTS`."""

MOST_SEGMENTS = 8

SHARE = 0.5
"""Of a table's provisioned read capacity that a scan takes where nothing else is said."""

AGAIN = 600.0
"""Seconds after a failed (or cancelled) rebuild before a declaration asks for another one."""

BEFORE_SCAN: tuple[Phase, ...] = ("requested", "starting", "scanning")


class Rebuilder:
    """Advances every rebuild of a source, and drops generations that need not be kept any longer. `run` is a thread's
    own."""

    def __init__(self, site: Site, every: float = 0.5) -> None:
        """`every` so many seconds it looks for new requests."""
        self._site = site
        self._every = every

    def run(self) -> None:
        """Until the site's `stop` is set, or its `left`."""
        site = self._site
        while not (site.stop.wait(self._every) or site.left.is_set()):
            try:
                if site.mine():
                    self._look()
            except Ended:
                continue
            except ControlUnavailable as error:
                log.warning("%s", error)

    def _look(self) -> None:
        site = self._site
        self._ask()
        open_jobs = [each for each in site.store.all(site.source.name) if not each.ended and each.view in site.views]
        if open_jobs:
            first = open_jobs[0].job
            Job(site, [each for each in open_jobs if each.job == first]).run()
        else:
            self._retire()

    def _ask(self) -> None:
        """Request what declarations ask for by themselves: `on_gap: rebuild`, `on_change: rebuild`."""
        site = self._site
        asked = {each.view: each for each in site.store.all(site.source.name)}
        for view in site.views.values():
            record = site.control.view(view.name)
            if record is None or ((last := asked.get(view.name)) is not None and not _may_ask(last)):
                continue
            mark = fingerprint(view, site.source.table)
            known = {each.fingerprint for each in site.control.generations(view.name)}
            why = ""
            if record.state == GAP and view.on_gap == "rebuild":
                why = "on_gap"
            elif record.fingerprint != mark and view.on_change == "rebuild" and mark not in known:  # not rolled back
                why = "on_change"
            if why:
                log.warning("view %s: a rebuild begins, as its %s asks", view.name, why)
                site.store.request([view.name], site.source.name, {view.name: mark}, Options(asked_by=why))

    def _retire(self) -> None:
        site = self._site
        for view in site.views:
            for generation in site.control.generations(view):
                if generation.role != "previous" or (generation.keep_until or 0.0) > time.time():
                    continue
                record = site.record(view)
                if generation.generation in record.write_order:
                    site.store.write_in(view, [each for each in record.write_order if each != generation.generation])
                site.wait_written(view, site.check)
                retire(site, view, generation.generation, partial(site.insist, what=f"view {view}"))


def _may_ask(last: Rebuild) -> bool:
    """Whether a rebuild may be asked for by itself behind this one: one that failed is not tried again at once."""
    return last.ended and (last.phase == "done" or time.time() - last.updated > AGAIN)


class Job:
    """Rebuilds of views that share a scan (or one rollback)."""

    def __init__(self, site: Site, rebuilds: Sequence[Rebuild]) -> None:
        self._site = site
        exports = rebuilds[0].options.exports
        self._exports = Exports(site, exports) if exports else None
        admit = None if self._exports is None else self._exports.admit
        self._members = [Member(site, rebuild, admit) for rebuild in rebuilds]
        self._lock = threading.Lock()

    def run(self) -> None:
        """Until every member has ended. Raises `Ended` where the process is to end."""
        rollbacks = [member for member in self._members if member.rebuild.kind == "rollback"]
        for member in rollbacks:
            self._guarded(member, member.roll_back)
        members = [member for member in self._members if member not in rollbacks]
        for member in members:
            if member.rebuild.phase == "requested":
                self._guarded(member, member.begin)
        for member in self._going(members, BEFORE_SCAN):
            self._guarded(member, member.start)
        if scanned := self._going(members, BEFORE_SCAN):
            self._scan(scanned)
        self._each(self._going(members), lambda member: member.finish())

    def _going(self, members: Sequence[Member], phases: tuple[Phase, ...] | None = None) -> list[Member]:
        return [
            member
            for member in members
            if not member.rebuild.ended and (phases is None or member.rebuild.phase in phases)
        ]

    def _each(self, members: Sequence[Member], act: Callable[[Member], None]) -> None:
        """Side by side: one that waits for an answer holds up no other."""
        ended: list[Ended] = []

        def run(member: Member) -> None:
            try:
                self._guarded(member, partial(act, member))
            except Ended as error:
                ended.append(error)

        threads = [threading.Thread(target=run, args=(member,), daemon=True) for member in members]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if ended:
            raise ended[0]

    def _guarded(self, member: Member, act: Callable[[], None]) -> None:
        """What ends the rebuild of one view ends no other."""
        try:
            act()
        except Ended:
            raise
        except Cancelled:
            member.give_up("cancelled", "")
        except Obstructed as error:
            member.give_up("failed", str(error))
        except (SinkError, SourceError, ControlUnavailable):
            raise Ended from None  # another look follows
        except Exception as error:
            log.exception("the rebuild of view %s failed; this is a fault of dynaview, please report it", member.view)
            member.give_up("failed", fault_reason(error))

    # The scan

    def _scan(self, members: list[Member]) -> None:
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
                    self._guarded(member, _Left(member, Obstructed(str(error))).again)
            except SourceError as error:
                if backoff.meet(error):
                    log.warning("the scan of table %s: %s", self._site.source.table, error)
                backoff.wait(self._site.stop)
                self._site.check()
            except _Left as left:
                self._guarded(left.member, left.again)
        for member in self._going(members):
            member.update(scan_end=time.time(), phase="waiting" if member.rebuild.kind == "in place" else "finishing")

    def _scan_once(self, members: list[Member]) -> None:
        site, job = self._site, members[0].rebuild.job
        if self._exports is None:
            size = site.opening.description.size
            self._scan_part(members, Part(job, site.table, size // SEGMENT_BYTES, Member.filling))
            return
        History(site, job, members, self._exports.time, _leaving).run()
        since = time.time()
        for part in self._exports.parts(job):
            self._scan_part(members, part)
        for member in members:
            with _leaving(member):
                member.hold(since)
                settle(member)

    def _scan_part(self, members: list[Member], part: Part) -> None:
        site, job = self._site, part.name
        options = members[0].rebuild.options
        end = threading.Event()
        fillings: list[tuple[str, Filling]] = []
        for member in members:
            with _leaving(member):
                fillings.append((member.view, _Leaving(member, part.filling(member))))
        by_name = {member.view: member for member in members}
        budget = Budget(self._units(options.max_read_units), lambda seconds: site.stop.wait(min(seconds, 1.0)))
        only = scan_filter(member.declared.match for member in members)

        def check() -> None:
            if end.is_set():
                raise Ended
            for member in members:
                with _leaving(member):
                    member.check()

        def taken(view: str, taken: Taken, items: int, units: float) -> None:
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

    def _units(self, asked: float | None) -> float | None:
        provisioned = self._site.opening.description.read_units
        if asked is not None or provisioned is None:
            return asked
        return provisioned * SHARE

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

    def __init__(self, member: Member, error: Exception) -> None:
        super().__init__(str(error))
        self.member = member
        self.error = error

    def again(self) -> None:
        raise self.error


class _leaving:
    """Turns what ends one member into `_Left`."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Cancelled | Obstructed):
            raise _Left(self._member, error) from None


class _Leaving:
    """A filling whatever ends the member of which ends that member only."""

    def __init__(self, member: Member, filling: Filling) -> None:
        self._member = member
        self._filling = filling

    def take(self, page: ScanPage[Any]) -> Settle:
        """See `Filling.take`."""
        with _leaving(self._member):
            settle = self._filling.take(page)

        def settled() -> Taken:
            with _leaving(self._member):
                return settle()

        return settled
