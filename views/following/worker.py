"""Everything of one table: its stream's follower, the lanes of its views, their first fills.

A worker opens its table in the background and keeps trying for as long as that takes, so one table that is missing
or forbidden holds up no view of another.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeVar

from dynaview.projections.compiler import compile_view
from dynaview.projections.declaration import Problem, SourceDeclaration, ViewDeclaration
from dynaview.sinks.port import Sink, SinkError
from dynaview.sources.errors import SourceError, StreamDisabled, StreamGone
from dynaview.sources.port import TableDescription, TableReader
from dynaview.views.control.store import ControlStore, ControlUnavailable, Segment, ViewRecord
from dynaview.views.declared.fingerprint import fingerprint
from dynaview.views.declared.recorded import recorded
from dynaview.views.faults import FAILED
from dynaview.views.following.fill import Fill
from dynaview.views.following.follower import Follower, FollowerSettings
from dynaview.views.following.lane import ENDS, Lane, LaneSettings
from dynaview.views.following.limit import OVERRUN
from dynaview.views.following.opening import FULL_IMAGES, Opening
from dynaview.views.gaps import GAP, stream_gap
from dynaview.views.policy import Backoff
from dynaview.views.rebuilds.driver import Rebuilder
from dynaview.views.rebuilds.site import Site
from dynaview.views.threads import join, spawn
from dynaview.views.verification.rounds import Rounds
from dynaview.views.workers.share import Share, ShareSettings

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class WorkerSettings:
    """What a run may be told about pace and limits."""

    lane: LaneSettings = field(default_factory=LaneSettings)
    follower: FollowerSettings = field(default_factory=FollowerSettings)
    enable_stream: bool = False
    watch_every: float = 30.0
    """Seconds between two looks whether the table's stream is still the same."""
    drain_every: float = 1.0
    """Seconds between two looks whether a stream that was switched off is read to its end."""
    alive_every: float = 5.0
    """Seconds between two signs of life, whatever the views wait for."""
    turn_every: float = 1.0
    """Seconds between two tries to take over views that another process keeps."""
    tend_every: float = 0.5
    """Seconds between two looks whether what the lanes have to do has changed."""
    purge_every: float = 3600.0
    """Seconds between two removals of old tombstones."""
    patience: float = 8.0
    """Seconds that an ending worker waits for AWS, and again for stores, that do not answer."""
    share: ShareSettings = field(default_factory=ShareSettings)


