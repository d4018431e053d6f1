"""Following one stream: shards are read once and offered to every pipeline; a pipeline that fell behind is brought up
again.

Two readers, because AWS allows two a shard. The *front* reads each open shard at its tip and never waits for a
pipeline. A pipeline that could not take a page (no room, or not there yet) is *behind* in that shard; the *catch-up*
reader starts from the position of the pipeline that is furthest behind and offers what it reads to all of them, until
nobody is behind. Whether a pipeline is behind follows from positions alone, so leaving and joining are no events that
could be missed.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dynaview.sources.errors import SourceError, StreamGone, Trimmed
from dynaview.sources.port import Broken, Page, Shard, StreamReader
from dynaview.views.policy import Action, ActiveErrors, Backoff, policy
from dynaview.views.streaming.offsets import START, Delivery
from dynaview.views.streaming.pipeline import ViewPipeline
from dynaview.views.streaming.shard_discovery import Cursor, Discovery
from dynaview.views.threads import Threads

log = logging.getLogger(__name__)

LISTING = "the listing of shards"

RETENTION = 24 * 3600
"""Seconds for which DynamoDB keeps stream records."""

MANY = 5
"""Ended shards above which one listing of all is cheaper than a question for each."""


@dataclass(slots=True)
class FollowerSettings:
    """How a follower paces itself. Times in seconds."""

    readers: int = 4
    """Threads that read shards at the front."""
    poll_first: float = 0.05
    """Wait after the first empty page of a shard; doubles with each further one."""
    room_first: float = 0.005
    """Wait at the front while no pipeline has room; doubles up to `poll_cap`."""
    poll_cap: float = 1.0
    """The longest wait between two reads of an idle shard (a millisecond of work each)."""
    polls: float = 250.0
    """Reads of idle shards a second, all together; above that they wait longer than `poll_cap`."""
    discover_every: float = 60.0
    """Between two listings of all shards."""
    children_every: float = 1.0
    """Between two looks for the children of a shard that has ended."""
    tip_pages: int = 3
    """Empty pages in a row after which a shard counts as read up to now (one proves nothing)."""
    tip_margin: float = 1.0
    """How long before such a read the shard is taken to have been complete."""
    page: int = 1000
    """Records a read asks for (AWS: at most 1000)."""


class Follower:
    """Follows one stream for all pipelines of its table. `start` and `stop` frame it; the rest is its own threads."""

    def __init__(
        self,
        stream: StreamReader,
        pipelines: Sequence[ViewPipeline],
        settings: FollowerSettings | None = None,
        now: Callable[[], float] = time.time,
        threads: Threads | None = None,
        on_ready: Callable[[], None] | None = None,
        stands: Callable[[], bool] = lambda: True,
    ) -> None:
        """`on_ready` is called whenever shards may have become readable, where workers share the stream: a shard is
        read between `take` and `give_up`. Without it all are this process's. `stands` tells whether this process may
        say that data is lost; until it may, the read is tried again."""
        self.stream = stream
        self.pipelines = tuple(pipelines)
        self._members = threading.Lock()
        self.settings = settings or FollowerSettings()
        self._now = now
        self._on_ready = on_ready
        self._stands = stands
        self._stop = threading.Event()
        self._discovery = Discovery(self.pipelines)
        self._due: list[tuple[float, int, Cursor]] = []
        self._ticket = itertools.count()
        self._wake = threading.Condition()
        self._look = threading.Condition()
        self._behind: set[str] = set()
        self._catching_up = threading.Condition()
        self._threads = threads or Threads()
        self._troubles = ActiveErrors()
        self._listing_due = 0.0
        for pipeline in self.pipelines:
            self._attach(pipeline)

    def start(self) -> None:
        """Begin to read in threads of its own."""
        names: list[tuple[str, Callable[[], None]]] = [("discovery", self._discover_loop), ("catch-up", self._catch_up)]
        names += [(f"front-{index}", self._front_loop) for index in range(self.settings.readers)]
        for name, target in names:
            self._threads.spawn(name, target)

    def stop(self, within: float = 60.0) -> list[str]:
        """End all threads and wait for them, so many seconds at the most; what pipelines have taken is theirs. Answers
        the names of threads that still run."""
        self._stop.set()
        for condition in (self._wake, self._look, self._catching_up):
            with condition:
                condition.notify_all()
        return self._threads.join(within)

    def join(self, pipeline: ViewPipeline) -> None:
        """Let a pipeline follow from now on: it is brought to the front by the catch-up reader."""
        self._attach(pipeline)
        self._discovery.join(pipeline)
        with self._members:
            self.pipelines = (*self.pipelines, pipeline)
        for shard in list(self._discovery.cursors):
            self._note_behind(shard)
        with self._look:  # what it misses of the shards may show only in a listing
            self._listing_due = 0.0
            self._look.notify_all()

    def leave(self, pipeline: ViewPipeline) -> None:
        """Offer a pipeline nothing any more."""
        self._discovery.leave(pipeline)
        with self._members:
            self.pipelines = tuple(each for each in self.pipelines if each is not pipeline)

    # Shards that change hands between workers

    def take(self, shards: Iterable[str]) -> None:
        """Read these shards from now on; all pipelines have adopted them."""
        for shard in shards:
            if (cursor := self._discovery.renew(shard)) is not None:
                self._schedule(cursor, 0.0)
            self._note_behind(shard)

    def recheck(self, shards: Iterable[str]) -> None:
        """See whether a pipeline is behind in shards that it has adopted."""
        for shard in shards:
            self._note_behind(shard)

    def give_up(self, shard: str) -> None:
        """Read a shard no more."""
        self._discovery.give_up(shard)

    def finish(self, shard: str) -> None:
        """Another worker has brought a view to a shard's end."""
        if (cursor := self._discovery.cursors.get(shard)) is not None and not cursor.ended:
            self._end_of(cursor)
        self._room()

    def look(self, shards: Collection[str]) -> bool:
        """List all shards soon, if any of these is not known; whether that is so."""
        if all(shard in self._discovery.cursors for shard in shards):
            return False
        with self._look:
            self._listing_due = 0.0
            self._look.notify_all()
        return True

    def _attach(self, pipeline: ViewPipeline) -> None:
        pipeline.on_room = self._room
        pipeline.trouble = lambda: self._troubles.text

    # Discovery

    def _discover_loop(self) -> None:
        backoff = Backoff(first=0.2, cap=10.0)
        while not self._stop.is_set():
            try:
                if time.monotonic() >= self._listing_due:
                    self._listing_due = time.monotonic() + self.settings.discover_every
                    self.discover(self.stream.shards())
                else:
                    self._look_for_children()
                backoff.reset()
                self._troubles.end(LISTING)
            except StreamGone as error:
                for pipeline in self.pipelines:
                    pipeline.lose_stream(f"the stream {self.stream.arn} is gone: {error}")
                return
            except SourceError as error:
                self._listing_due = 0.0
                if self._troubles.begin(LISTING, error):
                    log.warning("stream %s: %s", self.stream.arn, error)
                backoff.meet(error)
                if backoff.wait(self._stop):
                    return
                continue
            with self._look:  # a shard that ends from here on, or `stop`, finds this waiting
                if self._stop.is_set():
                    return
                childless = bool(self._discovery.childless(self.settings.discover_every))
                wait = self.settings.children_every if childless else self._listing_due - time.monotonic()
                self._look.wait(max(0.0, wait))

    def _look_for_children(self) -> None:
        """Ask for what continues the shards that have just ended (the regular listing finds what comes later)."""
        childless = self._discovery.childless(self.settings.discover_every)
        if len(childless) > MANY:
            self.discover(self.stream.shards())
            return
        for parent in childless:
            if children := self.stream.children(parent):
                self.discover(children, whole=False)

    def discover(self, shards: Sequence[Shard], whole: bool = True) -> None:
        """Take in a listing: new shards are followed once their parents are done, lost ones are gaps."""
        known = set(self._discovery.cursors)
        self._begin(self._discovery.take(shards, whole))
        for shard in self._discovery.cursors.keys() - known:
            self._note_behind(shard)
        if whole:
            for pipeline in self.pipelines:
                pipeline.inbox.forget(self._discovery.forgettable(pipeline))

    def _begin(self, cursors: Sequence[Cursor]) -> None:
        if self._on_ready is not None:
            self._on_ready()
            return
        for cursor in cursors:
            self._schedule(cursor, 0.0)

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
            try:
                delay = self._read_front(cursor)
            except SourceError as error:
                delay = self._failed_read(cursor, error)
            if not (cursor.ended or cursor.given_up):
                self._schedule(cursor, delay)

    def _read_front(self, cursor: Cursor) -> float:
        """Read one page at the front and offer it; the wait until the next read."""
        if cursor.given_up:
            return 0.0
        if self._ended_for_all(cursor):
            cursor.ended = True
            self._end_of(cursor)
            return 0.0
        if not self._could_take(cursor):
            cursor.refused += 1
            return min(self.settings.poll_cap, self.settings.room_first * 2.0 ** min(cursor.refused - 1, 10))
        cursor.refused = 0
        asked = self._now()
        page = self._read(cursor)
        delivery = delivery_of(cursor, page)
        offered = [pipeline.inbox.offer(delivery) for pipeline in self.pipelines if pipeline.failed is None]
        cursor.position = delivery.last
        if self._discovery.cursors[cursor.shard] is not cursor:  # given up and taken again meanwhile
            return 0.0
        if delivery.end:
            cursor.ended = True
        if not all(offered):
            self._note_behind(cursor.shard)
        if delivery.end:
            self._end_of(cursor)
            return 0.0
        if page.changes or page.broken:
            cursor.empty = 0
            return 0.0
        cursor.empty += 1
        if cursor.empty >= self.settings.tip_pages:
            for pipeline in self.pipelines:
                pipeline.inbox.tip(cursor.shard, cursor.position, asked - self.settings.tip_margin)
        # With many idle shards each is read less often, so that busy ones find their readers free.
        longest = max(self.settings.poll_cap, len(self._due) / self.settings.polls)
        return min(longest, self.settings.poll_first * 2.0 ** min(cursor.empty - 1, 10))

    def _could_take(self, cursor: Cursor) -> bool:
        """Whether a page read now would be of use: where no pipeline has room, or all are behind, it would only be read
        again by the catch-up reader."""
        pipelines = [pipeline for pipeline in self.pipelines if pipeline.failed is None]
        return any(
            pipeline.inbox.wants(cursor.shard) and pipeline.inbox.position(cursor.shard).handed >= cursor.position
            for pipeline in pipelines
        )

    def _ended_for_all(self, cursor: Cursor) -> bool:
        """Whether the catch-up reader was faster and has brought every pipeline to the shard's end."""
        pipelines = [pipeline for pipeline in self.pipelines if pipeline.failed is None]
        return bool(pipelines) and all(pipeline.inbox.position(cursor.shard).ended for pipeline in pipelines)

    def _end_of(self, cursor: Cursor) -> None:
        """A shard is read to its end: its children may begin, those not yet listed are looked for."""
        self._begin(self._discovery.finish(cursor))
        with self._look:
            self._look.notify_all()

    # Reading, for both readers

    def _read(self, cursor: Cursor) -> Page[Any]:
        if cursor.iterator is None:
            if cursor.position == START and not self._lose_unread(cursor.shard):
                raise SourceError("whether this worker still has the shard is not known")
            after = None if cursor.position == START else sequence_text(cursor.position)
            cursor.iterator = self.stream.open(cursor.shard, after)
        page = self.stream.read(cursor.iterator, self.settings.page)
        cursor.iterator = page.next
        cursor.backoff.reset()
        self._troubles.end(cursor.shard)
        return page

    def _lose_unread(self, shard: str) -> bool:
        """Stop pipelines for which a shard may hold less now than it held: opened at its oldest record, it does not
        say. False where there are any, and this process may not say so now."""
        oldest = self._now() - RETENTION
        for pipeline in self.pipelines:
            since = pipeline.inbox.unread_since(shard)
            if since is not None and since < oldest:
                if not self._stands():
                    return False
                pipeline.lose(
                    shard, f"shard {shard} was not begun within the 24 hours for which DynamoDB keeps records"
                )
        return True

    def _failed_read(self, cursor: Cursor, error: SourceError) -> float:
        """What an error means for the reader: how long to wait, after pipelines that lost data were stopped."""
        cursor.iterator = None
        action = policy(error).action
        if action is Action.AGAIN:
            return 0.0
        cursor.backoff.meet(error)
        if action is Action.GAP and not self._stands():
            return cursor.backoff.next()
        if action is Action.GAP:
            self._troubles.end(cursor.shard)
            if isinstance(error, Trimmed) and cursor.position == START:
                # Records older than 24 hours go at any moment, also under an iterator just opened on the oldest.
                self._lose_unread(cursor.shard)
                return cursor.backoff.next()
            what = f"shard {cursor.shard} no longer holds what follows {sequence_text(cursor.position)}"
            for pipeline in self.pipelines:
                at = pipeline.inbox.position(cursor.shard)
                if at.mine and not at.ended and at.handed <= cursor.position:
                    pipeline.lose(cursor.shard, what)
            if isinstance(error, StreamGone):
                cursor.ended = True
                self._end_of(self._discovery.cursors[cursor.shard])
                return 0.0
            cursor.position = START
            return cursor.backoff.next()
        if self._troubles.begin(cursor.shard, error):
            log.warning("shard %s: %s", cursor.shard, error)
        return cursor.backoff.next()

    # Catching up

    def _room(self) -> None:
        with self._catching_up:
            self._catching_up.notify_all()

    def _note_behind(self, shard: str) -> None:
        with self._catching_up:
            self._behind.add(shard)
            self._catching_up.notify_all()

    def _catch_up(self) -> None:
        cursors: dict[str, Cursor] = {}
        while not self._stop.is_set():
            shard = self._next_behind()
            if shard is None:
                continue
            cursor = cursors.get(shard)
            needed = self._lowest(shard)
            if needed is None:
                continue
            if cursor is None or cursor.position != needed:
                cursor = cursors[shard] = Cursor(shard, needed)
            try:
                delivery = delivery_of(cursor, self._read(cursor))
            except SourceError as error:
                if self._stop.wait(self._failed_read(cursor, error)):
                    return
                continue
            for pipeline in self.pipelines:
                if pipeline.failed is None:
                    pipeline.inbox.offer(delivery)
            cursor.position = delivery.last
            if delivery.end:
                cursors.pop(shard)

    def _next_behind(self) -> str | None:
        """A shard in which some pipeline is behind and could take more; waits a moment where there is none."""
        with self._catching_up:
            for shard in list(self._behind):
                if not any(self._is_behind(pipeline, shard) for pipeline in self.pipelines):
                    self._behind.discard(shard)
            for shard in sorted(self._behind):
                if self._lowest(shard) is not None:
                    return shard
            self._catching_up.wait(1.0)
            return None

    def _is_behind(self, pipeline: ViewPipeline, shard: str) -> bool:
        front, at = self._discovery.cursors[shard], pipeline.inbox.position(shard)
        return pipeline.failed is None and at.mine and not at.ended and (at.handed < front.position or front.ended)

    def _lowest(self, shard: str) -> int | None:
        """The lowest position among pipelines that are behind in the shard and could take more now."""
        return min(
            (
                pipeline.inbox.position(shard).handed
                for pipeline in self.pipelines
                if self._is_behind(pipeline, shard) and pipeline.inbox.wants(shard)
            ),
            default=None,
        )


def delivery_of(cursor: Cursor, page: Page[Any]) -> Delivery:
    """What a page that was read at the cursor brings."""
    positions = [int(change.body.sequence) for change in page.changes]
    last = max(positions[-1] if positions else cursor.position, cursor.position)
    broken: list[tuple[int, Broken]] = []
    for record in page.broken:
        before = record.index - len(broken) - 1  # the last readable change before it
        fallback = positions[before] if 0 <= before < len(positions) else cursor.position
        at = fallback if record.sequence is None else int(record.sequence)
        broken.append((at, record))
        last = max(last, at)
    return Delivery(cursor.shard, cursor.position, last, page.changes, positions, broken, page.next is None)


def sequence_text(position: int) -> str:
    """A sequence number as DynamoDB writes it: padded to 21 digits."""
    return f"{position:021d}"
