"""Who works on what: the workers of a control store, the group that keeps each view, and the leases under which shards
are read.

Workers that keep the same views of a table are a *group*, and share its shards. A view is kept by one group at
a time, which has its *ownership*. A task (a shard, for one half of the group's views), or a job that one worker does
for its group, is a *resource*; who has its *lease* may move the checkpoints of these views in the shard, and every
commit looks whether that is still so (`check`). Nobody takes a lease
from a living worker. A worker is dead when its row has expired by the database's clock, or its sign of life is gone;
then any other one removes the row, and a worker that finds its row gone has lost all of its leases.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from dynaview.views.control import rows, tables
from dynaview.views.control.database import Database
from dynaview.views.control.errors import LeaseLost
from dynaview.views.control.liveness import Liveness
from dynaview.views.control.records import JOB, Fence, Lease, Task, WorkerRecord
from dynaview.views.control.tables import leases, ownership, workers

CHUNK = 500
"""Resources in one statement."""


class LeaseStore:
    """Workers, ownership and leases of one control store. Thread-safe; every method may raise `ControlUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._liveness = Liveness(database)

    def close(self) -> None:
        """End the signs of life of this process."""
        self._liveness.close()

    # Workers

    def name(self, worker: str) -> str:
        """What a worker is called here: its name tells others whether it gives signs of life."""
        return self._liveness.name(worker)

    def enlist(self, worker: str, group: str, source: str, host: str, pid: int, seconds: float) -> None:
        """Record a worker, for so many seconds; `renew` makes them more."""
        self._liveness.give(worker)
        with self._database.write() as connection:
            now = self._database.clock()
            connection.execute(
                workers.insert().values(
                    id=worker, grp=group, source=source, host=host, pid=pid, sharing=False, started=now,
                    expires=now + seconds,
                )
            )  # fmt: skip

    def renew(self, worker: str, seconds: float) -> bool:
        """Say that a worker lives; False where it was taken for dead, and has lost everything."""
        self._liveness.give(worker)
        with self._database.write() as connection:
            expires = self._database.clock() + seconds
            renewed = connection.execute(workers.update().where(workers.c.id == worker).values(expires=expires))
        return bool(renewed.rowcount)

    def join(self, worker: str) -> bool:
        """Let a worker share the work of its group; whether others do so already. Raises `LeaseLost`."""
        with self._database.write() as connection:
            joined = connection.execute(workers.update().where(workers.c.id == worker).values(sharing=True))
            if not joined.rowcount:
                raise LeaseLost(worker)
            group = sa.select(workers.c.grp).where(workers.c.id == worker).scalar_subquery()
            others = sa.select(sa.func.count()).where(
                workers.c.grp == group,
                workers.c.id != worker,
                workers.c.sharing,
                workers.c.expires > self._database.clock(),
            )
            return bool(connection.execute(others).scalar())

    def resign(self, worker: str) -> None:
        """A worker ends in good order: what it had is free."""
        with self._database.write() as connection:
            connection.execute(leases.update().where(leases.c.owner == worker).values(owner=None))
            connection.execute(tables.adopted.delete().where(tables.adopted.c.worker == worker))
            connection.execute(workers.delete().where(workers.c.id == worker))
        self._liveness.take_back(worker)
        self._liveness.forget([worker])

    def abandon(self, worker: str) -> None:
        """A worker was taken for dead, and begins anew under another name."""
        self._liveness.take_back(worker)

    def living(self, group: str | None = None, but: str = "", remove_dead: bool = True) -> list[WorkerRecord]:
        """The workers of a group (or all) that live, oldest first. Removes the dead, never the one named `but`; without
        `remove_dead` none."""
        query = sa.select(workers, (workers.c.expires <= self._database.clock()).label("expired"))
        if group is not None:
            query = query.where(workers.c.grp == group)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(workers.c.started, workers.c.id)).mappings().all()
        expired = {row["id"] for row in found if row["expired"] and row["id"] != but}
        lost = self._liveness.lost([row["id"] for row in found if row["id"] != but and row["id"] not in expired])
        if remove_dead:
            removed = {worker for worker in sorted(expired | lost) if self._remove_dead(worker, worker in lost)}
            self._liveness.forget(sorted(removed))
        else:
            removed = expired | lost
        return [rows.worker(row) for row in found if row["id"] not in removed]

    def _remove_dead(self, worker: str, lost: bool) -> bool:
        """Remove a dead worker; False where it has renewed its row meanwhile."""
        where = workers.c.id == worker
        if not lost:
            where &= workers.c.expires <= self._database.clock()
        with self._database.write() as connection:
            gone = connection.execute(workers.delete().where(where)).rowcount
            if gone:
                connection.execute(tables.adopted.delete().where(tables.adopted.c.worker == worker))
                connection.execute(leases.update().where(leases.c.owner == worker).values(owner=None))
        return bool(gone)

    def sharing(self, view: str) -> list[str]:
        """The ids of the living workers that keep a view."""
        with self._database.read() as connection:
            group = connection.execute(sa.select(ownership.c.grp).where(ownership.c.view == view)).scalar()
        return [] if group is None else [member.id for member in self.living(group) if member.sharing]

    def by_view(self) -> dict[str, list[tuple[WorkerRecord, int]]]:
        """The living workers that share each view, with the numbers of shards that they read for it. Changes
        nothing."""
        query = sa.select(leases.c.owner, leases.c.resource).where(
            leases.c.owner.is_not(None), leases.c.resource.not_like(f"{JOB}%")
        )
        with self._database.read() as connection:
            kept = connection.execute(sa.select(ownership)).mappings().all()
            taken = connection.execute(query).mappings().all()
        return rows.workers_of_views(kept, taken, self.living(remove_dead=False))

    # Ownership

    def take_ownership(self, view: str, group: str, half: int = 0) -> bool:
        """Let a group keep a view, which it has dealt to this half of its views; False while another group that has it
        lives."""
        with self._database.read() as connection:
            has = connection.execute(sa.select(ownership.c.grp).where(ownership.c.view == view)).scalar()
        if has == group:
            return True
        if has is not None and self.living(has):
            return False
        with self._database.write() as connection:
            if has is None:
                made = self._database.insert(ownership).values(view=view, grp=group, half=half)
                connection.execute(made.on_conflict_do_nothing())
                return connection.execute(sa.select(ownership.c.grp).where(ownership.c.view == view)).scalar() == group
            where = (ownership.c.view == view) & (ownership.c.grp == has)
            taken = bool(connection.execute(ownership.update().where(where).values(grp=group, half=half)).rowcount)
            if not connection.execute(sa.select(ownership.c.view).where(ownership.c.grp == has).limit(1)).first():
                connection.execute(leases.delete().where(leases.c.grp == has))
            return taken

    # Leases

    def of_group(self, group: str) -> list[Lease]:
        """All leases of a group."""
        query = sa.select(leases.c.resource, leases.c.owner, leases.c.epoch).where(leases.c.grp == group)
        with self._database.read() as connection:
            return [Lease(row.resource, row.owner, row.epoch) for row in connection.execute(query)]

    def acquire(self, worker: str, group: str, resources: Iterable[str]) -> dict[str, int]:
        """Take what is free of these resources; answers the epochs of the leases. Raises `LeaseLost`."""
        taken: dict[str, int] = {}
        with self._database.write() as connection:
            mine = sa.select(workers.c.id).where(workers.c.id == worker)
            if connection.execute(mine.with_for_update(read=True)).first() is None:
                raise LeaseLost(worker)
            for chunk in _chunks(sorted(resources)):
                new = [{"grp": group, "resource": resource, "owner": None, "epoch": 0} for resource in chunk]
                connection.execute(self._database.insert(leases).on_conflict_do_nothing(), new)
                of_chunk = (leases.c.grp == group) & leases.c.resource.in_(chunk)
                # Waits for commits that rest on the leases as they were.
                values = {"owner": worker, "epoch": leases.c.epoch + 1}
                connection.execute(leases.update().where(of_chunk, leases.c.owner.is_(None)).values(values))
                have = sa.select(leases.c.resource, leases.c.epoch).where(of_chunk, leases.c.owner == worker)
                taken.update((row.resource, row.epoch) for row in connection.execute(have))
        return taken

    def release(self, worker: str, group: str, resources: Iterable[str], done: bool = False) -> None:
        """Give leases back; where the resource is `done` (a finished shard) nothing is left of them."""
        with self._database.write() as connection:
            for chunk in _chunks(sorted(resources)):
                where = (leases.c.grp == group) & (leases.c.owner == worker) & leases.c.resource.in_(chunk)
                if done:
                    connection.execute(leases.delete().where(where))
                else:
                    connection.execute(leases.update().where(where).values(owner=None))

    def tidy(self, group: str, resources: Iterable[str]) -> None:
        """Remove free leases of what nobody needs any more: their last worker was killed."""
        with self._database.write() as connection:
            for chunk in _chunks(sorted(resources)):
                where = (leases.c.grp == group) & leases.c.owner.is_(None) & leases.c.resource.in_(chunk)
                connection.execute(leases.delete().where(where))


def check(connection: sa.Connection, view: str, fence: Fence) -> None:
    """Within a transaction that moves something of a view: see that its worker may, and that nobody takes that from it
    before the end of the transaction. Raises `LeaseLost`."""
    kept = (ownership.c.view == view) & (ownership.c.grp == fence.group)
    if not fence.epochs:
        alive = sa.select(workers.c.id).join(ownership, kept).where(workers.c.id == fence.owner)
        if connection.execute(alive.with_for_update(read=True)).first() is None:
            raise LeaseLost(f"view {view}: worker {fence.owner} gave no sign of life for too long")
        return
    held: dict[str, int] = {}
    for chunk in _chunks(sorted(fence.epochs)):
        query = (
            sa.select(leases.c.resource, leases.c.epoch)
            .join(ownership, kept)
            .where(leases.c.grp == fence.group, leases.c.owner == fence.owner, leases.c.resource.in_(chunk))
        )
        held.update((row.resource, row.epoch) for row in connection.execute(query.with_for_update(read=True)))
    lost = sorted(Task.of(task).shard for task, epoch in fence.epochs.items() if held.get(task) != epoch)
    if lost:
        raise LeaseLost(f"view {view}: shard {', '.join(lost[:3])} is read by another worker now")


def _chunks(resources: Sequence[str]) -> Iterator[Sequence[str]]:
    return (resources[start : start + CHUNK] for start in range(0, len(resources), CHUNK))
