"""What a soak holds views against: the stream, read once from its beginning, and the table at the end.

At every look the views' checkpoints are advanced over what was read since the last one, so a look costs what happened
in between, however long the stream has grown. Nothing behind a checkpoint may be missing in the store.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from dynaview.projections.attributes import Shape, item_key
from dynaview.projections.changes import version_of
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import Declaration
from dynaview.projections.projection import Bound, OldRowsUnknown, ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import SinkError, Target
from dynaview.sources.table import DynamoTable
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import Checkpoint, DeadLetterFilter
from dynaview.views.control.store import ControlStore
from dynaview.views.verify.compare import compare

PATIENCE = 180.0
"""Seconds that a look waits for a store that is away."""

T = TypeVar("T")


@dataclass
class Shard:
    """One shard as far as it was read. `changes` are those that some view has not passed yet, `count` all of them."""

    after: str | None = None
    ended: bool = False
    changes: list[Any] = field(default_factory=list)
    dropped: int = 0
    """How many were dropped from the front of `changes`."""

    @property
    def count(self) -> int:
        """How many changes were read."""
        return self.dropped + len(self.changes)


@dataclass
class Expected:
    """What a view holds for certain: the newest version of each row key that its checkpoints have passed."""

    bound: Bound
    versions: dict[RowKey, int] = field(default_factory=dict)
    fresh: set[RowKey] = field(default_factory=set)
    """Row keys passed since the last look."""
    dead: int = 0
    """Changes passed of which no row can be made."""
    passed: dict[str, int] = field(default_factory=dict)
    """How many changes of each shard."""
    watermark: float = 0.0


class StreamOracle:
    """Reads a stream beside the daemon and knows what has to be where."""

    def __init__(
        self,
        declaration: Declaration,
        table: DynamoTable,
        target: Callable[[str], Target],
        control: ControlStore,
        chance: random.Random,
    ) -> None:
        """`target` opens a view's live generation."""
        self.faults: list[str] = []
        self.checked = 0
        """Rows held against checkpoints."""
        self.slips: list[Any] = []
        """Deletes of which DynamoDB Local forgot the old image."""
        self.rows: dict[str, int] = {}
        """Rows that equal the table at the end, by view."""
        self._declaration, self._table, self._target, self._control = declaration, table, target, control
        self._random = chance
        self._shards: dict[str, Shard] = {}
        description = table.describe()
        shape = Shape(None)
        self._stream = table.stream(description.stream_arn or "", shape)
        self._expected = {
            name: Expected(compile_view(view).bind(shape, description.key, "NEW_AND_OLD_IMAGES"))
            for name, view in declaration.views.items()
        }

    @property
    def records(self) -> int:
        """How many stream records were read so far."""
        return sum(shard.count for shard in self._shards.values())

    def read_on(self) -> None:
        """Read every shard to its present tip."""
        for listed in self._stream.shards():
            shard = self._shards.setdefault(listed.id, Shard())
            if not shard.ended:
                self._read_shard(listed.id, shard)

    def _read_shard(self, shard_id: str, shard: Shard) -> None:
        iterator: str | None = self._stream.open(shard_id, shard.after)
        empty = 0
        while iterator is not None and empty < 2:  # DynamoDB Local's pages are empty only at the tip
            page = self._stream.read(iterator)
            self.slips += [change for change in page.changes if change.event == "REMOVE" and change.body.old is None]
            shard.changes += page.changes
            if page.changes:
                shard.after = page.changes[-1].body.sequence
            empty = 0 if page.changes else empty + 1
            iterator = page.next
        shard.ended = iterator is None

    def look(self, sample: int, *, still: bool) -> None:
        """Hold each view's checkpoints against its store: what was passed since the last look, and some older rows,
        `sample` of each at the most. `still`: no daemon lives, so that counts have to fit checkpoints."""
        before = self._checkpoints()
        counts = {record.name: record for record in patiently(self._control.views)}
        while still and (now := self._checkpoints()) != before:  # the database ended what a killed process had begun
            before, counts = now, {record.name: record for record in patiently(self._control.views)}
        self.read_on()
        for name, expected in self._expected.items():
            passed = self._advance(expected, before[name])
            record = counts.get(name)
            if record is None:
                continue
            if still and record.counts.read != passed:
                self._fault(f"{name}: its checkpoints have passed {passed} changes, but counted are {record.counts}")
            if record.watermark is not None:
                if record.watermark < expected.watermark:
                    self._fault(f"{name}: the watermark went back from {expected.watermark} to {record.watermark}")
                expected.watermark = record.watermark
            self._hold(name, expected, sample)
        self._drop()

    def _checkpoints(self) -> dict[str, dict[str, Checkpoint]]:
        return {name: patiently(partial(self._control.checkpoints, name)) for name in self._expected}

    def _advance(self, expected: Expected, checkpoints: Mapping[str, Any]) -> int:
        """Move a view on to its checkpoints; how many changes they have passed."""
        for shard_id, checkpoint in checkpoints.items():
            shard = self._shards.get(shard_id)
            if shard is None or checkpoint.sequence is None:
                continue
            start = expected.passed.get(shard_id, 0)
            passed = start
            for change in shard.changes[start - shard.dropped :]:
                if int(change.body.sequence) > checkpoint.sequence:
                    break
                passed += 1
                writes: Sequence[Write]
                try:
                    writes = expected.bound.writes(change, version_of(0, change.body.sequence))
                except ProjectionError as error:  # a dead letter, which takes the item's earlier rows
                    writes = error.asked
                    expected.dead += not isinstance(error, OldRowsUnknown)
                for write in writes:
                    expected.versions[write.key] = write.version
                    expected.fresh.add(write.key)
            expected.passed[shard_id] = passed
        return sum(expected.passed.values())

    def _hold(self, name: str, expected: Expected, sample: int) -> None:
        fresh = self._sample(list(expected.fresh), sample)
        keys = list({*fresh, *self._sample(list(expected.versions), sample)})
        stored = patiently(lambda: self._target(name).read(keys))
        for key, row in zip(keys, stored, strict=True):
            if row is None or row.version < expected.versions[key]:
                has = "nothing" if row is None else f"version {row.version}"
                self._fault(f"{name}: checkpoint ahead of the store: {key} has {has}, passed {expected.versions[key]}")
        self.checked += len(keys)
        expected.fresh.clear()

    def _sample(self, keys: list[RowKey], sample: int) -> list[RowKey]:
        return keys if len(keys) <= sample else self._random.sample(keys, sample)

    def _drop(self) -> None:
        """Forget changes that every view has passed."""
        for shard_id, shard in self._shards.items():
            lowest = min(expected.passed.get(shard_id, 0) for expected in self._expected.values())
            del shard.changes[: lowest - shard.dropped]
            shard.dropped = lowest

    def conclude(self) -> None:
        """With the table at rest and all views caught up: every view equals the projection of the table, and its
        counts add up to the stream.

        When a delete meets one by TTL, DynamoDB Local may write a record without its old image. Such slips are told;
        a view whose rows only the old image tells asks its store for them.
        """
        self.read_on()
        for name, view in self._declaration.views.items():
            found = compare(view, self._table, self._target(name))
            self.rows[name] = found.rows
            for what, rows in (("lost", found.missing), ("not deleted", found.extra), ("stale", found.different)):
                if rows:
                    self._fault(f"{name}: {len(rows)} rows {what}: {rows[:5]}")
        for record in self._control.views():
            counts = record.counts
            told = counts.applied + counts.stale + counts.unmatched + counts.dead_lettered
            if not counts.read == told == self.records:
                self._fault(f"{record.name}: {self.records} records, but counted {counts}")
            dead = self._expected[record.name].dead
            if counts.dead_lettered > dead:
                self._fault(f"{record.name}: {counts.dead_lettered} changes dead-lettered, of {dead} without rows")
            # A letter of an item that is right again, or gone, settles by itself; one that is needed never does.
            kept = {each.letter.item_key for each in self._control.dead_letters.find(DeadLetterFilter(record.name))}
            if forgotten := self._without_rows(record.name) - kept:
                self._fault(f"{record.name}: {len(forgotten)} items give no row and have no dead letter: {forgotten}")

    def _without_rows(self, name: str) -> set[str]:
        """The items of which no row can be made now."""
        bound, found = self._expected[name].bound, set[str]()
        for page in self._table.scan(0, 1, None, Shape(None)):
            for key, image in zip(page.keys, page.images, strict=True):
                try:
                    bound.rows(image)
                except ProjectionError:
                    found.add(item_key(key))
        return found

    def _fault(self, what: str) -> None:
        if len(self.faults) < 1000:
            self.faults.append(what)


def patiently(act: Callable[[], T]) -> T:
    """Do it as soon as the store is back."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return act()
        except (SinkError, ControlUnavailable):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
