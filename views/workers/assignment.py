"""Who reads what: shards spread evenly over workers, moving as few as possible. Pure: every worker that knows the same
facts computes the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence


def assign(
    shards: Mapping[str, str | None], owners: Mapping[str, str | None], workers: Sequence[str]
) -> dict[str, str]:
    """A worker for every shard. The numbers of shards that two workers have differ by one at the most.

    `shards` are those to be read, with their parents; `owners` says who has a shard now (whoever is not among the
    workers does not count), its parents' among them. Who has a shard keeps it as far as balance allows; a child goes
    to the worker that has its parent where that one has room, and what is left to whom rendezvous hashing names.
    """
    if not workers:
        return {}
    alive = set(workers)
    held = {shard: owner for shard in shards if (owner := owners.get(shard)) in alive and owner is not None}
    load = Counter(held.values())
    least, more = divmod(len(shards), len(alive))
    # Those that have most may have one more, so that nothing moves because of the rest of the division.
    ranked = sorted(alive, key=lambda worker: (-load[worker], worker))
    room = {worker: least + (place < more) for place, worker in enumerate(ranked)}
    found: dict[str, str] = {}
    left: list[str] = []
    for shard in sorted(shards, key=_hash):
        owner = held.get(shard)
        if owner is not None and room[owner] > 0:
            room[owner] -= 1
            found[shard] = owner
        else:
            left.append(shard)
    homeless = []
    for shard in left:
        heir = owners.get(shards[shard] or "")
        if heir in alive and heir is not None and room[heir] > 0:
            room[heir] -= 1
            found[shard] = heir
        else:
            homeless.append(shard)
    for shard in homeless:
        worker = max((each for each in alive if room[each] > 0), key=lambda each: (_hash(f"{shard}/{each}"), each))
        room[worker] -= 1
        found[shard] = worker
    return found


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
