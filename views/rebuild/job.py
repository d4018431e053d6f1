"""A job: rebuilds and first fills of views that share a scan, or a rollback.

Whatever it does is recorded first and may be done twice, so a process that is killed at any moment leaves nothing but
work for the next one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from dynaview.sinks.port import SinkError
from dynaview.sources.errors import BadExport, SourceError
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import GIVEN_UP, Phase, Rebuild
from dynaview.views.policy import Backoff
from dynaview.views.reasons import fault_reason
from dynaview.views.rebuild.abandon import give_up, leave
from dynaview.views.rebuild.begin import begin, start
from dynaview.views.rebuild.catch_up import CatchUp, TooLate
from dynaview.views.rebuild.context import (
    Cancelled,
    Interrupted,
    Paused,
    RebuildContext,
    RebuildFailed,
    Stalled,
    describe,
)
from dynaview.views.rebuild.disputes import settle
from dynaview.views.rebuild.exports import Exports
from dynaview.views.rebuild.phases import after_scan, finish, roll_back
from dynaview.views.rebuild.shared_scan import SharedScan
from dynaview.views.rebuild.view_rebuild import ViewRebuild
from dynaview.views.scanning.page_writer import FillStrategy
from dynaview.views.scanning.parallel_scan import SEGMENT_BYTES
from dynaview.views.scanning.segment_reader import Scan

log = logging.getLogger(__name__)

BEFORE_SCAN: tuple[Phase, ...] = ("requested", "starting", "scanning")

LOOK = 0.1
"""Seconds between two looks whether it is a job's turn to scan."""


