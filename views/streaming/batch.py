"""A batch of changes on its way into one sink: coalesced by row key, written, and every change accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from dynaview.projections.changes import Change
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import APPLIED, Outcome, Rejected
from dynaview.views.control.store import Counts

WriteBatch = Callable[[Sequence[Write]], list[Outcome]]

Origin = tuple[str, Change[Any], list[Write]]
"""The shard, the change, and what the change asks for."""


class Batch:
    """Changes of one view that are written together.

    Of several writes to one row key only the newest is sent. Where a sink rejects it, the next older one is sent in its
    place, so a change that cannot be applied never hides one that can. A superseded change shares the outcome of the
    write that took its place.
    """

    __slots__ = ("_newest", "_origins")

    def __init__(self) -> None:
        self._origins: list[Origin] = []
        self._newest: dict[RowKey, Write] = {}

    def __len__(self) -> int:
        return len(self._newest)

    def add(self, shard: str, change: Change[Any], writes: list[Write]) -> bool:
        """Take a change in; False where the batch has to be settled first.

        That is so where another item wrote the same row key: whose row it is depends on the store (law 10).
        """
        newest = self._newest
        if len(writes) == 1:  # nearly always
            write = writes[0]
            held = newest.get(write.key)
            if held is None:
                newest[write.key] = write
            elif held.owner != write.owner:
                return False
            elif write.version > held.version:
                newest[write.key] = write
        else:
            for write in writes:
                held = newest.get(write.key)
                if held is not None and held.owner != write.owner:
                    return False
            for write in writes:
                held = newest.get(write.key)
                if held is None or write.version > held.version:
                    newest[write.key] = write
        self._origins.append((shard, change, writes))
        return True

    def settle(self, send: WriteBatch) -> tuple[dict[str, Counts], list[tuple[Origin, Write, Rejected]]]:
        """Write everything and say what became of the changes of each shard; the batch is empty afterwards.

        Whatever `send` raises leaves the batch as it was.
        """
        writes = list(self._newest.values())
        outcomes = send(writes) if writes else []
        rejections: list[tuple[Origin, Write, Rejected]] = []
        if all(outcome is APPLIED for outcome in outcomes):
            by_shard = Counter(map(itemgetter(0), self._origins))
            counts = {shard: Counts(read=number, applied=number) for shard, number in by_shard.items()}
        else:
            counts, rejections = self._account(self._settle_rejected(writes, outcomes, send))
        self._origins, self._newest = [], {}
        return counts, rejections

    def _settle_rejected(
        self, writes: list[Write], outcomes: list[Outcome], send: WriteBatch
    ) -> dict[tuple[RowKey, int], Outcome]:
        """The outcome of every write that was sent, after older writes took the place of rejected ones."""
        settled = {(write.key, write.version): outcome for write, outcome in zip(writes, outcomes, strict=True)}
        rejected = {write.key for write, outcome in zip(writes, outcomes, strict=True) if isinstance(outcome, Rejected)}
        older: dict[RowKey, list[Write]] = {key: [] for key in rejected}
        for _, _, asked in self._origins:
            for write in asked:
                if write.key in older and (write.key, write.version) not in settled:
                    older[write.key].append(write)
        for chain in older.values():
            chain.sort(key=lambda write: write.version)
        while again := [chain.pop() for chain in older.values() if chain]:
            for write, outcome in zip(again, send(again), strict=True):
                settled[write.key, write.version] = outcome
                if not isinstance(outcome, Rejected):
                    older[write.key].clear()
        return settled

    def _account(
        self, settled: dict[tuple[RowKey, int], Outcome]
    ) -> tuple[dict[str, Counts], list[tuple[Origin, Write, Rejected]]]:
        by_key: dict[RowKey, list[tuple[int, Outcome]]] = {}
        for (key, version), outcome in settled.items():
            by_key.setdefault(key, []).append((version, outcome))
        for sent in by_key.values():
            sent.sort(key=lambda pair: pair[0])
        by_shard: dict[str, Counts] = {}
        rejections: list[tuple[Origin, Write, Rejected]] = []
        for origin in self._origins:
            counts = by_shard.setdefault(origin[0], Counts())
            counts.read += 1
            refused = applied = False
            for write in origin[2]:
                # the write itself, or the next newer one that was sent instead of it
                outcome = next(outcome for version, outcome in by_key[write.key] if version >= write.version)
                if isinstance(outcome, Rejected):
                    refused = True
                    rejections.append((origin, write, outcome))
                applied = applied or outcome is APPLIED
            if refused:
                counts.dead_lettered += 1
            elif applied:
                counts.applied += 1
            else:
                counts.stale += 1
        return by_shard, rejections
