"""How much of a table's read capacity a scan may take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from dynaview.sources.port import TableDescription

SHARE = 0.5
"""The share of what is provisioned that a scan may take where nobody has said otherwise."""


class Capacity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked for: `units` a second, or a `share` of what is provisioned, or neither: half of what is
    provisioned, and as much as it gets from a table on demand."""

    units: float | None = None
    share: float | None = None

    def rate(self, table: TableDescription) -> float | None:
        """Read capacity units a second; None: without a limit. Raises ValueError for a share of nothing."""
        if self.units is not None:
            return self.units
        if table.read_units is not None:
            return table.read_units * (self.share or SHARE)
        if self.share is not None:
            share = f"{self.share * 100:g} %"
            raise ValueError(
                f"table {table.name} is on demand, so there is no provisioned capacity to take {share} of: name read "
                "units a second"
            )
        return None


class Budget:
    """Read capacity units a second, shared by all segments of a scan. Thread-safe; one second's worth may be taken at
    once."""

    def __init__(
        self, units: float | None, wait: Callable[[float], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`units` a second; None: without a limit. `wait` waits about so many seconds; True: the scan is to end."""
        self._units = units
        self._wait = wait
        self._clock = clock
        self._lock = threading.Lock()
        self._free = units or 0.0
        self._at = clock()

    def spend(self, units: float) -> None:
        """Account for what a page has cost, and wait until the next one may be asked for."""
        if self._units is None:
            return
        with self._lock:
            now = self._clock()
            self._free = min(self._units, self._free + (now - self._at) * self._units) - units
            self._at = now
            due = now - self._free / self._units
        while (left := due - self._clock()) > 0:
            if self._wait(min(left, 1.0)):
                return
