"""Everything of one table: its stream's follower, the pipelines of its views, their first fills and rebuilds.

A worker opens its table in the background and keeps trying for as long as that takes, so one table that is missing
or forbidden holds up no view of another.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from dataclasses import dataclass, field
from functools import partial

from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import SinkError
from dynaview.sources.errors import StreamDisabled
from dynaview.sources.port import TableDescription
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import ViewRecord
from dynaview.views.daemon.letter_settling import LetterSettling, SettlingPace
from dynaview.views.daemon.monitor import RunMonitor, Unwatched
from dynaview.views.daemon.pipelines import TablePipelines
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.kept_table import KeptTable
from dynaview.views.meters import Meters
from dynaview.views.policy import Repeats
from dynaview.views.reasons import stream_gap
from dynaview.views.rebuild.context import RebuildContext, RebuildSettings, Turn
from dynaview.views.rebuild.scheduler import RebuildScheduler
from dynaview.views.retry import Retrier, Stopped
from dynaview.views.spans import NoSpans, Spans
from dynaview.views.states import ViewState
from dynaview.views.streaming.factory import FULL_IMAGES, PipelineFactory
from dynaview.views.streaming.pipeline import PipelineContext, PipelineSettings
from dynaview.views.streaming.stream_reader import FollowerSettings
from dynaview.views.threads import Threads
from dynaview.views.verify.schedule import VerificationSchedule
from dynaview.views.workers.assignment import halves
from dynaview.views.workers.coordinator import CoordinatorSettings, ShardCoordinator

log = logging.getLogger(__name__)


@dataclass(slots=True)
class WorkerSettings:
    """What a run may be told about pace and limits."""

    pipeline: PipelineSettings = field(default_factory=PipelineSettings)
    follower: FollowerSettings = field(default_factory=FollowerSettings)
    enable_stream: bool = False
    watch_every: float = 30.0
    """Seconds between two looks whether the table's stream is still the same."""
    drain_every: float = 1.0
    """Seconds between two looks whether a stream that was switched off is read to its end."""
    alive_every: float = 5.0
    """Seconds between two signs of life, whatever the views wait for."""
    standby_every: float = 1.0
    """Seconds between two tries to take over views that another process keeps."""
    tend_every: float = 0.5
    """Seconds between two looks whether what the pipelines have to do has changed."""
    meters_every: float = 5.0
    """Seconds between two times that what was counted for monitoring is sent."""
    purge_every: float = 3600.0
    """Seconds between two removals of old tombstones."""
    patience: float = 8.0
    """Seconds that an ending worker waits for AWS, and again for stores, that do not answer."""
    coordinator: CoordinatorSettings = field(default_factory=CoordinatorSettings)
    rebuild: RebuildSettings = field(default_factory=RebuildSettings)
    settling: SettlingPace = field(default_factory=SettlingPace)
    """Of dead letters that settle by themselves."""
    heals: bool = True
    """Whether a start tries again what a new start heals (see `ViewState.healed_by_start`)."""
    spans: Spans = field(default_factory=NoSpans)
    """What pages and batches are told to."""


