"""Several workers in one process on one scripted table, one store in memory and one control store: they join, leave,
crash, and are paused in the middle of whatever they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dynaview.projections.rows import Layout, RowKey, Write
from dynaview.sinks.memory import MemorySink, MemoryTarget
from dynaview.sinks.port import Outcome, SinkUnavailable
from dynaview.sources.errors import SourceUnavailable
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import Task, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.control.tables import leases
from dynaview.views.daemon.table_worker import TableWorker, WorkerSettings
from dynaview.views.declarations.load import load
from dynaview.views.kept_table import KeptTable
from dynaview.views.states import ViewState
from dynaview.views.streaming.pipeline import PipelineSettings, ViewPipeline
from dynaview.views.threads import Threads
from dynaview.views.workers.coordinator import CoordinatorSettings, ShardCoordinator
from tests.support import running
from tests.support.first_fill import QUICK_REBUILDS
from tests.support.follower_harness import QUICK
from tests.support.scripted import ScriptedTable
from tests.support.scripted_stream import ScriptedStream
from tests.support.until import until

HEAD = """
control: sqlite:///{control}
sources: {{shop: {source}}}
sinks: {{cache: {{redis: "redis://localhost:1"}}}}
views:
"""

VIEW = """
  {name}:
    source: shop
    match: {{pk: "{{p}}", sk: "{{s}}"}}
    where: hidden != `true`
    sink: cache
    key: "{name}:{{p}}/{{s}}"
    fields: {{value: value}}
"""


class Gate:
    """What everything of one worker passes: closed while it is paused, gone once it is dead."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.dead = False

    def close(self) -> None:
        """Let nothing pass."""
        self._open.clear()

    def open(self) -> None:
        """Let everything pass again."""
        self._open.set()

    def enter(self, error: type[Exception]) -> None:
        """Pass, perhaps later; what is dead reaches nothing any more."""
        assert self._open.wait(60), "a gate stayed closed"
        if self.dead:
            raise error("scripted: the worker is dead")


class Watched(MemorySink):
    """The store of all workers. It sees every state that a reader could see: no row ever goes back."""

    def __init__(self) -> None:
        super().__init__("cache")
        self.lock = threading.Lock()
        self.versions: dict[tuple[str, int, RowKey], int] = {}
        self.went_back: list[str] = []
        self.writes = 0

    def take(self, target: MemoryTarget, writes: Sequence[Write]) -> list[Outcome]:
        with self.lock:
            self.writes += len(writes)
            outcomes = target.write(writes)
            for write, stored in zip(writes, target.read([write.key for write in writes]), strict=True):
                at = (target.layout.view, target.generation, write.key)
                version = -1 if stored is None else stored.version
                if version < self.versions.get(at, -1):
                    self.went_back.append(f"{at}: {self.versions[at]} to {version}")
                self.versions[at] = version
            return outcomes


class _Target(MemoryTarget):
    """A target as one worker reaches it."""

    def __init__(self, sink: Watched, layout: Layout, generation: int, gate: Gate) -> None:
        super().__init__(sink, layout, generation)
        self._watched, self._plain, self._gate = sink, MemoryTarget(sink, layout, generation), gate

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        self._gate.enter(SinkUnavailable)
        outcomes = self._watched.take(self._plain, writes)
        self._gate.enter(SinkUnavailable)
        return outcomes


class _Sink(MemorySink):
    def __init__(self, sink: Watched, gate: Gate) -> None:
        vars(self).update(vars(sink))  # what stands in the store is there for all
        self._watched, self._gate = sink, gate

    def open(self, layout: Layout, generation: int) -> MemoryTarget:
        return _Target(self._watched, layout, generation, self._gate)


class _Stream(ScriptedStream):
    gate: Gate

    def shards(self) -> Any:
        self.gate.enter(SourceUnavailable)
        return super().shards()

    def open(self, shard_id: str, after: str | None) -> str:
        self.gate.enter(SourceUnavailable)
        return super().open(shard_id, after)

    def read(self, iterator: str, limit: int = 1000) -> Any:
        page = super().read(iterator, limit)
        self.gate.enter(SourceUnavailable)
        return page


