"""A generation that a pipeline keeps: changes are projected, coalesced and written to its target.

A view is at every moment what a rebuild from the table would give (law 9). So a change that becomes a dead letter takes
the rows that its item had, under its version: those that its images and its key name, and, where these do not tell,
those that the store finds by their owner. The store is asked before the change counts as done, so nothing is forgotten.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from dynaview.projections.changes import Body, Change, version_of
from dynaview.projections.columns import Columns
from dynaview.projections.projection import Bound, OldRowsUnknown, ProjectionError
from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, Outcome, Stored, Target
from dynaview.sources.port import Broken
from dynaview.views.control.records import Counts, DeadLetter
from dynaview.views.dead_letters import change_letter, key_of_record, unreadable_letter
from dynaview.views.streaming.batch import Batch, Refusal
from dynaview.views.streaming.column_batch import ColumnBatch
from dynaview.views.streaming.offsets import Delivery
from dynaview.views.streaming.sender import Sender

Send: TypeAlias = Callable[[Target, Sequence[Write]], list[Outcome]]
"""Writes a batch to a target, however long that takes."""

SendColumns: TypeAlias = Callable[[Target, Columns], Mapping[int, Outcome]]
"""The same for a batch of columns (`Target.write_columns`)."""

Find: TypeAlias = Callable[[Target, Collection[str]], Sequence[Stored]]
"""The rows of some owners in a target (`Target.rows_of`), however long that takes."""


@dataclass(slots=True)
class ShardResult:
    """What became of the changes of one shard in one output."""

    counts: Counts = field(default_factory=Counts)
    letters: list[DeadLetter] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Unknown:
    """A change that leaves open which rows its item had."""

    shard: str
    version: int
    counted: bool
    """Whether it is in a batch or a dead letter, which count it."""


@dataclass(slots=True)
class _Work:
    """One call of `take`: how the store is reached, and what was left so far."""

    send: Send
    find: Find
    send_columns: SendColumns | None
    """None: all go change by change."""
    ahead: bool
    """Whether a batch of columns may be written while the next one is projected."""
    letters: list[DeadLetter] = field(default_factory=list)
    unknown: dict[str, list[_Unknown]] = field(default_factory=dict)
    """By owner."""


class GenerationWriter:
    """One generation of one view. Used by the pipeline's own thread, but for `bound` and `target`."""

    def __init__(
        self,
        view: str,
        bound: Bound,
        target: Target,
        stream_count: int = 0,
        batch: int = 1000,
        bulk: bool = False,
        sink: str = "",
    ) -> None:
        """`stream_count` says which stream of the table is followed; `batch` is how many rows are written together at
        the most; `bulk` that the generation is being filled (see `Target.prepare`); `sink` is the name of its store."""
        self.view = view
        self.bound = bound
        self.target = target
        self.generation = target.generation
        self.bulk = bulk
        self.claimed = False
        """Whether what stands there is known to be of this control store."""
        self.sink = sink
        self.limit = batch
        self._offset = version_of(stream_count, "0")
        self._batch = Batch()
        self._columns = ColumnBatch()
        """What waits to be written is in one of the two: changes are written in the order in which they came."""
        self._tallies: dict[str, ShardResult] = {}
        self._sender: Sender[tuple[dict[str, Counts], list[Refusal]]] = Sender()

    def take(
        self,
        deliveries: Sequence[Delivery],
        send: Send,
        find: Find,
        send_columns: SendColumns | None = None,
        *,
        ahead: bool = False,
    ) -> list[DeadLetter]:
        """Bring deliveries into the target; when it returns, all of them are durable there. Answers the dead letters
        that they left. What can be written as columns is where `send_columns` says how, the rest by `send`. `ahead`:
        `send_columns` and `send` may be called in another thread, one call at a time, while the next batch is
        projected; then `end` has to be called at last."""
        work = _Work(send, find, send_columns, ahead)
        try:
            for delivery in deliveries:
                self._apply(delivery, work)
            self._settle(work)
        finally:
            if self._sender.busy:  # what could not be projected to its end leaves no write behind on its way
                self._sender.result()
        if work.unknown:
            self._take_unknown(work)
        return work.letters

    def end(self) -> None:
        """Nothing more is taken."""
        self._sender.end()

    def drain(self) -> dict[str, ShardResult]:
        """What became of the changes since the last call, by shard."""
        tallies, self._tallies = self._tallies, {}
        return tallies

    def _apply(self, delivery: Delivery, work: _Work) -> None:
        offset = self._offset
        changes, versions = delivery.changes, [position + offset for position in delivery.positions]
        if work.send_columns is None:
            self._one_by_one(delivery.shard, changes, versions, work)
        else:
            at = 0
            while at < len(changes):
                end = at + max(1, self.limit - len(self._columns))
                self._page(delivery.shard, changes[at:end], versions[at:end], work)
                at = end
        for position, record in delivery.broken:
            self._unreadable(delivery.shard, record, position + offset, work)

    def _page(self, shard: str, changes: Sequence[Change[Any]], versions: Sequence[int], work: _Work) -> None:
        page = self.bound.page(changes, versions)
        if page is None:
            self._one_by_one(shard, changes, versions, work)
            return
        if page.rows or page.gone:
            if len(self._batch):
                self._settle(work)
            self._columns.add(shard, page)
            if len(self._columns) >= self.limit:
                self._send_full(work)
        self._count_unmatched(shard, page.unmatched)

    def _one_by_one(self, shard: str, changes: Sequence[Change[Any]], versions: Sequence[int], work: _Work) -> None:
        writes_of = self.bound.writes
        unmatched = 0
        for change, version in zip(changes, versions, strict=True):
            try:
                writes = writes_of(change, version)
            except ProjectionError as error:
                self._without_rows(shard, change, version, error, work)
                continue
            if writes:
                self._add(shard, change, writes, work)
            else:
                unmatched += 1
        self._count_unmatched(shard, unmatched)

    def _count_unmatched(self, shard: str, number: int) -> None:
        if number:
            counts = self._tally(shard).counts
            counts.read += number
            counts.unmatched += number

    def _add(
        self, shard: str, change: Change[Any], writes: Sequence[Write], work: _Work, *, dead: bool = False
    ) -> None:
        batch = self._batch
        if len(self._columns):
            self._settle(work)
        if len(batch) >= self.limit or not batch.add(shard, change, writes, dead=dead):
            self._settle(work)
            batch.add(shard, change, writes, dead=dead)

    def _without_rows(self, shard: str, change: Change[Any], version: int, error: ProjectionError, work: _Work) -> None:
        """A change of which no row can be made, or that leaves open which rows its item had."""
        dead = not isinstance(error, OldRowsUnknown)
        if dead:
            letter = change_letter(self.view, shard, change, version, str(error), "projection", None)
            self._keep(shard, letter, work)
        if error.asked:
            self._add(shard, change, error.asked, work, dead=dead)
        elif dead:
            self._count_dead(shard)
        if error.owner:
            counted = dead or bool(error.asked)
            work.unknown.setdefault(error.owner, []).append(_Unknown(shard, version, counted))

    def _unreadable(self, shard: str, record: Broken, version: int, work: _Work) -> None:
        """A record that cannot be read; where its key can, the rows of its item go."""
        self._keep(shard, unreadable_letter(self.view, record, shard, version), work)
        key = key_of_record(record.raw)
        if key is not None:
            change: Change[Any] = Change("MODIFY", Body(record.sequence or "0", key))
            try:
                asked = self.bound.writes(change, version)
            except ProjectionError as error:
                asked = list(error.asked)
                if error.owner:
                    work.unknown.setdefault(error.owner, []).append(_Unknown(shard, version, counted=True))
            deletes = [Write(write.key, None, version, write.owner) for write in asked]
            if deletes:
                self._add(shard, change, deletes, work, dead=True)
                return
        self._count_dead(shard)

    def _send_full(self, work: _Work) -> None:
        """Write a full batch, or let it be written while the next one is projected; one is on its way at the most."""
        if not work.ahead:
            self._settle(work)
            return
        assert work.send_columns is not None
        self._arrived(work)
        full, self._columns = self._columns, ColumnBatch()
        self._sender.begin(
            partial(full.settle, partial(work.send_columns, self.target), partial(work.send, self.target))
        )

    def _arrived(self, work: _Work) -> None:
        """Wait for what is on its way, and count it."""
        if self._sender.busy:
            self._account(*self._sender.result(), work)

    def _settle(self, work: _Work) -> None:
        self._arrived(work)
        send = partial(work.send, self.target)
        if len(self._batch):
            self._account(*self._batch.settle(send), work)
        if len(self._columns):
            assert work.send_columns is not None
            self._account(*self._columns.settle(partial(work.send_columns, self.target), send), work)

    def _account(self, counted: Mapping[str, Counts], refusals: Sequence[Refusal], work: _Work) -> None:
        for shard, counts in counted.items():
            self._tally(shard).counts.add(counts)
        for refusal in refusals:
            (shard, change, _, _), write, rejected = refusal.origin, refusal.write, refusal.rejected
            letter = change_letter(
                self.view, shard, change, write.version, rejected.reason, rejected.kind.value, write.key
            )
            self._keep(shard, letter, work)

    def _take_unknown(self, work: _Work) -> None:
        """Delete the rows of items that had some before the last of these changes, as the store knows them."""
        newest = {owner: max(each.version for each in changes) for owner, changes in work.unknown.items()}
        deletes = [
            Write(row.key, None, newest[row.owner], row.owner)
            for row in work.find(self.target, newest.keys())
            if row.version < newest[row.owner]
        ]
        deleted: set[str] = set()
        for start in range(0, len(deletes), self.limit):
            part = deletes[start : start + self.limit]
            for write, outcome in zip(part, work.send(self.target, part), strict=True):
                if outcome is APPLIED:
                    deleted.add(write.owner)
        for owner, changes in work.unknown.items():
            for each in changes:
                if not each.counted:
                    counts = self._tally(each.shard).counts
                    counts.read += 1
                    counts.applied += owner in deleted
                    counts.unmatched += owner not in deleted

    def _count_dead(self, shard: str) -> None:
        counts = self._tally(shard).counts
        counts.read += 1
        counts.dead_lettered += 1

    def _keep(self, shard: str, letter: DeadLetter, work: _Work) -> None:
        letter = dataclasses.replace(letter, generation=self.generation)
        self._tally(shard).letters.append(letter)
        work.letters.append(letter)

    def _tally(self, shard: str) -> ShardResult:
        found = self._tallies.get(shard)
        if found is None:
            found = self._tallies[shard] = ShardResult()
        return found