class TableWorker:
    """Keeps the views of one source. `start`, then `stop`."""

    def __init__(
        self,
        table: KeptTable,
        settings: WorkerSettings,
        threads: Threads,
        monitor: RunMonitor | None = None,
        identity: str = "worker",
    ) -> None:
        """`identity` tells this process from others on the control store."""
        self._identity = identity
        self.identity = identity
        """What tells its present registration from others."""
        self._kept = table
        self.source = table.source
        self._views = list(table.views.values())
        self._control = table.control
        self._settings = settings
        self._all_threads = threads
        self._monitor = monitor or Unwatched()
        self._stop = threading.Event()
        self._over = threading.Event()
        """Set when this process is to stop, or was taken for dead by others and has to begin anew."""
        self._coordinator: ShardCoordinator | None = None
        self._pipelines: TablePipelines | None = None
        """Those of the stream that is followed."""
        self._rebuilds: RebuildScheduler | None = None
        """Of the stream that is followed."""
        self._supervisor, self._threads = threads.group(), threads.group()
        self._retrier = Retrier(self._over)
        self._repeats = Repeats()
        self.meters = Meters(table.source.name)
        self._shown = ""
        self._begun = False
        """Whether this process keeps the views: another one may."""

    def start(self) -> None:
        """Begin to work in the background."""
        self._supervisor.spawn(f"table-{self.source.name}", self._supervise)
        self._threads.spawn(f"alive-{self.source.name}", self._live)
        self._threads.spawn(f"revisions-{self.source.name}", self._tend)
        self._threads.spawn(f"meters-{self.source.name}", self._tell_meters)
        self._threads.spawn(f"tombstones-{self.source.name}", self._purge)
        rounds = VerificationSchedule(
            self.source.table,
            self._views,
            self._kept.reader,
            self._kept.sinks,
            self._control,
            self._stop,
            mine=partial(self._holds, "verify"),
        )
        self._threads.spawn(f"verify-{self.source.name}", rounds.run)
        mine = partial(self._holds, "letters")
        settling = LetterSettling(self._kept, self._stop, mine, self._settings.settling)
        self._threads.spawn(f"letters-{self.source.name}", settling.run)

    def stop(self) -> None:
        """End: batches in hand are finished and their checkpoints moved, as far as sinks and control store answer."""
        self._stop.set()
        self._over.set()
        patience = self._settings.patience
        left = self._supervisor.join(patience)
        if (pipelines := self._pipelines) is not None:
            left += pipelines.stop_reading(patience)
        left += self._threads.join(patience)  # first: one of them may open pipelines
        if pipelines is not None:
            left += pipelines.end(patience)
        if left:
            log.warning(
                "table %s: did not end in time: %s; what they have not confirmed is done again at the next start",
                self.source.table,
                ", ".join(left),
            )
        self._send_meters()
        if self._coordinator is not None:
            self._coordinator.stop(patience)

    def _live(self) -> None:
        """Give signs of life: a view that waits for its store, or its table, is not a view that nobody runs."""
        names = [view.name for view in self._views]
        while not self._stop.wait(self._settings.alive_every):
            if not self._begun or self._coordinator is None or not self._coordinator.first:
                continue
            try:
                self._control.set_seen(names)
            except ControlUnavailable as error:
                self._told(error)

    def _tell_meters(self) -> None:
        """Send what was counted to the control store, now and then and at the end."""
        while not self._stop.wait(self._settings.meters_every):
            self._send_meters()

    def _send_meters(self) -> None:
        meters = self.meters.all()
        news = {subject: counted for subject, meter in meters.items() if (counted := meter.news())}
        if not news:
            return
        try:
            self._control.meters.add(news)
        except ControlUnavailable as error:
            self._told(error)
            return
        for subject in news:
            meters[subject].told()

    def _purge(self) -> None:
        """Remove tombstones that no change can come too late for: see `purgeable`."""
        while not self._stop.wait(self._settings.purge_every):
            if (pipelines := self._pipelines) is None or not self._holds("purge"):
                continue
            for view, found in pipelines.purge():
                if isinstance(found, SinkError):
                    log.warning("view %s: its old tombstones stay for now: %s", view, found)
                elif found:
                    log.info("view %s: %d old tombstones removed", view, found)

    def _tend(self) -> None:
        """Take in what other workers say of the views, and ask of their pipelines."""
        while not self._stop.wait(self._settings.tend_every):
            if (pipelines := self._pipelines) is not None:
                try:
                    pipelines.tend(self._rebuilds)
                except ControlUnavailable as error:
                    self._told(error)

    # The supervisor's own thread

    def _supervise(self) -> None:
        while not self._stop.is_set():
            self._over = over = threading.Event()
            self._retrier = Retrier(over, f"table {self.source.table}", self._show)
            if self._stop.is_set():
                return
            with contextlib.suppress(Stopped):
                self._keep()
            self._begun = False
            over.wait()

    def _keep(self) -> None:
        """Register this process with the others, and follow the table's streams, one after the other. Raises
        `Stopped`."""
        marks = {view.name: fingerprint(view, self.source.table) for view in self._views}
        readers = self.source.readers
        dealt = halves({view.name: _cost(view) for view in self._views}) if readers > 1 else None
        make = partial(
            ShardCoordinator, self._control, self.source.name, marks, self._identity, self._settings.coordinator
        )
        self._coordinator = coordinator = self._retrier.insist(partial(make, self._over, dealt, readers))
        self.identity = coordinator.id
        coordinator.start(self._all_threads.group())
        self._take_ownership(coordinator)
        while True:
            self._follow(self._retrier.insist(self._open))

    def _holds(self, job: str) -> bool:
        """Whether a job that one worker does for all is this one's."""
        try:
            return self._coordinator is not None and self._coordinator.hold(job)
        except ControlUnavailable as error:
            self._told(error)
            return False

    def _follow(self, description: TableDescription) -> None:
        """Follow the table's stream until every view has come to the stream's end. Raises `Stopped`."""
        try:
            self._retrier.insist(partial(self._begin, description))
            while not self._over.wait(self._settings.watch_every):
                now = self._retrier.insist(self._kept.reader.describe)
                if now.stream_arn != description.stream_arn:
                    self._end_stream(now.stream_arn)
                    break
        except Stopped:
            self._leave()
            raise
        self._leave()

    def _leave(self) -> None:
        """Leave a stream: what is opened next is the table's other one."""
        pipelines, patience = self._pipelines, self._settings.patience
        if pipelines is None:
            return
        pipelines.leave()
        if self._stop.is_set():
            return  # `stop` ends it all
        pipelines.stop_reading(patience)
        while left := pipelines.end(patience):
            log.warning(
                "table %s: the pipelines of the stream before are still ending: %s; their stores hold them up",
                self.source.table,
                ", ".join(left),
            )
            if self._stop.is_set():
                return
        self._pipelines = None
        if self._coordinator is not None:
            self._coordinator.serve(None)

    def _take_ownership(self, coordinator: ShardCoordinator) -> None:
        """Wait until no other process keeps these views. Raises `Stopped`."""
        for name in sorted(view.name for view in self._views):
            said = False
            while not self._retrier.insist(lambda name=name: coordinator.take_ownership(name)):  # type: ignore[misc]  # a default is not inferred
                if not said:
                    log.warning(
                        "view %s is kept by another dynaview run, with other views or declarations, on this control "
                        "store; standing by",
                        name,
                    )
                    said = True
                self._over.wait(self._settings.standby_every)
        self._begun = True

    def _end_stream(self, other: str | None) -> None:
        """The followed stream is no longer the table's: read what it still holds, then every view has a gap.

        A stream that was switched off can be read for 24 more hours, and its shards are closed. What it holds belongs
        to the views; only what comes after it is lost. Each view goes to its gap as soon as it has everything, so a
        view whose store is down does so when the store is back (or when DynamoDB forgets the stream).
        """
        log.error(
            "table %s: its stream was switched off; what it still holds is read, then its views have a gap",
            self.source.table,
        )
        seen = time.time()
        while not self._over.is_set():
            shards = [] if self._pipelines is None else self._retrier.insist(self._pipelines.shards)
            pipelines = [] if self._pipelines is None else self._pipelines.all()
            first = self._coordinator is None or self._coordinator.first  # the others hear of it
            for pipeline in pipelines:
                if first and pipeline.failed is None and pipeline.inbox.drained(shards, seen):
                    pipeline.fail(
                        ViewState.GAP,
                        stream_gap(self.source.table, other, pipeline.inbox.passed, pipeline.name, pipeline.on_gap),
                    )
            if all(pipeline.failed is not None for pipeline in pipelines):
                return
            self._over.wait(self._settings.drain_every)

    def _open(self) -> TableDescription:
        description = self._kept.reader.describe()
        if description.stream_arn is None:
            if not self._settings.enable_stream:
                raise StreamDisabled(f"the stream of table {description.name} is off")
            description = self._kept.reader.enable_stream(FULL_IMAGES)
            log.info("table %s: its stream is on now (%s)", description.name, FULL_IMAGES)
        return description

    def _show(self, error: Exception, times: int) -> None:
        """Let status show what views without a pipeline wait for, while it is tried again."""
        if (self._pipelines is not None and self._pipelines.all()) or (times > 1 and str(error) == self._shown):
            return
        self._shown = str(error)
        try:
            if any(self._control.leases.sharing(view.name) for view in self._views):
                return  # other workers can go on, and say what there is to say
            for view in self._views:
                self._show_waiting(view, error)
        except ControlUnavailable as away:
            self._told(away)

    def _show_waiting(self, view: ViewDeclaration, error: Exception) -> None:
        mark = fingerprint(view, self.source.table)
        record = self._control.add_view(view.name, view.source, view.sink, mark, declaration=encode(view))
        if record.state is ViewState.GAP:  # it lasts, and waiting would hide it
            self.view_refused(record, ViewState.GAP, record.reason)
        elif isinstance(error, StreamDisabled) and record.stream_arn is not None:  # it was followed once
            lost = stream_gap(self.source.table, None, record.watermark, view.name, view.on_gap)
            self.view_refused(record, ViewState.GAP, lost)
        else:
            self._control.states.set(view.name, ViewState.WAITING, str(error))

    def _told(self, error: ControlUnavailable) -> None:
        """Log that the control store is away, once for everything that asks it time and again."""
        if (line := self._repeats.line("control", error, news=False)) is not None:
            log.warning("table %s: %s", self.source.table, line)

    def _begin(self, description: TableDescription) -> None:
        coordinator = self._coordinator
        assert coordinator is not None
        # Before records are read: from here on every revision of a view waits for this worker.
        first = not coordinator.join()
        factory = self._factory(description, coordinator)
        pipelines = TablePipelines(
            self._kept, factory, coordinator, self._all_threads, first and self._settings.heals, self._settings.patience
        )
        # Nothing below fails or is tried again.
        pipelines.start(self.pace())
        self._pipelines = pipelines
        self._retrier.insist(pipelines.tell)
        self._begin_rebuilds(pipelines, coordinator)

    def pace(self) -> FollowerSettings:
        """How shards are read: idle ones as seldom as the latency of the source allows."""
        settings, latency = self._settings.follower, self.source.latency
        if latency is None:
            return settings
        return dataclasses.replace(settings, poll_first=min(settings.poll_first, latency), poll_cap=latency)

    def _begin_rebuilds(self, pipelines: TablePipelines, coordinator: ShardCoordinator) -> None:
        """Advance first fills and rebuilds while this stream is followed, and ask for those that are due."""
        context = RebuildContext(
            kept=self._kept,
            factory=pipelines.factory,
            turn=Turn(coordinator, self._over, pipelines.left),
            settings=self._settings.rebuild,
        )
        self._rebuilds = RebuildScheduler(context)
        self._threads.spawn(f"rebuilds-{self.source.name}", self._rebuilds.run)

    def _factory(self, description: TableDescription, coordinator: ShardCoordinator) -> PipelineFactory:
        # Between two workers that a Lambda function is for a while, its other invocations write the views.
        settings = dataclasses.replace(self._settings.pipeline, says_stopped=self.source.lambda_timeout is None)
        context = PipelineContext(
            self._control,
            settings,
            owner=coordinator,
            monitor=self,
            meters=self.meters,
            spans=self._settings.spans,
        )
        return PipelineFactory(self.source.table, description, self._kept.views, self._kept.sinks, context)

    # What it hears of its views

    def view_refused(self, record: ViewRecord, state: ViewState, reason: str) -> None:
        """See `ViewMonitor`. Of several workers one logs it."""
        news = (record.state, record.reason) != (state, reason)
        if news or self._coordinator is None or self._coordinator.first:
            log.error("view %s: %s: %s", record.name, state, reason)
        if news:
            self._control.states.report(record.name, state, reason, record.revision, None)
        self._monitor.view_ended(record.name, state, reason)

    def view_failed(self, view: str, state: ViewState, reason: str) -> None:
        """See `ViewMonitor`."""
        self._monitor.view_ended(view, state, reason)


def _cost(view: ViewDeclaration) -> float:
    """About what a change costs in this view, in fields: what it costs at all, and each field."""
    return 8.0 + (8.0 if view.fields is None else len(view.fields))
