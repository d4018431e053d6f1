"""Who reads what: shards spread evenly over workers, moving as few as possible. Pure: every worker that knows the same
facts computes the same.

While there are as many shards as workers, each shard is read by one worker for all views of the table. Workers that
would stand idle take one half of the views of a shard each (`halves`): two workers read it then, which is what AWS
allows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from dynaview.views.control.records import Task


def halves(costs: Mapping[str, float]) -> dict[str, int]:
    """The half, 0 or 1, of each view of a table: of all views by name, with what each costs, two halves that cost
    about the same."""
    load = [0.0, 0.0]
    found: dict[str, int] = {}
    for view in sorted(costs, key=lambda name: (-costs[name], name)):
        half = found[view] = 0 if load[0] <= load[1] else 1
        load[half] += costs[view]
    return found


def share(
    tasks: Mapping[Task, str | None], owners: Mapping[Task, str | None], workers: Sequence[str]
) -> dict[Task, str]:
    """A worker for every task. `tasks` are those to be done, with the parents of their shards; `owners` says who has a
    task now, or one of a parent.

    All tasks of a shard go to one worker, but where there are more workers than shards: then so many shards that no
    worker stands idle (as far as there are two tasks of one) go to two workers each.
    """
    alive = set(workers)
    by_shard: dict[str, list[Task]] = {}
    for task in sorted(tasks):
        by_shard.setdefault(task.shard, []).append(task)
    split = _split(by_shard, owners, alive)
    held: dict[str, str | None] = {}
    for task, owner in sorted(owners.items(), reverse=True):  # of a shard as a whole its first task's owner counts
        if owner in alive:
            held[task.shard] = held[_name(task)] = owner
    bundles: dict[str, list[Task]] = {}
    parents: dict[str, str | None] = {}
    for shard, its in by_shard.items():
        for bundle in [[task] for task in its] if shard in split else [its]:
            name = _name(bundle[0]) if shard in split else shard
            parent = tasks[bundle[0]]
            bundles[name] = bundle
            parents[name] = _name(Task(parent, bundle[0].half)) if parent and shard in split else parent
    plan = assign(parents, held, workers)
    return {task: worker for name, worker in plan.items() for task in bundles[name]}


def _split(by_shard: Mapping[str, Sequence[Task]], owners: Mapping[Task, str | None], alive: set[str]) -> set[str]:
    """The shards that two workers read: those first that two have now, so that little moves."""

    def now(shard: str) -> bool:
        return len({owners.get(task) for task in by_shard[shard]} & alive) > 1

    able = [shard for shard, tasks in by_shard.items() if len(tasks) > 1]
    idle = max(0, len(alive) - len(by_shard))
    return set(sorted(able, key=lambda shard: (not now(shard), _hash(shard)))[:idle])


def _name(task: Task) -> str:
    return f"{task.shard}#{task.half}"


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
