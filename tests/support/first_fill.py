"""First fills of views by hand: the daemon's own job over a table, targets and projections of a test's."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from dynaview.projections.declaration import Declaration, ViewDeclaration
from dynaview.projections.projection import Bound
from dynaview.projections.rows import Layout
from dynaview.sinks.port import Sink
from dynaview.sources.port import TableReader
from dynaview.views.control.records import Generation, Options
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from dynaview.views.kept_table import KeptTable
from dynaview.views.rebuild.context import Interrupted, RebuildContext, RebuildSettings, Turn
from dynaview.views.rebuild.job import Job, ScanTurn
from dynaview.views.streaming.factory import PipelineFactory
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.workers.coordinator import ShardCoordinator
from tests.support.simple import SHAPE

QUICK_REBUILDS = RebuildSettings(
    look_every=0.01,
    wait_every=0.005,
    check_every=0.01,
    refused_for=0.3,
    stalled_after=10.0,
    catch_up_every=0.001,
    sample=50,
)

HEAD = """
sources: {shop: {table: shop}}
sinks: {memory: {opensearch: "http://127.0.0.1:1"}}
views:
"""

VIEW = """  {name}: {{source: shop, sink: memory, index: "{name}", key: "{{pk}}/{{sk}}",
    match: {{pk: "{{pk}}", sk: "{{sk}}"}}, fields: {{value: {{from: value, mapping: {{type: keyword}}}}}}}}
"""


def declared(folder: Path, names: Sequence[str]) -> Declaration:
    """Declarations in whose names views by hand are filled."""
    file = folder / "by_hand.yaml"
    file.write_text(HEAD + "".join(VIEW.format(name=name) for name in names))
    return load([file], {})


def set_filled(control: ControlStore, view: str) -> None:
    """Record that a view is filled."""
    record = control.view(view)
    assert record is not None
    (fill,) = control.rebuilds.request([view], record.source, {view: record.fingerprint}, Options(), "fill")
    control.rebuilds.filled(control.rebuilds.update(fill, generation=1, phase="done"))


class _Always:
    """In place of a share: the rebuilds of a table are always this process's."""

    def hold(self, job: str) -> bool:
        return True


class _Factory:
    """In place of a factory: writes what a view by hand asks for."""

    def __init__(self, fill: FirstFill, table: TableReader, targets: Mapping[str, Any]) -> None:
        self.description = table.describe()
        self.shape = SHAPE
        self._fill, self._targets = fill, targets

    def output(self, view: ViewDeclaration, generation: Generation, count: int) -> GenerationWriter:
        return GenerationWriter(view.name, self._fill.bounds[view.name], self._targets[view.name], count)


class _Sink:
    """The sink, with the targets by hand."""

    def __init__(self, sink: Sink, targets: Mapping[str, Any]) -> None:
        self._sink, self._targets = sink, targets

    def open(self, layout: Layout, generation: int) -> Any:
        return self._targets[layout.view]

    def gone(self, layout: Layout, generation: int) -> str | None:
        return self._sink.gone(self._targets[layout.view].layout, generation)

    def check(self) -> str:
        return self._sink.check()


class FirstFill:
    """The first fill of some views. `run` it in a thread of its own; it ends with `stop`, or once they are filled."""

    def __init__(self, declaration: Declaration, bounds: dict[str, Bound], letters: int) -> None:
        """`letters` is how many dead letters a view may leave."""
        self.bounds = bounds
        """By view what its items ask for."""
        self.stop = threading.Event()
        self._declaration = declaration
        self._views = {
            name: replace(view, dead_letters=replace(view.dead_letters, limit=letters))
            for name, view in declaration.views.items()
        }

    def run(self, control: ControlStore, table: TableReader, sink: Sink, targets: Mapping[str, Any]) -> None:
        """Fill what is not filled, or go on with it."""
        views = self._views
        sinks = {"memory": cast("Sink", _Sink(sink, targets))}
        context = RebuildContext(
            KeptTable(self._declaration.sources["shop"], views, table, sinks, control),
            cast("PipelineFactory", _Factory(self, table, targets)),
            Turn(cast("ShardCoordinator", _Always()), self.stop, threading.Event()),
            QUICK_REBUILDS,
        )
        records = {record.name: record for record in control.views()}
        marks = {name: record.fingerprint for name, record in records.items()}
        due = [name for name in views if not records[name].filled]
        control.rebuilds.request(due, "shop", marks, Options(), "fill")
        turn = ScanTurn()
        while not self.stop.is_set():
            left: dict[str, list[Any]] = {}
            for each in control.rebuilds.all():
                state = records[each.view].state
                if not each.ended and not state.ends:
                    left.setdefault(each.job, []).append(each)
            if not left:
                return
            threads = [threading.Thread(target=self._job, args=(context, each, turn)) for each in left.values()]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            records = {record.name: record for record in control.views()}

    def _job(self, context: RebuildContext, rebuilds: Sequence[Any], turn: ScanTurn) -> None:
        try:
            Job(context, rebuilds, turn).run()
        except Interrupted:
            self.stop.wait(0.01)
