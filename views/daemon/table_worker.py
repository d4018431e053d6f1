"""Everything of one table: its stream's follower, the pipelines of its views, their first fills.

A worker opens its table in the background and keeps trying for as long as that takes, so one table that is missing
or forbidden holds up no view of another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import Problem, SourceDeclaration, ViewDeclaration
from dynaview.sinks.port import Sink, SinkError
from dynaview.sources.errors import SourceError, StreamDisabled
from dynaview.sources.port import TableDescription, TableReader
from dynaview.views.control.store import ControlStore, ControlUnavailable
from dynaview.views.daemon.pipelines import TablePipelines
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.policy import Backoff
from dynaview.views.reasons import stream_gap
from dynaview.views.rebuild.context import RebuildContext
from dynaview.views.rebuild.job import RebuildScheduler
from dynaview.views.states import ViewState
from dynaview.views.streaming.factory import FULL_IMAGES, PipelineFactory
from dynaview.views.streaming.pipeline import PipelineSettings
from dynaview.views.streaming.stream_reader import FollowerSettings
from dynaview.views.threads import Threads
from dynaview.views.verify.schedule import Rounds
from dynaview.views.workers.coordinator import CoordinatorSettings, ShardCoordinator

log = logging.getLogger(__name__)

T = TypeVar("T")


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
    turn_every: float = 1.0
    """Seconds between two tries to take over views that another process keeps."""
    tend_every: float = 0.5
    """Seconds between two looks whether what the pipelines have to do has changed."""
    purge_every: float = 3600.0
    """Seconds between two removals of old tombstones."""
    patience: float = 8.0
    """Seconds that an ending worker waits for AWS, and again for stores, that do not answer."""
    share: CoordinatorSettings = field(default_factory=CoordinatorSettings)


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
        threads: Threads,
        on_fail: Callable[[str, ViewState, str], None] = lambda view, state, reason: None,
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
        self._all_threads = threads
        self._on_fail = on_fail
        self._stop = threading.Event()
        self._over = threading.Event()
        """Set when this process is to stop, or was taken for dead by others and has to begin anew."""
        self._share: ShardCoordinator | None = None
        self._pipelines: TablePipelines | None = None
        """Those of the stream that is followed."""
        self._supervisor, self._threads = threads.group(), threads.group()
        self._begun = False
        """Whether this process keeps the views: another one may."""

    def problems(self, description: TableDescription) -> list[Problem]:
        """Why views cannot be kept from this table as it is (law 9)."""
        images = description.view_type or FULL_IMAGES
        return [problem for view in self._views for problem in compile_view(view).problems(description.key, images)]

    def start(self) -> None:
        """Begin to work in the background."""
        self._supervisor.spawn(f"table-{self.source.name}", self._supervise)
        self._threads.spawn(f"alive-{self.source.name}", self._live)
        self._threads.spawn(f"steps-{self.source.name}", self._tend)
        self._threads.spawn(f"tombstones-{self.source.name}", self._purge)
        rounds = Rounds(
            self.source.table,
            self._views,
            self.table,
            self._sinks,
            self._control,
            self._stop,
            mine=partial(self._holds, "verify"),
        )
        self._threads.spawn(f"verify-{self.source.name}", rounds.run)

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
                    pipelines.tend()
                except ControlUnavailable as error:
                    log.warning("%s", error)

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
        make = partial(ShardCoordinator, self._control, self.source.name, marks, self._identity, self._settings.share)
        self._share = share = self._insist(partial(make, self._over.set))
        if share is None:
            return False
        self.identity = share.id
        share.start(self._all_threads.group())
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
        pipelines, patience = self._pipelines, self._settings.patience
        if pipelines is None:
            return
        pipelines.leave()
        if self._stop.is_set():
            return  # `stop` ends it all
        pipelines.stop_reading(patience)
        while left := pipelines.end(patience):
            log.warning("table %s: its pipelines have not ended yet: %s", self.source.table, ", ".join(left))
            if self._stop.is_set():
                return
        self._pipelines = None
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
            shards = None if self._pipelines is None else self._insist(self._pipelines.shards)
            pipelines = [] if self._pipelines is None else self._pipelines.all()
            for pipeline in pipelines:
                if shards is not None and pipeline.failed is None and pipeline.inbox.drained(shards, seen):
                    pipeline.fail(
                        ViewState.GAP,
                        stream_gap(self.source.table, other, pipeline.inbox.passed, pipeline.name, pipeline.on_gap),
                    )
            if all(pipeline.failed is not None for pipeline in pipelines):
                return
            self._over.wait(self._settings.drain_every)

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
        """Let status show what views without a pipeline wait for. `off`: there is no stream, which is a gap to a view
        that has followed one."""
        if self._pipelines is not None and self._pipelines.all():
            return
        try:
            if any(self._control.crew.sharing(view.name) for view in self._views):
                return  # other workers can go on, and say what there is to say
            for view in self._views:
                mark = fingerprint(view, self.source.table)
                record = self._control.add_view(view.name, view.source, view.sink, mark, declaration=encode(view))
                if record.state is ViewState.GAP:  # it lasts, and waiting would hide it
                    self._refuse(view.name, ViewState.GAP, record.reason)
                elif off and record.stream_arn is not None:
                    lost = stream_gap(self.source.table, None, record.watermark, view.name, view.on_gap)
                    self._refuse(view.name, ViewState.GAP, lost)
                else:
                    self._control.states.set(view.name, ViewState.WAITING, reason)
        except ControlUnavailable as error:
            log.error("%s", error)

    def _begin(self, description: TableDescription) -> None:
        share = self._share
        assert share is not None
        first = not share.join()  # before records are read: from here on every step of a view waits for this worker
        pipelines = TablePipelines(
            self.source,
            self._views,
            self.table,
            self._control,
            self._opening(description),
            share,
            self._all_threads,
            first,
            self._settings.patience,
        )
        # Nothing below fails or is tried again.
        pipelines.start(self._settings.follower)
        self._pipelines = pipelines
        self._insist(pipelines.tell)
        self._begin_rebuilds(pipelines)

    def _begin_rebuilds(self, pipelines: TablePipelines) -> None:
        """Advance rebuilds while this stream is followed, and ask for those that declarations ask for by themselves."""
        site = RebuildContext(
            source=self.source,
            views={view.name: view for view in self._views},
            table=self.table,
            sinks=self._sinks,
            control=self._control,
            opening=pipelines.opening,
            workers=self._control.crew.sharing,
            mine=partial(self._holds, "rebuild"),
            stop=self._over,
            left=pipelines.left,
        )
        self._threads.spawn(f"rebuilds-{self.source.name}", RebuildScheduler(site).run)

    def _opening(self, description: TableDescription) -> PipelineFactory:
        return PipelineFactory(
            self.source.table,
            description,
            {view.name: view for view in self._views},
            self._sinks,
            self._control,
            self._settings.pipeline,
            self._refuse,
            self._on_fail,
            self._share,
        )

    def _refuse(self, view: str, state: ViewState, reason: str) -> None:
        log.error("view %s: %s: %s", view, state, reason)
        self._control.states.set(view, state, reason)
        self._on_fail(view, state, reason)
