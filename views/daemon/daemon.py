"""The daemon: one worker a table, until a signal ends it."""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable

from dynaview.projections.declaration import Declaration, SinkDeclaration, SourceDeclaration
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink
from dynaview.sources.port import TableReader
from dynaview.sources.table import open_table
from dynaview.views.control.store import ControlStore
from dynaview.views.cost import BEATS
from dynaview.views.daemon.table_worker import TableWorker, WorkerSettings
from dynaview.views.kept_table import KeptTable
from dynaview.views.states import ViewState
from dynaview.views.threads import Threads

log = logging.getLogger(__name__)


def paced(settings: WorkerSettings, views: int) -> WorkerSettings:
    """The settings for so many views: the more there are, the less often an idle one says its watermark."""
    beat = max(settings.pipeline.beat, views / BEATS)
    return dataclasses.replace(settings, pipeline=dataclasses.replace(settings.pipeline, beat=beat))


class Daemon:
    """Keeps every view of a declaration (or the chosen ones) in step. `start`, `wait`, `stop`."""

    def __init__(
        self,
        declaration: Declaration,
        settings: WorkerSettings | None = None,
        open_source: Callable[[SourceDeclaration], TableReader] = open_table,
        views: frozenset[str] | None = None,
        fail_on_gap: bool = False,
        ended: threading.Event | None = None,
        open_sink: Callable[[SinkDeclaration], Sink] = connect,
    ) -> None:
        """Connects to the control store. `ended` lets `wait` return, whoever sets it. Raises `ControlError`, and
        ValueError for a sink URL that is none."""
        self._ended = ended or threading.Event()
        self.threads = Threads(self._ended)
        self._fail_on_gap = fail_on_gap
        self.gaps: dict[str, str] = {}
        """Views that have a gap, with its reason."""
        self.identity = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.control = ControlStore(declaration.control)
        chosen = [view for name, view in declaration.views.items() if views is None or name in views]
        used = {view.sink for view in chosen}
        self.sinks: dict[str, Sink] = {name: open_sink(declaration.sinks[name]) for name in sorted(used)}
        paced_settings = paced(settings or WorkerSettings(), len(chosen))
        self.workers = [
            TableWorker(
                KeptTable(source, views_of_it, open_source(source), self.sinks, self.control),
                paced_settings,
                self.threads,
                self,
                self.identity,
            )
            for source in declaration.sources.values()
            if (views_of_it := {view.name: view for view in chosen if view.source == source.name})
        ]

    def start(self) -> None:
        """Begin. A view that its table cannot serve is refused by itself, and no other one with it (law 7)."""
        for worker in self.workers:
            worker.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until `end` was called, a signal came, or a thread failed; False when the time-out came first."""
        return self._ended.wait(timeout)

    def end(self) -> None:
        """Let `wait` return."""
        self._ended.set()

    def stop(self) -> None:
        """End everything: batches in hand are finished, checkpoints moved, connections given back."""
        stopping = [threading.Thread(target=worker.stop) for worker in self.workers]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()
        for sink in self.sinks.values():
            sink.close()
        self.control.close()

    def view_ended(self, view: str, state: ViewState, reason: str) -> None:
        """See `RunMonitor`."""
        if state is ViewState.GAP:
            self.gaps[view] = reason
            if self._fail_on_gap:
                self.end()
