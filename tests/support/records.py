"""One stream in memory: shards over ranges of a hash, their records, and what DynamoDB does to them."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dynaview.projections.attributes import Shape, attribute
from dynaview.projections.changes import TTL_PRINCIPAL, Body, Change, Identity
from dynaview.projections.projection import ViewType
from dynaview.sources.errors import StreamGone, Trimmed
from dynaview.sources.port import Broken, Shard

Item: TypeAlias = dict[str, Any]

HASHES = 2**32


@dataclass(slots=True)
class Record:
    """One stream record, of plain values."""

    sequence: int
    event: str
    key: Item
    new: Item | None
    old: Item | None
    time: int
    by_ttl: bool = False
    broken: str | None = None

    def change(self, shape: Shape, view_type: ViewType) -> Change[Any]:
        """The record as a reader decodes it."""
        new = self.new if view_type in ("NEW_IMAGE", "NEW_AND_OLD_IMAGES") else None
        old = self.old if view_type in ("OLD_IMAGE", "NEW_AND_OLD_IMAGES") else None
        body: Body[Any] = Body(
            sequence=str(self.sequence),
            key={name: attribute(plain) for name, plain in self.key.items()},
            time=self.time,
            new=None if new is None else shape.pack(new),
            old=None if old is None else shape.pack(old),
        )
        return Change(self.event, body, Identity("Service", TTL_PRINCIPAL) if self.by_ttl else None)


@dataclass(slots=True)
class ShardRecords:
    """One shard."""

    id: str
    parent: str | None
    low: int
    high: int
    first: int
    last: int | None = None
    records: list[Record] = field(default_factory=list)
    trimmed: int = 0
    """How many records, from the oldest on, are gone."""
    trimmed_to: int = -1
    """The sequence number of the last of them."""
    listed: bool = True
    gone: bool = False
    exhausted: bool = False
    """Whether it answers with TrimmedDataAccessException wherever it is read."""
    leaf: bool = True

    def trim(self, count: int | None) -> None:
        """Remove the oldest records, all of them without `count`."""
        gone = len(self.records) if count is None else min(count, len(self.records))
        if gone:
            self.trimmed_to = self.records[gone - 1].sequence
            del self.records[:gone]
            self.trimmed += gone

    def position(self, after: str | None) -> int:
        """Where reading begins. Without `after` at the oldest record left, silent about trimmed ones, as AWS is."""
        if self.exhausted:
            raise Trimmed(f"shard {self.id}")
        if after is None:
            return self.trimmed
        if int(after) <= self.trimmed_to:
            raise Trimmed(f"shard {self.id} after {after}")
        return self.trimmed + bisect.bisect_right(self.records, int(after), key=lambda record: record.sequence)


class StreamRecords:
    """One stream (one ARN) with its shards."""

    def __init__(self, arn: str, view_type: ViewType, shards: int, first_sequence: int) -> None:
        self.arn = arn
        self.view_type = view_type
        self.shards: dict[str, ShardRecords] = {}
        self.sequences: Iterator[int] = itertools.count(first_sequence, 7)
        for low, high in itertools.pairwise(_edges(0, HASHES, shards)):
            self._add(None, low, high, listed=True)

    def shard(self, shard_id: str) -> ShardRecords:
        """The shard, as long as it can be read."""
        shard = self.shards.get(shard_id)
        if shard is None or shard.gone:
            raise StreamGone(f"shard {shard_id}")
        return shard

    def leaf(self, hashed: int) -> ShardRecords:
        """The shard to which changes of this hash go."""
        return next(shard for shard in self.shards.values() if shard.leaf and shard.low <= hashed < shard.high)

    def divide(self, shard_id: str, ways: int, *, linger: bool, listed: bool) -> list[str]:
        """Continue a leaf by children that share its range."""
        parent = self.shards[shard_id]
        if not parent.leaf:
            raise ValueError(f"{shard_id} has been continued already")
        parent.leaf = False
        if not linger:
            self.end(parent)
        edges = itertools.pairwise(_edges(parent.low, parent.high, ways))
        return [self._add(shard_id, low, high, listed=listed) for low, high in edges]

    def end(self, shard: ShardRecords) -> None:
        """Close a shard."""
        if shard.last is None:
            shard.last = next(self.sequences)

    def listing(self) -> list[Shard]:
        """What DescribeStream answers."""
        return [
            Shard(each.id, each.parent, str(each.first), None if each.last is None else str(each.last))
            for each in self.shards.values()
            if each.listed
        ]

    def _add(self, parent: str | None, low: int, high: int, *, listed: bool) -> str:
        shard = ShardRecords(f"shard-{len(self.shards)}", parent, low, high, next(self.sequences), listed=listed)
        self.shards[shard.id] = shard
        return shard.id


def broken(index: int, record: Record) -> Broken:
    """A record that the script made unreadable, as a page shows it."""
    return Broken(index, b'{"scripted": true}', record.broken or "", str(record.sequence))


def _edges(low: int, high: int, ways: int) -> list[int]:
    return [low + (high - low) * way // ways for way in range(ways + 1)]
