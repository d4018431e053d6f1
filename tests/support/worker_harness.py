"""One worker with declared views of a scripted table, kept in memory, as a daemon runs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from dynaview.projections.declaration import Declaration
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import Sink, Target
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import Options, Rebuild, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.table_worker import TableWorker, WorkerSettings
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.load import load
from dynaview.views.kept_table import KeptTable
from dynaview.views.streaming.pipeline import PipelineSettings
from dynaview.views.threads import Threads
from dynaview.views.workers.coordinator import CoordinatorSettings
from tests.support import running
from tests.support.first_fill import QUICK_REBUILDS
from tests.support.follower_harness import QUICK
from tests.support.scripted import ScriptedTable
from tests.support.until import until

SINKS = """
sources:
  shop: {table: shop}
sinks:
  cache: {redis: "redis://127.0.0.1:1"}
  reads: {postgres: "postgresql://127.0.0.1:1/x"}
"""

CARDS = """
  cards:
    source: shop
    sink: cache
    type: hash
    key: "card:{pk}:{sk}"
    match: {pk: "{pk}", sk: "{sk}"}
    fields: {value: value}
"""

RECORDS = (
    "begin", "update", "write_in", "filled", "swapped", "unswapped", "forget", "save_segment", "save_page",
    "ask", "settle", "request_together",
)  # fmt: skip
"""Methods of `RebuildStore` that write."""

READS = """
  reads:
    source: shop
    sink: reads
    table: reads
    key: [pk, sk]
    fields: {pk: {from: pk, type: text}, sk: {from: sk, type: text}, value: {from: value, type: text}}
"""


class WorkerHarness:
    """`start`, then `stop` or `kill`, as often as wanted, perhaps with another declaration."""

    def __init__(
        self, folder: Path, views: str = CARDS + READS, table: ScriptedTable | None = None, extra: str = ""
    ) -> None:
        self.folder = folder
        self.table = table or ScriptedTable(clock=time.time)
        self.sinks: Mapping[str, Sink] = {"cache": MemorySink("cache", in_place=True), "reads": MemorySink("reads")}
        self.settings = WorkerSettings(
            pipeline=PipelineSettings(buffer=200, batch=50, commit_every=0.0, beat=0.01),
            follower=QUICK,
            watch_every=0.05,
            drain_every=0.01,
            tend_every=0.01,
            standby_every=0.01,
            coordinator=CoordinatorSettings(lease=10.0, look_every=0.02, review_every=0.05),
            rebuild=QUICK_REBUILDS,
        )
        self.declare(views, extra)
        self.control = ControlStore(self.declaration.control)

    def declare(self, views: str, extra: str = "") -> None:
        """What the next start runs."""
        text = f"control: sqlite:///{self.folder}/control.db\n{SINKS}{extra}\nviews:{views}"
        self.declare_text(text)

    def declare_text(self, text: str) -> None:
        """The same by a whole declaration."""
        file = self.folder / "dynaview.yaml"
        file.write_text(text)
        self.declaration: Declaration = load([file], {})

    def start(self) -> None:
        running.started(self)
        self._kept = ControlStore(self.declaration.control)
        self.threads = Threads()
        kept = KeptTable(self.declaration.sources["shop"], self.declaration.views, self.table, self.sinks, self._kept)
        self.worker = TableWorker(kept, self.settings, self.threads)
        self.worker.start()

    def cut(self) -> None:
        """From now on nothing of the running worker reaches the control store."""

        def refuse() -> AbstractContextManager[sa.Connection]:
            raise ControlUnavailable("scripted: cut off")

        self._kept._database.write = refuse  # type: ignore[method-assign, assignment]  # only this one's

    def kill(self) -> None:
        """End as by SIGKILL: nothing more reaches the control store. The next worker knows at once, as it does where a
        process is gone."""
        self.cut()
        self.stop()
        self.control.leases.abandon(self.worker.identity)

    def on_record(self, act: Callable[[str, str], None]) -> None:
        """Let `act` hear of everything that the running worker records of rebuilds: "before" or "after", and what (the
        name of a phase, or of a method of `RebuildStore`). It may `cut`."""
        store = self._kept.rebuilds
        for name in RECORDS:
            setattr(store, name, self._recording(getattr(store, name), name, act))

    def _recording(self, record: Callable[..., Any], name: str, act: Callable[[str, str], None]) -> Callable[..., Any]:
        def recorded(*arguments: Any, **values: Any) -> Any:
            what = values.get("phase", name)
            act("before", what)
            answer = record(*arguments, **values)
            act("after", what)
            return answer

        return recorded

    def stop(self) -> None:
        """End in good order."""
        running.stopped(self)
        self.worker.stop()
        self._kept.close()
        assert not self.threads.crashed.is_set()

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        self.control.close()

    # What tests look at

    def record(self, view: str) -> ViewRecord:
        record = self.control.view(view)
        assert record is not None
        return record

    def wait_state(self, view: str, state: str, seconds: float = 60.0) -> None:
        until(
            lambda: (found := self.control.view(view)) is not None and found.state == state, f"{view} {state}", seconds
        )

    def target(self, view: str, generation: int | None = None) -> Target:
        """A generation as it is declared now; the live one where nothing else is said."""
        declared = self.declaration.views[view]
        return self.sinks[declared.sink].open(
            declared.layout, self.record(view).generation if generation is None else generation
        )

    def rows(self, view: str, generation: int | None = None) -> dict[Any, Any]:
        return {row.key: row.content for row in self.target(view, generation).rows()}

    def rebuild(self, *views: str, options: Options | None = None, kind: Any = "beside") -> None:
        """Ask for it."""
        table = self.declaration.sources["shop"].table
        marks = {view: fingerprint(self.declaration.views[view], table) for view in views}
        self.control.rebuilds.request(views, "shop", marks, options or Options(), kind)

    def rebuilt(self, view: str) -> Rebuild:
        found = self.control.rebuilds.get(view)
        assert found is not None
        return found

    def wait_ended(self, view: str, phase: str = "done", seconds: float = 60.0) -> Rebuild:
        until(lambda: self.rebuilt(view).ended, f"the rebuild of {view} to end: {self.rebuilt(view)}", seconds)
        found = self.rebuilt(view)
        assert found.phase == phase, found
        return found

    def wait_rows(self, view: str, rows: Mapping[Any, Any], seconds: float = 60.0) -> None:
        until(lambda: self.rows(view) == rows, f"{view} to show {rows}", seconds)
