"""A batch of changes on its way into one sink: coalesced by row key, written, and every change accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from dynaview.projections.changes import Change
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import APPLIED, STALE, Outcome, Rejected, RejectedKind
from dynaview.views.control.records import Counts

WriteBatch: TypeAlias = Callable[[Sequence[Write]], list[Outcome]]


Origin: TypeAlias = tuple[str, Change[Any], Sequence[Write], bool]
"""The shard, the change, what it asks for, and whether it is dead: no row can be made of it, so it is a dead letter,
whatever becomes of the rows that it takes with it. A plain tuple: there is one for every change."""


_SHARD, _DEAD = itemgetter(0), itemgetter(3)  # of an origin


@dataclass(frozen=True, slots=True)
class Refusal:
    """A write that the sink rejected, and the change that asks for it."""

    origin: Origin
    write: Write
    rejected: Rejected


class Batch:
    """Changes of one view that are written together.

    Of several writes to one row key only the newest is sent; a superseded change shares the outcome of the write that
    took its place. Where a sink rejects the newest for its content, the row that stands is deleted under its version:
    it shows an earlier state of the item, and a rebuild would give none (law 9).
    """

    __slots__ = ("_newest", "_origins")

    def __init__(self) -> None:
        self._origins: list[Origin] = []
        self._newest: dict[RowKey, Write] = {}

    def __len__(self) -> int:
        return len(self._newest)

    def add(self, shard: str, change: Change[Any], writes: Sequence[Write], *, dead: bool = False) -> bool:
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
        self._origins.append((shard, change, writes, dead))
        return True

    def settle(self, send: WriteBatch) -> tuple[dict[str, Counts], list[Refusal]]:
        """Write everything and say what became of the changes of each shard; the batch is empty afterwards.

        Whatever `send` raises leaves the batch as it was.
        """
        writes = list(self._newest.values())
        outcomes = send(writes) if writes else []
        refusals: list[Refusal] = []
        if all(outcome is APPLIED for outcome in outcomes) and not any(map(_DEAD, self._origins)):
            by_shard = Counter(map(_SHARD, self._origins))
            counts = {shard: Counts(read=number, applied=number) for shard, number in by_shard.items()}
        else:
            sent = {write.key: outcome for write, outcome in zip(writes, outcomes, strict=True)}
            counts, refusals = self._account(sent, self._take(sent, send))
        self._origins, self._newest = [], {}
        return counts, refusals

    def _take(self, sent: Mapping[RowKey, Outcome], send: WriteBatch) -> dict[RowKey, Outcome]:
        """Delete what stands where an upsert was rejected for its content; what became of that."""
        deletes = [
            Write(write.key, None, write.version, write.owner)
            for write in self._newest.values()
            if write.values is not None and _is_refused(sent[write.key], RejectedKind.CONTENT)
        ]
        outcomes = send(deletes) if deletes else []
        return {write.key: _deleted(outcome) for write, outcome in zip(deletes, outcomes, strict=True)}

    def _account(
        self, sent: Mapping[RowKey, Outcome], taken: Mapping[RowKey, Outcome]
    ) -> tuple[dict[str, Counts], list[Refusal]]:
        by_shard: dict[str, Counts] = {}
        refusals: list[Refusal] = []
        for origin in self._origins:
            shard, _, writes, dead = origin
            counts = by_shard.setdefault(shard, Counts())
            counts.read += 1
            refused, applied = dead, False
            for write in writes:
                newest, outcome = self._newest[write.key], sent[write.key]
                if newest.values is None:
                    outcome = _deleted(outcome)
                elif isinstance(outcome, Rejected) and write.version == newest.version:
                    refused = True
                    refusals.append(Refusal(origin, write, outcome))
                elif isinstance(outcome, Rejected):  # superseded by what could not be written
                    outcome = taken.get(write.key, STALE)
                applied = applied or outcome is APPLIED
            if refused:
                counts.dead_lettered += 1
            elif applied:
                counts.applied += 1
            else:
                counts.stale += 1
        return by_shard, refusals


def _is_refused(outcome: Outcome, kind: RejectedKind) -> bool:
    return isinstance(outcome, Rejected) and outcome.kind is kind


def _deleted(outcome: Outcome) -> Outcome:
    """What became of a delete: under a key that a store cannot hold, none of its rows stands."""
    return STALE if isinstance(outcome, Rejected) else outcome
