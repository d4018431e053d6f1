"""How far a view is in each shard of its stream, and what that proves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dynaview.projections.changes import Change
from dynaview.sources.port import Broken
from dynaview.views.control.records import Checkpoint

START = -1
"""The position before the first record of a shard."""

CUT = 0.001
"""Seconds before a record's creation time up to which its shard is read once the record is applied: AWS cuts creation
times to the second, so others of the same second may follow it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Part of a shard, read once and offered to every pipeline: the records behind `start` up to `last`.

    Positions are sequence numbers as integers; `positions` has one for each change. Shared between pipelines: never
    changed.
    """

    shard: str
    start: int
    last: int
    changes: Sequence[Change[Any]]
    positions: Sequence[int]
    broken: Sequence[tuple[int, Broken]] = ()
    """Records that could not be read, with their positions."""
    end: bool = False
    """Whether the shard ends here."""
    page: object | None = None
    """What spans link to (see `dynaview.views.spans`)."""

    def behind(self, position: int) -> Delivery:
        """The part of it that stands behind `position`."""
        if position <= self.start:
            return self
        first = next((index for index, at in enumerate(self.positions) if at > position), len(self.positions))
        broken = [(at, record) for at, record in self.broken if at > position]
        return Delivery(
            self.shard,
            position,
            max(self.last, position),
            self.changes[first:],
            self.positions[first:],
            broken,
            self.end,
            self.page,
        )


@dataclass(slots=True)
class ShardPosition:
    """How far a pipeline is in one shard."""

    parent: str | None
    received: int = START
    """The last position that the pipeline has taken."""
    ended: bool = False
    """Whether the pipeline has taken the shard's end."""
    applied: int = START
    """The last position whose writes are durable in the sink."""
    time: float | None = None
    """Creation time of the last applied record."""
    finished: bool = False
    """Whether everything up to the shard's end is durable."""
    tip: tuple[int, float] | None = None
    """(position, time): at that time the shard held nothing behind the position."""
    owned: bool = True
    """Whether this process reads the shard; of another worker's it knows what the control store says."""
    kept: bool = False
    """Of another worker's shard: whether the control store has known it."""
    covered: bool = False
    """Whether all of its children are known."""

    def go_to(self, checkpoint: Checkpoint | None) -> None:
        """Stand where a checkpoint says (None: there is none).

        A shard that the control store has known and knows no more was finished, and has been forgotten since.
        """
        if checkpoint is None:
            self.finished = self.ended = self.finished or self.kept
            return
        self.kept = True
        self.received = self.applied = START if checkpoint.sequence is None else checkpoint.sequence
        self.time = checkpoint.time
        self.finished = self.ended = checkpoint.finished
        if checkpoint.tip is not None:
            self.tip = (self.applied, checkpoint.tip)

    def by_records(self) -> float | None:
        """The time up to which the last applied record proves the shard read: later records are no older than it."""
        return None if self.time is None else self.time - CUT

    def by_tip(self) -> float | None:
        """The time up to which the readers' look at the shard's tip proves it read."""
        return self.tip[1] if self.tip is not None and self.applied >= self.tip[0] else None


class Positions(dict[str, ShardPosition]):
    """The positions of one view by shard. Guarded by its owner's lock."""

    def parent(self, at: ShardPosition) -> ShardPosition | None:
        """The position in the parent; None where there is none that is known."""
        return None if at.parent is None else self.get(at.parent)

    def ready(self, at: ShardPosition) -> bool:
        """Whether the shard may be read: all of its parent has been taken."""
        parent = self.parent(at)
        return parent is None or parent.ended

    def lowest(self) -> tuple[float | None, bool]:
        """The time up to which, inclusive, every change in the stream is in the view (None: not known), and whether
        that rests on a shard that has shown nothing of its own, so that more may have been known before.

        Every change goes to one leaf of the shard tree, so it is the lowest of what is proven for the leaves:

        - Records of a shard come in the order of their making. Once one is applied, whatever follows it was made no
          earlier; as AWS cuts times to the second, what follows may be of the same second (`CUT`).
        - A reader that asks at a time and finds nothing behind a position has all that was in the shard then
          (many times in a row, less a margin for what is on its way to the stream: see `shard_reader`).
          That is by the worker's clock, and it holds only where changes still go to this shard, not to a child.
        - A finished shard counts with what was read of it until all of its children are known: of two that divide its
          keys, one may be listed later than the other.
        - A shard whose parent is not finished is no leaf yet: the parent's mark is lower. One that has shown nothing
          of its own stands where its parents' records ended.
        """
        parents = {at.parent for at in self.values()}
        lowest: float | None = None
        rests = False
        for shard, at in self.items():
            continued = shard in parents
            parent = self.parent(at)
            if (parent is not None and not parent.finished) or (at.finished and continued and at.covered):
                continue
            marks = [mark for mark in (at.by_records(), None if continued else at.by_tip()) if mark is not None]
            mark = max(marks) if marks else self.inherited(at)
            if mark is None:
                return None, True
            rests |= continued or not marks
            lowest = mark if lowest is None else min(lowest, mark)
        return lowest, rests

    def inherited(self, at: ShardPosition) -> float | None:
        """What the nearest ancestor with records proves."""
        above = self.parent(at)
        while above is not None:
            if (mark := above.by_records()) is not None:
                return mark
            above = self.parent(above)
        return None
