"""Errors sorted in one table: what each kind means for a view, and the sentence for the operator.

Nobody else decides what is tried again, how often, and what is given up. docs/operations.md shows this table.
"""

from __future__ import annotations

import enum
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dynaview.projections.declaration import DeclarationError
from dynaview.projections.projection import ProjectionError
from dynaview.sinks.port import SinkError, SinkRefused
from dynaview.sources.errors import (
    AccessDenied,
    BadExport,
    BadPage,
    CredentialsMissing,
    IteratorExpired,
    SourceError,
    SourceRefused,
    StreamDisabled,
    StreamGone,
    TableMissing,
    Throttled,
    Trimmed,
)
from dynaview.views.control.errors import ControlError, ControlUnavailable
from dynaview.views.states import ViewState


class Action(enum.Enum):
    """What follows an error."""

    AGAIN = "again at once"
    RETRY = "retry"
    """Endlessly, with capped and jittered waits: it heals by itself."""
    SLOW = "slow retry"
    """The same with longer waits: an operator has to act, and nobody should have to restart anything afterwards."""
    LETTER = "dead letter"
    GAP = "gap"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Policy:
    """What an error means. `cap` is the longest wait between two tries in seconds, `state` what `status` shows
    meanwhile (where it can)."""

    action: Action
    cap: float
    state: ViewState | None
    what: str
    do: str


def _retry(cap: float, state: ViewState, what: str, do: str) -> Policy:
    return Policy(Action.RETRY, cap, state, what, do)


def _slow(cap: float, state: ViewState, what: str, do: str) -> Policy:
    return Policy(Action.SLOW, cap, state, what, do)


POLICIES: Mapping[type[Exception], Policy] = {
    SourceError: _retry(
        10,
        ViewState.WAITING,
        "AWS or the network does not answer",
        "nothing; if it lasts, look at the network and the endpoint",
    ),
    Throttled: _retry(
        10,
        ViewState.WAITING,
        "AWS throttles",
        "nothing; if it lasts, look for other readers of this stream: AWS allows two a shard",
    ),
    BadPage: _retry(
        10,
        ViewState.WAITING,
        "an answer was cut short or broken on its way",
        "nothing; if it lasts, look at proxies in between",
    ),
    IteratorExpired: Policy(
        Action.AGAIN,
        0,
        None,
        "a shard iterator is older than 15 minutes",
        "nothing; a new one goes on behind the last record",
    ),
    CredentialsMissing: _slow(
        30,
        ViewState.WAITING,
        "no AWS credentials, or expired or not accepted",
        "renew them, the way the AWS tools take them; a wrong clock on the machine looks the same",
    ),
    AccessDenied: _slow(
        30,
        ViewState.WAITING,
        "an IAM action is missing",
        "grant the action that the message names, on the resource it names",
    ),
    TableMissing: _slow(
        30,
        ViewState.WAITING,
        "the table does not exist here",
        "check the region (AWS_DEFAULT_REGION), the profile, and the source in the declaration",
    ),
    StreamDisabled: _slow(
        30,
        ViewState.WAITING,
        "the table's stream is off",
        "dynaview run --enable-stream, or switch it on with the view type NEW_AND_OLD_IMAGES",
    ),
    SourceRefused: _slow(
        30,
        ViewState.WAITING,
        "AWS refuses the request as such",
        "check the source in the declaration: table, region, endpoint",
    ),
    BadExport: Policy(
        Action.STOP,
        0,
        None,
        "an export is none, not whole, or of another table",
        "do what the message says: copy it once more, or make another",
    ),
    Trimmed: Policy(Action.GAP, 10, ViewState.GAP, "records are gone that a view has not read", "dynaview rebuild"),
    StreamGone: Policy(
        Action.GAP, 10, ViewState.GAP, "the stream, or a shard with unread records, is gone", "dynaview rebuild"
    ),
    SinkError: _retry(
        15,
        ViewState.RETRYING,
        "a store is unreachable, overloaded, read-only or full",
        "fix the store; the view goes on by itself",
    ),
    SinkRefused: _slow(
        60,
        ViewState.REFUSED,
        "a store refuses: wrong password, missing rights, a table or index of another shape",
        "do what the reason says; the view goes on by itself",
    ),
    ControlUnavailable: _retry(
        15,
        ViewState.WAITING,
        "the control store does not answer, or takes nothing: locked, read-only, its disk full",
        "bring its database back or make room; no checkpoint moves meanwhile, and a daemon that starts waits",
    ),
    ControlError: Policy(
        Action.STOP,
        0,
        None,
        "the control store cannot be used, or is a newer dynaview's",
        "do what the message says, and start again",
    ),
    ProjectionError: Policy(
        Action.LETTER, 0, None, "no row can be made of an item", "see [dead letters](#dead-letters)"
    ),
    DeclarationError: Policy(
        Action.STOP, 0, None, "the declaration is refused", "fix the lines that are named, and start again"
    ),
}
"""By kind; a kind that is not here is what its parent is."""

