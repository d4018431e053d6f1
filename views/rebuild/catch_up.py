"""What the stream tells since the time of an export, for next generations only.

The pipelines write a next generation from their checkpoints on, which are newer than an export. What lies between the
two is read here: each shard from its oldest record up to where the pipeline was once every worker wrote the next
generation, parents before children. Written twice it changes nothing (law 1), so the positions are saved now and then
only.

Beside the live generation the guard is all that it takes. In place readers look on: a row that the store has lost must
not come back through the states that it has had since. So an upsert whose row is not there leaves a tombstone of its
version at first, and a second round brings in the newest of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from dynaview.projections.changes import STREAM_SPAN
from dynaview.projections.projection import Bound
from dynaview.projections.rows import Write
from dynaview.sinks.port import STALE, ConditionalWrite, Outcome, Stored, Target
from dynaview.sources.errors import SourceError, StreamGone, Trimmed
from dynaview.sources.port import Shard, StreamReader
from dynaview.sources.shards import ShardTree
from dynaview.views.control.records import Segment
from dynaview.views.policy import Action, Backoff, policy
from dynaview.views.reasons import RETENTION
from dynaview.views.rebuild.disputes import asked, standing, uncounted
from dynaview.views.rebuild.shared_scan import Participant, SharedScan
from dynaview.views.rebuild.view_rebuild import ViewRebuild
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.offsets import START, Delivery
from dynaview.views.streaming.shard_reader import ShardReader

log = logging.getLogger(__name__)

T = TypeVar("T")

MARGIN = 300.0
"""Seconds before the export's time from which changes are read: creation times are approximate, and what the export
has already does no harm."""

CLOSED_PACE = 0.05
"""Seconds between two reads of a closed shard, which the others seldom read any more."""

SAVE_EVERY = 2.0
"""Seconds between two saved positions."""


Sending = Callable[[ViewRebuild, Bound, Delivery, Target, Sequence[Write]], list[Outcome]]
"""Writes what a part of a shard asks of a view."""


class TooLate(Exception):
    """The stream no longer holds what follows the export."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the stream no longer holds all that follows the export ({why}); rebuild from a newer one")


class _Done(msgspec.Struct):
    """How far it is."""

    round: int = 1
    hidden: list[str] = []
    """Views in place that need the second round."""
    shards: dict[str, int] = {}
    """By shard the last position that is done in this round."""
    ended: list[str] = []
    """Shards of this round that held nothing more."""


