"""A view's inbox: how far it is in every shard, and what it has been offered and has not written yet.

Readers offer what they read, never waiting; a delivery is taken when it is the very next part of its shard for this
view and there is room. The view's own thread takes from it, and says what has become durable.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from dynaview.views.control.records import Checkpoint
from dynaview.views.streaming.offsets import START, Delivery, Positions, ShardPosition


@dataclass(frozen=True, slots=True)
class News:
    """What there is to commit beside checkpoints."""

    known: list[str]
    """Shards that were listed for the first time."""
    forgotten: list[str]
    """Finished shards that exist no more."""
    tips: dict[str, float]
    """The times (seconds since 1970) at which shards held nothing behind their checkpoints, where that is news."""
    watermark: float | None
    """None where it is not known now, or nothing is taken any more."""
    closed: bool


class Inbox:
    """What one view takes of its stream. Thread-safe."""

    def __init__(
        self,
        checkpoints: dict[str, Checkpoint],
        room: int,
        stop: threading.Event,
        *,
        shared: bool = False,
        passed: float | None = None,
        begun: float | None = None,
    ) -> None:
        """`checkpoints` are those the view begins with, by shard; changes up to `room` may wait, though a page that
        arrives below that is still taken whole. Once `stop` is set nothing is taken. Where workers share a stream
        (`shared`), a shard is this process's from `adopt` on. `passed` is the watermark that was said last, `begun`
        when the view was begun with what was retained then (seconds since 1970; None: now)."""
        self.checkpoints = checkpoints
        self.passed = passed
        """The watermark (seconds since 1970) that was said last, by an earlier run perhaps."""
        self._room = room
        self._stop = stop
        self._shared = shared
        self._lock = threading.Condition()
        self._shards = Positions()
        self._buffer: deque[Delivery] = deque()
        self._buffered = 0
        self._known: list[str] = []
        self._forgotten: list[str] = []
        self._tips: dict[str, float] = {}
        """Those that were said last."""
        self._unsaved: set[str] = set()
        """Shards of which something was taken from the buffer and is not committed yet."""
        self._closed = False
        self._over = False
        self._begun = time.time() if begun is None else begun

    # For readers

    def tracking(self) -> AbstractContextManager[bool]:
        """Keep still while a listing is tracked: half of it would make a watermark that the other half belies."""
        return self._lock

    def track(self, shard: str, parent: str | None) -> None:
        """Learn of a shard. `parent` is None where it has none, or has one that no longer exists."""
        with self._lock:
            if shard in self._shards:
                return
            known = self.checkpoints.get(shard)
            at = self._shards[shard] = ShardPosition(parent, owned=not self._shared)
            if known is not None:
                at.go_to(known)
            elif not self._closed:  # what comes after a gap must not look as if it had been followed
                self._known.append(shard)

    def position(self, shard: str) -> ShardPosition:
        """How far the view is in a shard; one that it has forgotten it has finished."""
        return self._shards.get(shard) or ShardPosition(None, ended=True, finished=True)

    def cover(self, shards: Iterable[str]) -> None:
        """Learn that all children of these shards are known."""
        with self._lock:
            for shard in shards:
                if (at := self._shards.get(shard)) is not None:
                    at.covered = True

    def received(self, shard: str) -> int:
        """The last position of a shard that was taken, in an earlier run perhaps."""
        with self._lock:
            if (at := self._shards.get(shard)) is not None:
                return at.received
            known = self.checkpoints.get(shard)
            return START if known is None or known.sequence is None else known.sequence

    def wants(self, shard: str) -> bool:
        """Whether more of the shard could be taken now: its parents are done, there is room, and nothing has failed."""
        with self._lock:
            at = self._shards.get(shard)
            return at is not None and at.owned and not at.ended and self._open() and self._shards.ready(at)

    def reads(self, shard: str) -> bool:
        """Whether this process has still to bring the view to the shard's end."""
        at = self._shards.get(shard)
        return at is not None and at.owned and not at.ended

    def offer(self, delivery: Delivery) -> bool:
        """Take a delivery, or what of it is new to the view; False where something before it is missing, or where
        there is no room. Never waits."""
        with self._lock:
            at = self._shards.get(delivery.shard)
            if at is None or at.ended or not at.owned:
                return True
            if delivery.start > at.received or not self._shards.ready(at) or not self._open():
                return False
            part = delivery.behind(at.received)
            if not (part.changes or part.broken or part.end or part.last > at.received):
                return True
            at.received, at.ended = part.last, part.end
            self._buffer.append(part)
            self._buffered += len(part.changes) + len(part.broken)
            self._lock.notify()
            return True

    def tip(self, shard: str, position: int, at: float) -> None:
        """Hear that at that time (seconds since 1970) the shard held nothing behind `position`."""
        with self._lock:
            here = self._shards.get(shard)
            # Of what is in between the view has nothing yet, so it proves nothing for it.
            if here is not None and here.owned and not self._closed and here.received >= position:
                here.tip = (position, at)

    def unread_since(self, shard: str) -> float | None:
        """For a shard of which the view has nothing: the time (seconds since 1970) up to which nothing of it is
        missing. None where the view has something of it, or takes nothing any more.

        Records of a shard are younger than those of its parents; what a new view does not find is in its scan.
        """
        with self._lock:
            at = self._shards.get(shard)
            if at is None or not at.owned or at.ended or at.received != START or self._closed:
                return None
            parent = self._shards.parent(at)
            tips = [
                each.tip[1] for each in (at, parent) if each is not None and each.tip and each.received >= each.tip[0]
            ]
            marks = [mark for mark in (self.passed, self._shards.inherited(at), *tips) if mark is not None]
            return max(marks, default=self._begun)

    def drained(self, shards: Iterable[str], since: float) -> bool:
        """Whether all that these shards held at a time (seconds since 1970) is durable in the view."""
        with self._lock:
            for shard in shards:
                at = self._shards.get(shard)
                if at is None or not (at.finished or (at.by_tip() or 0.0) >= since):
                    return False
            return not self._buffer

    def finished_shards(self) -> set[str]:
        """The shards whose end is durable in the view, those of earlier runs included."""
        with self._lock:
            now = {shard for shard, at in self._shards.items() if at.finished}
        return now | {shard for shard, checkpoint in self.checkpoints.items() if checkpoint.finished}

    def forget(self, shards: Sequence[str]) -> None:
        """Drop the checkpoints of finished shards that no longer exist, with the next commit."""
        if shards:
            with self._lock:
                self._forgotten += shards
                for shard in shards:
                    self.checkpoints.pop(shard, None)
                    self._shards.pop(shard, None)

    # Shards that change hands between workers

    def readable(self) -> dict[str, str | None]:
        """The shards that this view could be brought on in now, by whichever worker, with their parents."""
        with self._lock:
            if self._closed:
                return {}
            return {s: at.parent for s, at in self._shards.items() if not at.finished and self._shards.ready(at)}

    def foreign(self) -> list[str]:
        """Unfinished shards that are not this process's."""
        with self._lock:
            return [] if self._closed else [s for s, at in self._shards.items() if not (at.owned or at.finished)]

    def adopt(self, shard: str, checkpoint: Checkpoint | None) -> None:
        """The shard is this process's from now on; `checkpoint` was read after that was so."""
        with self._lock:
            if (at := self._shards.get(shard)) is not None and not at.owned:
                at.go_to(checkpoint)
                at.owned = True

    def hear(self, shard: str, checkpoint: Checkpoint | None) -> bool:
        """Take in how far another worker has brought the shard; whether it is finished now and was not before."""
        with self._lock:
            at = self._shards.get(shard)
            if at is None or at.owned or at.finished or shard in self._unsaved:
                return False
            at.go_to(checkpoint)
            return at.finished

    def release(self, shard: str) -> bool:
        """Take nothing more of a shard, and drop what waits of it. Not (False) while its end was taken and is not
        durable: children of it may have been taken too, and would be ahead of it in another worker."""
        with self._lock:
            at = self._shards.get(shard)
            if at is None or not at.owned:
                return True
            if at.ended and not at.finished and not self._over:
                return False
            at.owned = False
            kept = [delivery for delivery in self._buffer if delivery.shard != shard]
            self._buffer = deque(kept)
            self._buffered = sum(len(delivery.changes) + len(delivery.broken) for delivery in kept)
            return True

    def released(self, shard: str) -> bool:
        """Whether nothing of a shard that was let go waits for a commit; it stands at its checkpoint then."""
        with self._lock:
            if shard in self._unsaved and not self._over:
                return False
            if (at := self._shards.get(shard)) is not None and not at.owned:
                at.received, at.ended = at.applied, at.finished
            return True

    # For the view's own thread

    def take(self, most: int, patience: float) -> list[Delivery]:
        """What comes next, up to so many changes (or one delivery more); waits up to so many seconds for something."""
        with self._lock:
            if not self._buffer and not self._stop.is_set():
                self._lock.wait(patience)
            taken: list[Delivery] = []
            changes = 0
            while self._buffer and changes < most:
                delivery = self._buffer.popleft()
                changes += len(delivery.changes) + len(delivery.broken)
                taken.append(delivery)
                self._unsaved.add(delivery.shard)
            self._buffered -= changes
            return taken

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._buffer)

    @property
    def has_news(self) -> bool:
        """Whether shards are known that no commit has named."""
        return bool(self._known)

    @contextmanager
    def committing(self, moved: Mapping[str, Checkpoint], tell: bool) -> Iterator[News]:
        """All up to these checkpoints is durable in the sink: what there is to commit with them, and that it is in the
        control store when the block ends. `tell`: other workers want to know of this one's tips."""
        with self._lock:
            news = self._news(moved, tell)
        yield news
        with self._lock:
            self._unsaved.clear()

    def _news(self, moved: Mapping[str, Checkpoint], tell: bool) -> News:
        known, forgotten = list(self._known), list(self._forgotten)
        self._known.clear()
        self._forgotten.clear()
        for shard, checkpoint in moved.items():
            at = self._shards[shard]
            at.applied = START if checkpoint.sequence is None else checkpoint.sequence
            at.time, at.finished = checkpoint.time, checkpoint.finished
        watermark = None if self._closed else self.watermark()
        tips = self._new_tips() if tell and not self._closed else {}
        self._unsaved.update(tips)
        self.passed = self.passed if watermark is None else watermark
        return News(known, forgotten, tips, watermark, self._closed)

    def watermark(self) -> float | None:
        """The time up to which, inclusive, every change in the stream is in the view; None: not known now.

        See `Positions.lowest` for why. What was said before stays true, so it is never lowered.

        A first fill is something else: until it is complete, items from before the stream may be missing.
        """
        with self._lock:
            lowest, _ = self._shards.lowest()
            if lowest is not None and self.passed is not None and lowest < self.passed:
                return None  # records alone prove less than the tip that was seen before a restart
            return lowest

    # Its end

    def close(self) -> None:
        """Take nothing any more."""
        with self._lock:
            self._closed = True
            self._lock.notify()

    def clear(self) -> None:
        """Drop what waits."""
        with self._lock:
            self._buffer.clear()

    def wake(self) -> None:
        """Let `take` look at `stop`."""
        with self._lock:
            self._lock.notify_all()

    def end(self) -> None:
        """The view's thread has ended: what was taken and not committed never will be."""
        self._over = True

    def _open(self) -> bool:
        return not self._closed and self._buffered < self._room and not self._stop.is_set()

    def _new_tips(self) -> dict[str, float]:
        """What other workers do not know yet of this one's shards at their ends."""
        tips = {s: tip for s, at in self._shards.items() if at.owned and (tip := at.by_tip()) is not None}
        new = {shard: tip for shard, tip in tips.items() if self._tips.get(shard) != tip}
        self._tips = tips
        return new
