"""What a process counts of its own work, for monitoring: how large batches are, how long stores and streams take,
what is tried again and why.

Numbers that only ever grow, under names of their own: `NAME`, `NAME:KIND` where kinds are told apart, and of histograms
one number for each range (`NAME<0.5`, `NAME<+Inf`) and the sum of all values (`NAME:sum`). So what several processes
have counted is added up by adding numbers. A process sends what it has counted since the last time, so nothing goes
back when one ends.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from typing import Literal, TypeAlias

Subject: TypeAlias = tuple[Literal["view", "source"], str]
"""What is counted of: a view or a source, by its name."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

BOUNDS: Mapping[str, tuple[float, ...]] = {
    "batch_rows": (1, 10, 50, 100, 250, 500, 1000, 2500),
    "write_seconds": SECONDS,
    "read_seconds": SECONDS,
}
"""The upper ends of the ranges of histograms, each of which belongs to its range."""


def ranges(name: str) -> list[str]:
    """The names of a histogram's numbers, in ascending order, that of the last one without an end included."""
    return [*(f"{name}<{bound:g}" for bound in BOUNDS[name]), f"{name}<+Inf"]


_RANGES = {name: ranges(name) for name in BOUNDS}


class Meter:
    """What one process counts of one subject. Thread-safe, and cheap enough for every batch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: defaultdict[str, float] = defaultdict(float)
        self._told: dict[str, float] = {}
        self._telling: dict[str, float] = {}

    def add(self, name: str, kind: str = "", number: float = 1) -> None:
        """Count."""
        with self._lock:
            self._values[f"{name}:{kind}" if kind else name] += number

    def observe(self, name: str, value: float) -> None:
        """Count a value of a histogram."""
        numbered = _RANGES[name][bisect_left(BOUNDS[name], value)]
        with self._lock:
            self._values[numbered] += 1
            self._values[f"{name}:sum"] += value

    def news(self) -> dict[str, float]:
        """What was counted and has not been `told`."""
        with self._lock:
            self._telling = now = dict(self._values)
        return {name: more for name, value in now.items() if (more := value - self._told.get(name, 0.0))}

    def numbers(self) -> dict[str, float]:
        """All that was counted since the process began."""
        with self._lock:
            return dict(self._values)

    def told(self) -> None:
        """Hear that the last news have arrived where all processes' numbers are added up."""
        self._told = self._telling


class Meters:
    """The meters of one process, of one table and its views. Thread-safe."""

    def __init__(self, source: str = "") -> None:
        self.source = Meter()
        self._name = source
        self._lock = threading.Lock()
        self._views: dict[str, Meter] = {}

    def view(self, name: str) -> Meter:
        """That of a view: the same one whenever its pipeline is opened anew."""
        with self._lock:
            return self._views.setdefault(name, Meter())

    def all(self) -> dict[Subject, Meter]:
        """All of them."""
        with self._lock:
            views: dict[Subject, Meter] = {("view", name): meter for name, meter in self._views.items()}
        return {("source", self._name): self.source, **views}


def kind_of(error: BaseException) -> str:
    """The kind of an error as a label: ``SinkUnavailable`` is sink_unavailable."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