class CatchUp:
    """The pass of one job. `run` it after every worker writes the next generations."""

    def __init__(self, shared: SharedScan, since: float) -> None:
        """`since` is the export's time in seconds since 1970."""
        context = shared.context
        self._shared = shared
        self._context = context
        self._name = f"{shared.job}.history"
        self._since = since
        self._saved = 0.0
        self._stream: StreamReader = context.kept.reader.stream(
            context.factory.description.stream_arn or "", context.factory.shape
        )

    def run(self) -> None:
        """Until everything is written; run again it goes on where it was. Raises `TooLate` and `Interrupted`."""
        self._segment = next(iter(self._shared.retry(lambda: self._context.store.segments(self._name))), Segment(0, 1))
        if self._segment.finished:
            return
        self._done = msgspec.json.decode(self._segment.position or "{}", type=_Done)
        until: dict[str, dict[str, int]] = {}
        for each in self._shared.participants():
            until[each.view] = each.attempt(partial(self._until, each.rebuild)) or {}
        if self._done.round == 1:
            self._round(self._shared.participants(), until, self._first)
            self._done = _Done(2, self._done.hidden)
            self._save()
        hidden = [each for each in self._shared.participants() if each.view in self._done.hidden]
        self._round(hidden, until, self._second)
        self._segment.finished = True
        self._save()

    def _until(self, rebuild: ViewRebuild) -> dict[str, int]:
        """By shard the last position that the view's pipeline may have passed before it wrote the next generation.

        A view that begins anew behind a gap has read nothing before; a shard whose last change is older than the export
        holds nothing that it does not have, and one without a time had no change.
        """
        if rebuild.rebuild.fresh:
            return {}
        known = rebuild.retry(lambda: self._context.kept.control.checkpoints(rebuild.view))
        return {
            shard: at.sequence
            for shard, at in known.items()
            if at.sequence is not None and at.time is not None and self._is_due(at.time)
        }

    def _is_due(self, at: float) -> bool:
        return at >= self._since - MARGIN

    def _round(self, taking_part: Sequence[Participant], until: dict[str, dict[str, int]], send: Sending) -> None:
        """Read what views need of every shard, parents before children."""
        last: dict[str, int] = {}
        for each in taking_part:
            for name, position in until[each.view].items():
                last[name] = max(position, last.get(name, START))
        if not last:
            return
        writers = [(each, writer) for each in taking_part if (writer := each.attempt(each.rebuild.writer)) is not None]
        listing = self._listing()
        # A listing may lag; where a shard is really gone its reading tells.
        listing += [Shard(shard, None, "0", None) for shard in sorted(last.keys() - {each.id for each in listing})]
        tree = ShardTree(listing, finished=[shard.id for shard in listing if shard.id not in last])
        done = 0
        while ready := tree.ready():
            for shard in ready:
                self._say(taking_part, f"reads what the stream tells since the export: {done} of {len(last)} shards")
                self._shard(shard, last[shard.id], until, writers, send)
                tree.finish(shard.id)
                done += 1
        self._say(taking_part, "")

    def _shard(
        self,
        shard: Shard,
        last: int,
        until: dict[str, dict[str, int]],
        writers: Sequence[tuple[Participant, GenerationWriter]],
        send: Sending,
    ) -> None:
        position = self._done.shards.get(shard.id, START)
        if position >= last or shard.id in self._done.ended:
            return
        for delivery in self._read(shard, position, last):
            for each, writer in writers:
                part = self._part(delivery, until[each.view].get(shard.id, START))
                if part is not None:
                    each.attempt(partial(self._take, each.rebuild, writer, part, send))
            self._done.shards[shard.id] = delivery.last
            if delivery.end:
                self._done.ended.append(shard.id)
            if time.monotonic() - self._saved >= SAVE_EVERY:
                self._save()
        self._save()

    def _part(self, delivery: Delivery, until: int) -> Delivery | None:
        """What of a delivery a view needs: up to where its pipeline was (whose dead letters behind it count), and
        nothing that is surely in the export."""
        chosen = [
            (change, at)
            for change, at in zip(delivery.changes, delivery.positions, strict=True)
            if at <= until and self._is_due(change.body.time)
        ]
        last = delivery.changes[-1].body.time if delivery.changes else None
        broken = [each for each in delivery.broken if each[0] <= until] if last is None or self._is_due(last) else []
        if not chosen and not broken:
            return None
        changes, positions = [change for change, _ in chosen], [at for _, at in chosen]
        return Delivery(delivery.shard, delivery.start, delivery.last, changes, positions, broken)

    def _take(self, rebuild: ViewRebuild, writer: GenerationWriter, part: Delivery, send: Sending) -> None:
        find = partial(_rows_of, rebuild)
        letters = writer.take([part], partial(send, rebuild, writer.bound, part), find)
        writer.drain()  # the pipeline has counted them
        rebuild.keep(uncounted(standing(rebuild, letters)))

    # What is sent

    def _first(
        self, rebuild: ViewRebuild, bound: Bound, part: Delivery, target: Target, writes: Sequence[Write]
    ) -> list[Outcome]:
        """The first round; see the module. A tombstone of another item may be newer than what is read here, and any
        upsert may take it over: only one that its item still asks for does."""
        in_place = rebuild.rebuild.kind == "in place"
        if not in_place and not any(write.owner for write in writes):
            return rebuild.retry(partial(target.write, writes))
        rows = rebuild.retry(partial(target.read, [write.key for write in writes]))
        passed = self._passed(rebuild, bound, part, list(zip(writes, rows, strict=True)))
        lost = [in_place and _is_lost(write, row) for write, row in zip(writes, rows, strict=True)]
        if any(lost) and rebuild.view not in self._done.hidden:
            self._done.hidden.append(rebuild.view)
            self._save()
        sent = {
            index: Write(write.key, None, write.version, write.owner) if lost[index] else write
            for index, write in enumerate(writes)
            if index not in passed
        }
        written = rebuild.retry(partial(target.write, list(sent.values())))
        outcomes: list[Outcome] = [STALE] * len(writes)
        for index, outcome in zip(sent, written, strict=True):
            outcomes[index] = outcome
        return outcomes

    def _passed(
        self, rebuild: ViewRebuild, bound: Bound, part: Delivery, pairs: Sequence[tuple[Write, Stored | None]]
    ) -> set[int]:
        """The places of upserts that meet another item's tombstone and that their own item asks for no more."""
        odd = [
            index
            for index, (write, row) in enumerate(pairs)
            if write.values is not None and row is not None and row.content is None and row.owner != write.owner
        ]
        if not odd:
            return set()
        changes = dict(zip(part.positions, part.changes, strict=True))
        keys = [changes[pairs[index][0].version % STREAM_SPAN].body.key for index in odd]
        images = rebuild.retry(lambda: self._context.kept.reader.get(keys, self._context.factory.shape))
        return {
            index
            for index, image in zip(odd, images, strict=True)
            if (pairs[index][0].key, pairs[index][0].values) not in asked(bound, image)
        }

    def _second(
        self, rebuild: ViewRebuild, bound: Bound, part: Delivery, target: Target, writes: Sequence[Write]
    ) -> list[Outcome]:
        """Bring in what the first round has hidden, where nothing newer has come since."""
        rows = rebuild.retry(partial(target.read, [write.key for write in writes]))
        outcomes: list[Outcome] = [STALE] * len(writes)
        due = [
            (index, ConditionalWrite(write, row))
            for index, (write, row) in enumerate(zip(writes, rows, strict=True))
            if row is not None and _is_lost(write, row) and row.version == write.version
        ]
        if due:
            mended = rebuild.retry(partial(target.write_if_unchanged, [mend for _, mend in due]))
            for (index, _), outcome in zip(due, mended, strict=True):
                outcomes[index] = outcome
        return outcomes

    # Reading

    def _listing(self) -> list[Shard]:
        backoff = Backoff(first=0.2, cap=10.0)
        while True:
            self._shared.check()
            try:
                return self._stream.shards()
            except SourceError as error:
                self._wait(error, backoff)

    def _read(self, shard: Shard, position: int, last: int) -> Iterator[Delivery]:
        """What stands behind `position` in a shard, up to `last` or a little more, or to the shard's tip: what is not
        there any more was trimmed, and is older than the export as long as that is in reach."""
        reader = ShardReader(self._stream, shard, position)
        while True:
            self._shared.check()
            try:
                if reader.opens_at_start:
                    self._reach()
                delivery = reader.read()
            except SourceError as error:
                if isinstance(error, Trimmed):
                    self._reach()
                    reader.begin_again()
                if isinstance(error, StreamGone) and reader.believed:
                    raise TooLate(str(error)) from error
                self._wait(error, reader.backoff)
                continue
            yield delivery
            if delivery.end or delivery.last >= last:
                return
            if reader.read_up_to is not None:
                self._reach()
                return
            # The daemon's two readers have the right of way where they are still at work.
            self._context.pause(self._context.settings.catch_up_every if shard.last is None else CLOSED_PACE)

    def _wait(self, error: SourceError, backoff: Backoff) -> None:
        if policy(error).action is Action.AGAIN:
            return
        if backoff.meet(error):
            log.warning("table %s: what its stream holds since the export: %s", self._context.kept.source.table, error)
        backoff.wait(self._context.turn.stop)

    def _reach(self) -> None:
        """What is read from its beginning must not have lost its beginning."""
        if time.time() - self._since > RETENTION - self._context.settings.catch_up_spare:
            raise TooLate("DynamoDB keeps stream records for 24 hours")

    # Keeping

    def _say(self, taking_part: Sequence[Participant], text: str) -> None:
        for each in taking_part:
            each.attempt(partial(each.rebuild.update, reason=text))

    def _save(self) -> None:
        self._saved = time.monotonic()
        self._segment.position = msgspec.json.encode(self._done).decode()
        self._shared.retry(lambda: self._context.store.save_segment(self._name, self._segment))


def _rows_of(rebuild: ViewRebuild, target: Target, owners: Collection[str]) -> list[Stored]:
    return rebuild.retry(lambda: list(target.rows_of(owners)))


def _is_lost(write: Write, row: Stored | None) -> bool:
    """Whether an upsert that the pipeline has applied before finds no row."""
    if write.values is None:
        return False
    return row is None or (row.content is None and row.owner == write.owner and row.version <= write.version)
