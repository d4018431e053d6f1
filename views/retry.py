"""Trying again what heals by itself, for a while: for commands and checks that somebody waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from dynaview.sinks.port import SinkError
from dynaview.sources.errors import SourceError
from dynaview.views.control.store import ControlError
from dynaview.views.policy import Action, Backoff, policy

T = TypeVar("T")

_SLICE = 0.1
"""Seconds after which the other event is looked at."""


class Stopped(Exception):
    """It was told to end before it was done."""


class Stop(threading.Event):
    """An event that is also set when another one is."""

    def __init__(self, above: threading.Event | None = None) -> None:
        super().__init__()
        self._above = above

    def is_set(self) -> bool:
        return super().is_set() or (self._above is not None and self._above.is_set())

    def wait(self, timeout: float | None = None) -> bool:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _SLICE if deadline is None else min(_SLICE, deadline - time.monotonic())
            if left <= 0:
                return False
            super().wait(left)
        return True


class Retrier:
    """`insist` does something, and again while what stands in the way heals by itself (see `policy`), for `seconds` at
    the most. Safe to use from several threads."""

    def __init__(
        self,
        seconds: float = 60.0,
        stop: threading.Event | None = None,
        notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`notice` hears of an error once it has come twice in a row. `self.stop` is set when `stop` is, and may be set
        by itself."""
        self.seconds = seconds
        self.stop = Stop(stop)
        self._notice = notice

    def insist(self, act: Callable[[], T]) -> T:
        """Raises what `act` raises where it does not heal by itself, or not in time; `Stopped`."""
        backoff = Backoff()
        deadline: float | None = None
        while not self.stop.is_set():
            try:
                return act()
            except (SourceError, SinkError, ControlError) as error:
                if deadline is None:
                    deadline = time.monotonic() + self.seconds
                elif backoff.attempts == 1:
                    self._notice(str(error))
                if policy(error).action is not Action.RETRY or time.monotonic() > deadline:
                    raise
                backoff.meet(error)
            backoff.wait(self.stop)
        raise Stopped
