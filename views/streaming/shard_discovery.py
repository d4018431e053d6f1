"""What is known of a stream's shards: which the front may read, whose children are to be found, what is still missing.

What AWS lists is not what there is. Listings lag: a shard may be missing from one, of two children only one may show,
a shard that has expired may be listed again. So a listing only ever adds. That a shard is gone is shown by reading it,
never by a listing without it; and that a shard has no more children than are known is believed once a listing that
began `listing_lag` after the last of them was found shows no other one (`_cover`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dynaview.sources.port import Shard, StreamReader
from dynaview.sources.shards import ShardTree
from dynaview.views.streaming.inbox import Inbox
from dynaview.views.streaming.offsets import START
from dynaview.views.streaming.pipeline import ViewPipeline
from dynaview.views.streaming.shard_reader import ReadSettings, ShardReader


@dataclass(slots=True)
class DiscoverySettings(ReadSettings):
    """How shards are found. Times in seconds."""

    discover_every: float = 60.0
    """Between two listings of all shards."""
    children_every: float = 1.0
    """Between two looks for the children of a shard that has ended."""
    listing_lag: float = 5.0
    """How much later than its sister a child may be listed: until then no watermark passes their parent's end."""
    forget_after: float = 6 * 3600.0
    """For how long a finished shard has to be missing from listings until nothing more is kept of it."""


@dataclass(slots=True)
class Cursor:
    """Where the front is in one shard."""

    reader: ShardReader
    ended: bool = False
    given_up: bool = False
    """Whether the shard is another worker's to read now."""
    refused: int = 0
    """Times in a row that no pipeline had room for a page."""

    @property
    def shard(self) -> str:
        """The shard's id."""
        return self.reader.shard.id

    @property
    def position(self) -> int:
        """The last position that was read."""
        return self.reader.position


