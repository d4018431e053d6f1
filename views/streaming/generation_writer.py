"""An output: one generation that a pipeline keeps. Changes are projected, coalesced and written to its target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from dynaview.projections.changes import version_of
from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import Write
from dynaview.sinks.port import Outcome, Target
from dynaview.views.control.store import Counts, DeadLetter
from dynaview.views.dead_letters import change_letter, unreadable_letter
from dynaview.views.streaming.batch import Batch
from dynaview.views.streaming.offsets import Delivery

Send: TypeAlias = Callable[[Target, Sequence[Write]], list[Outcome]]
"""Writes a batch to a target, however long that takes."""


@dataclass(slots=True)
class ShardResult:
    """What became of the changes of one shard in one output."""

    counts: Counts = field(default_factory=Counts)
    letters: list[DeadLetter] = field(default_factory=list)


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
        self._tallies: dict[str, ShardResult] = {}

    def take(self, deliveries: Sequence[Delivery], send: Send) -> list[DeadLetter]:
        """Bring deliveries into the target; when it returns, all of them are durable there. Answers the dead letters
        that they left."""
        letters: list[DeadLetter] = []
        for delivery in deliveries:
            self._apply(delivery, send, letters)
        self._settle(send, letters)
        return letters

    def drain(self) -> dict[str, ShardResult]:
        """What became of the changes since the last call, by shard."""
        tallies, self._tallies = self._tallies, {}
        return tallies

    def _apply(self, delivery: Delivery, send: Send, letters: list[DeadLetter]) -> None:
        shard, offset, limit = delivery.shard, self._offset, self.limit
        writes_of, batch = self.bound.writes, self._batch
        unmatched = 0
        for change, position in zip(delivery.changes, delivery.positions, strict=True):
            try:
                writes = writes_of(change, position + offset)
            except ProjectionError as error:
                self._reject(
                    shard,
                    change_letter(self.view, shard, change, position + offset, str(error), "projection", None),
                    letters,
                )
                continue
            if not writes:
                unmatched += 1
                continue
            if len(batch) >= limit or not batch.add(shard, change, writes):
                self._settle(send, letters)
                batch.add(shard, change, writes)
        if unmatched:
            counts = self._tally(shard).counts
            counts.read += unmatched
            counts.unmatched += unmatched
        for position, record in delivery.broken:
            self._reject(shard, unreadable_letter(self.view, record, shard, position + offset), letters)

    def _settle(self, send: Send, letters: list[DeadLetter]) -> None:
        if not len(self._batch):
            return
        counted, rejections = self._batch.settle(lambda writes: send(self.target, writes))
        for shard, counts in counted.items():
            self._tally(shard).counts.add(counts)
        for (shard, change, _), write, rejected in rejections:
            letter = change_letter(
                self.view, shard, change, write.version, rejected.reason, rejected.kind.value, write.key
            )
            self._keep(shard, letter, letters)

    def _reject(self, shard: str, letter: DeadLetter, letters: list[DeadLetter]) -> None:
        counts = self._tally(shard).counts
        counts.read += 1
        counts.dead_lettered += 1
        self._keep(shard, letter, letters)

    def _keep(self, shard: str, letter: DeadLetter, letters: list[DeadLetter]) -> None:
        letter = dataclasses.replace(letter, generation=self.generation)
        self._tally(shard).letters.append(letter)
        letters.append(letter)

    def _tally(self, shard: str) -> ShardResult:
        found = self._tallies.get(shard)
        if found is None:
            found = self._tallies[shard] = ShardResult()
        return found
