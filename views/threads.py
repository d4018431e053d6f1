"""Threads that never die unnoticed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)


class Threads:
    """The threads of one part of a process. The parts of a whole are made with `group`: each ends and waits for its own
    threads, and `crashed` is the same for all of them."""

    def __init__(self, ended: threading.Event | None = None) -> None:
        """`ended` is set when a thread has crashed, so that the process ends rather than go on without it."""
        self.crashed = threading.Event()
        """Set once a thread has died of an error that nobody expected. The error was logged."""
        self._ended = ended
        self._lock = threading.Lock()
        self._running: list[threading.Thread] = []

    def group(self) -> Threads:
        """A part that waits for its own threads only."""
        part = Threads(self._ended)
        part.crashed = self.crashed
        return part

    def spawn(self, name: str, act: Callable[[], None]) -> None:
        """Do it in a thread of its own."""

        def run() -> None:
            try:
                act()
            except BaseException:
                log.critical("thread %s failed; this is a fault of dynaview, please report it", name, exc_info=True)
                self.crashed.set()
                if self._ended is not None:
                    self._ended.set()

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        with self._lock:
            self._running = [*(each for each in self._running if each.is_alive()), thread]

    def join(self, within: float) -> list[str]:
        """Wait for the threads, `within` seconds at the most for all of them together; the names of those that still
        run."""
        deadline = time.monotonic() + within
        with self._lock:
            running = list(self._running)
        for thread in running:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [thread.name for thread in running if thread.is_alive()]
