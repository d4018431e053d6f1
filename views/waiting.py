"""Waiting for a view: read-your-writes for callers that have just written to the table.

    declaration = load([Path("dynaview.yaml")], os.environ)
    control = ControlStore(declaration.control)
    wait_for(control, "order_search", Moment.now(), timeout=5)            # all that was written before this call
    with opened_row(declaration, "order_search", "o-1", sequence_number) as row:
        wait_for(control, "order_search", row, timeout=5)                 # one row, by the stream's own number
    with searchable(declaration, "order_search", Moment.now()) as goal:
        wait_for(control, "order_search", goal, timeout=5)                # and so that a search finds it

OpenSearch keeps a write at once and lets searches find it later (after a second, unless the index says otherwise).
`searchable` asks it to show what it has once the goal is reached; for other stores it changes nothing.

What a `Moment` proves: the view's first fill is complete and its watermark is past the moment, so every change that
was made up to then has been applied, found stale, found not to belong, or put to the dead letters. The watermark says
no more than that is known (see `Positions.lowest`): the time of an applied record counts only up to just before its
second, because AWS cuts it, and a shard without changes counts up to where a run of empty pages began
(`dynaview.views.streaming.shard_reader`), less `tip_margin`, which is what a change may take from the table to its
stream. Two things remain with the operator: the clocks of this machine and of the
worker agree within that margin (NTP), and a moment that was read from a cut time of AWS is meant to its second's end,
so add one. A row's version depends on no clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from dynaview.projections.changes import STREAM_SPAN
from dynaview.projections.declaration import Declaration, ViewDeclaration
from dynaview.projections.rows import RowKey
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink, SinkRefused, SinkUnavailable, Target
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.row_keys import row_key
from dynaview.views.reasons import moment
from dynaview.views.states import ViewState
from dynaview.views.status import ALIVE

UNMADE = (ViewState.STARTING, ViewState.WAITING)
"""States in which the view's index or table may not be there yet."""

FIRST, LONGEST = 0.02, 0.5
"""Seconds between two looks: they grow from the first to the longest."""


class WaitError(Exception):
    """A view did not reach what was waited for. `standing` tells how it stood.

    WaitError
    ├── TimedOut   it may still come
    └── Hopeless   it will not come before somebody acts: the text names what
    """

    def __init__(self, message: str, standing: Standing) -> None:
        super().__init__(message)
        self.standing = standing


class TimedOut(WaitError):
    """The time-out came first."""


class Hopeless(WaitError):
    """The view is in a state that lasts."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a view stood at the last look. Times are seconds since 1970, `waited` is in seconds."""

    view: str
    waited: float
    watermark: float | None
    lag: float | None
    """Now less the watermark; None where that is unknown."""
    state: str
    """As ``dynaview status`` shows it; ``unknown`` before the view was ever started or while nothing answers."""
    reason: str
    running: bool
    """Whether a daemon has given a sign of life for the view lately."""

    def __str__(self) -> str:
        if self.state == "unknown":
            return self.reason
        lag = "" if self.lag is None else f" ({self.lag:.1f} s behind)"
        text = f"its state is {self.state}{f': {self.reason}' if self.reason else ''}; its watermark is "
        text += f"{moment(self.watermark)}{lag}"
        return text if self.running else f"{text}; no daemon runs for it: start dynaview run"


class Goal(Protocol):
    """What can be waited for."""

    def reached(self, record: ViewRecord) -> bool:
        """Whether the view is there now. Raises `SinkError`."""

    def __str__(self) -> str:
        """What it is, after "waited for"."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything written up to a time, in seconds since 1970."""

    at: float

    @classmethod
    def now(cls) -> Moment:
        """Everything that the caller has written before the call."""
        return cls(time.time())

    def reached(self, record: ViewRecord) -> bool:
        return record.filled and record.watermark is not None and record.watermark > self.at

    def __str__(self) -> str:
        return f"what was written up to {moment(self.at)}"


@dataclass(frozen=True, slots=True)
class RowVersion:
    """A row (or its tombstone) under `key` that a change with this version, or a later one, wrote.

    `version` is a sequence number of the stream that the view follows now, or a whole version as rows carry it. A
    change that writes nothing to the row (it does not belong to the view, or went to the dead letters) never shows.
    """

    open: Callable[[int], Target]
    """The target of a generation."""
    key: RowKey
    version: int

    def reached(self, record: ViewRecord) -> bool:
        stored = self.open(record.generation).read([self.key])[0]
        wanted = self.version if self.version >= STREAM_SPAN else record.stream_count * STREAM_SPAN + self.version
        return stored is not None and stored.version >= wanted

    def __str__(self) -> str:
        return f"version {self.version} of row {self.key!r}"


