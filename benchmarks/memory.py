"""How much memory a daemon needs while changes wait: a process of its own, in which two of three sinks are held.

Three views follow one stream of a million changes, each page made as it is read. One view keeps up, so the front reader
goes on to the stream's tip, while the sinks of the others take nothing; then these are let go, and their views catch up
to the last checkpoint. Nothing is kept by these sinks, as a store's memory is its own.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.pipeline import PagesStream, WatchedControl
from benchmarks.records import Pages
from benchmarks.workload import View, Workload
from dynaview.projections.columns import Columns
from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, STALE, ConditionalWrite, Foreign, Outcome, RefusedRow, Target
from dynaview.sources.port import Page
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.pipeline import PipelineContext, ViewPipeline
from dynaview.views.streaming.plan import PipelinePlan
from dynaview.views.streaming.signals import ReaderSignals
from dynaview.views.streaming.stream_reader import Follower

_STORES = ("redis", "postgres", "opensearch")
_DEADLINE = 1800.0


class Peaks(msgspec.Struct, frozen=True):
    """The highest resident memory so far, in bytes, at each step."""

    started: int
    held: int
    caught_up: int
    changes: int
    seconds: float


class _Held:
    """A target that answers only once `free` is set, and keeps nothing."""

    def __init__(self, target: Target, free: threading.Event) -> None:
        self.layout, self.generation = target.layout, target.generation
        self.content = target.content
        self.canonical = target.canonical
        self.fault = target.fault
        self._free = free

    def prepare(self, bulk: bool = False) -> None: ...

    def finish(self, kept: Sequence[RefusedRow] = ()) -> list[RefusedRow]:
        return []

    def publish(self) -> None: ...

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        self._free.wait()
        return [APPLIED] * len(writes)

    def write_columns(self, columns: Columns) -> dict[int, Outcome]:
        self._free.wait()
        return {}

    def write_if_unchanged(self, conditional_writes: Sequence[ConditionalWrite]) -> list[Outcome]:
        return [STALE] * len(conditional_writes)

    def read(self, keys: Sequence[Any], contents: bool = True) -> Any:
        return [None] * len(keys)

    def rows(self) -> Any:
        return iter(())

    def rows_of(self, owners: Any) -> Any:
        return iter(())

    def earlier(self) -> Any:
        return iter(())

    def canonical_rows(self) -> Any:
        return iter(())

    def show(self) -> None: ...

    def foreign(self) -> Any:
        return iter(())

    def remove_foreign(self, foreign: Sequence[Foreign]) -> int:
        return 0

    def count(self) -> int:
        return 0

    def purge(self, older_than: timedelta) -> int:
        return 0

    def drop(self) -> None: ...


class _Stream(PagesStream):
    """Says when its tip was read for the first time."""

    def __init__(self, pages: Pages, view: View) -> None:
        super().__init__(pages, pages.lasts, view.shape)
        self.read_to_tip = threading.Event()

    def read(self, iterator: str, limit: int = 1000) -> Page[Any]:
        page = super().read(iterator, limit)
        if not page.changes:
            self.read_to_tip.set()
        return page


def measure(changes: int) -> Peaks:
    """Run it in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--changes", str(changes)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Peaks)


def _run(changes: int, folder: Path) -> Peaks:
    importlib.import_module("dynaview.views.cli")  # all that a daemon holds
    pages, free, never_held = Pages(changes), threading.Event(), threading.Event()
    never_held.set()
    workload = Workload({"OPENSEARCH_URL": "http://localhost:1"}, folder, changes)
    views = [workload.view(store) for store in _STORES]
    stream = _Stream(pages, views[0])
    signals = ReaderSignals()
    controls = [WatchedControl(folder / f"{view.name}.db", pages.last) for view in views]
    pipelines: list[ViewPipeline] = []
    for view, control in zip(views, controls, strict=True):
        record = replace(control.add_view(view.name, "shop", "sink", "", stream.arn), filled=True)
        sink = _Held(view.target(), free if pipelines else never_held)
        plan = PipelinePlan(record, [GenerationWriter(view.name, view.bound, sink)], {})
        pipelines.append(ViewPipeline(plan, PipelineContext(control, signals=signals)))
    follower = Follower(stream, pipelines, PipelineContext(controls[0], signals=signals))
    threads = [threading.Thread(target=pipeline.run) for pipeline in pipelines]
    started, began = _peak(), time.monotonic()
    try:
        for thread in threads:
            thread.start()
        follower.start()
        _wait(stream.read_to_tip, "the front reader did not reach the tip")
        _wait(controls[0].reached, "the view whose sink was not held did not keep up")
        held = _peak()
        free.set()
        for control in controls:
            _wait(control.reached, "a view did not catch up")
    finally:
        free.set()
        follower.stop()
        for pipeline in pipelines:
            pipeline.end()
        for thread in threads:
            thread.join()
    return Peaks(started, held, _peak(), changes, time.monotonic() - began)


def _wait(event: threading.Event, otherwise: str) -> None:
    if not event.wait(_DEADLINE):
        raise TimeoutError(otherwise)


def _peak() -> int:
    """In bytes (Linux counts in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """The process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(msgspec.json.encode(_run(options.changes, Path(folder))).decode())


if __name__ == "__main__":
    main()
