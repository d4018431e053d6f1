"""The control store: checkpoints, counts, generations and dead letters in one SQL database.

An SQLite file serves one machine; Postgres serves many workers. Everything that has to be true together moves in one
transaction: a checkpoint, the counts of the changes it passed, and the dead letters among them (laws 2 and 8).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from dynaview.views.control import rows, tables
from dynaview.views.control.database import Database
from dynaview.views.control.dead_letters import DeadLetterStore
from dynaview.views.control.errors import Superseded
from dynaview.views.control.leases import LeaseStore, check
from dynaview.views.control.meters import MeterStore
from dynaview.views.control.rebuilds import RebuildStore
from dynaview.views.control.records import Checkpoint, Counts, Generation, Progress, ViewRecord
from dynaview.views.control.tasks import TaskStore
from dynaview.views.control.verifications import VerificationStore
from dynaview.views.control.view_states import StateStore, entering
from dynaview.views.states import ViewState

MANY = 2000
"""Shards above which a question names none of them: databases limit how many values a statement may have."""


_LIVE = tables.generations
_RECORDS = sa.select(tables.views, _LIVE.c.generation, _LIVE.c.fingerprint, _LIVE.c.filled).join(
    _LIVE, sa.and_(_LIVE.c.view == tables.views.c.name, _LIVE.c.role == "live")
)
"""Views, with what they are by the generation that readers see."""


class ControlStore:
    """One control store. Safe to use from several threads; `states` says what views are doing, `leases` who works on
    what; `dead_letters`, `rebuilds`, `verifications`, `tasks` and `meters` keep what their names say."""

    def __init__(self, url: str, *, create: bool = True) -> None:
        """Open the store at a SQLAlchemy URL; where it is missing, make it, unless `create` is off.

        Raises `ControlError` where it cannot be reached, was made by a newer dynaview (then nothing is touched), or is
        missing (`ControlMissing`).
        """
        self._database = Database(url, create=create)
        self.name = self._database.name
        self.dead_letters = DeadLetterStore(self._database)
        self.rebuilds = RebuildStore(self._database, self.dead_letters)
        self.leases = LeaseStore(self._database)
        self.verifications = VerificationStore(self._database)
        self.states = StateStore(self._database)
        self.tasks = TaskStore(self._database)
        self.meters = MeterStore(self._database)

    def close(self) -> None:
        """Give back connections; workers of this process are gone to others."""
        self.leases.close()
        self._database.close()

    # Views

    def view(self, name: str) -> ViewRecord | None:
        """The record of one view, None where it has never been started."""
        return next((record for record in self.views() if record.name == name), None)

    def views(self) -> list[ViewRecord]:
        """All views that were ever started and not dropped, by name."""
        with self._database.read() as connection:
            found = connection.execute(_RECORDS.order_by(tables.views.c.name)).mappings().all()
        return [rows.view_record(row) for row in found]

    def add_view(
        self,
        name: str,
        source: str,
        sink: str,
        fingerprint: str,
        stream_arn: str | None = None,
        declaration: str = "",
    ) -> ViewRecord:
        """Record a view that starts for the first time, with its first generation; one that is there already is left
        as it is, unless nothing of it was ever begun in its store. `declaration` is what `encode` makes of it."""
        now = time.time()
        with self._database.write() as connection:
            added = connection.execute(
                self._database.insert(tables.views)
                .values(
                    name=name,
                    source=source,
                    sink=sink,
                    numbered=1,
                    stream_arn=stream_arn,
                    stream_count=0,
                    **entering(ViewState.STARTING),
                    seen=now,
                    watermark=None,
                    revision=0,
                    write_order="1",
                    **_counts_columns(Counts()),
                )
                .on_conflict_do_nothing()
                .returning(tables.views.c.name)
            ).first()
            if added is not None:
                connection.execute(
                    tables.generations.insert().values(
                        view=name,
                        generation=1,
                        fingerprint=fingerprint,
                        declaration=declaration,
                        role="live",
                        claimed=False,
                        filled=False,
                        created=now,
                        keep_until=None,
                    )
                )
            else:
                self._declare_anew(connection, name, source, sink, fingerprint, declaration)
            row = connection.execute(_RECORDS.where(tables.views.c.name == name)).mappings().one()
        return rows.view_record(row)

    def _declare_anew(
        self, connection: sa.Connection, name: str, source: str, sink: str, fingerprint: str, declaration: str
    ) -> None:
        """Let a view that was never begun in its store be what is declared now."""
        column = tables.generations.c
        unbegun = (column.view == name) & (column.role == "live") & sa.not_(column.claimed) & sa.not_(column.filled)
        values = {"fingerprint": fingerprint, "declaration": declaration}
        where = unbegun & (column.fingerprint != fingerprint)
        if connection.execute(tables.generations.update().where(where).values(**values)).rowcount:
            connection.execute(
                tables.views.update()
                .where(tables.views.c.name == name)
                .values(source=source, sink=sink, stream_arn=None)
            )

    def set_seen(self, views: Sequence[str]) -> None:
        """Say that these views are run."""
        with self._database.write() as connection:
            connection.execute(tables.views.update().where(tables.views.c.name.in_(views)).values(seen=time.time()))

    def set_awaited(self, view: str, moment: float) -> None:
        """Say that somebody waits for the view's watermark to pass a moment: idle shards are looked at more often."""
        known = tables.views.c.awaited
        with self._database.write() as connection:
            where = (tables.views.c.name == view) & sa.or_(known.is_(None), known < moment)
            connection.execute(tables.views.update().where(where).values(awaited=moment))

    def set_stream(self, view: str, arn: str) -> None:
        """Record the stream that a view follows from now on."""
        with self._database.write() as connection:
            connection.execute(tables.views.update().where(tables.views.c.name == view).values(stream_arn=arn))

    def drop_view(self, view: str) -> None:
        """Forget everything about a view."""
        with self._database.write() as connection:
            connection.execute(tables.views.delete().where(tables.views.c.name == view))
            connection.execute(tables.ownership.delete().where(tables.ownership.c.view == view))
            plain = (tables.generations, tables.adopted, tables.checkpoints, tables.dead_letters)
            for table in (*plain, tables.verifications):
                connection.execute(table.delete().where(table.c.view == view))
            of_view = (tables.meters.c.kind == "view") & (tables.meters.c.name == view)
            connection.execute(tables.meters.delete().where(of_view))
            self.rebuilds.drop(connection, view)

    # Generations

    def generations(self, view: str) -> list[Generation]:
        """The generations of a view that stand, oldest first."""
        query = sa.select(tables.generations).where(tables.generations.c.view == view)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(tables.generations.c.generation)).mappings().all()
        return [rows.generation(row) for row in found]

    def redeclare(self, view: str, fingerprint: str, declaration: str) -> None:
        """Keep `declaration` as what built the generations of this fingerprint: it says the same of their rows."""
        same = (tables.generations.c.view == view) & (tables.generations.c.fingerprint == fingerprint)
        differs = tables.generations.c.declaration != declaration
        with self._database.write() as connection:
            connection.execute(tables.generations.update().where(same & differs).values(declaration=declaration))

    def claim(self, view: str, generation: int) -> None:
        """Record that a generation is made in its store from now on."""
        where = (tables.generations.c.view == view) & (tables.generations.c.generation == generation)
        with self._database.write() as connection:
            connection.execute(tables.generations.update().where(where).values(claimed=True))

    def is_claimed(self, view: str, generation: int) -> bool:
        """Whether it was."""
        return any(each.claimed for each in self.generations(view) if each.generation == generation)

    def adopt(self, view: str, worker: str, revision: int) -> None:
        """Say that a worker's pipelines do what a revision of the view asks, and nothing of an earlier one any more."""
        values = {"revision": revision, "at": time.time()}
        with self._database.write() as connection:
            connection.execute(
                self._database.insert(tables.adopted)
                .values(view=view, worker=worker, **values)
                .on_conflict_do_update(index_elements=["view", "worker"], set_=values)
            )

    def adopted(self, view: str) -> dict[str, int]:
        """The revision of a view that each worker works by, by worker."""
        query = sa.select(tables.adopted).where(tables.adopted.c.view == view)
        with self._database.read() as connection:
            return {row.worker: row.revision for row in connection.execute(query)}

    def not_adopted(self, view: str) -> list[str]:
        """The living workers of a view that do not work by its newest revision yet."""
        record = self.view(view)
        if record is None:
            return []
        taken = self.adopted(view)
        return [worker for worker in self.leases.sharing(view) if taken.get(worker, -1) < record.revision]

    # Checkpoints

    def checkpoints(self, view: str) -> dict[str, Checkpoint]:
        """How far each shard is, by shard id."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(tables.checkpoints).where(tables.checkpoints.c.view == view))
            return {row.shard: _checkpoint(row) for row in rows}

    def standings(self, views: Collection[str], shards: Collection[str] | None) -> dict[str, dict[str, Checkpoint]]:
        """How far views are, by view and shard: in these shards, and in all that they have not finished (None: only
        the latter)."""
        found: dict[str, dict[str, Checkpoint]] = {view: {} for view in views}
        wanted = sa.not_(tables.checkpoints.c.finished)
        if shards and len(shards) > MANY:
            wanted = sa.true()
        elif shards:
            wanted = sa.or_(wanted, tables.checkpoints.c.shard.in_(shards))
        query = sa.select(tables.checkpoints).where(tables.checkpoints.c.view.in_(views), wanted)
        with self._database.read() as connection:
            for row in connection.execute(query):
                found[row.view][row.shard] = _checkpoint(row)
        return found

    def commit(self, view: str, progress: Progress, watermark: float | None) -> None:
        """Move a view's checkpoints, counts, dead letters and watermark together; the watermark only ever rises.

        The caller vouches that every write behind the checkpoints is durable. Raises `LeaseLost` and `Superseded`, and
        then nothing has moved.
        """
        now = time.time()
        counts = Counts()
        with self._database.write() as connection:
            if progress.fence is not None:
                check(connection, view, progress.fence)
            self._move(connection, view, progress, counts, now)
            if progress.forgotten:
                gone = tables.checkpoints.c.shard.in_(progress.forgotten) & tables.checkpoints.c.finished
                connection.execute(tables.checkpoints.delete().where(tables.checkpoints.c.view == view, gone))
            added = {name: tables.views.c[name] + count for name, count in _counts_columns(counts).items()}
            known = tables.views.c.watermark
            rises = sa.literal(watermark is not None) & sa.or_(known.is_(None), known < (watermark or 0.0))
            where = tables.views.c.name == view
            if progress.revision is not None:
                where &= tables.views.c.revision == progress.revision
            moved = connection.execute(
                tables.views.update()
                .where(where)
                .values(seen=now, watermark=sa.case((rises, watermark), else_=known), **added)
            )
            if progress.revision is not None and not moved.rowcount:
                raise Superseded(view)

    def _move(self, connection: sa.Connection, view: str, progress: Progress, counts: Counts, now: float) -> None:
        insert = self._database.insert(tables.checkpoints)
        if progress.known:  # whoever has such a shard may have moved its checkpoint already
            new = {"view": view, "sequence": None, "time": None, "finished": False, "updated": now}
            rows = [{"shard": shard, **new} for shard in progress.known]
            connection.execute(insert.on_conflict_do_nothing(), rows)
        moved: list[dict[str, Any]] = []
        for shard, part in progress.parts.items():
            counts.add(part.counts)
            self.dead_letters.add(connection, part.letters, now)
            if (checkpoint := part.checkpoint) is not None:
                sequence = None if checkpoint.sequence is None else str(checkpoint.sequence)
                values = {"sequence": sequence, "time": checkpoint.time, "finished": checkpoint.finished}
                moved.append({"view": view, "shard": shard, "updated": now, **values})
        if moved:
            excluded = {name: insert.excluded[name] for name in ("sequence", "time", "finished", "updated")}
            connection.execute(insert.on_conflict_do_update(index_elements=["view", "shard"], set_=excluded), moved)
        if progress.tips:
            column = tables.checkpoints.c
            connection.execute(
                tables.checkpoints.update()
                .where(column.view == view, column.shard == sa.bindparam("at"))
                .values(tip=sa.bindparam("up_to")),
                [{"at": shard, "up_to": tip} for shard, tip in progress.tips.items()],
            )


def _checkpoint(row: sa.Row[Any]) -> Checkpoint:
    return Checkpoint(None if row.sequence is None else int(row.sequence), row.time, row.finished, row.tip)


def _counts_columns(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in Counts.__dataclass_fields__}