class Worker:
    """Keeps the views of one source. `start`, then `stop`."""

    def __init__(
        self,
        source: SourceDeclaration,
        views: Sequence[ViewDeclaration],
        table: TableReader,
        sinks: Mapping[str, Sink],
        control: ControlStore,
        settings: WorkerSettings,
        crashed: Callable[[], None],
        on_fail: Callable[[str, str, str], None] = lambda view, state, reason: None,
        identity: str = "worker",
    ) -> None:
        """`on_fail` hears view, state and reason of each view that cannot go on. `identity` tells this process from
        others on the control store."""
        self._identity = identity
        self.identity = identity
        """What tells its present registration from others."""
        self.source = source
        self.table = table
        self._views = list(views)
        self._sinks = sinks
        self._control = control
        self._settings = settings
        self._crashed = crashed
        self._on_fail = on_fail
        self._stop = threading.Event()
        self._over = threading.Event()
        """Set when this process is to stop, or was taken for dead by others and has to begin anew."""
        self._share: Share | None = None
        self._filling: set[str] = set()
        """Views whose fill was begun here."""
        self._lanes: dict[str, Lane] = {}
        self._running: dict[str, list[threading.Thread]] = {}
        """The threads of each lane and its fill."""
        self._steps: dict[str, int] = {}
        """The step that the lanes of each view have taken."""
        self._opened: Opening | None = None
        self._opening_lanes = threading.Lock()
        """Held while lanes are opened or left."""
        self._left = threading.Event()
        """Set when the stream that is followed is left for another one."""
        self._threads: list[threading.Thread] = []
        self._follower: Follower | None = None
        self._supervisor: threading.Thread | None = None
        self._begun = False
        """Whether this process keeps the views: another one may."""

    def problems(self, description: TableDescription) -> list[Problem]:
        """Why views cannot be kept from this table as it is (law 9)."""
        images = description.view_type or FULL_IMAGES
        return [problem for view in self._views for problem in compile_view(view).problems(description.key, images)]

    def start(self) -> None:
        """Begin to work in the background."""
        self._supervisor = spawn(f"table-{self.source.name}", self._supervise, self._crashed)
        self._threads.append(spawn(f"alive-{self.source.name}", self._live, self._crashed))
        self._threads.append(spawn(f"steps-{self.source.name}", self._tend, self._crashed))
        self._threads.append(spawn(f"tombstones-{self.source.name}", self._purge, self._crashed))
        rounds = Rounds(
            self.source.table,
            self._views,
            self.table,
            self._sinks,
            self._control,
            self._stop,
            mine=partial(self._holds, "verify"),
        )
        self._threads.append(spawn(f"verify-{self.source.name}", rounds.run, self._crashed))

    def stop(self) -> None:
        """End: batches in hand are finished and their checkpoints moved, as far as sinks and control store answer."""
        self._stop.set()
        self._over.set()
        patience = self._settings.patience
        left = [] if self._supervisor is None else join([self._supervisor], patience)
        if self._follower is not None:
            left += self._follower.stop(patience)
        left += join(self._threads, patience)  # first: one of them may open lanes
        for lane in self._lanes.values():
            lane.end()
        left += join([thread for threads in self._running.values() for thread in threads], patience)
        if left:
            log.warning(
                "table %s: not waited for any longer: %s; what they have not confirmed is done again at the next start",
                self.source.table,
                ", ".join(left),
            )
        if self._share is not None:
            self._share.stop(patience)

    def _live(self) -> None:
        """Give signs of life: a view that waits for its store, or its table, is not a view that nobody runs."""
        names = [view.name for view in self._views]
        while not self._stop.wait(self._settings.alive_every):
            if not self._begun or self._share is None or not self._share.first:
                continue
            try:
                self._control.set_seen(names)
            except ControlUnavailable as error:
                log.warning("%s", error)

    def _purge(self) -> None:
        """Remove tombstones that no change can come too late for: see `purgeable`."""
        while not self._stop.wait(self._settings.purge_every):
            if not self._holds("purge"):
                continue
            for lane in list(self._lanes.values()):
                age = lane.purgeable(time.time())
                if age is None:
                    continue
                try:
                    # While one fills only tombstones keep scanned items out that were deleted since.
                    kept = [output for output in lane.outputs if not output.bulk]
                    removed = sum(output.target.purge(timedelta(seconds=age)) for output in kept)
                except SinkError as error:
                    log.warning("view %s: its old tombstones stay for now: %s", lane.name, error)
                    continue
                if removed:
                    log.info("view %s: %d old tombstones removed", lane.name, removed)

    # The supervisor's own thread

    def _supervise(self) -> None:
        while not self._stop.is_set():
            self._over = threading.Event()
            if self._stop.is_set() or not self._enlist():
                return
            if self._take_turns():
                while (description := self._insist(self._open)) is not None and description.stream_arn is not None:
                    self._follow(description)
            self._begun = False
            self._over.wait()

    def _enlist(self) -> bool:
        """Register this process with the others; False where it is to stop meanwhile."""
        marks = {view.name: fingerprint(view, self.source.table) for view in self._views}
        make = partial(Share, self._control, self.source.name, marks, self._identity, self._settings.share)
        self._share = share = self._insist(partial(make, self._over.set))
        if share is None:
            return False
        self.identity = share.id
        share.start(self._crashed)
        return True

    def _holds(self, job: str) -> bool:
        """Whether a job that one worker does for all is this one's."""
        try:
            return self._share is not None and self._share.hold(job)
        except ControlUnavailable as error:
            log.warning("%s", error)
            return False

    def _follow(self, description: TableDescription) -> None:
        """Follow the table's stream until the worker is to stop, or every view has come to the stream's end."""
        self._insist(partial(self._begin, description))
        while not self._over.wait(self._settings.watch_every):
            now = self._insist(self.table.describe)
            if now is not None and now.stream_arn != description.stream_arn:
                self._end_stream(now.stream_arn)
                break
        self._leave()

    def _leave(self) -> None:
        """Leave a stream: what is opened next is the table's other one."""
        with self._opening_lanes:
            self._opened = None
        self._left.set()
        patience = self._settings.patience
        if self._stop.is_set() or self._follower is None:
            return  # `stop` ends it all
        self._follower.stop(patience)
        for lane in self._lanes.values():
            lane.end()
        while left := join([thread for threads in self._running.values() for thread in threads], patience):
            log.warning("table %s: its lanes have not ended yet: %s", self.source.table, ", ".join(left))
            if self._stop.is_set():
                return
        self._lanes, self._running, self._follower = {}, {}, None
        self._filling.clear()
        if self._share is not None:
            self._share.serve(None)

    def _take_turns(self) -> bool:
        """Wait until no other process keeps these views; False where the worker is to stop meanwhile."""
        for name in sorted(view.name for view in self._views):
            said = False
            while not self._takes_turn(name):
                if self._over.is_set():
                    return False
                if not said:
                    log.warning(
                        "view %s is kept by another dynaview run, with other views or declarations, on this control "
                        "store; standing by",
                        name,
                    )
                    said = True
                self._over.wait(self._settings.turn_every)
        self._begun = True
        return True

    def _takes_turn(self, view: str) -> bool:
        share = self._share
        return share is not None and bool(self._insist(lambda: share.take_turn(view)))

    def _end_stream(self, other: str | None) -> None:
        """The followed stream is no longer the table's: read what it still holds, then every view has a gap.

        A stream that was switched off can be read for 24 more hours, and its shards are closed. What it holds belongs
        to the views; only what comes after it is lost. Each view goes to its gap as soon as it has everything, so a
        view whose store is down does so when the store is back (or when DynamoDB forgets the stream).
        """
        log.error(
            "table %s: the stream that is followed was switched off; its rest is read, then its views have a gap",
            self.source.table,
        )
        seen = time.time()
        while not self._over.is_set():
            shards = self._insist(self._rest)
            lanes = list(self._lanes.values())
            for lane in lanes:
                if shards is not None and lane.failed is None and lane.intake.drained(shards, seen):
                    lane.fail(GAP, stream_gap(self.source.table, other, lane.intake.passed, lane.name, lane.on_gap))
            if all(lane.failed is not None for lane in lanes):
                return
            self._over.wait(self._settings.drain_every)

    def _rest(self) -> list[str]:
        """The shards of the followed stream; none where DynamoDB has forgotten it."""
        if self._follower is None:
            return []
        try:
            return [shard.id for shard in self._follower.stream.shards()]
        except StreamGone:
            return []

    def _open(self) -> TableDescription:
        description = self.table.describe()
        if description.stream_arn is None:
            if not self._settings.enable_stream:
                raise StreamDisabled(f"the stream of table {description.name} is off")
            description = self.table.enable_stream(FULL_IMAGES)
            log.info("table %s: its stream is on now (%s)", description.name, FULL_IMAGES)
        return description

    def _insist(self, act: Callable[[], T]) -> T | None:
        """Do it, however long the source or the control store is away; None where the worker is to stop."""
        backoff = Backoff()
        over = self._over
        while not over.is_set():
            try:
                return act()
            except (SourceError, ControlUnavailable) as error:
                if backoff.meet(error):
                    log.error("table %s: %s", self.source.table, error)
                    self._say_waiting(str(error), isinstance(error, StreamDisabled))
            backoff.wait(over)
        return None

    def _say_waiting(self, reason: str, off: bool) -> None:
        """Let status show what views without a lane wait for. `off`: there is no stream, which is a gap to a view that
        has followed one."""
        if self._lanes:
            return
        try:
            if any(self._control.crew.sharing(view.name) for view in self._views):
                return  # other workers can go on, and say what there is to say
            for view in self._views:
                mark = fingerprint(view, self.source.table)
                record = self._control.add_view(view.name, view.source, view.sink, mark, declaration=recorded(view))
                if record.state == GAP:  # it lasts, and waiting would hide it
                    self._refuse(view.name, GAP, record.reason)
                elif off and record.stream_arn is not None:
                    lost = stream_gap(self.source.table, None, record.watermark, view.name, view.on_gap)
                    self._refuse(view.name, GAP, lost)
                else:
                    self._control.set_state(view.name, "waiting", reason)
        except ControlUnavailable as error:
            log.error("%s", error)

    def _begin(self, description: TableDescription) -> None:
        share = self._share
        assert share is not None
        first = not share.join()  # before records are read: from here on every step of a view waits for this worker
        opening = self._opening(description)
        records = [self._register(view, description, first) for view in self._views]
        opened = [(record, opening.lane(view, record)) for view, record in zip(self._views, records, strict=True)]
        fills = {
            record.name: self._planned(opening, record, lane)
            for record, lane in opened
            if lane is not None and self._may_fill(record)
        }
        # Nothing below fails or is tried again: a second set of lanes would count every change twice.
        with self._opening_lanes:  # whoever tends steps is to find all lanes or none
            self._opened = opening
            self._follower = Follower(
                self.table.stream(description.stream_arn or "", opening.shape),
                [lane for _, lane in opened if lane is not None],
                self._settings.follower,
                crashed=self._crashed,
                on_ready=share.poke,
                stands=share.stands,
            )
            for record, lane in opened:
                self._steps[record.name] = record.step
                if lane is not None:
                    _heed(lane, record)
                    self._run(lane, fills.get(record.name))
            share.serve(self._follower)
            self._follower.start()
        for record in records:
            self._insist(partial(self._control.take_step, record.name, self.identity, record.step))
        self._begin_rebuilds(opening)

    def _begin_rebuilds(self, opening: Opening) -> None:
        """Advance rebuilds while this stream is followed, and ask for those that declarations ask for by themselves."""
        self._left = threading.Event()
        site = Site(
            source=self.source,
            views={view.name: view for view in self._views},
            table=self.table,
            sinks=self._sinks,
            control=self._control,
            opening=opening,
            workers=self._control.crew.sharing,
            mine=partial(self._holds, "rebuild"),
            stop=self._over,
            left=self._left,
        )
        self._threads.append(spawn(f"rebuilds-{self.source.name}", Rebuilder(site).run, self._crashed))

    def _opening(self, description: TableDescription) -> Opening:
        return Opening(
            self.source.table,
            description,
            {view.name: view for view in self._views},
            self._sinks,
            self._control,
            self._settings.lane,
            self._refuse,
            self._on_fail,
            self._share,
        )

    def _register(self, view: ViewDeclaration, description: TableDescription, first: bool) -> ViewRecord:
        """The view's record, made where this is its first start. The `first` of several workers goes on where the last
        ones ended for a reason that a new start heals."""
        mark, declaration = fingerprint(view, self.source.table), recorded(view)
        record = self._control.add_view(view.name, view.source, view.sink, mark, declaration=declaration)
        self._control.redeclare(view.name, mark, declaration)  # what does not touch rows may have changed
        if record.stream_arn is None and description.stream_arn is not None:
            self._control.set_stream(view.name, description.stream_arn)
            record = dataclasses.replace(record, stream_arn=description.stream_arn)
        if first and record.state in (OVERRUN, FAILED):
            self._control.set_state(view.name, "starting")
            record = dataclasses.replace(record, state="starting", reason="")
        return record

    def _refuse(self, view: str, state: str, reason: str) -> None:
        log.error("view %s: %s: %s", view, state, reason)
        self._control.set_state(view, state, reason)
        self._on_fail(view, state, reason)

    def _planned(self, opening: Opening, record: ViewRecord, lane: Lane) -> tuple[Fill, list[Segment]]:
        fill = Fill(
            view=record.name,
            generation=record.generation,
            table=self.table,
            shape=opening.shape,
            bound=lane.outputs[0].bound,
            target=lane.outputs[0].target,
            control=self._control,
            ready=lane.prepared,
            stop=lane.stop,
            done=lane.filled,
            lettered=lane.lettered,
            fault=lane.fault,
            crashed=self._crashed,
        )
        return fill, fill.plan(opening.description.size)

    def _may_fill(self, record: ViewRecord) -> bool:
        """Whether the first fill of a view is to be begun here: one worker does it, another goes on where it ended."""
        return _unfilled(record) and self._holds(f"fill {record.name} {record.generation}")

    def _run(self, lane: Lane, fill: tuple[Fill, list[Segment]] | None) -> None:
        self._lanes[lane.name] = lane
        self._running[lane.name] = [spawn(f"view-{lane.name}", lane.run, self._crashed)]
        if fill is not None:
            self._filling.add(lane.name)
            self._running[lane.name] += fill[0].start(fill[1])

    # Steps: what the lanes of a view have to do changes while they run

    def _tend(self) -> None:
        """Take in new steps of the views (see `ViewRecord.step`), and what other workers say of them."""
        while not self._stop.wait(self._settings.tend_every):
            opening = self._opened
            if opening is None:
                continue
            try:
                for record in self._control.views():
                    if record.name in self._steps:
                        with self._opening_lanes:
                            if opening is self._opened:
                                self._take_in(opening, record)
            except ControlUnavailable as error:
                log.warning("%s", error)

    def _take_in(self, opening: Opening, record: ViewRecord) -> None:
        lane = self._lanes.get(record.name)
        if record.step != self._steps[record.name]:
            self._reopen(opening, record)
        elif lane is not None:
            _heed(lane, record)
            if record.name not in self._filling and lane.failed is None and self._may_fill(record):
                fill, left = self._planned(opening, record, lane)
                self._filling.add(lane.name)
                self._running[lane.name] += fill.start(left)

    def _reopen(self, opening: Opening, record: ViewRecord) -> None:
        """End the view's lane and open it anew as its record says now. Where the old one has not ended yet (its store
        holds it up), another look follows."""
        follower = self._follower
        assert follower is not None
        lane = self._lanes.get(record.name)
        if lane is not None:
            follower.leave(lane)
            lane.end()
            if join(self._running[record.name], self._settings.patience):
                return
            del self._lanes[record.name]
            self._filling.discard(record.name)
        view = next(view for view in self._views if view.name == record.name)
        lane = opening.lane(view, record)
        fill = self._planned(opening, record, lane) if lane is not None and self._may_fill(record) else None
        self._steps[record.name] = record.step
        if lane is not None:
            follower.join(lane)
            if self._share is not None:
                self._share.poke()
            self._run(lane, fill)
        self._control.take_step(record.name, self.identity, record.step)


def _unfilled(record: ViewRecord) -> bool:
    """Whether a first fill is to be begun, or to go on: a rebuild takes its place."""
    return not record.filled and record.write_order == (record.generation,)


def _heed(lane: Lane, record: ViewRecord) -> None:
    """Let a lane know what other workers have said of its view."""
    if record.filled:
        lane.filled()
    if lane.failed is None and record.state in ENDS:
        lane.fail(record.state, record.reason)
    elif lane.failed is None and record.state == "stopped":
        lane.resay()
