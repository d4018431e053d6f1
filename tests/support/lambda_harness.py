"""A Lambda function with declared views of a scripted table, on stores in memory and a control store in a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from dynaview.projections.declaration import Declaration
from dynaview.projections.rows import Layout, Write
from dynaview.sinks.memory import MemorySink, MemoryTarget
from dynaview.sinks.port import Outcome, Sink
from dynaview.views.aws_lambda.function import Function
from dynaview.views.aws_lambda.rounds import Standing, make_round
from dynaview.views.control.records import Options, Progress, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.table_worker import WorkerSettings
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.load import load
from dynaview.views.streaming.admission import registered
from dynaview.views.streaming.pipeline import PipelineSettings
from dynaview.views.workers.coordinator import CoordinatorSettings
from tests.support.event_source import Mapping
from tests.support.first_fill import QUICK_REBUILDS
from tests.support.follower_harness import QUICK
from tests.support.records import Record
from tests.support.scripted import ScriptedTable
from tests.support.worker_harness import CARDS, READS, SINKS

QUICK_ROUND = WorkerSettings(
    pipeline=PipelineSettings(batch=50, commit_every=0.0, beat=0.01),
    follower=QUICK,
    watch_every=0.05,
    tend_every=0.01,
    standby_every=0.01,
    coordinator=CoordinatorSettings(lease=5.0, look_every=0.02, review_every=0.05),
    rebuild=QUICK_REBUILDS,
)

Trouble = Callable[[MemoryTarget, Sequence[Write]], None]
"""May raise before anything is written, write a part and raise, or let others act meanwhile."""


class TroubledTarget(MemoryTarget):
    """A target that asks its sink before each write."""

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        trouble = self.sink.trouble
        if trouble is not None:
            trouble(self, writes)
        return super().write(writes)

    @property
    def sink(self) -> TroubledSink:
        assert isinstance(self._sink, TroubledSink)
        return self._sink

    def write_some(self, writes: Sequence[Write]) -> None:
        """Write without any trouble."""
        super().write(writes)


class TroubledSink(MemorySink):
    """A store that goes wrong as `trouble` says."""

    trouble: Trouble | None = None

    def open(self, layout: Layout, generation: int) -> TroubledTarget:
        return TroubledTarget(self, layout, generation)


class LambdaHarness:
    """Execution environments share `sinks` and the control store, as invocations on several machines do."""

    def __init__(
        self, folder: Path, views: str = CARDS + READS, table: ScriptedTable | None = None, timeout: str = "60s"
    ) -> None:
        self.folder = folder
        self.table = table or ScriptedTable()
        self.cache, self.reads = TroubledSink("cache", in_place=True), TroubledSink("reads")
        self.sinks: dict[str, MemorySink] = {"cache": self.cache, "reads": self.reads}
        head = SINKS.replace("{table: shop}", f"{{table: shop, lambda_timeout: {timeout}}}")
        self.declaration = self.declare(f"control: sqlite:///{folder}/control.db\n{head}\nviews:{views}")
        self.control = ControlStore(self.declaration.control)
        self._functions: list[Function] = []

    def declare(self, text: str) -> Declaration:
        file = self.folder / "dynaview.yaml"
        file.write_text(text)
        return load([file], {})

    def begin(self) -> None:
        """As if a first round had come long ago."""
        for view in self.declaration.views.values():
            registered(self.control, view, "shop", self.table.arn)
            self.control.commit(view.name, Progress(), 1.0)
            self.control.claim(view.name, 1)
            target = self.sinks[view.sink].open(view.layout, 1)
            target.prepare()
            target.publish()

    def function(self, *views: str) -> Function:
        """A new execution environment, for all views where none are named."""
        made = Function(
            self.declaration, frozenset(views) or None, open_source=lambda source: self.table, sinks=self.sinks
        )
        self._functions.append(made)
        return made

    def mapping(self, *views: str, **settings: Any) -> Mapping:
        """A mapping of the table's stream, whose function is an execution environment of its own."""
        made = Mapping(self.table, self.function(*views).handle, **settings)
        made.context.seconds = self.declaration.sources["shop"].lambda_timeout or 1.0
        return made

    def records(self) -> list[Record]:
        """All that the stream holds, shard by shard."""
        return [record for _, held in self.table.held(self.table.arn) for record in held]

    def round(self, seconds: float = 20.0) -> list[Standing]:
        """What the schedule brings about."""
        return make_round(
            self.declaration,
            self.declaration.views.keys(),
            seconds,
            open_source=lambda source: self.table,
            settings=QUICK_ROUND,
            open_sink=lambda declared: cast(Sink, _Lent(self.sinks[declared.name])),
        )

    def close(self) -> None:
        for function in self._functions:
            function.close()
        self.control.close()

    # What tests look at

    def record(self, view: str) -> ViewRecord:
        record = self.control.view(view)
        assert record is not None
        return record

    def rows(self, view: str, generation: int | None = None) -> dict[Any, Any]:
        declared = self.declaration.views[view]
        number = self.record(view).generation if generation is None else generation
        return {row.key: row.content for row in self.sinks[declared.sink].open(declared.layout, number).rows()}

    def rebuild(self, *views: str) -> None:
        """Ask for it."""
        table = self.declaration.sources["shop"].table
        marks = {view: fingerprint(self.declaration.views[view], table) for view in views}
        self.control.rebuilds.request(views, "shop", marks, Options())


class _Lent:
    """A sink that is not its user's to close."""

    def __init__(self, sink: MemorySink) -> None:
        self._sink = sink

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)

    def close(self) -> None:
        pass
