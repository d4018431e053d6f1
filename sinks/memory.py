"""The reference sink: rows in a dictionary. For tests, previews and as the contract's shortest reading.

Rows of one view live as long as the `MemorySink`; every `open` of the same view and generation sees the same rows.
Made with `in_place`, it is the reading of a store whose keys readers address directly: all generations of a view share
its rows, and keys need no preparation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from dynaview.projections.canonical import json_encoder
from dynaview.projections.columns import Columns
from dynaview.projections.rows import Layout, RowKey, RowValues, Rule, Write
from dynaview.sinks.canonical import listed, plain
from dynaview.sinks.port import (
    APPLIED,
    STALE,
    CanonicalRows,
    ConditionalWrite,
    Danger,
    Foreign,
    Outcome,
    RefusedRow,
    Rejected,
    RejectedKind,
    Room,
    SinkRefused,
    Stored,
    exceptions,
)

_decoder = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(slots=True)
class _Held:
    """A row, or, where `content` is None, its tombstone."""

    version: int
    owner: str
    generation: int
    content: bytes | None
    deleted_at: float
    """By `time.monotonic`; of tombstones only."""


@dataclass(slots=True)
class _Rows:
    """What one generation holds, or, in place, what all generations of a view hold."""

    layout: Layout
    lock: threading.Lock = field(default_factory=threading.Lock)
    held: dict[RowKey, _Held] = field(default_factory=dict)
    prepared: set[int] = field(default_factory=set)
    """The generations that were, and not dropped since."""


class MemoryTarget:
    """One generation of one view in a `MemorySink`."""

    def __init__(self, sink: MemorySink, layout: Layout, generation: int) -> None:
        self.layout = layout
        self.generation = generation
        self._sink = sink
        self._names = None if layout.fields is None else tuple(one.name for one in layout.fields)

    def prepare(self, bulk: bool = False) -> None:
        made = self._sink._make(self.layout, self.generation)
        with made.lock:
            made.prepared.add(self.generation)
        if made.layout != self.layout and not self._sink.in_place:
            raise SinkRefused(
                f"generation {self.generation} of {self.layout.view} was made with another layout: "
                "use the next generation, or drop this one"
            )

    def finish(self, kept: Sequence[RefusedRow] = ()) -> list[RefusedRow]:
        self.write_if_unchanged([ConditionalWrite(Write(one.row.key, None, 0, one.row.owner), one.row) for one in kept])
        late = self._sink.refuses_late
        reasons = ((row, late(row)) for row in self.rows()) if late is not None else ()
        return [RefusedRow(row, Rejected(reason)) for row, reason in reasons if reason is not None]

    def publish(self) -> None:
        self._rows()
        self._sink._publish(self.layout.view, self.generation)

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        return [self._put(one, one.version, partial(_guard, one, self.generation)) for one in writes]

    def write_columns(self, columns: Columns) -> dict[int, Outcome]:
        return exceptions(self.write(columns.writes()))

    def write_if_unchanged(self, conditional_writes: Sequence[ConditionalWrite]) -> list[Outcome]:
        return [
            self._put(one.write, _version(one), partial(_unchanged, one, self.generation)) for one in conditional_writes
        ]

    def content(self, write: Write) -> Any:
        encoded = self._encoded(write)
        return None if encoded is None else _decoder.decode(encoded)

    def canonical(self, write: Write) -> bytes | None:
        content = self.content(write)
        return None if content is None else plain(write.owner, content)

    def fault(self, write: Write) -> str | None:
        try:
            self._encoded(write)
            json_encoder.encode(write.key)
        except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError) as error:
            return f"cannot be kept as JSON: {type(error).__name__}"
        return None

    def read(self, keys: Sequence[RowKey], contents: bool = True) -> list[Stored | None]:
        rows = self._rows()
        with rows.lock:
            return [_stored(key, rows.held.get(key)) for key in keys]

    def rows(self) -> Iterator[Stored]:
        rows = self._rows()
        with rows.lock:
            keys = list(rows.held)
        for key in keys:
            with rows.lock:
                stored = _stored(key, rows.held.get(key))
            if stored is not None and stored.content is not None:
                yield stored

    def rows_of(self, owners: Collection[str]) -> Iterator[Stored]:
        return (row for row in self.rows() if row.owner in owners)

    def earlier(self) -> Iterator[Stored]:
        return (row for row in self.rows() if row.generation < self.generation)

    def canonical_rows(self) -> Iterator[CanonicalRows]:
        return listed(self.rows())

    def show(self) -> None:
        """Readers see every write at once."""

    def foreign(self) -> Iterator[Foreign]:
        return iter(())

    def remove_foreign(self, foreign: Sequence[Foreign]) -> int:
        return 0

    def count(self) -> int:
        rows = self._rows()
        with rows.lock:
            return sum(held.content is not None for held in rows.held.values())

    def purge(self, older_than: timedelta) -> int:
        rows = self._rows()
        limit = time.monotonic() - older_than.total_seconds()
        with rows.lock:
            old = [key for key, held in rows.held.items() if held.content is None and held.deleted_at <= limit]
            for key in old:
                del rows.held[key]
        return len(old)

    def drop(self) -> None:
        self._sink._drop(self.layout.view, self.generation)

    def _rows(self) -> _Rows:
        return self._sink._find(self.layout, self.generation)

    def _put(self, write: Write, version: int, verdict: Callable[[_Held | None], Outcome]) -> Outcome:
        """Apply `write` under `version` where `verdict` on what stands there says so."""
        rows = self._rows()
        if fault := self.fault(write):
            return Rejected(fault)
        content = self._encoded(write)
        with rows.lock:
            outcome = verdict(rows.held.get(write.key))
            if outcome is APPLIED:
                rows.held[write.key] = _Held(version, write.owner, self.generation, content, time.monotonic())
        return outcome

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


def _stored(key: RowKey, held: _Held | None) -> Stored | None:
    if held is None:
        return None
    content = None if held.content is None else _decoder.decode(held.content)
    return Stored(key, held.version, held.owner, held.generation, content)


def _guard(write: Write, generation: int, held: _Held | None) -> Outcome:
    """The guard, as `dynaview.sinks.port` words it."""
    if held is None:
        return APPLIED
    deletes = write.values is None
    if write.owner and held.owner != write.owner:
        if held.content is None:
            taken_over = not deletes and write.rule is Rule.NEWER and generation >= held.generation
            return APPLIED if taken_over else STALE
        if deletes:
            return STALE
        return Rejected(
            f"row {write.key!r} belongs to item {held.owner}, so item {write.owner} cannot have it",
            RejectedKind.OWNER,
        )
    if write.rule is Rule.ABSENT:
        return STALE
    steps = (write.version - held.version, generation - held.generation)
    return APPLIED if min(steps) >= 0 and max(steps) > 0 else STALE


def _unchanged(conditional: ConditionalWrite, generation: int, held: _Held | None) -> Outcome:
    """Whether what stands is what was seen, and no later generation's."""
    seen = conditional.seen
    if held is None or seen is None:
        return APPLIED if held is None and seen is None else STALE
    there = (held.version, held.owner, held.generation, held.content is None)
    same = there == (seen.version, seen.owner, seen.generation, seen.content is None)
    return APPLIED if same and generation >= held.generation else STALE


