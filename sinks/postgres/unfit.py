"""Rows that a declared index does not allow, found after a load that was made without it.

Postgres only says that it cannot make the index. So which rows are at fault is found out here: those that repeat a
value of a unique index by asking for them, those that any other index cannot hold (a value too long for it) by putting
the rows, page by page, into an index of the same kind on a temporary table and halving the pages that it refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import psycopg
from psycopg import Connection, sql

from dynaview.projections.rows import Index
from dynaview.sinks.port import RefusedRow, Rejected, RejectedKind, Stored
from dynaview.sinks.postgres import literals
from dynaview.sinks.postgres.client import Connections, Mode
from dynaview.sinks.postgres.errors import ContentError, reason_of, translated
from dynaview.sinks.postgres.names import Name, listed
from dynaview.sinks.postgres.statements import Statements
from dynaview.sinks.postgres.waiting import CLASH

NAMED = 1000
"""Rows named at once."""

_PAGE = 2000


class Unfit:
    """Finds them in one table. `statements` are that table's."""

    def __init__(self, connections: Connections, statements: Statements, generation: int) -> None:
        self._connections = connections
        self._statements = statements
        self._generation = generation
        self._right = f"GRANT SELECT ON the view's table and GRANT TEMPORARY ON DATABASE to {connections.role}"

    def repeating(self, index: Index) -> list[RefusedRow]:
        """Live rows whose values of a unique index a row with a lower key has. Raises `SinkError`."""
        refused = Rejected(f"column {', '.join(index.columns)}: {CLASH}", RejectedKind.UNIQUE)
        with self._connections.transaction(self._right, Mode.LONG) as connection:
            rows = connection.execute(self._statements.repeating(index.columns, NAMED), ()).fetchall()
        return [RefusedRow(self._statements.stored(row, False, self._generation), refused) for row in rows]

    def unindexable(self, index: Index) -> list[RefusedRow]:
        """Live rows that the index cannot hold. Raises `SinkError`."""
        with self._connections.transaction(self._right, Mode.LONG) as connection:
            probe = _Probe(connection, self._connections.place, self._statements, index)
            return [*islice(probe.refused(self._pages(connection)), NAMED)]

    def _pages(self, connection: Connection[Any]) -> Iterator[list[Stored]]:
        statement, parameters = self._statements.page(_PAGE, False), list[str]()
        while True:
            rows = connection.execute(statement, parameters).fetchall()
            yield [self._statements.stored(row, False, self._generation) for row in rows]
            if len(rows) < _PAGE:
                return
            statement = self._statements.page(_PAGE, True)
            keys = self._statements.keys
            parameters = [column.encode([value]) for column, value in zip(keys, rows[-1], strict=False)]


class _Probe:
    """An index of the same kind on a temporary table, which the transaction's end removes."""

    def __init__(self, connection: Connection[Any], place: str, statements: Statements, index: Index) -> None:
        self._connection = connection
        self._place = place
        self._statements = statements
        self._index = index
        columns = listed(index.columns)
        connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE pg_temp.dynaview_probe ON COMMIT DROP AS SELECT {} FROM {} LIMIT 0").format(
                columns, statements.relation
            ),
            (),
        )
        connection.execute(
            sql.SQL("CREATE INDEX ON pg_temp.dynaview_probe USING {} ({})").format(Name(index.method), columns), ()
        )

    def refused(self, pages: Iterator[list[Stored]]) -> Iterator[RefusedRow]:
        for page in pages:
            yield from self._sift(page)
            self._connection.execute("TRUNCATE pg_temp.dynaview_probe")

    def _sift(self, rows: Sequence[Stored]) -> Iterator[RefusedRow]:
        if not rows:
            return
        error = self._insert(rows)
        if error is None:
            return
        if len(rows) == 1:
            columns = ", ".join(self._index.columns)
            yield RefusedRow(rows[0], Rejected(f"column {columns}: {reason_of(error)}"))
            return
        half = len(rows) // 2
        yield from self._sift(rows[:half])
        yield from self._sift(rows[half:])

    def _insert(self, rows: Sequence[Stored]) -> ContentError | None:
        """Those of `rows` that stand as they were read; what the index says against them."""
        keys = zip(*[row.key for row in rows], strict=True)
        arrays = [column.encode(one) for column, one in zip(self._statements.keys, keys, strict=True)]
        arrays.append(literals.plain([row.version for row in rows]))
        insert = sql.SQL("INSERT INTO pg_temp.dynaview_probe {}").format(self._statements.as_seen(self._index.columns))
        self._connection.execute("SAVEPOINT page")
        try:
            self._connection.execute(insert, arrays)
        except psycopg.Error as error:
            found = translated(error, self._place, "")
            if not isinstance(found, ContentError):
                raise
            self._connection.execute("ROLLBACK TO SAVEPOINT page")
            return found
        return None
