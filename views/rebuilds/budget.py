"""How much read capacity a scan may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Budget:
    """Read capacity units a second, shared by all segments of a scan. Thread-safe; one second's worth may be taken at
    once."""

    def __init__(
        self, units: float | None, wait: Callable[[float], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`units` a second; None: without a limit. `wait` waits so many seconds."""
        self._units = units
        self._wait = wait
        self._clock = clock
        self._lock = threading.Lock()
        self._free = units or 0.0
        self._at = clock()
        self.spent = 0.0

    def spend(self, units: float) -> None:
        """Account for what a page has cost, and wait until the next one may be asked for."""
        with self._lock:
            self.spent += units
            if self._units is None:
                return
            now = self._clock()
            self._free = min(self._units, self._free + (now - self._at) * self._units) - units
            self._at = now
            owed = -self._free / self._units
        if owed > 0:
            self._wait(owed)