def _version(conditional: ConditionalWrite) -> int:
    """Which version the row has after a conditional write."""
    return (
        conditional.seen.version
        if conditional.seen is not None and conditional.seen.owner == conditional.write.owner
        else 0
    )


class MemorySink:
    """A store in this process's memory."""

    def __init__(
        self, name: str, in_place: bool = False, refuses_late: Callable[[Stored], str | None] | None = None
    ) -> None:
        """`refuses_late`: why `Target.finish` has to refuse a row, None where it does not."""
        self.name = name
        self.in_place = in_place
        self.refuses_late = refuses_late
        self._lock = threading.Lock()
        self._made: dict[tuple[str, int], _Rows] = {}
        self._published: dict[str, int] = {}

    def open(self, layout: Layout, generation: int) -> MemoryTarget:
        return MemoryTarget(self, layout, generation)

    def gone(self, layout: Layout, generation: int) -> str | None:
        there = self.in_place or (layout.view, generation) in self._made
        return None if there else f"generation {generation} of {layout.view} is gone"

    def published(self, layout: Layout) -> int | None:
        return self._published.get(layout.view)

    def highest(self, layout: Layout) -> int:
        with self._lock:
            made = [rows for (view, _), rows in self._made.items() if view == layout.view]
        highest = 0
        for rows in made:
            with rows.lock:
                highest = max({highest, *rows.prepared})
        return highest

    def room(self, layout: Layout, generation: int) -> Room | None:
        return None

    def check(self) -> str:
        return "memory of this process"

    def dangers(self) -> list[Danger]:
        return []

    def problems(self, layout: Layout) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing to give back."""

    def _make(self, layout: Layout, generation: int) -> _Rows:
        with self._lock:
            return self._made.setdefault(self._place(layout.view, generation), _Rows(layout))

    def _find(self, layout: Layout, generation: int) -> _Rows:
        if self.in_place:
            return self._make(layout, generation)
        with self._lock:
            found = self._made.get(self._place(layout.view, generation))
        if found is None:
            raise SinkRefused(f"generation {generation} of {layout.view} is not there: prepare it first")
        return found

    def _publish(self, view: str, generation: int) -> None:
        if not self.in_place:
            with self._lock:
                self._published[view] = generation

    def _drop(self, view: str, generation: int) -> None:
        place = self._place(view, generation)
        with self._lock:
            if not self.in_place:
                self._made.pop(place, None)
                if self._published.get(view) == generation:
                    del self._published[view]
                return
            rows = self._made.get(place)
        if rows is not None:
            with rows.lock:
                # What another generation has taken over stays.
                rows.held = {key: held for key, held in rows.held.items() if held.generation != generation}
                rows.prepared.discard(generation)

    def _place(self, view: str, generation: int) -> tuple[str, int]:
        return view, (0 if self.in_place else generation)
