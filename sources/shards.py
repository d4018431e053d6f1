"""The tree of a stream's shards: which may be read now. No I/O.

DynamoDB's rules that bite here: a shard is continued by its children about every four hours, and by several when it
splits; one key's changes go from a parent to exactly one child, so a child must not be read before its parent is
finished; a listing may show an open parent beside its child, a closed leaf before its children, one child without its
sister, a child whose parent has expired, and an expired shard once more; and it may leave a shard out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from dynaview.sources.port import Shard


class ShardTree:
    """Made from what is known of a stream; every question is answered in time linear in the number of shards.

    `finished` holds the ids of shards that were read to their end. A listing changes nothing about them. A shard stays
    known until it is dropped, and its children wait until it is finished.
    """

    def __init__(self, listing: Iterable[Shard] = (), finished: Collection[str] = ()) -> None:
        self._shards: dict[str, Shard] = {}
        self._children: dict[str, list[str]] = {}
        self._finished = set(finished)
        self._begun: set[str] = set()
        self.add(listing)

    def __len__(self) -> int:
        return len(self._shards)

    def __contains__(self, shard_id: str) -> bool:
        return shard_id in self._shards

    def __iter__(self) -> Iterator[Shard]:
        return iter(list(self._shards.values()))

    def get(self, shard_id: str) -> Shard | None:
        """The shard as it was listed last."""
        return self._shards.get(shard_id)

    def add(self, shards: Iterable[Shard]) -> None:
        """Add or renew shards. One that a listing does not show stays: listings lag, so that proves nothing."""
        for shard in shards:
            known = self._shards.get(shard.id)
            if known is None and shard.parent is not None:
                self._children.setdefault(shard.parent, []).append(shard.id)
            self._shards[shard.id] = shard

    def begin(self, shard_id: str) -> None:
        """Reading of the shard has started."""
        if shard_id not in self._finished:
            self._begun.add(shard_id)

    def finish(self, shard_id: str) -> list[Shard]:
        """The shard was read to its end; answers its listed children, which are ready now."""
        self._begun.discard(shard_id)
        self._finished.add(shard_id)
        return [shard for shard in self.children(shard_id) if self._is_ready(shard)]

    def children(self, shard_id: str) -> list[Shard]:
        """The listed shards that continue this one."""
        return [self._shards[child] for child in self._children.get(shard_id, ())]

    def ready(self) -> list[Shard]:
        """The shards to read now, begun ones included, in the order of the listing: not finished, and their parent
        finished, or neither listed nor begun (it has expired, so that nothing of it can be read any more)."""
        return [shard for shard in self._shards.values() if self._is_ready(shard)]

    def drop(self, shard_ids: Iterable[str]) -> None:
        """Know nothing any more of shards that have long been finished, or whose data is lost and that was said."""
        for shard_id in shard_ids:
            shard = self._shards.pop(shard_id, None)
            if shard is not None and shard.parent is not None:
                siblings = self._children.get(shard.parent, [])
                siblings.remove(shard_id)
                if not siblings:
                    del self._children[shard.parent]
            self._begun.discard(shard_id)
            self._finished.discard(shard_id)

    def _is_ready(self, shard: Shard) -> bool:
        if shard.id in self._finished:
            return False
        if shard.parent is None or shard.parent in self._finished:
            return True
        return shard.parent not in self._shards and shard.parent not in self._begun
