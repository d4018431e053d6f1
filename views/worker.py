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
from typing import TypeVar

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler import compile_view
from dynaview.projections.declaration import Problem, SourceDeclaration, ViewDeclaration
from dynaview.projections.projection import Projection, ViewType
from dynaview.sinks.port import Sink
from dynaview.sources.errors import SourceError, StreamDisabled
from dynaview.sources.port import TableDescription, TableReader
from dynaview.views.control import ControlStore, ControlUnavailable, ViewRecord
from dynaview.views.fill import Fill
from dynaview.views.fingerprint import fingerprint
from dynaview.views.follower import Follower, FollowerSettings
from dynaview.views.lane import Lane, LaneSettings
from dynaview.views.policy import Backoff, anew, slow
from dynaview.views.threads import spawn

log = logging.getLogger(__name__)

T = TypeVar("T")

RETENTION = 24 * 3600
"""Seconds for which DynamoDB keeps stream records."""

FULL_IMAGES: ViewType = "NEW_AND_OLD_IMAGES"


@dataclass(slots=True)
class WorkerSettings:
    """What a run may be told about pace and limits."""

    lane: LaneSettings = field(default_factory=LaneSettings)
    follower: FollowerSettings = field(default_factory=FollowerSettings)
    enable_stream: bool = False
    watch_every: float = 30.0
    """Seconds between two looks whether the table's stream is still the same."""


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
    ) -> None:
        self.source = source
        self.table = table
        self._views = list(views)
        self._projections: dict[str, Projection] = {view.name: compile_view(view) for view in views}
        self._sinks = sinks
        self._control = control
        self._settings = settings
        self._crashed = crashed
        self._stop = threading.Event()
        self._lanes: list[Lane] = []
        self._threads: list[threading.Thread] = []
        self._follower: Follower | None = None
        self._supervisor: threading.Thread | None = None

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

    def stop(self) -> None:
        """End: batches in hand are finished and their checkpoints moved, as far as sinks and control store answer."""
        self._stop.set()
        if self._supervisor is not None:
            self._supervisor.join()
        if self._follower is not None:
            self._follower.stop()
        for lane in self._lanes:
            lane.end()
        for thread in self._threads:
            thread.join()

    # The supervisor's own thread

    def _supervise(self) -> None:
        description = self._insist(self._open)
        if description is None or description.stream_arn is None:
            return
        self._insist(lambda: self._begin(description))
        arn = description.stream_arn
        while not self._stop.wait(self._settings.watch_every):
            now = self._insist(self.table.describe)
            if now is not None and now.stream_arn != arn:
                what = "was switched off" if now.stream_arn is None else "is another one now"
                for lane in self._lanes:
                    lane.fail("gap", _changed_stream(self.source.table, what, lane.name))
                return

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
                if backoff.attempts == 0:
                    log.error("table %s: %s", self.source.table, error)
                    self._say_waiting(str(error))
                backoff.cap = 30.0 if isinstance(error, SourceError) and slow(error) else 10.0
            backoff.wait(self._stop)
        return None

    def _say_waiting(self, reason: str) -> None:
        """Let status show what views without a lane wait for."""
        if self._lanes:
            return
        try:
            for view in self._views:
                mark = fingerprint(view, self.source.table)
                self._control.add_view(view.name, view.source, view.sink, mark)
                self._control.set_state(view.name, "waiting", reason)
        except ControlUnavailable as error:
            log.error("%s", error)

    def _begin(self, description: TableDescription) -> None:
        shape = self._shape(description)
        begun = [record for view in self._views if (record := self._admit(view, description)) is not None]
        lanes = {record.name: self._lane(record, description, shape) for record in begun}
        self._lanes = list(lanes.values())
        if not self._lanes:
            return
        stream = self.table.stream(description.stream_arn or "", shape)
        self._follower = Follower(stream, self._lanes, self._settings.follower, crashed=self._crashed)
        self._threads += [spawn(f"view-{lane.name}", lane.run, self._crashed) for lane in self._lanes]
        self._follower.start()
        for record in begun:
            if not record.filled:
                self._threads += self._fill(record, lanes[record.name], shape).start(description.size)

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
        log.error("view %s: %s: %s", view.name, *obstacle)
        self._control.set_state(view.name, *obstacle)
        return None

    def _obstacle(
        self, view: ViewDeclaration, record: ViewRecord, mark: str, description: TableDescription
    ) -> tuple[str, str] | None:
        """State and reason where a view may not run."""
        remedy = anew(view.name)
        if problems := self._problems_of(view, description):
            return "refused", "; ".join(str(problem) for problem in problems)
        if record.fingerprint != mark:
            return "changed", f"the declaration ({view.at}) is not the one that built the view; restore it, or {remedy}"
        if record.stream_arn != description.stream_arn:
            return "gap", _changed_stream(self.source.table, "is another one now", view.name)
        # A shard of which nothing was read is opened at its oldest record, where a loss would not show.
        unread = any(not at.finished and at.sequence is None for at in self._control.checkpoints(view.name).values())
        if unread and time.time() - record.seen > RETENTION:
            return "gap", f"the view was last followed more than 24 hours ago, longer than streams reach back; {remedy}"
        return None

    def _lane(self, record: ViewRecord, description: TableDescription, shape: Shape) -> Lane:
        view = next(view for view in self._views if view.name == record.name)
        bound = self._projections[view.name].bind(shape, description.key, description.view_type or FULL_IMAGES)
        target = self._sinks[view.sink].open(view.layout, record.generation)
        checkpoints = self._control.checkpoints(view.name)
        return Lane(record, bound, target, self._control, checkpoints, self._settings.lane)

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
            crashed=self._crashed,
        )


def _changed_stream(table: str, what: str, view: str) -> str:
    return f"the stream of table {table} {what}: changes in between are in no stream; {anew(view)}"
