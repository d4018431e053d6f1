"""The reference sink: rows in a dictionary. For tests, previews and as the contract's shortest reading.

Rows of one view live as long as the `MemorySink`; every `open` of the same view and generation sees the same rows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec

from dynaview.projections.rows import Layout, RowKey, RowValues, Rule, Write, json_encoder
from dynaview.sinks.port import APPLIED, STALE, Outcome, Rejected, RejectedKind, SinkRefused, Stored

_decoder = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(slots=True)
class _Held:
    """A row, or, where `content` is None, its tombstone."""

    version: int
    owner: str
    content: bytes | None
    deleted_at: float
    """By `time.monotonic`; of tombstones only."""


@dataclass(slots=True)
class _Generation:
    layout: Layout
    lock: threading.Lock = field(default_factory=threading.Lock)
    rows: dict[RowKey, _Held] = field(default_factory=dict)


class MemoryTarget:
    """One generation of one view in a `MemorySink`."""

    def __init__(self, sink: MemorySink, layout: Layout, generation: int) -> None:
        self.layout = layout
        self.generation = generation
        self._sink = sink
        self._names = None if layout.fields is None else tuple(one.name for one in layout.fields)

    def prepare(self) -> None:
        made = self._sink._make(self.layout, self.generation)
        if made.layout != self.layout:
            raise SinkRefused(
                f"generation {self.generation} of {self.layout.view} was made with another layout: "
                "use the next generation, or drop this one"
            )

    def publish(self) -> None:
        self._held()
        self._sink._publish(self.layout.view, self.generation)

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        if not writes:
            return []
        held = self._held()
        outcomes: list[Outcome] = []
        for write in writes:
            try:
                content = self._encoded(write)

                json_encoder.encode(write.key)
            except (UnicodeEncodeError, TypeError, ValueError) as error:
                outcomes.append(Rejected(f"cannot be kept as JSON: {type(error).__name__}"))
                continue
            with held.lock:
                outcomes.append(_guarded(held.rows, write, content))
        return outcomes

    def content(self, write: Write) -> Any:
        encoded = self._encoded(write)
        return None if encoded is None else _decoder.decode(encoded)

    def read(self, keys: Sequence[RowKey]) -> list[Stored | None]:
        held = self._held()
        with held.lock:
            return [self._stored(key, held.rows.get(key)) for key in keys]

    def rows(self) -> Iterator[Stored]:
        held = self._held()
        with held.lock:
            keys = list(held.rows)
        for key in keys:
            with held.lock:
                stored = self._stored(key, held.rows.get(key))
            if stored is not None and stored.content is not None:
                yield stored

    def count(self) -> int:
        held = self._held()
        with held.lock:
            return sum(row.content is not None for row in held.rows.values())

    def purge(self, older_than: timedelta) -> int:
        held = self._held()
        limit = time.monotonic() - older_than.total_seconds()
        with held.lock:
            old = [key for key, row in held.rows.items() if row.content is None and row.deleted_at <= limit]
            for key in old:
                del held.rows[key]
        return len(old)

    def drop(self) -> None:
        self._sink._drop(self.layout.view, self.generation)

    def _held(self) -> _Generation:
        return self._sink._find(self.layout.view, self.generation)

    def _encoded(self, write: Write) -> bytes | None:
        if write.values is None:
            return None
        return json_encoder.encode(self._fields(write.values))

    def _fields(self, values: RowValues) -> dict[str, Any]:
        if isinstance(values, dict):
            pairs = values.items()
        else:
            pairs = dict(zip(self._names or (), values, strict=True)).items()
        return {name: value for name, value in pairs if value is not None}

    def _stored(self, key: RowKey, row: _Held | None) -> Stored | None:
        if row is None:
            return None
        content = None if row.content is None else _decoder.decode(row.content)
        return Stored(key, row.version, row.owner, self.generation, content)


def _guarded(rows: dict[RowKey, _Held], write: Write, content: bytes | None) -> Outcome:
    """The guard, as `dynaview.sinks.port` words it."""
    held = rows.get(write.key)
    if held is not None:
        of_another = bool(write.owner) and held.owner != write.owner
        if of_another and held.content is not None:
            if content is None:
                return STALE
            return Rejected(
                f"row {write.key!r} belongs to item {held.owner}, so item {write.owner} cannot have it",
                RejectedKind.OWNER,
            )
        if write.rule is Rule.ABSENT:
            return STALE
        if of_another and content is None:
            return STALE
        if not of_another and held.version >= write.version:
            return STALE
    rows[write.key] = _Held(write.version, write.owner, content, time.monotonic())
    return APPLIED


class MemorySink:
    """A store in this process's memory."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._generations: dict[tuple[str, int], _Generation] = {}
        self._published: dict[str, int] = {}

    def open(self, layout: Layout, generation: int) -> MemoryTarget:
        return MemoryTarget(self, layout, generation)

    def gone(self, layout: Layout, generation: int) -> str | None:
        there = (layout.view, generation) in self._generations
        return None if there else f"generation {generation} of {layout.view} is gone"

    def check(self) -> str:
        return "memory of this process"

    def problems(self, layout: Layout) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing to give back."""

    def published(self, view: str) -> int | None:
        """The generation of `view` that readers see."""
        return self._published.get(view)

    def _make(self, layout: Layout, generation: int) -> _Generation:
        with self._lock:
            return self._generations.setdefault((layout.view, generation), _Generation(layout))

    def _find(self, view: str, generation: int) -> _Generation:
        with self._lock:
            found = self._generations.get((view, generation))
        if found is None:
            raise SinkRefused(f"generation {generation} of {view} is not there: prepare it first")
        return found

    def _publish(self, view: str, generation: int) -> None:
        with self._lock:
            self._published[view] = generation

    def _drop(self, view: str, generation: int) -> None:
        with self._lock:
            self._generations.pop((view, generation), None)
            if self._published.get(view) == generation:
                del self._published[view]
