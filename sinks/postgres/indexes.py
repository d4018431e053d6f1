"""The declared indexes of one generation's table: made at once where it is new, else beside the writes.

Beside the writes means CREATE INDEX CONCURRENTLY, which no transaction may hold. What a crash leaves of it is an
invalid index: it costs time at every write and serves no reader, so the next worker drops it and makes it anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from dynaview.projections.rows import Index
from dynaview.sinks.port import RefusedRow, SinkRefused
from dynaview.sinks.postgres.client import Connections, Mode
from dynaview.sinks.postgres.errors import UNIQUE, ContentError, reason_of
from dynaview.sinks.postgres.generation import Schema, identifiers
from dynaview.sinks.postgres.unfit import Unfit

_ATTEMPTS = 3
"""How often an index is refused for rows that nobody can name any more."""

_PAUSE = 0.2
"""Seconds between two looks whether another worker is done."""

_STANDING = """
    SELECT i.relname, x.indisvalid, obj_description(i.oid, 'pg_class') LIKE 'dynaview: %%'
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = %s AND t.relname = %s
"""


@dataclass(frozen=True, slots=True)
class _Standing:
    """How the indexes that stand differ from the declared ones."""

    missing: tuple[str, ...]
    broken: tuple[str, ...]
    """Left by a crash: to be dropped and made anew."""
    unmarked: tuple[str, ...]
    """Made, but not yet marked as ours."""
    undeclared: tuple[str, ...]
    """Ours by their mark, and no longer wanted."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.broken or self.unmarked or self.undeclared)


class _Violated(Exception):
    """The rows do not allow an index."""

    def __init__(self, name: str, error: ContentError) -> None:
        super().__init__(name)
        self.name = name
        self.error = error


class Indexes:
    """One table's. Safe to use from several threads and processes."""

    def __init__(self, connections: Connections, schema: Schema, generation: int) -> None:
        self._connections = connections
        self._schema = schema
        self._generation = generation
        self._table = schema.table(generation)
        self._wanted = schema.indexes(generation)
        self._right = schema.own_right(connections.role, "TABLE", self._table)

    def make(self, connection: Connection[Any]) -> None:
        """Make them on a table that is new, in the caller's transaction."""
        for name in self._wanted:
            connection.execute(self._making(name))
            self._schema.comment(connection, "INDEX", name, self._generation)

    def complete(self) -> None:
        """Make what is missing and drop what is no longer declared, while readers and writers go on; left to another
        worker where one is at it already. Raises `SinkRefused` where the rows do not allow an index."""
        try:
            self._try()
        except _Violated as violated:
            raise SinkRefused(self._complaint(self._wanted[violated.name], violated.error)) from None

    def finish(self, unfit: Unfit) -> list[RefusedRow]:
        """As `complete`, but where another worker is at it already, wait for it, and name the rows that do not allow
        an index. Raises `SinkRefused` where none can be named."""
        for _ in range(_ATTEMPTS):
            try:
                while not self._try():
                    # Nothing may wait in the database itself: making an index waits for all who do.
                    threading.Event().wait(_PAUSE)
            except _Violated as violated:
                index = self._wanted[violated.name]
                found = unfit.repeating(index) if violated.error.state == UNIQUE else unfit.unindexable(index)
                if found:
                    return found
                complaint = self._complaint(index, violated.error)  # or they are gone by now: try again
            else:
                return []
        raise SinkRefused(complaint)

    def _try(self) -> bool:
        """Whether nobody else was at it, so that all is done now."""
        if not self._look():
            return True
        with self._claim() as had:
            if not had:
                return False
            standing = self._look()
            for name in (*standing.broken, *standing.undeclared):
                self._drop(name)
            for name in (*standing.broken, *standing.missing):
                self._build(name)
            for name in standing.unmarked:
                self._mark(name)
        return True

    @contextmanager
    def _claim(self) -> Iterator[bool]:
        """Keep other workers away until the block ends, where none of them does so already; whether that is so.

        The lock is of a transaction that does nothing else, so it ends with the process, and also holds where a pooler
        stands between us and the server."""
        with self._connections.transaction(self._right, Mode.LONG) as connection:
            (had,) = connection.execute(
                "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 1))",
                (f"dynaview {self._schema.name}.{self._table}",),
            ).fetchone() or (False,)
            # A statement without parameters also closes what is left of the one before, with the snapshot for which
            # the making of an index would wait.
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield had

    def _look(self) -> _Standing:
        with self._connections.transaction(self._right) as connection:
            rows = connection.execute(_STANDING, (self._schema.name, self._table)).fetchall()
        valid = {name: is_valid for name, is_valid, _ in rows}
        marked = {name for name, _, is_marked in rows if is_marked}
        return _Standing(
            missing=tuple(name for name in self._wanted if name not in valid),
            broken=tuple(name for name in self._wanted if not valid.get(name, True)),
            unmarked=tuple(name for name in self._wanted if valid.get(name) and name not in marked),
            undeclared=tuple(name for name in sorted(marked) if name not in self._wanted),
        )

    def _build(self, name: str) -> None:
        try:
            with self._connections.single(self._right) as connection:
                connection.execute(self._making(name, beside=True))
        except ContentError as error:
            # An invalid unique index would refuse writes all the same.
            self._drop(name)
            raise _Violated(name, error) from None
        self._mark(name)

    def _mark(self, name: str) -> None:
        with self._connections.transaction(self._right) as connection:
            self._schema.comment(connection, "INDEX", name, self._generation)

    def _drop(self, name: str) -> None:
        with self._connections.single(self._right) as connection:
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(self._schema.qualified(name)))

    def _complaint(self, index: Index, error: ContentError) -> str:
        columns = ", ".join(index.columns)
        what = f"view {self._schema.view}: the {'unique ' * index.unique}index on {columns} cannot be made"
        if error.state != UNIQUE:
            return f"{what}: {reason_of(error)}; take it out of the declaration, or declare another method"
        query = sql.SQL(
            "SELECT {0}, count(*) FROM {1} WHERE _deleted IS NULL AND ({0}) IS NOT NULL GROUP BY {0} "
            "HAVING count(*) > 1"
        ).format(identifiers(index.columns), self._schema.qualified(self._table))
        return (
            f"{what}, because rows share values there: change their items, or take `unique` off the index, and try "
            f"again; this lists them: {query.as_string()}"
        )

    def _making(self, name: str, beside: bool = False) -> sql.Composed:
        index = self._wanted[name]
        return sql.SQL("CREATE {}INDEX {}{} ON {} USING {} ({}) WHERE _deleted IS NULL").format(
            sql.SQL("UNIQUE " if index.unique else ""),
            sql.SQL("CONCURRENTLY " if beside else ""),
            sql.Identifier(name),
            self._schema.qualified(self._table),
            sql.Identifier(index.method),
            identifiers(index.columns),
        )