class ScanTurn:
    """One job of a table scans at a time: its read capacity is shared by nobody."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waiting = 0
        """How many jobs wait for it."""

    @contextmanager
    def taken(self, meanwhile: Callable[[], None]) -> Iterator[None]:
        """Wait for the turn, and have it until the end of the block. `meanwhile` is called now and then."""
        self.waiting += 1
        try:
            while not self._lock.acquire(timeout=LOOK):
                meanwhile()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._lock.release()


@dataclass(frozen=True, slots=True)
class TablePart:
    """The table itself, as what is scanned."""

    name: str
    source: Scan
    segments: int

    def strategy(self, rebuild: ViewRebuild) -> FillStrategy:
        """See `shared_scan.Part`."""
        return rebuild.strategy()


class Job:
    """See the module. `run` it in a thread of its own."""

    def __init__(self, context: RebuildContext, rebuilds: Sequence[Rebuild], turn: ScanTurn) -> None:
        """`rebuilds` are of one job."""
        self._context = context
        self._name = rebuilds[0].job
        self._turn = turn
        self._has_turn = False
        exports = rebuilds[0].options.exports
        self._exports = Exports(context, exports) if exports else None
        self._lock = threading.Lock()
        self._rebuilds = [ViewRebuild(context, rebuild, self) for rebuild in rebuilds]
        self._preparing: set[str] = set()
        self._shared: SharedScan | None = None

    def views(self) -> set[str]:
        """The views that it works for: those that go on by a job of their own are its no more."""
        gone = [] if self._shared is None else self._shared.stalled()
        return {each.view for each in self._rebuilds if each not in gone}

    def waits_for(self, rebuild: ViewRebuild) -> bool:
        """See `view_rebuild.Company`."""
        if self._has_turn and self._turn.waiting:
            return True
        sink = rebuild.declared.sink
        going = self._going(self._rebuilds, BEFORE_SCAN)
        return any(each.view in self.views() and each.declared.sink != sink for each in going)

    def run(self) -> None:
        """Until every view has ended, or goes on by a job of its own. Raises `Interrupted` where the process is to
        end."""
        given_up = [each for each in self._rebuilds if each.rebuild.phase in GIVEN_UP]
        leaving = threading.Thread(target=self._leave, args=(given_up,), daemon=True)
        leaving.start()
        try:
            self._run([each for each in self._rebuilds if each not in given_up])
        finally:
            leaving.join()

    def _leave(self, rebuilds: Sequence[ViewRebuild]) -> None:
        with suppress(Interrupted):
            self._each(rebuilds, leave)

    def _run(self, rebuilds: Sequence[ViewRebuild]) -> None:
        rollbacks = [each for each in rebuilds if each.rebuild.kind == "rollback"]
        self._each(self._going(rollbacks), roll_back)
        others = [each for each in rebuilds if each.rebuild.kind != "rollback"]
        self._each(self._going(others), self._prepare)
        if scanned := self._going(others, BEFORE_SCAN):
            self._scan(scanned)
        self._each(self._going(others), finish)

    def _going(self, rebuilds: Sequence[ViewRebuild], phases: tuple[Phase, ...] | None = None) -> list[ViewRebuild]:
        return [
            each
            for each in rebuilds
            if each in self._rebuilds and not each.rebuild.ended and (phases is None or each.rebuild.phase in phases)
        ]

    def _prepare(self, rebuild: ViewRebuild) -> None:
        rebuild.resume()
        self._preparing.add(rebuild.view)
        with rebuild.holding_up():
            if rebuild.rebuild.phase == "requested":
                begin(rebuild, self._exports)
            if rebuild.rebuild.phase in BEFORE_SCAN:
                start(rebuild)
        self._preparing.discard(rebuild.view)

    def _each(self, rebuilds: Sequence[ViewRebuild], act: Callable[[ViewRebuild], None]) -> None:
        """Side by side: one that waits for an answer holds up no other."""
        ended: list[Interrupted] = []

        def run(rebuild: ViewRebuild) -> None:
            try:
                self._guarded(rebuild, act)
            except Interrupted as error:
                ended.append(error)

        threads = [threading.Thread(target=run, args=(each,), daemon=True) for each in rebuilds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if ended:
            raise ended[0]

    def _guarded(self, rebuild: ViewRebuild, act: Callable[[ViewRebuild], None]) -> None:
        """What ends the rebuild of one view ends no other."""
        try:
            act(rebuild)
        except Interrupted:
            raise
        except Stalled as why:
            self._part(rebuild, alone=isinstance(why, Paused))
        except Cancelled:
            give_up(rebuild, "cancelling", "")
        except RebuildFailed as error:
            give_up(rebuild, "failing", str(error))
        except (SinkError, SourceError, ControlUnavailable) as error:
            log.warning("%s: %s", describe(rebuild.rebuild), error)
            raise Interrupted from None  # another look follows
        except Exception as error:
            log.exception("%s: a fault of dynaview, please report it", describe(rebuild.rebuild))
            give_up(rebuild, "failing", fault_reason(error))

    def _part(self, rebuild: ViewRebuild, alone: bool) -> None:
        """Let a view go on by a job of its own; unless it goes `alone`, with all of the same store that are not ready
        to be scanned either."""
        with self._lock:
            if rebuild not in self._rebuilds:
                return
            sink = rebuild.declared.sink
            parted = [
                each
                for each in self._rebuilds
                if each is rebuild or (not alone and each.declared.sink == sink and each.view in self._preparing)
            ]
            views = [each.view for each in parted]
            if len(parted) < len(self._rebuilds):
                why = "is paused" if alone else "holds up others"
                log.warning("view %s %s: it goes on by a scan of its own", ", ".join(views), why)
                self._context.retry(lambda: self._context.store.part(self._name, views), f"view {rebuild.view}")
            self._rebuilds = [each for each in self._rebuilds if each not in parted]

    # The scan

    def _scan(self, rebuilds: Sequence[ViewRebuild]) -> None:
        self._shared = shared = SharedScan(self._context, self._name, rebuilds)
        try:
            with self._turn.taken(shared.check):
                self._has_turn = True
                try:
                    self._read(shared)
                finally:
                    self._has_turn = False
        finally:
            shared.close()
        for each in shared.rebuilds():
            each.reload()
            each.update(scan_end=time.time(), phase=after_scan(each))
        gone = shared.stalled()
        self._rebuilds = [each for each in self._rebuilds if each not in gone]

    def _read(self, shared: SharedScan) -> None:
        for each in shared.rebuilds():
            if each.rebuild.phase != "scanning":
                each.enter("scanning")
                each.update(scan_began=time.time())
        backoff = Backoff()
        while True:
            try:
                self._read_parts(shared)
                return
            except (BadExport, TooLate) as error:
                for taking_part in shared.participants():
                    shared.drop(taking_part, RebuildFailed(str(error)))
                return
            except SourceError as error:
                if backoff.meet(error):
                    log.warning("the scan of table %s: %s", self._context.kept.source.table, error)
                backoff.wait(self._context.turn.stop)
                shared.check()

    def _read_parts(self, shared: SharedScan) -> None:
        context = self._context
        if self._exports is None:
            shared.read(TablePart(self._name, context.kept.reader, context.factory.description.size // SEGMENT_BYTES))
            return
        CatchUp(shared, self._exports.time).run()
        since = time.time()
        for part in self._exports.parts(self._name):
            shared.read(part)
        for each in shared.participants():
            each.attempt(partial(_settle, each.rebuild, since))


def _settle(rebuild: ViewRebuild, since: float) -> None:
    rebuild.hold(since)
    settle(rebuild)
