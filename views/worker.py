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

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler import compile_view
from dynaview.projections.declaration import Problem, SourceDeclaration, ViewDeclaration
from dynaview.projections.projection import Projection, ViewType
from dynaview.sinks.port import Sink, SinkError
from dynaview.sources.errors import SourceError, StreamDisabled, StreamGone
from dynaview.sources.port import TableDescription, TableReader
from dynaview.views.control import ControlStore, ControlUnavailable, ViewRecord
from dynaview.views.faults import FAILED, fault_reason
from dynaview.views.fill import Fill
from dynaview.views.fingerprint import fingerprint
from dynaview.views.follower import RETENTION, Follower, FollowerSettings
from dynaview.views.gaps import GAP, gap_reason, moment, stream_gap
from dynaview.views.lane import Lane, LaneSettings
from dynaview.views.policy import Backoff, anew
from dynaview.views.threads import join, spawn

log = logging.getLogger(__name__)

T = TypeVar("T")

FULL_IMAGES: ViewType = "NEW_AND_OLD_IMAGES"


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
    purge_every: float = 3600.0
    """Seconds between two removals of old tombstones."""
    patience: float = 8.0
    """Seconds that an ending worker waits for AWS, and again for stores, that do not answer."""


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
    ) -> None:
        """`on_fail` hears view, state and reason of each view that cannot go on."""
        self.source = source
        self.table = table
        self._views = list(views)
        self._projections: dict[str, Projection] = {view.name: compile_view(view) for view in views}
        self._sinks = sinks
        self._control = control
        self._settings = settings
        self._crashed = crashed
        self._on_fail = on_fail
        self._stop = threading.Event()
        self._lanes: list[Lane] = []
        self._threads: list[threading.Thread] = []
        self._follower: Follower | None = None
        self._supervisor: threading.Thread | None = None
        self._begun = False
        """Whether this process keeps the views: another one may."""

    def problems(self, description: TableDescription) -> list[Problem]:
        """Why views cannot be kept from this table as it is (law 9)."""
        found: list[Problem] = []
        for view in self._views:
            found += self._problems_of(view, description)
        return found

    def _problems_of(self, view: ViewDeclaration, description: TableDescription) -> list[Problem]:
        images = description.view_type or FULL_IMAGES
        return self._projections[view.name].problems(description.key, images)

    def start(self) -> None:
        """Begin to work in the background."""
        self._supervisor = spawn(f"table-{self.source.name}", self._supervise, self._crashed)
        self._threads.append(spawn(f"alive-{self.source.name}", self._live, self._crashed))
        self._threads.append(spawn(f"tombstones-{self.source.name}", self._purge, self._crashed))

    def stop(self) -> None:
        """End: batches in hand are finished and their checkpoints moved, as far as sinks and control store answer."""
        self._stop.set()
        patience = self._settings.patience
        left = [] if self._supervisor is None else join([self._supervisor], patience)
        if self._follower is not None:
            left += self._follower.stop(patience)
        for lane in self._lanes:
            lane.end()
        left += join(self._threads, patience)
        if left:
            log.warning(
                "table %s: not waited for any longer: %s; what they have not confirmed is done again at the next start",
                self.source.table,
                ", ".join(left),
            )

    def _live(self) -> None:
        """Give signs of life: a view that waits for its store, or its table, is not a view that nobody runs."""
        names = [view.name for view in self._views]
        while not self._stop.wait(self._settings.alive_every):
            if not self._begun:
                continue
            try:
                self._control.set_seen(names)
            except ControlUnavailable as error:
                log.warning("%s", error)

    def _purge(self) -> None:
        """Remove tombstones that no change can come too late for: see `purgeable`."""
        while not self._stop.wait(self._settings.purge_every):
            for lane in self._lanes:
                age = lane.purgeable(time.time())
                if age is None:
                    continue
                try:
                    removed = lane.target.purge(timedelta(seconds=age))
                except SinkError as error:
                    log.warning("view %s: its old tombstones stay for now: %s", lane.name, error)
                    continue
                if removed:
                    log.info("view %s: %d old tombstones removed", lane.name, removed)

    # The supervisor's own thread

    def _supervise(self) -> None:
        if not self._take_turns():
            return
        description = self._insist(self._open)
        if description is None or description.stream_arn is None:
            return
        self._insist(lambda: self._begin(description))
        arn = description.stream_arn
        while not self._stop.wait(self._settings.watch_every):
            now = self._insist(self.table.describe)
            if now is not None and now.stream_arn != arn:
                self._end_stream(now.stream_arn)
                return

    def _take_turns(self) -> bool:
        """Wait until no other process keeps these views; False where the worker is to stop meanwhile."""
        for name in sorted(view.name for view in self._views):
            said = False
            while not self._takes_turn(name):
                if self._stop.is_set():
                    return False
                if not said:
                    log.warning("view %s is kept by another dynaview run on this control store; standing by", name)
                    said = True
                self._stop.wait(self._settings.turn_every)
        self._begun = True
        return True

    def _takes_turn(self, view: str) -> bool:
        return bool(self._insist(lambda: self._control.turns.take(view)))

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
        while not self._stop.is_set():
            shards = self._insist(self._rest)
            for lane in self._lanes:
                if shards is not None and lane.failed is None and lane.drained(shards, seen):
                    lane.fail(GAP, stream_gap(self.source.table, other, lane.passed, lane.name, lane.on_gap))
            if all(lane.failed is not None for lane in self._lanes):
                return
            self._stop.wait(self._settings.drain_every)

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
        while not self._stop.is_set():
            try:
                return act()
            except (SourceError, ControlUnavailable) as error:
                if backoff.meet(error):
                    log.error("table %s: %s", self.source.table, error)
                    self._say_waiting(str(error), isinstance(error, StreamDisabled))
            backoff.wait(self._stop)
        return None

    def _say_waiting(self, reason: str, off: bool) -> None:
        """Let status show what views without a lane wait for. `off`: there is no stream, which is a gap to a view that
        has followed one."""
        if self._lanes:
            return
        try:
            for view in self._views:
                mark = fingerprint(view, self.source.table)
                record = self._control.add_view(view.name, view.source, view.sink, mark)
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
        shape = self._shape(description)
        begun = [record for view in self._views if (record := self._admit(view, description)) is not None]
        opened = [self._opened(record, description, shape) for record in begun]
        lanes = {lane.name: lane for lane in opened if lane is not None}
        stream = self.table.stream(description.stream_arn or "", shape)
        fills = [
            (fill, fill.plan(description.size))
            for record in begun
            if record.name in lanes and not record.filled
            for fill in [self._fill(record, lanes[record.name], shape)]
        ]
        # Nothing below fails or is tried again: a second set of lanes would count every change twice.
        self._lanes = list(lanes.values())
        if not self._lanes:
            return
        self._follower = Follower(stream, self._lanes, self._settings.follower, crashed=self._crashed)
        self._threads += [spawn(f"view-{lane.name}", lane.run, self._crashed) for lane in self._lanes]
        self._follower.start()
        for fill, left in fills:
            self._threads += fill.start(left)

    def _shape(self, description: TableDescription) -> Shape:
        names: set[str] | None = set(description.key)
        for projection in self._projections.values():
            if names is None or projection.attributes is None:
                names = None
            else:
                names |= projection.attributes
        return Shape(names)

    def _admit(self, view: ViewDeclaration, description: TableDescription) -> ViewRecord | None:
        """The view's record, where it may run as it is declared; else its state says why not."""
        mark = fingerprint(view, self.source.table)
        record = self._control.add_view(view.name, view.source, view.sink, mark)
        if record.stream_arn is None and description.stream_arn is not None:
            self._control.set_stream(view.name, description.stream_arn)
            record = dataclasses.replace(record, stream_arn=description.stream_arn)
        obstacle = self._obstacle(view, record, mark, description)
        if obstacle is None:
            return record
        self._refuse(view.name, *obstacle)
        return None

    def _refuse(self, view: str, state: str, reason: str) -> None:
        log.error("view %s: %s: %s", view, state, reason)
        self._control.set_state(view, state, reason)
        self._on_fail(view, state, reason)

    def _obstacle(
        self, view: ViewDeclaration, record: ViewRecord, mark: str, description: TableDescription
    ) -> tuple[str, str] | None:
        """State and reason where a view may not run."""
        remedy = anew(view.name)
        if problems := self._problems_of(view, description):
            return "refused", "; ".join(str(problem) for problem in problems)
        if record.fingerprint != mark:
            return "changed", f"the declaration ({view.at}) is not the one that built the view; restore it, or {remedy}"
        if record.state == GAP:  # its checkpoints may stand behind what was lost, so nothing else may show it
            return GAP, record.reason
        if record.stream_arn != description.stream_arn:
            arn = description.stream_arn
            return GAP, stream_gap(self.source.table, arn, record.watermark, view.name, view.on_gap)
        # A shard of which nothing was read is opened at its oldest record, where a loss would not show.
        unread = any(not at.finished and at.sequence is None for at in self._control.checkpoints(view.name).values())
        last = record.seen if record.watermark is None else min(record.seen, record.watermark)
        if unread and time.time() - last > RETENTION:
            what = "the view was last followed more than 24 hours ago, longer than streams reach back"
            end = moment(time.time() - RETENTION)
            return GAP, gap_reason(what, moment(record.watermark), end, view.name, view.on_gap)
        return None

    def _opened(self, record: ViewRecord, description: TableDescription, shape: Shape) -> Lane | None:
        """The view's lane, or None where an error nobody expected stands in its way."""
        try:
            return self._lane(record, description, shape)
        except (SourceError, ControlUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this view's alone (law 7)
            self._refuse(record.name, FAILED, fault_reason(error))
            return None

    def _lane(self, record: ViewRecord, description: TableDescription, shape: Shape) -> Lane:
        view = next(view for view in self._views if view.name == record.name)
        bound = self._projections[view.name].bind(shape, description.key, description.view_type or FULL_IMAGES)
        target = self._sinks[view.sink].open(view.layout, record.generation)
        checkpoints = self._control.checkpoints(view.name)
        limits = view.dead_letters
        settings = dataclasses.replace(self._settings.lane, letters=limits.limit, letters_within=limits.within)
        lane = Lane(record, bound, target, self._control, checkpoints, settings, on_gap=view.on_gap)
        lane.gone = partial(self._sinks[view.sink].gone, view.layout, record.generation)
        lane.on_fail = lambda state, reason: self._on_fail(view.name, state, reason)
        return lane

    def _fill(self, record: ViewRecord, lane: Lane, shape: Shape) -> Fill:
        return Fill(
            view=record.name,
            generation=record.generation,
            table=self.table,
            shape=shape,
            bound=lane.bound,
            target=lane.target,
            control=self._control,
            ready=lane.prepared,
            stop=lane.stop,
            done=lane.filled,
            lettered=lane.lettered,
            fault=lane.fault,
            crashed=self._crashed,
        )