FAULT = Policy(
    Action.STOP,
    0,
    None,
    "an error nobody expected",
    "start again, and report the lines above it: it is a fault of dynaview",
)

LETTERS: Mapping[str, str] = {
    "projection": "a field is missing or of another type than declared; the reason names it",
    "content": "the store cannot hold it: too long a key, a number out of range, NUL in text",
    "owner": "the row key belongs to another item: two items meet on one key, and the reason names both",
    "unique": (
        "another row has a value that a unique index of Postgres allows once. The row waits in the table, "
        "hidden from readers, and shows by itself as soon as the value is free; of several that wait for it "
        "the one with the lowest key"
    ),
    "unreadable": "the record as AWS sent it is not what its type promises",
}
"""Kinds of dead letters: what is wrong with one change, and holds up no other."""


def policy(error: BaseException) -> Policy:
    """What an error means for a view."""
    return next((POLICIES[kind] for kind in type(error).__mro__ if kind in POLICIES), FAULT)


@dataclass(slots=True)
class Backoff:
    """Capped exponential waits with full jitter, in seconds; endless, for what heals by itself."""

    first: float = 0.1
    cap: float = 15.0
    attempts: int = 0
    kind: type[BaseException] | None = None

    def reset(self) -> None:
        """Begin again after a success."""
        self.attempts = 0

    def meet(self, error: BaseException) -> bool:
        """Wait from now on as the table says for this error. Whether it is news: the first since a success, or of
        another kind than the last."""
        news = self.attempts == 0 or type(error) is not self.kind
        self.kind, self.cap = type(error), policy(error).cap
        return news

    def next(self) -> float:
        """How long to wait before the next attempt."""
        ceiling = min(self.cap, self.first * 2.0 ** min(self.attempts, 20))
        self.attempts += 1
        waited: float = ceiling * (0.5 + random.random() / 2)
        return waited

    def wait(self, stop: threading.Event) -> bool:
        """Wait before the next attempt; True where `stop` was set meanwhile."""
        return stop.wait(self.next())


class Repeats:
    """How often one trouble is told: when it begins, and then in one line for all that come within `every` seconds. A
    trouble that comes and goes is told `LINES` times within them at the most. Safe to use from several threads."""

    LINES = 3

    def __init__(self, every: float = 300.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, type[Exception]], _Repeated] = {}

    def line(self, place: str, error: Exception, news: bool) -> str | None:
        """What to say of an error at a place; None where nothing is to be said now. `news`: all was well before it, or
        it is of another kind."""
        with self._lock:
            now, key = self._clock(), (place, type(error))
            known = self._known.get(key)
            if known is None or now - known.last >= self._every:
                self._forget(now)
                self._known[key] = _Repeated(now, now)
                return str(error)
            known.times, known.last = known.times + 1, now
            if now - known.since >= self._every:
                minutes = max(1, round((now - known.since) / 60))
                text = f"still, {known.times} times in {minutes} min: {error}"
                known.since, known.times, known.lines = now, 0, 0
                return text
            if news and known.lines < self.LINES:
                known.lines += 1
                return str(error)
            return None

    def _forget(self, now: float) -> None:
        """Drop what is over: places (shards, say) come and go."""
        for key, known in list(self._known.items()):
            if now - known.last >= self._every:
                del self._known[key]


@dataclass(slots=True)
class _Repeated:
    """A trouble within one span: when it began, when it last came, how often it came and was told."""

    since: float
    last: float
    times: int = 1
    lines: int = 1


class ActiveErrors:
    """What stands in the way of readers now, by place (a shard, say). Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: dict[str, SourceError] = {}

    def begin(self, place: str, error: SourceError) -> bool:
        """Note trouble at a place; whether it is news. A right that is missing for a thousand shards is said once."""
        with self._lock:
            news = not any(_same(error, other) for other in self._now.values())
            self._now[place] = error
            return news

    def end(self, place: str) -> None:
        """All is well at a place."""
        if self._now:
            with self._lock:
                self._now.pop(place, None)

    @property
    def text(self) -> str | None:
        """The trouble that has lasted longest, for status; None while all is well."""
        with self._lock:
            return next((str(error) for error in self._now.values()), None)


def _same(error: SourceError, other: SourceError) -> bool:
    return type(error) is type(other) and error.remedy == other.remedy