@dataclass(frozen=True, slots=True)
class Searchable:
    """A goal, and that searches find what it is about."""

    goal: Goal
    open: Callable[[int], Target]
    """The target of a generation."""

    def reached(self, record: ViewRecord) -> bool:
        if not self.goal.reached(record):
            return False
        self.open(record.generation).show()
        return True

    def __str__(self) -> str:
        return str(self.goal)


@contextmanager
def opened_row(declaration: Declaration, view: str, key: str, version: int) -> Iterator[RowVersion]:
    """The goal of a row, with the view's sink open for as long as the block lasts; `key` as `row_key` reads it.

    Raises KeyError for a view that is not declared, ValueError for a key that is not one of the view's.
    """
    declared = declaration.views[view]
    key_ = row_key(declared.layout, key)
    with closing(connect(declaration.sinks[declared.sink])) as sink:
        yield row_goal(declared, sink, key_, version)


@contextmanager
def searchable(declaration: Declaration, view: str, goal: Goal) -> Iterator[Searchable]:
    """`goal`, and that searches find it, with the view's sink open for as long as the block lasts. The user of that
    sink needs the right to refresh its index. Raises KeyError for a view that is not declared."""
    declared = declaration.views[view]
    with closing(connect(declaration.sinks[declared.sink])) as sink:
        yield Searchable(goal, lambda generation: sink.open(declared.layout, generation))


def row_goal(declared: ViewDeclaration, sink: Sink, key: RowKey, version: int) -> RowVersion:
    """The goal of a row in a sink that is open already."""
    return RowVersion(lambda generation: sink.open(declared.layout, generation), key, version)


@dataclass(slots=True)
class Pace:
    """How it is waited; replaced by tests and by callers that have to be woken."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[float], object] = field(default_factory=lambda: threading.Event().wait)


def wait_for(
    control: ControlStore,
    view: str,
    goal: Goal,
    *,
    timeout: float,
    notice: Callable[[str], None] = lambda text: None,
    pace: Pace | None = None,
) -> Standing:
    """Wait until `view` has reached `goal`, at most `timeout` seconds; answers how the view stands then.

    It asks the control store (or the row's store) at growing intervals from 20 to 500 ms. While these do not answer, or
    no daemon runs, it goes on waiting, and tells `notice` once.
    Raises `TimedOut`; `Hopeless` at once where the view is in a state that lasts; `SinkRefused` for missing rights.
    """
    pace = pace or Pace()
    begun = pace.monotonic()
    interval, told, asked = FIRST, False, False
    while True:
        record: ViewRecord | None = None
        away = ""
        reached = False
        try:
            record = control.view(view)
            reached = record is not None and goal.reached(record)
            if not (reached or asked) and (moment := _moment(goal)) is not None:
                asked = True
                with suppress(ControlUnavailable):  # it is waited for all the same, where this may not be written
                    control.set_awaited(view, moment)
        except SinkRefused as error:
            if record is not None and record.state not in UNMADE:
                raise
            away = str(error)
        except (ControlUnavailable, SinkUnavailable) as error:
            away = str(error)
        waited = pace.monotonic() - begun
        standing = _standing(view, record, away, waited, pace.now())
        if reached:
            return standing
        if record is not None and record.state.lasts:
            raise Hopeless(f"{view} will not show {goal}: {standing}", standing)
        if not told and (away or not standing.running):
            told = True
            notice(away or f"{view}: {standing}")
        left = timeout - waited
        if left <= 0:
            what = f"{away}; " if away and record is not None else ""
            raise TimedOut(f"{view} does not show {goal} after {waited:.1f} s: {what}{standing}", standing)
        pace.pause(min(interval, left))
        interval = min(interval * 1.5, LONGEST)


def _moment(goal: Goal) -> float | None:
    """The time that the watermark has to pass for a goal, where that is what it takes."""
    if isinstance(goal, Searchable):
        return _moment(goal.goal)
    return goal.at if isinstance(goal, Moment) else None


def _standing(view: str, record: ViewRecord | None, away: str, waited: float, now: float) -> Standing:
    if record is None:
        reason = away or "it was never started: start dynaview run"
        return Standing(view, waited, None, None, "unknown", reason, bool(away))
    running = now - record.seen < ALIVE
    lag = None if record.watermark is None else max(0.0, now - record.watermark)
    state = record.state if running or record.state.lasts else ViewState.STOPPED
    return Standing(view, waited, record.watermark, lag, state, record.reason, running)
