"""How many dead letters a view may leave: a declaration that is simply wrong stops it instead of filling the disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable


class DeadLetterLimit:
    """Counts dead letters over the last `within` seconds. Safe to use from several threads: a view is followed and
    filled at once."""

    def __init__(self, limit: int, within: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.within = within
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: deque[tuple[float, int]] = deque()
        self._total = 0

    def passed(self, letters: int) -> bool:
        """Count so many more letters; whether there are now more than the limit."""
        if not letters:
            return False
        with self._lock:
            now = self._clock()
            self._counted.append((now, letters))
            self._total += letters
            while self._counted[0][0] <= now - self.within:
                self._total -= self._counted.popleft()[1]
            return self._total > self.limit

    def reason(self, view: str, why: str) -> str:
        """What the operator is told; `why` is the reason of the last letter."""
        return (
            f"more than {self.limit} dead letters within {self.within:g} seconds, the last: {why}; nothing behind them "
            f"was passed. See dynaview dead-letters list --view {view}. If the declaration is wrong, fix it and fill "
            f"the view anew (dynaview drop {view}, then dynaview run); if not, the next dynaview run goes on"
        )
