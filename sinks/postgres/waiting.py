"""Rows that wait for a value of a unique index: kept in the table, hidden from readers, shown once the value is free.

Items hand such values round, in one transaction, by way of a free value, or across shards that are read at different
speeds. So a clash is often only a matter of order. A row that clashes is written all the same, with ``_deleted`` at
`HIDDEN`: readers do not see it, and the unique index, which covers live rows only, does not hold it. Whoever writes
next looks whether some waiting row can be shown now; of several that want one value it is the one with the lowest key.
What still waits is what the table itself holds twice.

To the guard a waiting row is a tombstone of its version. Only the answer differs: the same change, when it comes again,
clashes again, so that a batch that is sent again gets the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

from psycopg import Connection, sql

from dynaview.sinks.postgres.names import Name, listed

HIDDEN = "'infinity'::timestamptz"
"""``_deleted`` of a row that waits: no tombstone is ever that young, so it is never purged either."""

CLASH = "another row has the same values in a unique index; it shows by itself once they are free"


_EQUAL = sql.SQL("OPERATOR(pg_catalog.=)")
_EQUALS = """
    SELECT DISTINCT ON (a.attname) a.attname, n.nspname, o.oprname
    FROM pg_index x
    CROSS JOIN LATERAL unnest(x.indkey::int2[], x.indclass::oid[]) AS part(number, class)
    JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = part.number
    JOIN pg_opclass c ON c.oid = part.class
    JOIN pg_amop m ON m.amopfamily = c.opcfamily AND m.amopstrategy = 3
        AND m.amoplefttype = c.opcintype AND m.amoprighttype = c.opcintype
    JOIN pg_operator o ON o.oid = m.amopopr
    JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE x.indrelid = %s::regclass AND x.indisunique AND x.indisvalid AND NOT x.indisprimary
"""


@dataclass
class Waiting:
    """The statements on one table. Methods run in the caller's transaction."""

    schema: str
    table: str
    keys: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...]
    """The columns of each unique index."""
    _equals: dict[str, sql.Composed] | None = None
    """By column, the operator by which its unique index compares, qualified; once it was looked up."""

    def show(self, connection: Connection[Any]) -> int:
        """Show the waiting rows whose values are free; how many.

        Raises what the driver raises; a unique violation where another transaction took a value meanwhile.
        """
        if not self.unique or connection.execute(self._any, ()).fetchone() is None:
            return 0
        if self._equals is None:
            self._equals = {
                name: sql.SQL("OPERATOR({}.{})").format(Name(schema), sql.SQL(operator))
                for name, schema, operator in connection.execute(
                    _EQUALS, (sql.Identifier(self.schema, self.table).as_string(),)
                )
            }
        shown = 0
        # Whoever is about to free a value holds its row: wait for that, and see the outcome in the next statement.
        for columns in self.unique:
            connection.execute(self._holders(columns), ())
        while (found := connection.execute(self._show, ()).rowcount) > 0:
            shown += found
        return shown

    @cached_property
    def _relation(self) -> sql.Composed:
        return sql.SQL("{}.{}").format(Name(self.schema), Name(self.table))

    @cached_property
    def _any(self) -> sql.Composed:
        """Whether some row waits. Never while the indexes are still to be made: looking would go through all rows."""
        return sql.SQL(
            "SELECT 1 FROM {} WHERE _deleted = {} AND (SELECT count(*) FROM pg_index x WHERE x.indrelid = {}::regclass "
            "AND x.indisunique AND x.indisvalid AND NOT x.indisprimary) >= {} LIMIT 1"
        ).format(
            self._relation,
            sql.SQL(HIDDEN),
            sql.Literal(self._relation.as_string()),
            sql.Literal(len(set(self.unique))),
        )

    def _holders(self, columns: Sequence[str]) -> sql.Composed:
        return sql.SQL(
            "SELECT FROM {0} AS l JOIN {0} AS h ON {1} WHERE h._deleted = {2} AND l._deleted IS NULL FOR SHARE OF l"
        ).format(self._relation, self._same(columns), sql.SQL(HIDDEN))

    @cached_property
    def _show(self) -> sql.Composed:
        # A row that another transaction has in hand is left to that one: it looks for itself when it is done.
        free = [
            sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS l WHERE l._deleted IS NULL AND {})").format(
                self._relation, self._same(columns)
            )
            for columns in self.unique
        ]
        firsts = [
            sql.SQL("({} OR row_number() OVER (PARTITION BY {} ORDER BY {}) = 1)").format(
                sql.SQL(" OR ").join([sql.SQL("{} IS NULL").format(Name(name)) for name in columns]),
                listed(columns),
                listed(self.keys),
            )
            for columns in self.unique
        ]
        return sql.SQL(
            "WITH free AS MATERIALIZED (SELECT h.ctid, {5} FROM {0} AS h WHERE h._deleted = {1}{2} "
            "ORDER BY {3} FOR UPDATE SKIP LOCKED), "
            "ranked AS (SELECT free.ctid AS place, {4} AS first FROM free) "
            "UPDATE {0} AS t SET _deleted = NULL FROM ranked WHERE t.ctid = ranked.place AND ranked.first"
        ).format(
            self._relation,
            sql.SQL(HIDDEN),
            sql.SQL("").join(free),
            listed(self.keys, "h"),
            sql.SQL(" AND ").join(firsts),
            listed([*dict.fromkeys([*self.keys, *chain.from_iterable(self.unique)])], "h"),
        )

    def _same(self, columns: Sequence[str]) -> sql.Composed:
        equals = self._equals or {}
        pairs = ((Name(name), equals.get(name, _EQUAL)) for name in columns)
        return sql.SQL(" AND ").join([sql.SQL("l.{0} {1} h.{0}").format(name, equal) for name, equal in pairs])
