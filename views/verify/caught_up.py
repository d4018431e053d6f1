"""Waiting until a view has caught up with a time, as verifying and repairing need it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dynaview.views.control.records import ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.retry import Retrier, Stopped
from dynaview.views.waiting import Moment, Pace, wait_for


class Overtaken(Exception):
    """The view was rebuilt, rolled back or dropped meanwhile: what was found is of rows that readers see no more."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Waits until the watermark of a recorded view has passed a time.

    With `repairing`, not while the view is rebuilt in place either.
    """

    control: ControlStore
    record: ViewRecord
    retrier: Retrier
    notice: Callable[[str], None] = lambda text: None
    repairing: bool = False

    def __call__(self, at: float) -> None:
        """Returns once the watermark has passed `at` (seconds since 1970).

        Raises `WaitError` where that takes longer than the retrier tries, or no time can bring it; `Overtaken`;
        `Stopped`.
        """
        record = self.record
        timeout = math.inf if self.retrier.seconds is None else self.retrier.seconds
        pace = Pace(pause=self._pause)
        wait_for(self.control, record.name, Moment(at), timeout=timeout, notice=self.notice, pace=pace)
        now = self.retrier.insist(lambda: self.control.view(record.name))
        if now is None or (now.generation, now.fingerprint) != (record.generation, record.fingerprint):
            raise Overtaken(f"{record.name} was rebuilt, rolled back or dropped meanwhile: verify again")
        if self.repairing and record.generation not in now.write_order:
            # Its sweep would take what is repaired for orphans.
            raise Overtaken(f"{record.name} is being rebuilt, which repairs all that a repair would")

    def _pause(self, seconds: float) -> None:
        if self.retrier.stop.wait(seconds):
            raise Stopped
