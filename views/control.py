"""The control store: checkpoints, counts, generations, fills and dead letters in one SQL database.

An SQLite file serves one machine; Postgres serves many workers. Everything that has to be true together moves in one
transaction: a checkpoint, the counts of the changes it passed, and the dead letters among them (laws 2 and 8).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

SCHEMA_VERSION = 1

_meta = sa.MetaData()

_about = sa.Table(
    "dynaview_control",
    _meta,
    sa.Column("schema_version", sa.Integer, primary_key=True),
)

_views = sa.Table(
    "dynaview_views",
    _meta,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("source", sa.String(200), nullable=False),
    sa.Column("sink", sa.String(200), nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("stream_arn", sa.Text),
    sa.Column("stream_count", sa.Integer, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("seen", sa.Float, nullable=False),
    sa.Column("watermark", sa.Float),
    sa.Column("filled", sa.Boolean, nullable=False),
    sa.Column("read", sa.BigInteger, nullable=False),
    sa.Column("applied", sa.BigInteger, nullable=False),
    sa.Column("stale", sa.BigInteger, nullable=False),
    sa.Column("unmatched", sa.BigInteger, nullable=False),
    sa.Column("dead_lettered", sa.BigInteger, nullable=False),
)

_checkpoints = sa.Table(
    "dynaview_checkpoints",
    _meta,
    sa.Column("view", sa.String(200), primary_key=True),
    sa.Column("shard", sa.String(200), primary_key=True),
    sa.Column("sequence", sa.String(50)),  # null: nothing of the shard is in the view yet
    sa.Column("time", sa.Float),
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.Column("updated", sa.Float, nullable=False),
)

_fills = sa.Table(
    "dynaview_fills",
    _meta,
    sa.Column("view", sa.String(200), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("segment", sa.Integer, primary_key=True),
    sa.Column("segments", sa.Integer, nullable=False),
    sa.Column("position", sa.Text),
    sa.Column("finished", sa.Boolean, nullable=False),
    sa.Column("scanned", sa.BigInteger, nullable=False),
    sa.Column("inserted", sa.BigInteger, nullable=False),
    sa.Column("dead_lettered", sa.BigInteger, nullable=False),
)

_dead_letters = sa.Table(
    "dynaview_dead_letters",
    _meta,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("view", sa.String(200), nullable=False),
    sa.Column("item_key", sa.Text, nullable=False),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("version", sa.String(60), nullable=False),
    sa.Column("shard", sa.String(200), nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("change", sa.LargeBinary, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.UniqueConstraint("view", "version", "item_key", "row_key"),
)


class ControlError(Exception):
    """The control store cannot be used as it is; the text says why and what to do.

    ControlError
    └── ControlUnavailable   heals by itself: try again
    """


class ControlUnavailable(ControlError):
    """The control store does not answer now: locked, full, unreachable."""


@dataclass(slots=True)
class Counts:
    """What became of a view's changes (law 8): read = applied + stale + unmatched + dead_lettered."""

    read: int = 0
    applied: int = 0
    stale: int = 0
    unmatched: int = 0
    dead_lettered: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one shard is in one view. `sequence` is the last number whose writes are durable (None: none yet);
    `time` is that record's creation time in seconds since 1970; `finished` means the shard's end was reached."""

    sequence: int | None = None
    time: float | None = None
    finished: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A change that could not be applied. `change` is its DynamoDB JSON, as far as the views read it."""

    view: str
    item_key: str
    row_key: str
    version: int
    shard: str
    time: float
    kind: str
    reason: str
    change: bytes


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """What the control store knows of a view. Times are seconds since 1970 by the clock of the worker."""

    name: str
    source: str
    sink: str
    fingerprint: str
    generation: int
    stream_arn: str | None
    stream_count: int
    state: str
    reason: str
    since: float
    seen: float
    watermark: float | None
    filled: bool
    counts: Counts


@dataclass(slots=True)
class Segment:
    """How far one segment of a fill is. `position` is the source's own text, None at the beginning."""

    segment: int
    segments: int
    position: str | None = None
    finished: bool = False
    scanned: int = 0
    inserted: int = 0
    dead_lettered: int = 0


@dataclass(slots=True)
class Progress:
    """What one transaction moves: checkpoints by shard, counts to add, dead letters."""

    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    """Shards that are finished and no longer exist."""


