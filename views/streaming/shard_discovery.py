"""What is known of a stream's shards: which the front may read, whose children are to be found, what is lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from dynaview.sources.port import Shard
from dynaview.sources.shards import ShardTree
from dynaview.views.policy import Backoff
from dynaview.views.streaming.offsets import START
from dynaview.views.streaming.pipeline import ViewPipeline


@dataclass
class Cursor:
    """Where a reader is in one shard."""

    shard: str
    position: int = START
    iterator: str | None = None
    ended: bool = False
    given_up: bool = False
    """Whether the shard is another worker's to read now."""
    empty: int = 0
    """Empty pages in a row."""
    refused: int = 0
    """Times in a row that no pipeline had room for a page."""
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.1, cap=10.0))


class Discovery:
    """The shard tree as the front reads it, with a cursor for every shard that was ever listed. Thread-safe."""

    def __init__(self, pipelines: Sequence[ViewPipeline]) -> None:
        self.cursors: dict[str, Cursor] = {}
        self._pipelines = tuple(pipelines)
        self._tree = ShardTree()
        self._begun: set[str] = set()
        self._ended: dict[str, float] = {}
        self._lock = threading.RLock()

    def take(self, shards: Sequence[Shard], whole: bool) -> list[Cursor]:
        """Take in a listing (all shards, or some children); answers the cursors that the front may read from now on.

        A shard that pipelines still needed and that is listed no more is a gap for them.
        """
        with self._lock, contextlib.ExitStack() as still:
            for pipeline in self._pipelines:
                still.enter_context(pipeline.inbox.tracking())
            if whole:
                self._tree.relist(shards)
            else:
                self._tree.add(shards)
            first = not self.cursors
            for shard in shards:
                self._ended.pop(shard.parent or "", None)
                if shard.id not in self.cursors:
                    self._add(shard, first)
            if whole:
                for pipeline in self._pipelines:
                    self._check_vanished(pipeline)
            return self._begin(self._tree.ready())

    def join(self, pipeline: ViewPipeline) -> None:
        """Let a pipeline follow from now on; it begins where its checkpoints are, or with all that is retained."""
        with self._lock, pipeline.inbox.tracking():
            for shard in self._tree:
                self._track(pipeline, shard, first=True)
            self._pipelines = (*self._pipelines, pipeline)

    def leave(self, pipeline: ViewPipeline) -> None:
        """Mind a pipeline no more."""
        with self._lock:
            self._pipelines = tuple(each for each in self._pipelines if each is not pipeline)

    def finish(self, cursor: Cursor) -> list[Cursor]:
        """The front has read a shard to its end (or it is gone): answers the children that may be read now."""
        with self._lock:
            cursor.ended = True
            ready = self._tree.finish(cursor.shard)  # its children: no other shard waits for it
            if not self._tree.children(cursor.shard):
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
            cursor = self.cursors[shard] = self._cursor(shard)
            return None if cursor.ended else cursor

    def give_up(self, shard: str) -> None:
        """The front is to read a shard no more: it is another worker's."""
        with self._lock:
            if (cursor := self.cursors.get(shard)) is not None:
                cursor.given_up = True

    def childless(self, within: float) -> list[str]:
        """Shards that ended in the last `within` seconds and have no listed child yet."""
        with self._lock:
            since = time.monotonic() - within
            self._ended = {shard: at for shard, at in self._ended.items() if at > since}
            return list(self._ended)

    def forgettable(self, pipeline: ViewPipeline) -> list[str]:
        """Checkpoints that a pipeline need not keep: their shards are finished and neither they nor a child is
        listed."""
        with self._lock:
            finished = pipeline.inbox.finished_shards()
            tree = ShardTree((), finished)
            tree.add(shard for shard in map(self._tree.get, self.cursors) if shard is not None)
            # Without any other checkpoint the pipeline would look new, and a gap would not show.
            if pipeline.failed is not None or not len(tree):
                return []
            return tree.forgettable()

    def _add(self, shard: Shard, first: bool) -> None:
        for pipeline in self._pipelines:
            self._track(pipeline, shard, first)
        cursor = self.cursors[shard.id] = self._cursor(shard.id)
        if cursor.ended:
            self._tree.finish(shard.id)

    def _cursor(self, shard: str) -> Cursor:
        at = [pipeline.inbox.position(shard) for pipeline in self._pipelines if pipeline.failed is None]
        # The front begins where the foremost pipeline is; the others are behind it and catch up.
        return Cursor(shard, max((each.handed for each in at), default=START), ended=any(each.ended for each in at))

    def _track(self, pipeline: ViewPipeline, shard: Shard, first: bool) -> None:
        known = shard.parent is not None and (shard.parent in self._tree or shard.parent in self.cursors)
        if not known:
            _check_parent(pipeline, shard, first)
        pipeline.inbox.track(shard.id, shard.parent if known else None)

    def _begin(self, ready: Sequence[Shard]) -> list[Cursor]:
        new = [shard.id for shard in ready if shard.id not in self._begun]
        self._begun.update(new)
        for shard in new:
            self._tree.begin(shard)
        return [self.cursors[shard] for shard in new]

    def _check_vanished(self, pipeline: ViewPipeline) -> None:
        for shard, checkpoint in pipeline.inbox.checkpoints.items():
            if checkpoint.finished or shard in self._tree:
                continue
            if (shard not in self.cursors or not pipeline.inbox.position(shard).ended) and pipeline.missing(
                shard, None
            ):
                pipeline.lose(shard, f"shard {shard} expired before its end was read")


def _check_parent(pipeline: ViewPipeline, shard: Shard, first: bool) -> None:
    """A shard whose parent has expired unread is a gap, but for a pipeline that begins with what is retained: with all
    of the `first` listing."""
    if shard.parent is None or (first and not pipeline.inbox.checkpoints) or shard.id in pipeline.inbox.checkpoints:
        return
    before = pipeline.inbox.checkpoints.get(shard.parent)
    if (before is None or not before.finished) and pipeline.missing(shard.parent, shard.id):
        pipeline.lose(shard.parent, f"shard {shard.parent} expired before its end was read")