class _Table:
    """The table as one worker reaches it."""

    def __init__(self, table: ScriptedTable, gate: Gate) -> None:
        self._table, self._gate = table, gate

    def describe(self) -> Any:
        self._gate.enter(SourceUnavailable)
        return self._table.describe()

    def enable_stream(self, view_type: Any) -> Any:
        return self._table.enable_stream(view_type)

    def stream(self, arn: str, shape: Any) -> _Stream:
        stream = _Stream(self._table, arn, shape)
        stream.gate = self._gate
        return stream

    def scan(self, *args: Any, **more: Any) -> Iterator[Any]:
        for page in self._table.scan(*args, **more):
            self._gate.enter(SourceUnavailable)
            yield page

    def get(self, *args: Any) -> Any:
        return self._table.get(*args)


class ClusterWorker:
    """One worker of a cluster."""

    def __init__(self, cluster: Cluster, coordinator: CoordinatorSettings) -> None:
        self.gate = Gate()
        self.threads = Threads()
        self.crashed = self.threads.crashed
        self.failures: list[tuple[str, str]] = []
        """View and state of what it has said that cannot go on."""
        self.control = ControlStore(cluster.declaration.control)
        database = self.control._database
        for name in ("read", "write"):
            setattr(database, name, self._gated(getattr(database, name)))
        follower = replace(cluster.follower)
        pipeline = replace(cluster.pipeline)
        settings = WorkerSettings(
            pipeline,
            follower,
            tend_every=0.02,
            standby_every=0.02,
            watch_every=0.2,
            patience=5.0,
            coordinator=coordinator,
            rebuild=QUICK_REBUILDS,
        )
        table: Any = _Table(cluster.table, self.gate)
        sinks = {"cache": _Sink(cluster.sink, self.gate)}
        kept = KeptTable(cluster.declaration.sources["shop"], cluster.declaration.views, table, sinks, self.control)
        self.table_worker = TableWorker(kept, settings, self.threads, self)
        running.started(self)
        self.table_worker.start()

    def view_ended(self, view: str, state: ViewState, reason: str) -> None:
        """See `RunMonitor`."""
        self.failures.append((view, state))

    def _gated(self, act: Any) -> Any:
        @contextmanager
        def gated() -> Iterator[Any]:
            self.gate.enter(ControlUnavailable)
            with act() as connection:
                yield connection

        return gated

    @property
    def coordinator(self) -> ShardCoordinator:
        """Its coordinator, once it has registered."""
        until(lambda: self.table_worker._coordinator is not None, "a registration")
        coordinator = self.table_worker._coordinator
        assert coordinator is not None
        return coordinator

    def pipeline(self, view: str) -> ViewPipeline:
        """The pipeline of a view that runs."""
        assert self.table_worker._pipelines is not None
        return next(pipeline for pipeline in self.table_worker._pipelines.all() if pipeline.name == view)

    @property
    def owned(self) -> set[Task]:
        """The tasks that it believes to be its own."""
        return set(self.coordinator._epochs)

    def stop(self) -> None:
        """End in good order."""
        running.stopped(self)
        self.gate.open()
        self.table_worker.stop()
        self.control.close()

    def crash(self) -> None:
        """End as by SIGKILL: nothing more reaches the control store, and its sign of life is gone."""
        running.stopped(self)
        self.gate.dead = True
        self.gate.open()
        self.control.leases._liveness.close()
        self.table_worker.stop()
        self.control._database.close()


