"""Threads that never die unnoticed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)


def spawn(name: str, target: Callable[[], None], crashed: Callable[[], None]) -> threading.Thread:
    """Start a thread; should `target` raise, the error is logged and `crashed` called, so that the process can end
    rather than go on without it."""

    def run() -> None:
        try:
            target()
        except BaseException:
            log.critical("thread %s failed; this is a fault of dynaview, please report it", name, exc_info=True)
            crashed()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


def join(threads: Iterable[threading.Thread], within: float) -> list[str]:
    """Wait for threads, `within` seconds at the most for all of them together; the names of those that still run."""
    deadline = time.monotonic() + within
    left: list[str] = []
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            left.append(thread.name)
    return left
