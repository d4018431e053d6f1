"""Interleaved measurements: in every round each contender runs once, and only ratios within a round count.

Rates drift by 10 to 30 % from one minute to the next, so a ratio of two rates is taken round by round, and its median
and spread over the rounds are told.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from dynaview.views.daemon.interpreter import tune


@dataclass(frozen=True, slots=True)
class Contender:
    """`run` does the work once, with whatever it needs made ready outside its clock, and says how long it took."""

    name: str
    run: Callable[[], Clock]


@dataclass(frozen=True, slots=True)
class Figure:
    """The ratio of two contenders' rates, and what it ought to reach (None: for orientation)."""

    over: str
    under: str
    reach: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Contenders that are compared with each other."""

    name: str
    contenders: Sequence[Contender]
    figures: Sequence[Figure]


@dataclass(slots=True)
class Clock:
    """A piece of work: `records` done in `seconds`, of which this process used `processor` of a processor."""

    records: int
    seconds: float = 0.0
    processor: float = 0.0

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds

    @property
    def cost(self) -> float:
        """Microseconds of a processor a record."""
        return self.processor / self.records * 1e6


@contextmanager
def clock(records: int) -> Iterator[Clock]:
    """Time the block, in which that many records are worked off."""
    timed = Clock(records)
    gc.collect()
    began, used = time.perf_counter(), time.process_time()
    yield timed
    timed.seconds, timed.processor = time.perf_counter() - began, time.process_time() - used


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and between what the rounds were."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one value a round."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(slots=True)
class Rates:
    """Records a second of every contender, round by round, by (group, contender)."""

    rounds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    costs: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """`Clock.cost` likewise."""

    def cost(self, group: Group, name: str) -> Spread:
        """What a contender used of a processor."""
        return Spread.of(self.costs[group.name, name])

    def rate(self, group: Group, name: str) -> Spread:
        """How fast a contender was."""
        return Spread.of(self.rounds[group.name, name])

    def ratio(self, group: Group, figure: Figure) -> Spread:
        """How two contenders compared."""
        over, under = (self.rounds[group.name, name] for name in (figure.over, figure.under))
        return Spread.of([one / other for one, other in zip(over, under, strict=True)])


def measure(groups: Sequence[Group], rounds: int, say: Callable[[str], None]) -> Rates:
    """Run every contender of every group `rounds` times, round by round, after one round that does not count (without
    others it does: 0 is for a look whether all still run). The interpreter is tuned for all of them as it is for a
    daemon, and leaves alone what was made before."""
    gc.collect()
    tune()
    names = [(group.name, contender.name) for group in groups for contender in group.contenders]
    rates = Rates({name: [] for name in names}, {name: [] for name in names})
    for number in range(rounds + 1):
        for group in groups:
            for contender in group.contenders:
                say(f"round {number} of {rounds}: {group.name}, {contender.name}")
                done = contender.run()
                if number or not rounds:
                    rates.rounds[group.name, contender.name].append(done.rate)
                    rates.costs[group.name, contender.name].append(done.cost)
    return rates


def plain(groups: Sequence[Group], rates: Rates) -> list[Mapping[str, object]]:
    """All figures and rates as plain data."""
    found: list[Mapping[str, object]] = []
    for group in groups:
        for figure in group.figures:
            spread = rates.ratio(group, figure)
            found.append(
                {
                    "group": group.name,
                    "over": figure.over,
                    "under": figure.under,
                    "median": spread.median,
                    "low": spread.low,
                    "high": spread.high,
                    "reach": figure.reach,
                }
            )
        for contender in group.contenders:
            rate, cost = rates.rate(group, contender.name), rates.cost(group, contender.name)
            found.append(
                {
                    "group": group.name,
                    "contender": contender.name,
                    "records_per_second": rate.median,
                    "low": rate.low,
                    "high": rate.high,
                    "processor_microseconds": cost.median,
                }
            )
    return found
