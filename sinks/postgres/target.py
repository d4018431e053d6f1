"""One generation of one view in Postgres."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any

from psycopg import Connection, sql

from dynaview.projections.columns import Columns
from dynaview.projections.rows import Layout, RowKey, Write
from dynaview.sinks.port import (
    CanonicalRows,
    ConditionalWrite,
    Foreign,
    Outcome,
    RefusedRow,
    RejectedKind,
    SinkRefused,
    Stored,
)
from dynaview.sinks.postgres import literals
from dynaview.sinks.postgres.canonical import NONE, Canonical
from dynaview.sinks.postgres.client import Connections, Mode
from dynaview.sinks.postgres.errors import ContentError, Locked, reason_of
from dynaview.sinks.postgres.generation import Schema
from dynaview.sinks.postgres.guard import Guard
from dynaview.sinks.postgres.indexes import Indexes
from dynaview.sinks.postgres.limits import LIMITS, Limits
from dynaview.sinks.postgres.readers import Readers
from dynaview.sinks.postgres.statements import Statements
from dynaview.sinks.postgres.unfit import Unfit
from dynaview.sinks.postgres.values import columns_of
from dynaview.sinks.postgres.waiting import Waiting


class PostgresTarget:
    """See `dynaview.sinks.port.Target`. `Stored.content` is a dict of all fields, None where there is no value."""

    def __init__(self, connections: Connections, layout: Layout, generation: int, limits: Limits = LIMITS) -> None:
        self.layout = layout
        self.generation = generation
        columns = columns_of(layout)
        self._connections = connections
        self._limits = limits
        self._schema = Schema(layout, columns)
        self._keys = columns[: len(layout.key)]
        self._columns = columns
        self._statements = Statements(
            self._schema.name,
            self._schema.table(generation),
            self._keys,
            columns,
        )
        order = {field.name: number for number, field in enumerate(layout.fields or ())}
        self._places = [None if column.name in layout.key else order[column.name] for column in columns]
        self._canonical_rows = Canonical(columns[len(layout.key) :], self._places[len(layout.key) :])
        unique = tuple(self._schema.unique_indexes(generation).values())
        self._waiting = Waiting(self._schema.name, self._schema.table(generation), layout.key, unique)
        self._guard = Guard(connections, self._schema, generation, self._statements, self._places, self._waiting)
        self._unfit = Unfit(connections, self._statements, generation)
        self._indexes = Indexes(connections, self._schema, generation)
        self._readers = Readers(layout, self._schema)
        self._right = self._schema.write_right(connections.role, generation)
        self._make = self._schema.create_right(connections.role)

    def prepare(self, bulk: bool = False) -> None:
        made: list[bool] = []

        def make(connection: Connection[Any], generation: int) -> None:
            made[:] = [self._schema.prepare(connection, generation)]
            if made == [True] and not bulk:
                self._indexes.make(connection)

        self._alter(make, self._make)
        if made == [False] and not bulk:
            self._indexes.complete()

    def finish(self, kept: Sequence[RefusedRow] = ()) -> list[RefusedRow]:
        """See the port. A row whose values repeat waits until they are free, see `waiting`; any other gets a
        tombstone."""
        table = self._schema.table(self.generation)
        with self._connections.transaction(self._right) as connection:
            self._schema.standing(connection, self.generation)
        self._take_out(kept)
        refused = self._indexes.finish(self._unfit)
        if refused:
            return refused
        with self._connections.transaction(self._right, Mode.LONG) as connection:
            self._waiting.show(connection)
            connection.execute(sql.SQL("ANALYZE {}").format(self._schema.qualified(table)))
        return []

    def _take_out(self, kept: Sequence[RefusedRow]) -> None:
        repeating = [one.row for one in kept if one.refused.kind is RejectedKind.UNIQUE]
        others = [one.row for one in kept if one.refused.kind is not RejectedKind.UNIQUE]
        if others:
            self.write_if_unchanged([ConditionalWrite(Write(row.key, None, 0, row.owner), row) for row in others])
        if repeating:
            keys = zip(*[row.key for row in repeating], strict=True)
            arrays = [column.encode(one) for column, one in zip(self._keys, keys, strict=True)]
            arrays.append(literals.plain([row.version for row in repeating]))
            with self._connections.transaction(self._right, Mode.WRITE) as connection:
                connection.execute(self._statements.hide(), arrays)

    def gone(self) -> str | None:
        name = self._schema.table(self.generation)
        with self._connections.transaction(self._right) as connection:
            found = self._schema.find(connection, name)
        return None if found is not None else f"table {self._schema.shown(name)} is gone"

    def publish(self) -> None:
        self._alter(self._readers.publish, self._schema.own_right(self._connections.role, "VIEW", self._schema.readers))

    def drop(self) -> None:
        table = self._schema.table(self.generation)
        self._alter(self._schema.drop, self._schema.own_right(self._connections.role, "TABLE", table))

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        return self._guard.apply(writes) if writes else []

    def write_columns(self, columns: Columns) -> dict[int, Outcome]:
        return self._guard.apply_columns(columns) if len(columns) else {}

    def write_if_unchanged(self, conditional_writes: Sequence[ConditionalWrite]) -> list[Outcome]:
        return self._guard.write_if_unchanged(conditional_writes) if conditional_writes else []

    def content(self, write: Write) -> Any:
        if write.values is None:
            return None
        values = tuple(write.values)
        content: dict[str, Any] = {}
        for number, (column, place) in enumerate(zip(self._columns, self._places, strict=True)):
            value = write.key[number] if place is None else values[place]
            content[column.name] = None if value is None else column.kept(value)
        return content

    def canonical(self, write: Write) -> bytes | None:
        if write.values is None:
            return None
        try:
            return self._canonical_rows.canonical(write.owner, tuple(write.values))
        except (ValueError, TypeError, AttributeError, ArithmeticError):
            self.content(write)  # which may raise; if not, no row is like this one
            return NONE

    def fault(self, write: Write) -> str | None:
        return self._guard.fault(write)

    def read(self, keys: Sequence[RowKey], contents: bool = True) -> list[Stored | None]:
        found: list[Stored | None] = [None] * len(keys)
        if not keys:
            return found
        try:
            arrays = [column.encode(one) for column, one in zip(self._keys, zip(*keys, strict=True), strict=True)]
            with self._connections.transaction(self._right) as connection:
                rows = connection.execute(self._statements.read(), arrays).fetchall()
        except (ContentError, ValueError, TypeError, AttributeError, ArithmeticError):
            # A key that Postgres cannot hold is not there; the others may be.
            return [None] if len(keys) == 1 else [self.read([key])[0] for key in keys]
        for number, deleted, *row in rows:
            found[number - 1] = self._statements.stored(row, deleted, self.generation)
        return found

    def rows(self) -> Iterator[Stored]:
        """Pages in the order of the key, each in a transaction of its own: nothing stays open between two rows."""
        for rows in self._pages(self._statements.page, lambda row: row):
            for row in rows:
                yield self._statements.stored(row, False, self.generation)

    def rows_of(self, owners: Collection[str]) -> Iterator[Stored]:
        """By a scan of the table: an index on owners would cost every write for what is asked for hardly ever."""
        with self._connections.transaction(self._right, Mode.LONG) as connection:
            rows = connection.execute(self._statements.rows_of(), ([*owners],)).fetchall()
        return (self._statements.stored(row, False, self.generation) for row in rows)

    def earlier(self) -> Iterator[Stored]:
        return iter(())

    def canonical_rows(self) -> Iterator[CanonicalRows]:
        def statement(size: int, after: bool) -> sql.Composed:
            return self._statements.canonical_rows(size, after, self.generation)

        for rows in self._pages(statement, lambda row: row[3:]):
            if rows:
                states, owners, canonical_rows, *keys = zip(*rows, strict=True)
                yield self._canonical_rows.page([*zip(*keys, strict=True)], states, owners, canonical_rows)

    def _pages(
        self, page: Callable[[int, bool], sql.Composed], key: Callable[[Sequence[Any]], Sequence[Any]]
    ) -> Iterator[list[tuple[Any, ...]]]:
        """What a statement for a page selects, page after page; `key` is the key of such a row (and maybe more)."""
        most = self._limits.page_rows
        statement, parameters = page(most, False), list[str]()
        while True:
            with self._connections.transaction(self._right) as connection:
                rows = connection.execute(statement, parameters).fetchall()
            yield rows
            if len(rows) < most:
                return
            statement = page(most, True)
            parameters = [column.encode([value]) for column, value in zip(self._keys, key(rows[-1]), strict=False)]

    def show(self) -> None:
        """Readers see every transaction once it is committed."""

    def foreign(self) -> Iterator[Foreign]:
        """The table is dynaview's own, see the port."""
        return iter(())

    def remove_foreign(self, foreign: Sequence[Foreign]) -> int:
        return 0

    def count(self) -> int:
        with self._connections.transaction(self._right, Mode.LONG) as connection:
            (count,) = connection.execute(self._statements.count(), ()).fetchone() or (0,)
        return int(count)

    def purge(self, older_than: timedelta) -> int:
        purged, most = 0, self._limits.purge_rows
        while True:
            with self._connections.transaction(self._right) as connection:
                removed = connection.execute(self._statements.purge(most), (older_than,)).rowcount
            purged += removed
            if removed < most:
                return purged

    def _alter(self, action: Callable[[Connection[Any], int], None], remedy: str) -> None:
        """Change relations. A lock that is not had at once is given up soon and tried again, so that readers queueing
        behind us are held up only for moments."""
        limits = self._limits
        wait = sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(int(limits.lock_wait * 1000)))
        for attempt in range(1, limits.lock_attempts + 1):
            try:
                with self._connections.transaction(remedy, Mode.LONG) as connection:
                    connection.execute(wait)
                    action(connection, self.generation)
            except Locked:
                if attempt == limits.lock_attempts:
                    raise
                threading.Event().wait(limits.lock_pause)
            except ContentError as error:
                raise SinkRefused(
                    f"view {self.layout.view} cannot be set up in {self._schema.shown(self._schema.readers)}: "
                    f"{reason_of(error)}"
                ) from None
            else:
                return
