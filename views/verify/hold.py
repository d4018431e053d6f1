"""Waiting until a view has caught up with a time, as verifying and repairing need it."""

from __future__ import annotations

import math
from collections.abc import Callable

from dynaview.views.control.records import ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.retry import Retrier, Stopped
from dynaview.views.waiting import Moment, Pace, wait_for


class Overtaken(Exception):
    """The view was rebuilt, rolled back or dropped meanwhile: what was found is of rows that readers see no more."""


def holding(
    control: ControlStore,
    record: ViewRecord,
    patience: Retrier,
    notice: Callable[[str], None] = lambda text: None,
    mending: bool = False,
) -> Callable[[float], None]:
    """A function that returns once the watermark of the recorded view has passed a time (seconds since 1970).

    With `mending`, not while it is rebuilt in place either. It raises `WaitError` where that takes longer than the
    patience lasts, or no time can bring it; `Overtaken`; `Stopped`.
    """

    def pause(seconds: float) -> None:
        if patience.stop.wait(seconds):
            raise Stopped

    def hold(at: float) -> None:
        wait_for(
            control,
            record.name,
            Moment(at),
            timeout=math.inf if patience.seconds is None else patience.seconds,
            notice=notice,
            pace=Pace(pause=pause),
        )
        now = patience.insist(lambda: control.view(record.name))
        if now is None or (now.generation, now.fingerprint) != (record.generation, record.fingerprint):
            raise Overtaken(f"{record.name} was rebuilt, rolled back or dropped meanwhile: verify again")
        if mending and record.generation not in now.write_order:  # its sweep would take what is mended for orphans
            raise Overtaken(f"{record.name} is being rebuilt, which mends all that a repair would")

    return hold
