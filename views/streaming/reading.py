"""What the two readers of a stream share: for whom they read, and what an error means to whom (law 4)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from dynaview.sources.errors import SourceError, SourceUnavailable, StreamGone
from dynaview.sources.port import Shard, StreamReader
from dynaview.views.meters import Meter, kind_of
from dynaview.views.policy import Action, policy
from dynaview.views.reasons import RETENTION
from dynaview.views.spans import NoSpans, Spans
from dynaview.views.streaming.awaited import AwaitedMoments
from dynaview.views.streaming.offsets import START, Delivery
from dynaview.views.streaming.ownership import ShardOwner
from dynaview.views.streaming.pipeline import ViewPipeline
from dynaview.views.streaming.shard_reader import ReadSettings, ShardReader, sequence_text
from dynaview.views.streaming.signals import ReaderSignals

log = logging.getLogger(__name__)


class Reading:
    """One stream on its way to the pipelines of its views. Thread-safe."""

    def __init__(
        self,
        stream: StreamReader,
        pipelines: Sequence[ViewPipeline],
        settings: ReadSettings,
        owner: ShardOwner,
        signals: ReaderSignals,
        now: Callable[[], float] = time.time,
        meter: Meter | None = None,
        spans: Spans | None = None,
    ) -> None:
        """`meter` is what is counted of the stream's source, `spans` what pages are told to."""
        self.signals = signals
        self._meter = meter or Meter()
        self._spans = spans or NoSpans()
        self._stream = stream
        self._pipelines = tuple(pipelines)
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        """Held by who reads a shard of which this process may have one reader."""
        self._settings = settings
        self._owner = owner
        self._now = now
        self._awaited = AwaitedMoments(settings, now)

    @property
    def pipelines(self) -> tuple[ViewPipeline, ...]:
        """All that are read for."""
        return self._pipelines

    def live(self) -> list[ViewPipeline]:
        """Those that still take something."""
        return [pipeline for pipeline in self._pipelines if pipeline.failed is None]

    def join(self, pipeline: ViewPipeline) -> None:
        """Read for a pipeline from now on."""
        with self._lock:
            self._pipelines = (*self._pipelines, pipeline)

    def leave(self, pipeline: ViewPipeline) -> None:
        """Offer a pipeline nothing any more."""
        with self._lock:
            self._pipelines = tuple(each for each in self._pipelines if each is not pipeline)

    def reader(self, shard: Shard, position: int) -> ShardReader:
        """A reader of a shard from a position on."""
        return ShardReader(self._stream, shard, position, self._settings, self._now)

    def read(self, reader: ShardReader) -> Delivery:
        """The next page of a shard. Raises `SourceError`: hand it to `failed`."""
        if reader.opens_at_start and not self._lose_unread(reader.shard.id):
            raise SourceUnavailable("whether this worker still has the shard is not known")
        if self._owner.takes_turns(reader.shard.id):
            with self._turn:
                delivery = self._timed(reader)
        else:
            delivery = self._timed(reader)
        self.signals.errors.end(reader.shard.id)
        return delivery

    def _timed(self, reader: ShardReader) -> Delivery:
        begun = time.perf_counter()
        delivery = reader.read()
        took, records = time.perf_counter() - begun, len(delivery.positions) + len(delivery.broken)
        self._meter.observe("read_seconds", took)
        self._meter.add("polls", "records" if records else "empty")
        page = self._spans.page(self._stream.arn, delivery.shard, records, took) if records else None
        return delivery if page is None else replace(delivery, page=page)

    def hurry(self, moment: float) -> None:
        """Somebody waits until a watermark has passed a moment (seconds since 1970)."""
        self._awaited.note(moment)

    def pause(self, reader: ShardReader, waiting: int = 0) -> float:
        """How long to rest before the next read of a shard, where so many shards are `waiting` to be read."""
        if not reader.pause:
            return 0.0
        # With many idle shards each is read less often, so that busy ones find their readers free.
        return self._awaited.rest(reader, max(reader.pause, waiting / self._settings.polls))

    def offer(self, delivery: Delivery) -> bool:
        """Offer what was read to all pipelines; whether all have it now."""
        taken = [pipeline.inbox.offer(delivery) for pipeline in self.live()]
        return all(taken)

    def tip(self, reader: ShardReader, at: float) -> None:
        """At that time (seconds since 1970) the shard held nothing behind the reader's position."""
        for pipeline in self.live():
            pipeline.inbox.tip(reader.shard.id, reader.position, at)

    def failed(self, reader: ShardReader, error: SourceError) -> float:
        """What an error means: how long to wait, after pipelines that have lost data were stopped."""
        action = policy(error).action
        self._meter.add("retries", kind_of(error))
        if action is Action.AGAIN:
            return 0.0
        if action is Action.GAP and self._is_lost(reader, error):
            if not self._owner.stands():
                return reader.backoff.next()
            self.signals.errors.end(reader.shard.id)
            self.lose(reader)
            return 0.0
        if action is Action.GAP and not reader.believed:
            # Records older than 24 hours go at any moment, also under an iterator just opened on the oldest.
            return reader.backoff.next()
        if (line := self.signals.met(reader.shard.id, error)) is not None:
            log.warning("stream %s, shard %s: %s", self._stream.arn, reader.shard.id, line)
        return reader.backoff.next()

    def lose(self, reader: ShardReader) -> None:
        """What follows a reader's position in its shard is gone: stop the pipelines that have lost it. To others the
        shard has ended, where nothing of it can be read."""
        shard, position = reader.shard.id, reader.position
        if position == START:
            what = f"shard {shard} expired before it was read"
        else:
            what = f"shard {shard} no longer holds what follows {sequence_text(position)}"
        reader.lost = True
        for pipeline in self.live():
            at = pipeline.inbox.position(shard)
            if not at.owned or at.ended or at.received != position:  # others are told by their own reader
                continue
            # A view that has not been in step yet has from its scan what was made before.
            if position != START or pipeline.inbox.passed is not None:
                pipeline.lose(shard, what)
            else:
                pipeline.inbox.offer(Delivery(shard, START, START, [], [], end=True))

    def _is_lost(self, reader: ShardReader, error: SourceError) -> bool:
        """Whether an error shows for sure that what follows the reader's position is gone."""
        if isinstance(error, StreamGone):
            return reader.ended_unread if reader.position == START else reader.believed
        return reader.position != START

    def _lose_unread(self, shard: str) -> bool:
        """Stop pipelines for which a shard may hold less now than it held: opened at its oldest record, it does not
        say. False where there are any, and this process may not say so now."""
        oldest = self._now() - RETENTION
        for pipeline in self.pipelines:
            since = pipeline.inbox.unread_since(shard)
            if since is not None and since < oldest:
                if not self._owner.stands():
                    return False
                pipeline.lose(
                    shard, f"shard {shard} was not begun within the 24 hours for which DynamoDB keeps records"
                )
        return True
