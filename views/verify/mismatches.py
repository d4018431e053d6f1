"""Rows that looked wrong and wait to be judged."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dynaview.projections.rows import RowKey
from dynaview.sinks.port import Stored
from dynaview.sources.port import Key
from dynaview.views.retry import Stopped

WAKE = 0.2
"""Seconds after which those who wait for each other look whether they are to stop."""


@dataclass(slots=True)
class Mismatch:
    """A row that was not as its item asked for it."""

    item: Key
    key: RowKey
    owner: str
    seen: Stored | None
    """At the last look."""
    rounds: int = 0


class Mismatches:
    """A bounded queue: many look and `put`, one judges."""

    def __init__(self, stop: threading.Event, over: Callable[[], bool], most: int) -> None:
        """`stop` ends all waiting by `Stopped`; once `over` says so nobody judges any more, and nothing waits. `most`
        are held, and judged together; then those who look wait as well."""
        self._stop = stop
        self._over = over
        self._most = most
        self._queue: queue.Queue[Mismatch | None] = queue.Queue(most)

    def put(self, mismatch: Mismatch | None) -> None:
        """Let it be judged; None: nothing more comes."""
        while not self._stop.is_set():
            if self._over():
                return
            try:
                self._queue.put(mismatch, timeout=WAKE)
            except queue.Full:
                continue
            return
        raise Stopped

    def judged(self, judge: Callable[[Sequence[Mismatch]], list[Mismatch]]) -> None:
        """Judge mismatches together until nothing more comes; `judge` answers those that are to be judged again."""
        again: list[Mismatch] = []
        ended = False
        while not ended or again:
            batch, again = again, []
            while not ended and len(batch) < self._most:
                try:
                    mismatch = self._queue.get(block=not batch, timeout=WAKE)
                except queue.Empty:
                    if batch:
                        break
                    if self._stop.is_set():
                        raise Stopped from None
                    continue
                if mismatch is None:
                    ended = True
                else:
                    batch.append(mismatch)
            if batch:
                again = judge(batch)
