"""The changes of one item as its table's stream brings them, and what each asks of the views.

A reader of its own beside those of the daemon, and so a slow one. It begins where the views are, so that on a busy
table nobody waits until a day of changes has been read.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dynaview.projections.attributes import item_key
from dynaview.projections.changes import Change
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.compiler.trial import SHAPE
from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.projection import Bound, OldRowsUnknown, ProjectionError, ViewType
from dynaview.projections.rows import RowKey
from dynaview.sources.errors import IteratorExpired, StreamGone, Trimmed
from dynaview.sources.port import Key, Shard, StreamReader
from dynaview.views.control.records import Checkpoint
from dynaview.views.retry import Retrier, Stopped
from dynaview.views.streaming.offsets import START, Delivery
from dynaview.views.streaming.shard_reader import ReadSettings, ShardReader

PACE = ReadSettings(poll_first=0.2, poll_cap=0.5)
"""A third reader beside the daemon's two takes five pages of a shard a second at the most."""

DISCOVER = 30.0
"""Seconds between two listings of the shards."""


@dataclass(frozen=True, slots=True)
class Passed:
    """One change of the item. `asks` has for each view what the change asks of it."""

    event: str
    sequence: str
    time: float
    """Seconds since 1970, cut to the second by AWS."""
    by_ttl: bool
    asks: Mapping[str, Asks]

    def plain(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {
            "event": self.event, "sequence": self.sequence, "time": self.time, "by_ttl": self.by_ttl,
            "views": {
                name: {"upserts": list(asks.upserts), "deletes": list(asks.deletes), "dead_letter": asks.reason or None}
                for name, asks in self.asks.items()
            },
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asks:
    """What a change asks of one view: row keys. With a `reason` it is a dead letter."""

    upserts: Sequence[RowKey]
    deletes: Sequence[RowKey]
    reason: str = ""


class Changes:
    """The changes of one item."""

    def __init__(
        self,
        stream: StreamReader,
        key: Key,
        views: Sequence[ViewDeclaration],
        key_names: tuple[str, ...],
        view_type: ViewType,
        retrier: Retrier,
        settings: ReadSettings = PACE,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._name = item_key(key)
        self._bounds: dict[str, Bound] = {}
        self.refused: dict[str, str] = {}
        """Views that cannot be kept from such a stream, and why."""
        for view in views:
            try:
                self._bounds[view.name] = compile_view(view).bind(SHAPE, key_names, view_type)
            except ValueError as error:
                self.refused[view.name] = str(error)
        self._retrier = retrier
        self._settings = settings
        self._now = now
        self._known: set[str] = set()
        self._due: deque[tuple[float, ShardReader]] = deque()

    def passing(self, checkpoints: Sequence[Mapping[str, Checkpoint]]) -> Iterator[Passed]:
        """The changes behind the furthest of these checkpoints, of each shard, for ever. Raises `SourceError`,
        `Stopped`."""
        self._discover(_furthest(checkpoints))
        discovered = self._now()
        while True:
            if self._now() - discovered >= DISCOVER or not self._due:
                self._discover({})
                discovered = self._now()
            if not self._due:
                self._rest(1.0)
                continue
            at, reader = self._due.popleft()
            self._rest(at - self._now())
            delivery = self._page(reader)
            if delivery is not None:
                for change in delivery.changes:
                    if item_key(change.body.key) == self._name:
                        yield self._passed(change)
            if delivery is None or delivery.end:
                self._discover({})
            else:
                self._due.append((self._now() + max(self._settings.poll_first, reader.pause), reader))

    def _discover(self, positions: Mapping[str, Checkpoint]) -> None:
        """Read shards that are new, from the position where there is one. A child's changes come after its parent's
        only where that has been read to its end, so it waits."""
        shards = self._retrier.insist(self._stream.shards)
        open_ids = {reader.shard.id for _, reader in self._due}
        for shard in shards:
            if shard.id in self._known or shard.parent in open_ids:
                continue
            self._known.add(shard.id)
            checkpoint = positions.get(shard.id)
            if checkpoint is not None and checkpoint.finished:
                continue
            open_ids.add(shard.id)
            self._due.append((self._now(), self._reader(shard, checkpoint)))

    def _reader(self, shard: Shard, checkpoint: Checkpoint | None) -> ShardReader:
        position = START if checkpoint is None or checkpoint.sequence is None else checkpoint.sequence
        return ShardReader(self._stream, shard, position, self._settings)

    def _page(self, reader: ShardReader) -> Delivery | None:
        """The next page; None where nothing of the shard is left."""
        while not reader.believed:
            try:
                return self._retrier.insist(reader.read)
            except Trimmed:
                reader.begin_again()
            except IteratorExpired:
                continue
            except StreamGone:
                return None
        return None

    def _rest(self, seconds: float) -> None:
        if self._retrier.stop.wait(max(0.0, seconds)):
            raise Stopped

    def _passed(self, change: Change[Any]) -> Passed:
        asks = {name: _asked(bound, change) for name, bound in self._bounds.items()}
        body = change.body
        return Passed(change.event, body.sequence, body.time, change.by_ttl, asks)


def _furthest(checkpoints: Sequence[Mapping[str, Checkpoint]]) -> dict[str, Checkpoint]:
    """Of each shard the checkpoint that is furthest."""
    found: dict[str, Checkpoint] = {}
    for each in checkpoints:
        for shard, checkpoint in each.items():
            other = found.get(shard)
            if other is None or _rank(checkpoint) > _rank(other):
                found[shard] = checkpoint
    return found


def _rank(checkpoint: Checkpoint) -> tuple[bool, int]:
    return checkpoint.finished, START if checkpoint.sequence is None else checkpoint.sequence


def _asked(bound: Bound, change: Change[Any]) -> Asks:
    reason = ""
    try:
        writes: Sequence[Any] = bound.writes(change, 1)
    except OldRowsUnknown as error:
        writes = error.asked
    except ProjectionError as error:
        writes, reason = error.asked, str(error)
    upserts = [write.key for write in writes if write.values is not None]
    return Asks(upserts, [write.key for write in writes if write.values is None], reason)