class ControlStore:
    """One control store. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Open (and create where missing) the store at a SQLAlchemy URL.

        Raises `ControlError` where it cannot be reached, or was made by a newer dynaview (then nothing is touched).
        """
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError as error:
            raise ControlError(
                "the control store's address is not a database URL (such as sqlite:///dynaview.db)"
            ) from error
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        self.name = parsed.render_as_string(hide_password=True)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        connect_args: dict[str, Any] = {"timeout": 30} if self._sqlite else {}
        if self._sqlite and parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(parsed, connect_args=connect_args, pool_pre_ping=not self._sqlite)
        if self._sqlite:
            sa.event.listen(self._engine, "connect", _sqlite_connection)
        try:
            self._create()
        except sa.exc.DBAPIError as error:
            raise ControlError(f"the control store {self.name} cannot be used: {error.orig}") from error
        except ControlUnavailable as error:
            raise ControlError(str(error)) from error

    def _create(self) -> None:
        if sa.inspect(self._engine).has_table(_about.name):
            with self._engine.connect() as connection:
                found = connection.execute(sa.select(_about.c.schema_version)).scalar()
            if found is not None and found > SCHEMA_VERSION:
                raise ControlError(
                    f"the control store {self.name} was made by a newer dynaview (its schema is {found}, this one "
                    f"knows {SCHEMA_VERSION}): install that version, or name another store with control:"
                )
        with self._write() as connection:
            _meta.create_all(connection)
            if connection.execute(sa.select(_about.c.schema_version)).scalar() is None:
                connection.execute(_about.insert().values(schema_version=SCHEMA_VERSION))

    def close(self) -> None:
        """Give back connections."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.begin() as connection:
            if self._sqlite:  # take the write lock at once: a reader that becomes a writer could deadlock
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextlib.contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise ControlUnavailable(f"the control store {self.name} does not answer: {error.orig}") from error

    def _insert(self, table: sa.Table) -> Any:
        return sqlite.insert(table) if self._sqlite else postgresql.insert(table)

    # Views

    def view(self, name: str) -> ViewRecord | None:
        """The record of one view, None where it has never been started."""
        return next((record for record in self.views() if record.name == name), None)

    def views(self) -> list[ViewRecord]:
        """All views that were ever started and not dropped, by name."""
        with self._read() as connection:
            rows = connection.execute(sa.select(_views).order_by(_views.c.name)).mappings().all()
        return [_record(row) for row in rows]

    def add_view(
        self, name: str, source: str, sink: str, fingerprint: str, stream_arn: str | None = None
    ) -> ViewRecord:
        """Record a view that starts for the first time; one that is there already is left as it is."""
        now = time.time()
        with self._write() as connection:
            connection.execute(
                self._insert(_views)
                .values(
                    name=name,
                    source=source,
                    sink=sink,
                    fingerprint=fingerprint,
                    generation=1,
                    stream_arn=stream_arn,
                    stream_count=0,
                    state="starting",
                    reason="",
                    since=now,
                    seen=now,
                    watermark=None,
                    filled=False,
                    **_counts_columns(Counts()),
                )
                .on_conflict_do_nothing()
            )
            row = connection.execute(sa.select(_views).where(_views.c.name == name)).mappings().one()
        return _record(row)

    def set_state(self, view: str, state: str, reason: str = "") -> None:
        """Say what a view is doing; `since` moves only when the state changes."""
        now = time.time()
        with self._write() as connection:
            since = sa.case((_views.c.state == state, _views.c.since), else_=now)
            connection.execute(
                _views.update().where(_views.c.name == view).values(state=state, reason=reason, since=since, seen=now)
            )

    def set_stream(self, view: str, arn: str) -> None:
        """Record the stream that a view follows from now on."""
        with self._write() as connection:
            connection.execute(_views.update().where(_views.c.name == view).values(stream_arn=arn))

    def drop_view(self, view: str) -> None:
        """Forget everything about a view."""
        with self._write() as connection:
            connection.execute(_views.delete().where(_views.c.name == view))
            for table in (_checkpoints, _fills, _dead_letters):
                connection.execute(table.delete().where(table.c.view == view))

    # Checkpoints

    def checkpoints(self, view: str) -> dict[str, Checkpoint]:
        """How far each shard is, by shard id."""
        with self._read() as connection:
            rows = connection.execute(sa.select(_checkpoints).where(_checkpoints.c.view == view)).all()
        return {
            row.shard: Checkpoint(None if row.sequence is None else int(row.sequence), row.time, row.finished)
            for row in rows
        }

    def commit(self, view: str, progress: Progress, watermark: float | None) -> None:
        """Move a view's checkpoints, counts, dead letters and watermark together.

        The caller vouches that every write behind the checkpoints is durable.
        """
        now = time.time()
        with self._write() as connection:
            for shard, checkpoint in progress.checkpoints.items():
                values = {
                    "sequence": None if checkpoint.sequence is None else str(checkpoint.sequence),
                    "time": checkpoint.time,
                    "finished": checkpoint.finished,
                    "updated": now,
                }
                connection.execute(
                    self._insert(_checkpoints)
                    .values(view=view, shard=shard, **values)
                    .on_conflict_do_update(index_elements=["view", "shard"], set_=values)
                )
            if progress.forgotten:
                gone = _checkpoints.c.shard.in_(progress.forgotten)
                connection.execute(_checkpoints.delete().where(_checkpoints.c.view == view, gone))
            self._add_dead_letters(connection, progress.dead_letters, now)
            added = {name: _views.c[name] + count for name, count in _counts_columns(progress.counts).items()}
            connection.execute(
                _views.update()
                .where(_views.c.name == view)
                .values(seen=now, watermark=sa.func.coalesce(watermark, _views.c.watermark), **added)
            )

    # Fills

    def segments(self, view: str, generation: int) -> list[Segment]:
        """The segments of a fill, empty where it has not begun."""
        query = sa.select(_fills).where(_fills.c.view == view, _fills.c.generation == generation)
        with self._read() as connection:
            rows = connection.execute(query.order_by(_fills.c.segment)).mappings().all()
        names = Segment.__dataclass_fields__
        return [Segment(**{name: row[name] for name in names}) for row in rows]

    def save_segment(self, view: str, generation: int, segment: Segment, letters: Sequence[DeadLetter] = ()) -> None:
        """Record how far a segment is, together with the dead letters met on the way."""
        values = {name: getattr(segment, name) for name in Segment.__dataclass_fields__}
        with self._write() as connection:
            connection.execute(
                self._insert(_fills)
                .values(view=view, generation=generation, **values)
                .on_conflict_do_update(index_elements=["view", "generation", "segment"], set_=values)
            )
            self._add_dead_letters(connection, letters, time.time())

    def set_filled(self, view: str) -> None:
        """Record that the first fill of a view is complete."""
        with self._write() as connection:
            connection.execute(_views.update().where(_views.c.name == view).values(filled=True))

    # Dead letters

    def _add_dead_letters(self, connection: sa.Connection, letters: Sequence[DeadLetter], now: float) -> None:
        for letter in letters:
            values = {name: getattr(letter, name) for name in DeadLetter.__dataclass_fields__}
            values["version"] = str(letter.version)
            connection.execute(self._insert(_dead_letters).values(**values, created=now).on_conflict_do_nothing())

    def dead_letters(self, view: str | None = None, limit: int = 100) -> list[tuple[int, DeadLetter]]:
        """Dead letters with their ids, oldest first."""
        query = sa.select(_dead_letters).order_by(_dead_letters.c.id).limit(limit)
        if view is not None:
            query = query.where(_dead_letters.c.view == view)
        with self._read() as connection:
            rows = connection.execute(query).mappings().all()
        names = DeadLetter.__dataclass_fields__
        return [
            (row["id"], DeadLetter(**{name: row[name] for name in names} | {"version": int(row["version"])}))
            for row in rows
        ]


def _sqlite_connection(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_write` says so
    connection.execute("PRAGMA journal_mode=WAL")
    # NORMAL may lose the last commits on a power cut, never corrupt: an older checkpoint only repeats work.
    connection.execute("PRAGMA synchronous=NORMAL")


def _counts_columns(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in Counts.__dataclass_fields__}


def _record(row: Mapping[str, Any] | sa.RowMapping) -> ViewRecord:
    plain = {name: row[name] for name in ViewRecord.__dataclass_fields__ if name != "counts"}
    return ViewRecord(**plain, counts=Counts(**{name: row[name] for name in Counts.__dataclass_fields__}))
