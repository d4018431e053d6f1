"""What the control store says of all views, looked up once for everybody who asks at about the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dynaview.views.control.errors import ControlError
from dynaview.views.control.store import ControlStore
from dynaview.views.meters import Subject
from dynaview.views.status import all_status


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All views at one moment. `views` are as `dynaview status --json` prints them."""

    at: float
    """When it was taken, in seconds since 1970."""
    views: Sequence[dict[str, Any]] = ()
    missing: Sequence[str] = ()
    """Declared views that were never started."""
    error: str = ""
    """Why the control store could not be asked; `views` are those of the last time it could."""
    by_name: dict[str, dict[str, Any]] = field(default_factory=dict)
    meters: Mapping[Subject, Mapping[str, float]] = field(default_factory=dict)
    """What all processes have counted of their own work."""


class Snapshots:
    """Looks at the control store at most once in `fresh` seconds, however many ask. Thread-safe."""

    def __init__(
        self,
        control: ControlStore | None,
        declared: Sequence[str],
        fresh: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`control` is None until `open` says which it is."""
        self._control = control
        self._declared = tuple(declared)
        self._fresh = fresh
        self._clock = clock
        self._lock = threading.Lock()
        self._last = Snapshot(0.0, error="the control store has not been asked yet")

    def open(self, control: ControlStore) -> None:
        """The control store that was waited for."""
        with self._lock:
            self._control = control
            self._last = Snapshot(0.0, error=self._last.error)

    def wait_for_control(self, reason: str) -> None:
        """Say why the control store that is waited for is not there yet."""
        with self._lock:
            self._last = replace(self._last, error=reason)

    def latest(self) -> Snapshot:
        """The views as they are now, or were a moment ago. Never raises: see `Snapshot.error`."""
        with self._lock:
            now = self._clock()
            if not 0 <= now - self._last.at < self._fresh:
                self._last = self._look(now)
            return self._last

    def _look(self, now: float) -> Snapshot:
        if self._control is None:
            return replace(self._last, at=now)
        try:
            views, meters = all_status(self._control), self._control.meters.all()
        except ControlError as error:
            return replace(self._last, at=now, error=str(error))
        by_name = {view["view"]: view for view in views}
        missing = [name for name in self._declared if name not in by_name]
        return Snapshot(now, views, missing, by_name=by_name, meters=meters)
