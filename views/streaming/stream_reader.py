"""Following one stream: shards are read once and offered to every pipeline; a pipeline that fell behind is brought up
again.

Two readers, because AWS allows two a shard. The *front* reads each open shard at its tip and never waits for a
pipeline. A pipeline that could not take a page is *behind* in that shard, and the *catch-up* reader brings it what it
missed (`CatchUpReader`). A third thread finds shards (`ShardDiscovery`).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from dynaview.sources.errors import SourceError, StreamGone
from dynaview.sources.port import Shard, StreamReader
from dynaview.views.policy import Backoff
from dynaview.views.streaming.catch_up_reader import CatchUpReader
from dynaview.views.streaming.pipeline import PipelineContext, ViewPipeline
from dynaview.views.streaming.reading import Reading
from dynaview.views.streaming.shard_discovery import Cursor, DiscoverySettings, ShardDiscovery
from dynaview.views.streaming.shard_reader import ATTEMPTS
from dynaview.views.threads import Threads

log = logging.getLogger(__name__)

LISTING = "the listing of shards"

MANY = 5
"""Ended shards above which one listing of all is cheaper than a question for each."""


@dataclass(slots=True)
class FollowerSettings(DiscoverySettings):
    """How a follower paces itself. Times in seconds."""

    readers: int = 4
    """Threads that read shards at the front."""
    room_first: float = 0.005
    """Wait at the front while no pipeline has room; doubles up to `poll_cap`."""


class Follower:
    """Follows one stream for all pipelines of its table. `start` and `stop` frame it; the rest is its own threads."""

    def __init__(
        self,
        stream: StreamReader,
        pipelines: Sequence[ViewPipeline],
        context: PipelineContext,
        settings: FollowerSettings | None = None,
        threads: Threads | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`context` is what the pipelines were made with; `now` tells the time in seconds since 1970."""
        self.stream = stream
        self.settings = settings or FollowerSettings()
        self._owner = context.owner
        self._threads = threads or Threads()
        self._stop = threading.Event()
        self._discovery = ShardDiscovery(stream, pipelines, self.settings)
        self._signals = context.signals
        self._reading = Reading(
            stream, pipelines, self.settings, self._owner, self._signals, now, context.meters.source, context.spans
        )
        self._catch_up = CatchUpReader(self._reading, self._discovery.cursors, self._stop)
        self._due: list[tuple[float, int, Cursor]] = []
        self._ticket = itertools.count()
        self._wake = threading.Condition()
        self._look = threading.Condition()
        self._listing_due = 0.0
        self._listing_began: float | None = None

    @property
    def pipelines(self) -> tuple[ViewPipeline, ...]:
        """All that are read for."""
        return self._reading.pipelines

    def start(self) -> None:
        """Begin to read in threads of its own."""
        names: list[tuple[str, Callable[[], None]]] = [
            ("discovery", self._discover_loop),
            ("catch-up", self._catch_up.run),
        ]
        names += [(f"front-{index}", self._front_loop) for index in range(self.settings.readers)]
        for name, target in names:
            self._threads.spawn(name, target)

    def stop(self, within: float = 60.0) -> list[str]:
        """End all threads and wait for them, so many seconds at the most; what pipelines have taken is theirs. Answers
        the names of threads that still run."""
        self._stop.set()
        for condition in (self._wake, self._look, self._signals.room):
            with condition:
                condition.notify_all()
        return self._threads.join(within)

    def join(self, pipeline: ViewPipeline) -> None:
        """Let a pipeline follow from now on: it is brought to the front by the catch-up reader."""
        self._discovery.join(pipeline)
        self._reading.join(pipeline)
        self.recheck(list(self._discovery.cursors))
        self._list_soon()  # what it misses of the shards may show only in a listing

    def leave(self, pipeline: ViewPipeline) -> None:
        """Offer a pipeline nothing any more."""
        self._discovery.leave(pipeline)
        self._reading.leave(pipeline)

    def hurry(self, moment: float) -> None:
        """Somebody waits until a watermark has passed a moment (seconds since 1970): look at idle shards as soon as
        that shows anything of it."""
        self._reading.hurry(moment)

    # Shards that change hands between workers

    def take(self, shards: Iterable[str]) -> None:
        """Read these shards from now on; all pipelines have adopted them."""
        for shard in shards:
            if (cursor := self._discovery.renew(shard)) is not None:
                self._schedule(cursor, 0.0)
            self._catch_up.note(shard)

    def recheck(self, shards: Iterable[str]) -> None:
        """See whether a pipeline is behind in shards that it has adopted."""
        for shard in shards:
            self._catch_up.note(shard)

    def give_up(self, shard: str) -> None:
        """Read a shard no more."""
        self._discovery.give_up(shard)

    def finish(self, shard: str) -> None:
        """Another worker has brought a view to a shard's end: its children may begin, while this process goes on with
        what it reads of the shard itself for other views."""
        if (cursor := self._discovery.cursors.get(shard)) is not None and not cursor.ended:
            self._end_of(cursor, here=not any(pipeline.inbox.reads(shard) for pipeline in self._reading.live()))
        self._signals.made_room()

    def look(self, shards: Collection[str]) -> bool:
        """List all shards soon, if any of these is not known; whether that is so."""
        if all(shard in self._discovery.cursors for shard in shards):
            return False
        self._list_soon()
        return True

    # Discovery

    def _list_soon(self) -> None:
        with self._look:
            self._listing_due = 0.0
            self._look.notify_all()

    def _discover_loop(self) -> None:
        backoff = Backoff(first=0.2, cap=10.0)
        gone = 0
        while not self._stop.is_set():
            try:
                if time.monotonic() >= min(self._listing_due, self._discovery.confirm_at()):
                    self._list()
                else:
                    self._look_for_children()
                backoff.reset()
                gone = 0
                self._signals.errors.end(LISTING)
            except SourceError as error:
                self._listing_due = 0.0
                gone = gone + 1 if isinstance(error, StreamGone) else 0
                if gone >= ATTEMPTS and self._owner.stands():
                    for pipeline in self.pipelines:
                        pipeline.lose_stream(f"the stream {self.stream.arn} is gone: {error}")
                    return
                if not 0 < gone < ATTEMPTS and (line := self._signals.met(LISTING, error)) is not None:
                    log.warning("stream %s: %s", self.stream.arn, line)
                backoff.meet(error)
                if backoff.wait(self._stop):
                    return
                continue
            with self._look:  # a shard that ends from here on, or `stop`, finds this waiting
                if self._stop.is_set():
                    return
                due = min(self._listing_due, self._discovery.confirm_at()) - time.monotonic()
                wait = min(due, self.settings.children_every) if self._discovery.childless() else due
                self._look.wait(max(0.0, wait))

    def _list(self) -> None:
        first = not self._discovery.cursors  # what it leaves out shows soon
        wait = self.settings.listing_lag if first else self.settings.discover_every
        self._listing_due = time.monotonic() + min(wait, self.settings.discover_every)
        # One that was cut off goes on where it was, so it is as old as its beginning.
        began = self._listing_began = self._listing_began or time.monotonic()
        listing = self.stream.shards()
        self._listing_began = None
        self.discover(listing, None, began)

    def _look_for_children(self) -> None:
        """Ask for what continues the shards that have just ended (the regular listing finds what comes later)."""
        ended = self._discovery.childless()
        if len(ended) > MANY:
            self._list()
            return
        for parent in ended:
            began = time.monotonic()
            try:
                children = self.stream.children(parent)
            except StreamGone:  # the shard may have expired; that the stream is gone shows in the listing of all
                self._list()
                return
            self.discover(children, [parent], began)

    def discover(self, shards: Sequence[Shard], asked: Sequence[str] | None, began: float) -> None:
        """Take in a listing of all shards, or of the children of those `asked` for: new shards are followed once their
        parents are done."""
        known = set(self._discovery.cursors)
        self._begin(self._discovery.take(shards, asked, began))
        self.recheck(self._discovery.cursors.keys() - known)
        if asked is None:
            for pipeline in self.pipelines:
                pipeline.inbox.forget(self._discovery.forgettable(pipeline))

    def _begin(self, cursors: Sequence[Cursor]) -> None:
        by_shard = {cursor.shard: cursor for cursor in cursors}
        for shard in self._owner.claim(list(by_shard)):
            self._schedule(by_shard[shard], 0.0)

    # The front

    def _schedule(self, cursor: Cursor, delay: float) -> None:
        with self._wake:
            heapq.heappush(self._due, (time.monotonic() + delay, next(self._ticket), cursor))
            self._wake.notify_all()

    def _next(self) -> Cursor | None:
        with self._wake:
            while not self._stop.is_set():
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._wake.wait(wait)
        return None

    def _front_loop(self) -> None:
        while (cursor := self._next()) is not None:
            delay = self._read_front(cursor)
            if not (cursor.ended or cursor.given_up):
                self._schedule(cursor, delay)

    def _read_front(self, cursor: Cursor) -> float:
        """Read one page at the front and offer it; the wait until the next read."""
        if cursor.given_up:
            return 0.0
        if self._ended_for_all(cursor):
            self._end_of(cursor)
            return 0.0
        if not self._could_take(cursor):
            cursor.refused += 1
            return min(self.settings.poll_cap, self.settings.room_first * 2.0 ** min(cursor.refused - 1, 10))
        cursor.refused = 0
        reader = cursor.reader
        try:
            delivery = self._reading.read(reader)
        except SourceError as error:
            delay = self._reading.failed(reader, error)
            if reader.lost and isinstance(error, StreamGone):
                self._end_of(cursor)
            elif reader.lost:
                reader.begin_again()
            return delay
        all_took = self._reading.offer(delivery)
        if self._discovery.cursors.get(cursor.shard) is not cursor:  # given up and taken again meanwhile
            return 0.0
        cursor.ended = delivery.end
        if not all_took:
            self._catch_up.note(cursor.shard)
        if delivery.end:
            self._end_of(cursor)
            return 0.0
        if reader.read_up_to is not None:
            self._reading.tip(reader, reader.read_up_to)
        return self._reading.pause(reader, len(self._due))

    def _could_take(self, cursor: Cursor) -> bool:
        """Whether a page read now would be of use: where no pipeline has room, or all are behind, it would only be read
        again by the catch-up reader."""
        return any(
            pipeline.inbox.wants(cursor.shard) and pipeline.inbox.position(cursor.shard).received >= cursor.position
            for pipeline in self._reading.live()
        )

    def _ended_for_all(self, cursor: Cursor) -> bool:
        """Whether the catch-up reader was faster and has brought every pipeline to the shard's end."""
        at = [pipeline.inbox.position(cursor.shard) for pipeline in self._reading.live()]
        mine = [each for each in at if each.owned]
        return bool(mine) and all(each.ended for each in mine)

    def _end_of(self, cursor: Cursor, here: bool = True) -> None:
        """A shard is read to its end (`here`: by this process): its children may begin, those not yet listed are looked
        for."""
        self._begin(self._discovery.finish(cursor, here))
        with self._look:
            self._look.notify_all()
