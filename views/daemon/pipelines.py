"""The pipelines of a table's views while one stream is followed: opened with it, opened anew when what they have to do
changes, ended with it."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from datetime import timedelta

from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import SinkError
from dynaview.sources.errors import StreamGone
from dynaview.views.control.records import ViewRecord
from dynaview.views.daemon.retention import RetentionWatch
from dynaview.views.kept_table import KeptTable
from dynaview.views.rebuild.scheduler import RebuildScheduler
from dynaview.views.states import ViewState
from dynaview.views.streaming.admission import registered
from dynaview.views.streaming.factory import PipelineFactory
from dynaview.views.streaming.pipeline import ViewPipeline
from dynaview.views.streaming.stream_reader import Follower, FollowerSettings
from dynaview.views.threads import Threads
from dynaview.views.workers.coordinator import ShardCoordinator

log = logging.getLogger(__name__)

AWAITED = 600.0
"""Seconds after a moment for which it counts that somebody has waited for it."""


class TablePipelines:
    """All pipelines of one followed stream, and the follower that serves them. Make it (as often as the control store
    wants), then `start` it once; `rest`, `leave` and `end` bring it to its end."""

    def __init__(
        self,
        table: KeptTable,
        factory: PipelineFactory,
        coordinator: ShardCoordinator,
        threads: Threads,
        first: bool,
        patience: float,
    ) -> None:
        """`first`: no other worker keeps these views. A pipeline that is to be opened anew may take `patience` seconds
        to end before others are looked at. Touches nothing but records. Raises `ControlUnavailable`."""
        self.factory = factory
        self.left = threading.Event()
        """Set when the stream is left for another one, or for good."""
        self._table = table
        self._views = table.views
        self._control = table.control
        self._coordinator = coordinator
        self._threads = threads
        self._patience = patience
        self._retention = RetentionWatch()
        self._follower: Follower | None = None
        self._lock = threading.Lock()
        """Held while pipelines are opened or left: whoever tends them is to find all or none."""
        self._pipelines: dict[str, ViewPipeline] = {}
        self._running = {name: threads.group() for name in self._views}
        """The threads of each pipeline."""
        self.records = [self._register(view, first) for view in self._views.values()]
        self._revisions = {record.name: record.revision for record in self.records}
        """The revision of each view that its pipelines work by."""
        self._told: dict[str, int] = {}
        """Those that the control store knows of."""
        self._paused = {record.name for record in self.records if record.paused is not None}
        self._planned_pipelines = [
            (record, pipeline)
            for record in self.records
            if (pipeline := factory.pipeline(self._views[record.name], record)) is not None
        ]

    def start(self, settings: FollowerSettings) -> None:
        """Begin to read and to write. Nothing here fails or is tried again: a second set of pipelines would count every
        change twice."""
        with self._lock:
            self._follower = follower = Follower(
                self._table.reader.stream(self.factory.description.stream_arn or "", self.factory.shape),
                [pipeline for _, pipeline in self._planned_pipelines],
                self.factory.context,
                settings,
                self._threads.group(),
            )
            for record, pipeline in self._planned_pipelines:
                _heed(pipeline, record)
                self._run(pipeline)
            self._coordinator.serve(follower)
            follower.start()

    def all(self) -> list[ViewPipeline]:
        """The pipelines that run now."""
        return list(self._pipelines.values())

    def shards(self) -> list[str]:
        """The shards of the followed stream; none where DynamoDB has forgotten it."""
        if self._follower is None:
            return []
        try:
            return [shard.id for shard in self._follower.stream.shards()]
        except StreamGone:
            return []

    def purge(self) -> list[tuple[str, int | SinkError]]:
        """Remove tombstones that no change can come too late for (see `Pipeline.purgeable`): per view how many, or why
        they stay for now."""
        found: list[tuple[str, int | SinkError]] = []
        for pipeline in self.all():
            age = pipeline.purgeable(time.time())
            if age is None:
                continue
            try:
                # While one fills only tombstones keep scanned items out that were deleted since.
                kept = [output for output in pipeline.outputs if not output.bulk]
                found.append((pipeline.name, sum(output.target.purge(timedelta(seconds=age)) for output in kept)))
            except SinkError as error:
                found.append((pipeline.name, error))
        return found

    # Revisions: what the pipelines of a view have to do changes while they run

    def tend(self, rebuilds: RebuildScheduler | None = None) -> None:
        """Take in new revisions of the views (see `ViewRecord.revision`), and what other workers say of them. Raises
        `ControlUnavailable`."""
        for record in self._control.views():
            if record.name in self._revisions:
                with self._lock:
                    if self._follower is not None and not self.left.is_set():
                        self._take_in(self._follower, record)
                if self._coordinator.first and (line := self._retention.line(record)) is not None:
                    log.warning("view %s: %s", record.name, line)
        self.tell(rebuilds)

    def tell(self, rebuilds: RebuildScheduler | None = None) -> None:
        """Say which revisions are adopted; a rebuild waits for it, and who pauses a view: of a paused one, that nothing
        of this process writes it any more, nor do its `rebuilds`. Raises `ControlUnavailable`."""
        for name, revision in self._revisions.items():
            still_written = name in self._paused and rebuilds is not None and rebuilds.works_on(name)
            if self._told.get(name) != revision and not still_written:
                self._control.adopt(name, self._coordinator.id, revision)
                log.debug("view %s: its pipeline does what revision %d asks", name, revision)
                self._told[name] = revision

    def _take_in(self, follower: Follower, record: ViewRecord) -> None:
        pipeline = self._pipelines.get(record.name)
        if record.revision != self._revisions[record.name]:
            self._reopen(follower, record)
        elif pipeline is not None:
            _heed(pipeline, record)
            if (moment := _awaited(record)) is not None:
                follower.hurry(moment)

    def _reopen(self, follower: Follower, record: ViewRecord) -> None:
        """End the view's pipeline and open it anew as its record says now. Where the old one has not ended yet (its
        store holds it up), another look follows."""
        name = record.name
        if (pipeline := self._pipelines.get(name)) is not None:
            follower.leave(pipeline)
            pipeline.end()
            if self._running[name].join(self._patience):
                return
            del self._pipelines[name]
        pipeline = self.factory.pipeline(self._views[name], record)
        self._revisions[name] = record.revision
        self._note_pause(record)
        if pipeline is not None:
            follower.join(pipeline)
            self._coordinator.poke()
            self._run(pipeline)

    def _note_pause(self, record: ViewRecord) -> None:
        if record.paused is not None and record.name not in self._paused:
            self._paused.add(record.name)
            log.info("view %s: paused: %s", record.name, record.reason)
        elif record.paused is None and record.name in self._paused:
            self._paused.discard(record.name)
            log.info("view %s: goes on where it was paused", record.name)

    def _register(self, view: ViewDeclaration, first: bool) -> ViewRecord:
        """The view's record, made where this is its first start. The `first` of several workers goes on where the last
        ones ended for a reason that a new start heals."""
        record = registered(self._control, view, self._table.source.table, self.factory.description.stream_arn)
        if first and record.state.healed_by_start:
            self._control.states.set(view.name, ViewState.STARTING)
            record = dataclasses.replace(record, state=ViewState.STARTING, reason="")
        return record

    def _run(self, pipeline: ViewPipeline) -> None:
        self._pipelines[pipeline.name] = pipeline
        self._running[pipeline.name].spawn(f"view-{pipeline.name}", pipeline.run)

    # The end

    def leave(self) -> None:
        """Open no pipeline any more."""
        with self._lock:
            self.left.set()

    def stop_reading(self, patience: float) -> list[str]:
        """End the follower; the names of threads that have not ended in so many seconds."""
        return [] if self._follower is None else self._follower.stop(patience)

    def end(self, patience: float) -> list[str]:
        """End all pipelines: batches in hand are finished and their checkpoints moved, as far as sinks and control
        store answer; the names of threads that have not ended in so many seconds. May be called again."""
        for pipeline in self.all():
            pipeline.end()
        deadline = time.monotonic() + patience
        running = list(self._running.values())
        return [name for threads in running for name in threads.join(max(0.0, deadline - time.monotonic()))]


def _awaited(record: ViewRecord) -> float | None:
    """The moment of late that somebody waits for the watermark to pass, if any."""
    moment = record.awaited
    if moment is None or (record.watermark is not None and record.watermark > moment):
        return None
    return moment if abs(time.time() - moment) < AWAITED else None


def _heed(pipeline: ViewPipeline, record: ViewRecord) -> None:
    """Let a pipeline know what other workers have said of its view."""
    if record.filled:
        pipeline.filled()
    if pipeline.failed is None and record.state.ends:
        pipeline.hear(record.state, record.reason)
    elif pipeline.failed is None and record.state is ViewState.STOPPED:
        pipeline.resay()
