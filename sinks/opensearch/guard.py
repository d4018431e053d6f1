"""The guard's part that needs no store: what is remembered of a row, and what that lets a write do."""

from __future__ import annotations

import enum
import threading

import msgspec

from dynaview.projections.rows import RowKey, Rule, Write
from dynaview.sinks.port import ConditionalWrite, Stored

REMEMBERED = 100_000
"""Rows whose positions a target remembers at most: about 37 MB of them."""


class Position(msgspec.Struct, gc=False, frozen=True):
    """What stands under a row key, and where: OpenSearch's sequence number and primary term of its last write.

    `if_seq_no` and `if_primary_term` of these let a write through only while nothing else was written to the row
    (https://docs.opensearch.org/latest/api-reference/document-apis/index-document/).
    """

    version: int
    owner: str
    live: bool
    """False: a tombstone."""
    sequence: int
    term: int


class Verdict(enum.Enum):
    """What a write may do."""

    PUT = enum.auto()
    STALE = enum.auto()
    TAKEN = enum.auto()
    """The live row is another item's."""


def decide(write: Write, position: Position) -> Verdict:
    """The guard as `dynaview.sinks.port` words it, on what stands there. (Where nothing does, every write may.)"""
    deletes = write.values is None
    if write.owner and write.owner != position.owner:
        if position.live:
            return Verdict.STALE if deletes else Verdict.TAKEN
        return Verdict.STALE if deletes or write.rule is Rule.ABSENT else Verdict.PUT
    if write.rule is Rule.ABSENT or write.version <= position.version:
        return Verdict.STALE
    return Verdict.PUT


def certain(write: Write, position: Position) -> bool:
    """Whether a refusal holds although `position` is only remembered.

    Others may have written since, but one item's versions only ever rise. Who owns the row may have changed.
    """
    return not write.owner or write.owner == position.owner


def resulting(conditional: ConditionalWrite) -> Write:
    """What a conditional write writes, with the version that the row will have."""
    write, seen = conditional.write, conditional.seen
    # A document that somebody else put in has no version to keep.
    version = max(0, seen.version) if seen is not None and seen.owner == write.owner else 0
    return Write(write.key, write.values, version, write.owner)


def unchanged(seen: Stored | None, generation: int, position: Position | None) -> bool:
    """Whether what stands there is what was seen."""
    if seen is None or position is None:
        return seen is None and position is None
    return (seen.version, seen.owner, seen.content is not None, seen.generation) == (
        position.version,
        position.owner,
        position.live,
        generation,
    )


class Memory:
    """Positions of the rows written or looked at last; bounded. Safe to use from several threads.

    Two dictionaries stand in for a linked list: what is used moves to the young one, and when that is half the size,
    the old one is forgotten at a stroke. What was used within the last half of `size` rows is never forgotten.
    """

    def __init__(self, size: int = REMEMBERED) -> None:
        self._half = max(1, size // 2)
        self._lock = threading.Lock()
        self._young: dict[RowKey, Position] = {}
        self._old: dict[RowKey, Position] = {}

    def recall(self, keys: list[RowKey]) -> list[Position | None]:
        young, old = self._young, self._old
        return [young.get(key) or old.get(key) for key in keys]

    def remember(self, positions: dict[RowKey, Position]) -> None:
        with self._lock:
            self._young.update(positions)
            if len(self._young) >= self._half:
                self._old, self._young = self._young, {}

    def forget(self, keys: list[RowKey]) -> None:
        with self._lock:
            for key in keys:
                self._young.pop(key, None)
                self._old.pop(key, None)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)


class Odds:
    """Whether rows that are not remembered are likely to stand in the store, from how it was with the last ones.

    Trying `create` first is cheapest where few do; looking first is cheapest where more than about a quarter do
    (1.05 against 0.86 of an unguarded bulk where none does, 0.42 against 0.55 where all do). A guess: right or wrong,
    the same rows are written.
    """

    _LOOK_FIRST = 0.27
    _FULL_WEIGHT = 200

    def __init__(self) -> None:
        self._there = 0.0

    def look_first(self) -> bool:
        return self._there > self._LOOK_FIRST

    def learn(self, there: int, of: int) -> None:
        """`there` of `of` rows that were not remembered stood in the store."""
        if of:
            weight = min(1.0, of / self._FULL_WEIGHT) / 2
            self._there += weight * (there / of - self._there)
