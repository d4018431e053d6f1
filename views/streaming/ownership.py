"""Who owns the shards of a stream: this process alone, or workers that share them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from dynaview.views.control.records import Fence


class ShardOwner(Protocol):
    """What says which shards are this process's to read, as readers and pipelines see it. Thread-safe."""

    @property
    def shared(self) -> bool:
        """Whether shards belong to this process only once it is told so (`Inbox.adopt`, `Follower.take`)."""

    @property
    def alone(self) -> bool:
        """Whether no other worker shares the work now."""

    def claim(self, shards: Sequence[str]) -> Sequence[str]:
        """Hear that shards may have become readable: those of them that this process may read at once."""

    def takes_turns(self, shard: str) -> bool:
        """Whether this process may have one reader of the shard at a time only: another worker reads it too, for other
        views of the table, or one is all that the declaration allows."""

    def fence(self, view: str, shards: Iterable[str]) -> Fence | None:
        """What a commit of these shards in a view rests on; None: on nothing."""

    def stands(self) -> bool:
        """Whether this process may say that data is lost: what is gone may have been read by another one while this one
        was paused. False also while that cannot be known; it is asked again."""

    def lose(self) -> None:
        """Hear that shards are another's now: everything is to begin anew."""


class SoleOwner:
    """All shards are this process's."""

    shared = False
    alone = True

    def claim(self, shards: Sequence[str]) -> Sequence[str]:
        """See `ShardOwner`."""
        return shards

    def takes_turns(self, shard: str) -> bool:
        """See `ShardOwner`."""
        return False

    def fence(self, view: str, shards: Iterable[str]) -> None:
        """See `ShardOwner`."""
        return

    def stands(self) -> bool:
        """See `ShardOwner`."""
        return True

    def lose(self) -> None:
        """See `ShardOwner`: nobody can take anything from it."""
