"""A stream and the pipelines that follow it in one process, on stores in memory and a control store in a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from dynaview.projections.projection import Bound
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import SinkRefused
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import Progress, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.states import ViewState
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.pipeline import PipelineContext, PipelineSettings, ViewPipeline
from dynaview.views.streaming.plan import PipelinePlan
from dynaview.views.streaming.stored_generations import StoredGenerations
from dynaview.views.streaming.stream_reader import Follower, FollowerSettings
from dynaview.views.threads import Threads
from tests.support import running
from tests.support.faults import FaultyTarget
from tests.support.first_fill import FirstFill, declared
from tests.support.scripted import ScriptedTable
from tests.support.simple import SHAPE, SimpleBound, layout
from tests.support.until import until

QUICK = FollowerSettings(
    readers=2,
    poll_first=0.001,
    poll_cap=0.005,
    tip_pages=5,
    tip_margin=0.0,
    discover_every=0.05,
    children_every=0.01,
    listing_lag=0.05,
    forget_after=0.1,
)


class CutControl(ControlStore):
    """A control store that a crash can cut off: after `cut` nothing is committed any more."""

    cut = False
    commits = 0
    """How many were made."""

    def commit(self, view: str, progress: Progress, watermark: float | None) -> None:
        self.commits += 1
        if self.cut:
            raise ControlUnavailable("scripted: cut off")
        super().commit(view, progress, watermark)


class FollowerHarness:
    """Views ``names`` of one scripted table. `start`, then `stop` or `crash`, as often as wanted."""

    def __init__(self, folder: Path, table: ScriptedTable | None = None, names: tuple[str, ...] = ("one",)) -> None:
        self.table = table or ScriptedTable(clock=time.time)
        self.sink = MemorySink("memory")
        self.url = f"sqlite:///{folder / 'control.db'}"
        self.names: tuple[str, ...] = ()
        self.folder = folder
        self.bound: Bound = SimpleBound()
        self.targets: dict[str, FaultyTarget] = {}
        for name in names:
            self.add(name)
        self.pipeline_settings = PipelineSettings(buffer=50, batch=20, commit_every=0.0, beat=0.01)
        self.settings = QUICK
        self.pipelines: dict[str, ViewPipeline] = {}
        self.filled_by: dict[str, Bound] = {}
        """What first fills project by, where it is something else than `bound`."""
        self.threads = Threads()
        self.crashed = self.threads.crashed

    def add(self, name: str) -> None:
        """Another view, from the next start on."""
        self.names = (*self.names, name)
        self.declaration = declared(self.folder, self.names)
        self.targets[name] = FaultyTarget(self.sink.open(layout(name), 1))

    def start(self) -> None:
        running.started(self)
        self.control = CutControl(self.url)
        self.pipelines = {}
        self.context = context = PipelineContext(self.control, self.pipeline_settings)
        for name in self.names:
            mark = fingerprint(self.declaration.views[name], "shop")
            record = self.control.add_view(name, "shop", "memory", mark, self.table.arn)
            if record.state.healed_by_start:
                self.control.states.set(name, ViewState.STARTING)
            outputs = [GenerationWriter(name, self.bound, self.targets[name])]
            stored = StoredGenerations(standing=[(self.sink, self.targets[name])])
            plan = PipelinePlan(record, outputs, self.control.checkpoints(name), stored)
            self.pipelines[name] = ViewPipeline(plan, context)
        self.follower = Follower(
            self.table.stream(self.table.arn, SHAPE),
            list(self.pipelines.values()),
            self.context,
            self.settings,
            threads=self.threads.group(),
        )
        self.running = self.threads.group()
        for pipeline in self.pipelines.values():
            self.running.spawn(pipeline.name, pipeline.run)
        self.follower.start()
        self.fill = FirstFill(
            self.declaration, dict.fromkeys(self.names, self.bound) | self.filled_by, self.pipeline_settings.letters
        )
        self.running.spawn("fill", lambda: self.fill.run(self.control, self.table, self.sink, self.targets))
        self.running.spawn("heed", self._heed)

    def _heed(self) -> None:
        """Let pipelines know what the fill says, as a worker does."""
        while not self.fill.stop.wait(0.005):
            for record in self.control.views():
                pipeline = self.pipelines[record.name]
                if record.filled:
                    pipeline.filled()
                if pipeline.failed is None and record.state.ends:
                    pipeline.fail(record.state, record.reason)

    def stop(self) -> None:
        """End in good order."""
        running.stopped(self)
        self.fill.stop.set()
        self.follower.stop()
        for pipeline in self.pipelines.values():
            pipeline.end()
        for target in self.targets.values():
            target.release()
        assert self.running.join(60) == []
        self.control.close()
        assert not self.crashed.is_set()

    def crash(self) -> None:
        """End as by SIGKILL: nothing more reaches the control store."""
        self.control.cut = True
        self.stop()

    def rows(self, name: str) -> dict[Any, Any]:
        """What readers of a view see, by row key; nothing before its pipeline has prepared it."""
        try:
            return {stored.key: stored.content for stored in self.targets[name].rows()}
        except SinkRefused:
            return {}

    def expected(self) -> dict[str, Any]:
        """What the table asks a simple view to hold."""
        return {
            f"{item['pk']}/{item['sk']}": {} if item.get("value") is None else {"value": item["value"]}
            for item in self.table.items()
            if "hidden" not in item and "bad" not in item
        }

    def wait_equal(self, *names: str, seconds: float = 60.0) -> None:
        """Wait until views show the table."""
        for name in names or self.names:
            self._wait_equal(name, seconds)

    def _wait_equal(self, name: str, seconds: float) -> None:
        until(lambda: self.rows(name) == self.expected(), f"view {name} to equal the table", seconds)

    def wait_counted(self, *names: str) -> None:
        """Wait until every record that was ever made is counted."""
        for name in names or self.names:
            self._wait_counted(name)

    def _wait_counted(self, name: str) -> None:
        until(lambda: self.counts(name).read == self.table.made, f"{name} to have counted every record")

    def counts(self, name: str) -> Any:
        record = self.control.view(name)
        assert record is not None
        return record.counts

    def record(self, name: str) -> ViewRecord:
        record = self.control.view(name)
        assert record is not None
        return record

    def state(self, name: str) -> str:
        return self.record(name).state