class ShardDiscovery:
    """The shard tree as the front reads it, with a cursor for every shard of it. Thread-safe."""

    def __init__(
        self, stream: StreamReader, pipelines: Sequence[ViewPipeline], settings: DiscoverySettings | None = None
    ) -> None:
        self.cursors: dict[str, Cursor] = {}
        self._stream = stream
        self._settings = settings or DiscoverySettings()
        self._pipelines = tuple(pipelines)
        self._tree = ShardTree()
        self._begun: set[str] = set()
        self._ended: dict[str, float] = {}
        """Shards whose end was read and whose children may not all be known, with the time of that."""
        self._grown: dict[str, float] = {}
        """When the last child of a shard was found, until it is sure that there are no more of them."""
        self._covered: set[str] = set()
        """Shards of which all children are known."""
        self._absent: dict[str, float] = {}
        """Since when finished shards are listed no more."""
        self._lock = threading.RLock()

    def take(self, shards: Sequence[Shard], asked: Sequence[str] | None, began: float) -> list[Cursor]:
        """Take in a listing that was begun at a monotonic time: of all shards, or of the children of those `asked` for.
        Answers the cursors that the front may read from now on."""
        with self._lock, contextlib.ExitStack() as still:
            for pipeline in self._pipelines:
                still.enter_context(pipeline.inbox.tracking())
            first = not self.cursors
            self._tree.add(shards)
            found = list(shards)
            if asked is None:
                found += self._unlisted(shards, first)
                self._tree.add(found[len(shards) :])
            self._learn(found)
            self._cover(asked, began)
            if asked is None:
                self._note_absent({shard.id for shard in shards}, began)
            return self._begin(self._tree.ready())

    def join(self, pipeline: ViewPipeline) -> None:
        """Let a pipeline follow from now on; it begins where its checkpoints are, or with all that is retained."""
        with self._lock, pipeline.inbox.tracking():
            for shard in self._tree:
                self._track(pipeline, shard)
            pipeline.inbox.cover(self._covered)
            self._pipelines = (*self._pipelines, pipeline)

    def leave(self, pipeline: ViewPipeline) -> None:
        """Mind a pipeline no more."""
        with self._lock:
            self._pipelines = tuple(each for each in self._pipelines if each is not pipeline)

    def finish(self, cursor: Cursor, here: bool = True) -> list[Cursor]:
        """The front (or another process, where not `here`) has read a shard to its end, or it is gone: answers the
        children that may be read now."""
        with self._lock:
            cursor.ended = cursor.ended or here
            ready = self._tree.finish(cursor.shard)  # its children: no other shard waits for it
            if cursor.shard not in self._covered:
                self._ended[cursor.shard] = time.monotonic()
            return self._begin(ready)

    def renew(self, shard: str) -> Cursor | None:
        """A cursor for a shard that is this process's from now on: pipelines stand at its checkpoints. None where some
        pipeline has been at its end, so that the front has no business there."""
        with self._lock:
            before = self.cursors.get(shard)
            if before is None:
                return None
            before.given_up = True
            cursor = self.cursors[shard] = self._cursor(before.reader.shard)
            return None if cursor.ended else cursor

    def give_up(self, shard: str) -> None:
        """The front is to read a shard no more: it is another worker's."""
        with self._lock:
            if (cursor := self.cursors.get(shard)) is not None:
                cursor.given_up = True

    def childless(self) -> list[str]:
        """Shards that have ended lately and of which not all children may be known."""
        with self._lock:
            since = time.monotonic() - self._settings.discover_every
            self._ended = {shard: at for shard, at in self._ended.items() if at > since and shard not in self._covered}
            return list(self._ended)

    def confirm_at(self) -> float:
        """The monotonic time from which on a listing of all shards would show that those of which only some children
        may be known have no more of them; infinity where there are none."""
        with self._lock:
            waits = (at for shard, at in self._grown.items() if shard not in self._ended)
            return min(waits, default=float("inf")) + self._settings.listing_lag

    def forgettable(self, pipeline: ViewPipeline) -> list[str]:
        """Checkpoints that a pipeline need not keep: their shards are finished and neither they nor a child has been
        listed for long."""
        with self._lock:
            # Without any other checkpoint the pipeline would look new, and a gap would not show.
            if pipeline.failed is not None or not len(self._tree):
                return []
            now = time.monotonic()
            for shard in pipeline.inbox.finished_shards():
                if shard not in self._tree:
                    self._absent.setdefault(shard, now)
            return sorted(
                shard
                for shard in pipeline.inbox.finished_shards()
                if self._is_long_absent(shard, now)
                and all(self._is_long_absent(child.id, now) for child in self._tree.children(shard))
            )

    # Inside

    def _learn(self, found: Sequence[Shard]) -> None:
        now = time.monotonic()
        for shard in found:
            if (cursor := self.cursors.get(shard.id)) is not None:
                cursor.reader.shard = self._closed(shard)
                continue
            for pipeline in self._pipelines:
                self._track(pipeline, shard)
            cursor = self.cursors[shard.id] = self._cursor(shard)
            if cursor.ended:
                self._tree.finish(shard.id)
            if shard.parent is not None:
                self._grown[shard.parent] = now
                self._covered.discard(shard.parent)
                if (parent := self.cursors.get(shard.parent)) is not None:
                    parent.reader.shard = self._closed(parent.reader.shard)

    def _unlisted(self, listing: Iterable[Shard], first: bool) -> list[Shard]:
        """Shards that pipelines need and that are not listed. They are read as if they were: a listing may lag, and
        where they are really gone the reading tells."""
        needed = {
            shard
            for pipeline in self._pipelines
            for shard, checkpoint in pipeline.inbox.checkpoints.items()
            if not checkpoint.finished and shard not in self._tree and shard not in self.cursors
        }
        for shard in listing:
            if shard.parent is None or shard.parent in self._tree or shard.parent in self.cursors:
                continue
            if any(_needs_parent(pipeline.inbox, shard, first) for pipeline in self._pipelines):
                needed.add(shard.parent)
        return [Shard(shard, None, "0", "0") for shard in sorted(needed)]

    def _cover(self, asked: Sequence[str] | None, began: float) -> None:
        """Believe that no more children of a shard will come, where a listing that began late enough shows none."""
        candidates = self._grown if asked is None else [shard for shard in asked if shard in self._grown]
        late = [shard for shard in candidates if began >= self._grown[shard] + self._settings.listing_lag]
        for shard in late:
            del self._grown[shard]
        self._covered.update(late)
        for pipeline in self._pipelines:
            known = [shard for shard in self._grown if self._has_old_child(pipeline.inbox, shard)]
            pipeline.inbox.cover([*late, *known])

    def _has_old_child(self, inbox: Inbox, shard: str) -> bool:
        """Whether a view has begun a child of the shard longer ago than listings lag."""
        old = time.time() - self._settings.listing_lag
        kept = (inbox.checkpoints.get(child.id) for child in self._tree.children(shard))
        return any(each is not None and each.time is not None and each.time < old for each in kept)

    def _note_absent(self, listed: set[str], began: float) -> None:
        for shard in self._tree:
            if shard.id not in listed:
                self._absent.setdefault(shard.id, began)
                # Listed no more, so it may well be gone, also where it was open when it was listed last.
                reader = self.cursors[shard.id].reader
                reader.shard = replace(reader.shard, last=reader.shard.last or "")
        for shard_id in listed & self._absent.keys():
            del self._absent[shard_id]
        gone = [shard for shard in self._absent if self._is_long_absent(shard, began) and not self._is_needed(shard)]
        self._tree.drop(gone)
        for shard_id in gone:
            self.cursors.pop(shard_id, None)
            self._begun.discard(shard_id)
            self._covered.discard(shard_id)
            self._grown.pop(shard_id, None)

    def _is_long_absent(self, shard: str, now: float) -> bool:
        return shard in self._absent and now - self._absent[shard] >= self._settings.forget_after

    def _is_needed(self, shard: str) -> bool:
        return any(
            pipeline.failed is None and not pipeline.inbox.position(shard).finished for pipeline in self._pipelines
        )

    def _closed(self, shard: Shard) -> Shard:
        """A shard that has a child is closed, whatever its listing says."""
        return replace(shard, last=shard.last or "") if self._tree.children(shard.id) else shard

    def _cursor(self, shard: Shard) -> Cursor:
        at = [pipeline.inbox.position(shard.id) for pipeline in self._pipelines if pipeline.failed is None]
        at = [each for each in at if each.owned] or at  # those that other workers bring on are no concern of it
        # The front begins where the foremost pipeline is; the others are behind it and catch up.
        position = max((each.received for each in at), default=START)
        return Cursor(ShardReader(self._stream, shard, position, self._settings), ended=any(each.ended for each in at))

    def _track(self, pipeline: ViewPipeline, shard: Shard) -> None:
        known = shard.parent is not None and (shard.parent in self._tree or shard.parent in self.cursors)
        pipeline.inbox.track(shard.id, shard.parent if known else None)

    def _begin(self, ready: Sequence[Shard]) -> list[Cursor]:
        new = [shard.id for shard in ready if shard.id not in self._begun]
        self._begun.update(new)
        for shard in new:
            self._tree.begin(shard)
        return [self.cursors[shard] for shard in new]


def _needs_parent(inbox: Inbox, shard: Shard, first: bool) -> bool:
    """Whether the parent of a shard that is new to a view, and that is not listed, may hold what the view lacks: not to
    one that begins with what is retained, with all of the `first` listing."""
    if (first and not inbox.checkpoints) or shard.id in inbox.checkpoints:
        return False
    before = inbox.checkpoints.get(shard.parent or "")
    return before is None or not before.finished
