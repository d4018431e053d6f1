"""The tree of a stream's shards: which may be read now, and which finished ones may be forgotten. No I/O.

DynamoDB's rules that bite here: a shard is continued by its children about every four hours, and by several when it
splits; one key's changes go from a parent to exactly one child, so a child must not be read before its parent is
finished; a listing may show an open parent beside its child, a closed leaf before its children, a child whose parent
has expired, and an expired shard once more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from dynaview.sources.port import Shard


class ShardTree:
    """Made from what is known of a stream; every question is answered in time linear in the number of shards.

    `finished` holds the ids of shards that were read to their end. A listing changes nothing about them, nor about
    those that are being read (`begin`): one that is listed no more is lost data, not an end, and its children wait
    until the caller has decided about it (`finish`).
    """

    def __init__(self, listing: Iterable[Shard] = (), finished: Collection[str] = ()) -> None:
        self._shards: dict[str, Shard] = {}
        self._children: dict[str, list[str]] = {}
        self._finished = set(finished)
        self._begun: set[str] = set()
        self.relist(listing)

    def __len__(self) -> int:
        return len(self._shards)

    def __contains__(self, shard_id: str) -> bool:
        return shard_id in self._shards

    def __iter__(self) -> Iterator[Shard]:
        return iter(list(self._shards.values()))

    def get(self, shard_id: str) -> Shard | None:
        """The shard as it was listed last."""
        return self._shards.get(shard_id)

    def relist(self, listing: Iterable[Shard]) -> None:
        """Replace what is known by a new, complete listing."""
        self._shards = {}
        self._children = {}
        self.add(listing)

    def add(self, shards: Iterable[Shard]) -> None:
        """Add or renew some shards (the answer to a question for children)."""
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

    def forgettable(self) -> list[str]:
        """Finished ids that need not be kept: neither they nor a child of theirs is listed.

        Not earlier: DynamoDB may list an expired shard again, and it must not be read again then.
        """
        return sorted(shard for shard in self._finished if shard not in self._shards and shard not in self._children)

    def _is_ready(self, shard: Shard) -> bool:
        if shard.id in self._finished:
            return False
        if shard.parent is None or shard.parent in self._finished:
            return True
        return shard.parent not in self._shards and shard.parent not in self._begun
