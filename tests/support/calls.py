"""What every call on a scripted source meets first: a log, holds and faults."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from dynaview.sources.errors import SourceError

Operation: TypeAlias = Literal["describe", "enable", "shards", "children", "open", "read", "scan", "get", "exported"]

WAIT = 30.0
"""Seconds after which a held call counts as forgotten by its test."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as it began."""

    operation: Operation
    shard: str | None = None
    after: str | None = None


@dataclass(slots=True)
class Hold:
    """Calls that wait: `reached` is set when the first one has come."""

    operation: Operation
    shard: str | None
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class _Fault:
    operation: Operation
    error: type[SourceError] | SourceError
    times: int
    after: int
    shard: str | None


class Calls:
    """The calls of one scripted source. Safe to use from several threads."""

    def __init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=100_000)
        self._call_lock = threading.Lock()
        self._faults: list[_Fault] = []
        self._holds: list[Hold] = []

    def fail(
        self,
        operation: Operation,
        error: type[SourceError] | SourceError,
        *,
        times: int = 1,
        after: int = 0,
        shard: str | None = None,
    ) -> None:
        """Let calls of `operation` (on `shard` only, where named) raise `error`, `times` times, `after` so many that
        succeed. Scripts for one operation are played one after the other."""
        with self._call_lock:
            self._faults.append(_Fault(operation, error, times, after, shard))

    def pending(self, operation: Operation) -> int:
        """How many calls of `operation` are still to fail."""
        with self._call_lock:
            return sum(each.times for each in self._faults if each.operation == operation)

    def heal(self) -> None:
        """Drop every fault that has not been played yet."""
        with self._call_lock:
            self._faults.clear()

    @contextmanager
    def hold(self, operation: Operation, *, shard: str | None = None) -> Iterator[Hold]:
        """Let calls of `operation` wait until the block ends, before they do anything."""
        held = Hold(operation, shard)
        with self._call_lock:
            self._holds.append(held)
        try:
            yield held
        finally:
            with self._call_lock:
                self._holds.remove(held)
            held.released.set()

    def counts(self) -> Counter[str]:
        """How many calls there were of each operation."""
        with self._call_lock:
            return Counter(call.operation for call in self.calls)

    def enter(self, operation: Operation, shard: str | None = None, after: str | None = None) -> None:
        """A call begins."""
        with self._call_lock:
            self.calls.append(Call(operation, shard, after))
            holds = [held for held in self._holds if held.operation == operation and held.shard in (None, shard)]
        for held in holds:
            held.reached.set()
            if not held.released.wait(WAIT):
                raise AssertionError(f"{operation} was held for {WAIT} s")
        with self._call_lock:
            fault = next(
                (each for each in self._faults if each.operation == operation and each.shard in (None, shard)), None
            )
            if fault is None:
                return
            if fault.after:
                fault.after -= 1
                return
            fault.times -= 1
            if not fault.times:
                self._faults.remove(fault)
        raise fault.error("scripted") if isinstance(fault.error, type) else fault.error