class Cluster:
    """`join` as many workers as wanted."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str] = ("one", "two"),
        lease: float = 20.0,
        source: str = "{table: shop}",
    ) -> None:
        self.folder = folder
        self.source = source
        self.declare(names)
        self.table = ScriptedTable(clock=time.time)
        self.sink = Watched()
        self.workers: list[ClusterWorker] = []
        self.follower = replace(QUICK, children_every=0.005, tip_pages=20)
        self.pipeline = PipelineSettings(commit_every=0.0, beat=0.02, buffer=50, batch=20)
        self.settings = CoordinatorSettings(lease=lease, look_every=0.02, review_every=0.2, listing_every=0.2)
        self.control = ControlStore(self.declaration.control)

    def declare(self, names: Sequence[str]) -> None:
        """Workers that join from now on keep these views."""
        file, control = self.folder / "dynaview.yaml", self.folder / "control.db"
        file.write_text(
            HEAD.format(control=control, source=self.source) + "".join(VIEW.format(name=name) for name in names)
        )
        self.names = tuple(names)
        self.declaration = load([file], {})

    def join(self, lease: float | None = None) -> ClusterWorker:
        """Start one more worker."""
        chosen = self.settings if lease is None else replace(self.settings, lease=lease)
        worker = ClusterWorker(self, chosen)
        self.workers.append(worker)
        return worker

    def leave(self, worker: ClusterWorker) -> None:
        """A worker ends in good order."""
        self.workers.remove(worker)
        worker.stop()

    def crash(self, worker: ClusterWorker) -> None:
        """A worker is killed."""
        self.workers.remove(worker)
        worker.crash()

    def close(self) -> None:
        """End everything; nothing must have gone wrong that nobody expected."""
        for worker in self.workers:
            worker.gate.open()
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.stop()
        self.control.close()
        assert not any(worker.crashed.is_set() for worker in workers)
        assert self.sink.went_back == []

    def put(self, number: int, value: object) -> None:
        """Write an item."""
        self.table.put({"pk": f"p{number}", "sk": "s", "value": value})

    def owners(self) -> dict[Task, str | None]:
        """Who has which task, as the control store says."""
        with self.control._database.read() as connection:
            rows = connection.execute(sa.select(leases.c.resource, leases.c.owner))
            return {Task.of(row.resource): row.owner for row in rows if not row.resource.startswith("job")}

    @property
    def halves(self) -> range:
        """The halves that the views are dealt into."""
        return range(min(2, len(self.names)))

    def record(self, name: str) -> ViewRecord:
        """A view's record."""
        record = self.control.view(name)
        assert record is not None
        return record

    def counted(self, name: str) -> int:
        """How many changes a view has counted."""
        record = self.control.view(name)
        return 0 if record is None else record.counts.read

    def wait_shared(self, spread: Sequence[int]) -> None:
        """Wait until the workers have so many of the leaves, each as a whole, in ascending order."""
        self.wait_halves([number * len(self.halves) for number in spread])

    def wait_halves(self, spread: Sequence[int]) -> None:
        """Wait until the workers have so many tasks of the leaves, in ascending order."""

        def numbers() -> list[int]:
            owners = self.owners()
            tasks = [owners.get(Task(leaf, half)) for leaf in self.table.leaves for half in self.halves]
            return sorted(tasks.count(worker.coordinator.id) for worker in self.workers)

        until(lambda: numbers() == sorted(spread), f"tasks to be shared as {spread}")

    def wait_done(self, seconds: float = 60.0) -> None:
        """Wait until every view shows the table and has counted every change; then each was counted once."""
        expected = {
            f"{item['pk']}/{item['sk']}": {"value": item.get("value")}
            for item in self.table.items()
            if item.get("hidden") is not True
        }

        def rows(name: str) -> dict[Any, Any]:
            layout = self.declaration.views[name].layout
            generation = self.record(name).generation
            if self.sink.gone(layout, generation) is not None:  # no worker has come so far
                return {}
            stored = MemoryTarget(self.sink, layout, generation).rows()
            return {str(each.key).partition(":")[2]: each.content for each in stored}

        for name in self.names:
            until(lambda name=name: self.control.view(name) is not None, f"{name} to begin", seconds)  # type: ignore[misc]  # a default is not inferred
            until(lambda name=name: self.counted(name) >= self.table.made, f"{name} to count all", seconds)  # type: ignore[misc]  # a default is not inferred
            until(lambda name=name: rows(name) == expected, f"{name} to equal the table", seconds)  # type: ignore[misc]
            counts = self.record(name).counts
            summed = counts.applied + counts.stale + counts.unmatched + counts.dead_lettered
            assert counts.read == summed == self.table.made, (name, counts)


@contextmanager
def cluster(folder: Path, **more: Any) -> Iterator[Cluster]:
    """A cluster that is closed at the end, whatever happens."""
    made = Cluster(folder, **more)
    try:
        yield made
    finally:
        made.close()
