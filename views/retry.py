"""Trying again what heals by itself: one way for everything that waits for a store, for AWS or for the control store.

A `Retrier` belongs to one thing that is waited with: a view's pipeline, the worker of a table, the scan of a rebuild, a
command that somebody waits for. It is made once, with the event that ends it and with the subject that its log lines
begin with, and everything that may fail goes through `insist`:

    self._retrier = Retrier(stop, f"view {name}", self._show)
    ...
    outcomes = self._retrier.insist(lambda: target.write(writes))

`Stopped` ends whatever was waited for, so it is caught once, where the work as a whole ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from dynaview.sinks.port import SinkError
from dynaview.sources.errors import SourceError
from dynaview.views.control.errors import ControlError
from dynaview.views.policy import Action, Backoff, Repeats, policy

log = logging.getLogger(__name__)

T = TypeVar("T")

OnError = Callable[[Exception, int], None]
"""Hears of an error that is tried again, and how often it came in a row."""

HEALING = (Action.RETRY,)
"""What heals by itself within a time that somebody may wait for."""

ENDLESS = (*HEALING, Action.SLOW)
"""What is tried again for as long as it takes."""

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
    """Does something, and again while what stands in the way heals by itself (see `policy`). Safe to use from several
    threads.

    Without `seconds` it goes on for as long as it takes, also where an operator has to act, and logs the trouble when
    it begins (see `Repeats`). With them it gives up in the end, or where somebody has to act, by raising the error,
    which its caller tells.
    """

    def __init__(
        self,
        stop: threading.Event | None = None,
        subject: str = "",
        on_error: OnError | None = None,
        *,
        seconds: float | None = None,
    ) -> None:
        """`stop` ends all waiting (a `Stop` where the user of this one may set it). `subject` is what the log says
        first: ``view orders``, ``table shop``. `on_error` hears of each error that is tried again."""
        self.stop = Stop() if stop is None else stop
        self.seconds = seconds
        self._subject = subject
        self._on_error = on_error
        self._repeats = Repeats()

    def until(self, stop: threading.Event) -> Retrier:
        """One like it that another event ends."""
        return Retrier(stop, self._subject, self._on_error, seconds=self.seconds)

    def insist(self, act: Callable[[], T]) -> T:
        """Do it; nothing is begun any more once `stop` is set. Raises `Stopped`, and what `act` raises where that does
        not heal (by itself, and in time)."""
        if self.stop.is_set():
            raise Stopped
        return self.finish(act)

    def finish(self, act: Callable[[], T]) -> T:
        """The same for what is left to be said at the end: it is tried at least once."""
        backoff = Backoff()
        deadline: float | None = None
        while True:
            try:
                return act()
            except (SourceError, SinkError, ControlError) as error:
                if policy(error).action not in (ENDLESS if self.seconds is None else HEALING):
                    raise
                if self.seconds is not None:
                    deadline = time.monotonic() + self.seconds if deadline is None else deadline
                    if time.monotonic() > deadline:
                        raise
                self._meet(error, backoff)
            if backoff.wait(self.stop):
                raise Stopped

    def _meet(self, error: Exception, backoff: Backoff) -> None:
        news = backoff.meet(error)
        if self.seconds is None and (line := self._repeats.line(self._subject, error, news)) is not None:
            log.warning("%s: %s", self._subject, line)
        log.debug("%s: try %d failed: %s", self._subject or "command", backoff.attempts + 1, error)
        if self._on_error is not None:
            self._on_error(error, backoff.attempts + 1)
