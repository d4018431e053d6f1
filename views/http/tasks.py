"""Long work beside the server: some at a time, each in a thread of its own, its progress and its result kept in the
control store, so that every process of a daemon can tell of it."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dynaview.sinks.port import SinkError
from dynaview.sources.errors import SourceError
from dynaview.views.control.errors import ControlError
from dynaview.views.control.records import LongTask, TaskState
from dynaview.views.control.tasks import TaskStore
from dynaview.views.http.guard import Problem
from dynaview.views.reasons import fault_reason
from dynaview.views.replay import ReplayRefused
from dynaview.views.retry import Stopped
from dynaview.views.verify.findings import VerifyError

log = logging.getLogger(__name__)

TOGETHER = 2
"""Tasks that a process does at once."""

WAITING = 20
"""Tasks that may wait for their turn in a process."""

BEAT = 1.0
"""Seconds between two signs of life of a task, and so until it hears that it is cancelled."""


@dataclass(slots=True)
class Running:
    """What a task's work knows of its surroundings."""

    stop: threading.Event = field(default_factory=threading.Event)
    """Set once it is to end."""
    done: int = 0
    expected: int = 0

    def progress(self, done: int, expected: int) -> None:
        """Say how far it is."""
        self.done, self.expected = done, expected


Work: TypeAlias = Callable[[Running], Any]
"""Does it and answers what came of it, as plain data. May raise `Stopped` once `Running.stop` is set."""


class TaskRunner:
    """Does tasks in the order in which they were asked for. Thread-safe."""

    def __init__(self, store: TaskStore, together: int = TOGETHER, waiting: int = WAITING, beat: float = BEAT) -> None:
        self._store = store
        self._together = together
        self._beat = beat
        self._queue: queue.Queue[tuple[LongTask, Work, Running]] = queue.Queue(waiting)
        self._lock = threading.Lock()
        self._open: dict[str, Running] = {}
        self._threads: list[threading.Thread] = []
        self._ending = threading.Event()

    def ask(self, kind: str, view: str, work: Work) -> LongTask:
        """Let something be done as soon as there is room. Raises `Problem` where too much waits already, and
        `ControlUnavailable`."""
        with self._lock:
            if self._queue.full() or self._ending.is_set():
                raise Problem(503, f"{self._queue.qsize()} tasks wait already; ask again later")
            task, running = self._store.add(kind, view), Running()
            self._open[task.id] = running
            self._queue.put_nowait((task, work, running))
            if not self._threads:
                self._threads.append(self._thread("http-task-beats", self._beats))
            if len(self._threads) <= self._together:
                self._threads.append(self._thread(f"http-task-{len(self._threads)}", self._run))
        return task

    def stop(self) -> None:
        """Let all tasks end; they are cancelled."""
        self._ending.set()
        with self._lock:
            for running in self._open.values():
                running.stop.set()
            threads = list(self._threads)
        for thread in threads:
            thread.join(5.0)

    def _thread(self, name: str, act: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=act, name=name, daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                task, work, running = self._queue.get(timeout=0.2)
            except queue.Empty:
                continue
            self._do(task, work, running)
            with self._lock:
                self._open.pop(task.id, None)
        while not self._queue.empty():
            task, _, _ = self._queue.get_nowait()
            self._end(task, "cancelled", "the server has ended", None)

    def _do(self, task: LongTask, work: Work, running: Running) -> None:
        try:
            if self._store.beat(task.id, 0, 0):
                raise Stopped
            result = work(running)
        except Stopped:
            why = "the server has ended" if self._ending.is_set() else ""
            self._end(task, "cancelled", why, None)
        except (VerifyError, ReplayRefused, SinkError, SourceError, ControlError) as error:
            self._end(task, "failed", str(error), None)
        except Exception as error:
            log.exception("task %s (%s %s): a fault of dynaview, please report it", task.id, task.kind, task.view)
            self._end(task, "failed", fault_reason(error), None)
        else:
            self._end(task, "done", "", result)

    def _end(self, task: LongTask, state: TaskState, error: str, result: Any) -> None:
        log.info("task %s: %s %s: %s%s", task.id, task.kind, task.view, state, f": {error}" if error else "")
        for _ in range(3):
            try:
                self._store.end(task.id, state, error, result)
                return
            except ControlError as away:
                log.warning("task %s: how it has ended cannot be kept: %s", task.id, away)
                self._ending.wait(1.0)

    def _beats(self) -> None:
        """Signs of life of all tasks, those that wait included, and what is asked of them meanwhile."""
        while not self._ending.wait(self._beat):
            with self._lock:
                now = dict(self._open)
                waiting = {task.id for task, _, _ in list(self._queue.queue)}
            for task, running in now.items():
                state: TaskState = "queued" if task in waiting else "running"
                try:
                    if self._store.beat(task, running.done, running.expected, state):
                        running.stop.set()
                except ControlError:
                    break  # what is asked of it is heard once that is back


def plain(task: LongTask) -> dict[str, Any]:
    """A task as the API tells it."""
    return {
        "id": task.id,
        "kind": task.kind,
        "view": task.view or None,
        "state": task.state,
        "asked": task.asked,
        "updated": task.updated,
        "seconds": max(0.0, (time.time() if task.state in ("queued", "running") else task.updated) - task.asked),
        "done": task.done,
        "expected": task.expected,
        "error": task.error,
        "result": task.result,
    }
