"""The guard: one set-wise statement that applies a batch, and the other statements on a generation's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from dynaview.projections.rows import Rule
from dynaview.sinks.port import Stored
from dynaview.sinks.postgres.names import Name, listed
from dynaview.sinks.postgres.values import DELETED, OWNER, VERSION, Column
from dynaview.sinks.postgres.waiting import HIDDEN


@dataclass
class Statements:
    """The statements on one table. Parameters are array literals, in the order of `keys`, `columns` and extras."""

    schema: str
    table: str
    keys: tuple[Column, ...]
    columns: tuple[Column, ...]
    """All, the key's first."""
    _writes: dict[tuple[Rule, bool, bool, bool], bytes] = field(default_factory=dict)
    _conditional: dict[bool, bytes] = field(default_factory=dict)

    @property
    def relation(self) -> sql.Composable:
        """The table, qualified."""
        return sql.SQL("{}.{}").format(Name(self.schema), Name(self.table))

    def write(self, rule: Rule, owners: bool, deletes: bool, hidden: bool = False) -> bytes:
        """Apply a batch; the rows affected are the writes applied. Where `hidden`, upserts become waiting rows.

        Parameters: an array for each column, the versions, the owners if any write names one, and, if there are
        deletes, which writes are deletes.
        """
        found = self._writes.get((rule, owners, deletes, hidden))
        if found is None:
            made = self._composed(rule, owners, deletes, hidden)
            found = self._writes[rule, owners, deletes, hidden] = made.as_bytes()
        return found

    def _composed(self, rule: Rule, owners: bool, deletes: bool, hidden: bool) -> sql.Composed:
        given = [f"c{number}" for number in range(len(self.columns))]
        types = [column.wire for column in self.columns]
        values: list[sql.Composable] = [_given(name, column) for name, column in zip(given, self.columns, strict=True)]
        extras = [("v", "numeric")] + [("o", "text")] * owners + [("d", "boolean")] * deletes
        names = [*(column.name for column in self.columns), VERSION, OWNER, DELETED]
        live = HIDDEN if hidden else "NULL::timestamptz"
        values += [
            sql.SQL("u.v"),
            sql.SQL("u.o") if owners else sql.SQL("''"),
            sql.SQL(f"CASE WHEN u.d THEN now() ELSE {live} END" if deletes else live),
        ]
        return sql.SQL(
            "INSERT INTO {relation} AS t ({names}) SELECT {values} FROM (SELECT {arrays}) AS u "
            "ON CONFLICT ({keys}) {action}"
        ).format(
            relation=self.relation,
            names=listed(names),
            values=sql.SQL(", ").join(values),
            # Side by side in a select list, unnest hands on row by row; in FROM it would fill a store first.
            arrays=_unnested([*zip(given, types, strict=True), *extras]),
            keys=listed([column.name for column in self.keys]),
            action=self._guard(names, owners, deletes) if rule is Rule.NEWER else sql.SQL("DO NOTHING"),
        )

    def _guard(self, names: Sequence[str], owners: bool, deletes: bool) -> sql.Composed:
        """Which writes may replace what stands; the words of `dynaview.sinks.port` in SQL."""
        kept = {column.name for column in self.keys}
        sets = [sql.SQL("{0} = excluded.{0}").format(Name(name)) for name in names if name not in kept]
        upserts = f"(excluded._deleted IS NULL OR excluded._deleted = {HIDDEN})"
        newer = "excluded._version > t._version"
        condition = sql.SQL(newer)
        if owners:
            takes_over = "t._deleted IS NOT NULL" + (f" AND {upserts}" if deletes else "")
            condition = sql.SQL(
                f"CASE WHEN excluded._owner = '' OR excluded._owner = t._owner THEN {newer} ELSE {takes_over} END"
            )
        return sql.SQL("DO UPDATE SET {} WHERE {}").format(sql.SQL(", ").join(sets), condition)

    def write_if_unchanged(self, hidden: bool = False) -> bytes:
        """Put rows right that stand as they were seen, and only those. Which ones, `look` tells.

        Parameters: an array for each column, the versions, the owners and which are deletes; then what was seen:
        versions, owners, and which were live (null where there was nothing). Rows are locked in the order of the
        batch, as `write` does, and those that came or went meanwhile are left alone. `hidden` as for `write`.
        """
        if hidden not in self._conditional:
            given = [f"c{number}" for number in range(len(self.columns))]
            types = [column.wire for column in self.columns]
            extras = [("v", "numeric"), ("o", "text"), ("d", "boolean")]
            seen = [("sv", "numeric"), ("so", "text"), ("sl", "boolean")]
            names = [*(column.name for column in self.columns), VERSION, OWNER, DELETED]
            values: list[sql.Composable] = [
                _given(one, column) for one, column in zip(given, self.columns, strict=True)
            ]
            live = HIDDEN if hidden else "NULL"
            values += [sql.SQL("u.v"), sql.SQL("u.o"), sql.SQL(f"CASE WHEN u.d THEN now() ELSE {live} END")]
            fixed = len(self.keys)
            text = sql.SQL(
                "WITH u AS MATERIALIZED (SELECT *, row_number() OVER () AS n FROM (SELECT {arrays}) AS given), "
                "standing AS MATERIALIZED (SELECT u.n, t.ctid AS place FROM u JOIN {relation} AS t ON {same} "
                "WHERE t._version = u.sv AND t._owner = u.so AND (t._deleted IS NULL) = u.sl "
                "ORDER BY u.n FOR UPDATE OF t), "
                "updated AS (UPDATE {relation} AS t SET {sets} FROM standing JOIN u USING (n) "
                "WHERE t.ctid = standing.place) "
                "INSERT INTO {relation} ({names}) SELECT {values} FROM u WHERE u.sl IS NULL ORDER BY u.n "
                "ON CONFLICT ({keys}) DO NOTHING"
            ).format(
                relation=self.relation,
                arrays=_unnested([*zip(given, types, strict=True), *extras, *seen]),
                same=_same(self.keys, given[:fixed]),
                sets=sql.SQL(", ").join(
                    sql.SQL("{} = {}").format(Name(name), value)
                    for name, value in zip(names[fixed:], values[fixed:], strict=True)
                ),
                names=listed(names),
                values=sql.SQL(", ").join(values),
                keys=listed([column.name for column in self.keys]),
            )
            self._conditional[hidden] = text.as_bytes()
        return self._conditional[hidden]

    def look(self) -> sql.Composed:
        """After a write in the same transaction: position from 1, whether this transaction wrote the row, whether it
        is live, whether it waits, its version and its owner. The rows cannot have changed since: ON CONFLICT DO UPDATE
        locks also those that its guard kept as they were. Parameters: an array for each key column."""
        return sql.SQL(
            "SELECT u.n, t.xmin = pg_current_xact_id()::xid, t._deleted IS NULL, "
            "coalesce(t._deleted = {}, false), t._version, t._owner FROM {}"
        ).format(sql.SQL(HIDDEN), self._joined())

    def read(self) -> sql.Composed:
        """Position from 1, then what `row` selects. Parameters: an array for each key column."""
        return sql.SQL("SELECT u.n, t._deleted IS NOT NULL, {} FROM {}").format(self._row(), self._joined())

    def rows_of(self) -> sql.Composed:
        """The live rows of some owners, and those that wait, as `row` selects them. Parameter: the owners."""
        return sql.SQL(
            "SELECT {} FROM {} AS t WHERE (t._deleted IS NULL OR t._deleted = {}) AND t._owner = ANY (%s::text[])"
        ).format(self._row(), self.relation, sql.SQL(HIDDEN))

    def page(self, size: int, after: bool) -> sql.Composed:
        """The next live rows in the order of the key. Parameters where `after`: the last key, as arrays of one."""
        return self._page(self._row(), size, after)

    def _page(self, selected: sql.Composable, size: int, after: bool) -> sql.Composed:
        keys = listed([column.name for column in self.keys], "t")
        beyond: sql.Composable = sql.SQL("")
        if after:
            last = [sql.SQL("({})[1]{}").format(_array(key.wire), sql.SQL(key.cast)) for key in self.keys]
            beyond = sql.SQL(" AND ({}) > ({})").format(keys, sql.SQL(", ").join(last))
        return sql.SQL("SELECT {} FROM {} AS t WHERE t._deleted IS NULL{} ORDER BY {} LIMIT {}").format(
            selected, self.relation, beyond, keys, sql.Literal(size)
        )

    def canonical_rows(self, size: int, after: bool, generation: int) -> sql.Composed:
        """As `page`, but the state and the owner of each row, its canonical bytes (`dynaview.sinks.postgres.canonical`)
        and its key."""
        return self._page(self._canonical(generation), size, after)

    def repeating(self, columns: Sequence[str], size: int) -> sql.Composed:
        """Live rows, as `page` selects them, that repeat the values of a row with a lower key in all `columns`."""
        return sql.SQL(
            "SELECT {row} FROM {relation} AS t WHERE t._deleted IS NULL AND t.ctid = ANY (ARRAY("
            "SELECT ranked.place FROM (SELECT ctid AS place, "
            "row_number() OVER (PARTITION BY {columns} ORDER BY {keys}) AS nth "
            "FROM {relation} WHERE _deleted IS NULL AND {given}) AS ranked WHERE ranked.nth > 1 LIMIT {size}))"
        ).format(
            row=self._row(),
            relation=self.relation,
            columns=listed(columns),
            keys=listed([key.name for key in self.keys]),
            given=sql.SQL(" AND ").join([sql.SQL("{} IS NOT NULL").format(Name(name)) for name in columns]),
            size=sql.Literal(size),
        )

    def as_seen(self, columns: Sequence[str]) -> sql.Composed:
        """These columns of live rows that stand as they were seen. Parameters: an array for each key column, and the
        versions."""
        given = [f"k{number}" for number in range(len(self.keys))]
        return sql.SQL(
            "SELECT {columns} FROM unnest({keys}, %s::numeric[]) AS u ({given}) JOIN {relation} AS t ON {same} "
            "WHERE t._version = u.v AND t._deleted IS NULL"
        ).format(
            columns=listed(columns, "t"),
            keys=sql.SQL(", ").join([_array(key.wire) for key in self.keys]),
            given=listed([*given, "v"]),
            relation=self.relation,
            same=_same(self.keys, given),
        )

    def hide(self) -> sql.Composed:
        """Let live rows that stand as they were seen wait. Parameters: an array for each key column, and the
        versions."""
        given = [f"k{number}" for number in range(len(self.keys))]
        return sql.SQL(
            "UPDATE {relation} AS t SET _deleted = {hidden} FROM unnest({keys}, %s::numeric[]) AS u ({given}) "
            "WHERE {same} AND t._version = u.v AND t._deleted IS NULL"
        ).format(
            relation=self.relation,
            hidden=sql.SQL(HIDDEN),
            keys=sql.SQL(", ").join([_array(key.wire) for key in self.keys]),
            given=listed([*given, "v"]),
            same=_same(self.keys, given),
        )

    def stored(self, row: Sequence[Any], deleted: bool, generation: int) -> Stored:
        """What `page` selected of a row."""
        *values, version, owner = row
        names = (column.name for column in self.columns)
        content = None if deleted else dict(zip(names, values, strict=True))
        return Stored(tuple(values[: len(self.keys)]), int(version), owner, generation, content)

    def count(self) -> sql.Composed:
        """How many rows are live."""
        return sql.SQL("SELECT count(*) FROM {} WHERE _deleted IS NULL").format(self.relation)

    def purge(self, size: int) -> sql.Composed:
        """Remove some tombstones. Parameter: their least age, an interval. One that is being taken over is skipped."""
        return sql.SQL(
            "DELETE FROM {0} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {0} "
            "WHERE _deleted <= now() - %s::interval LIMIT {1} FOR UPDATE SKIP LOCKED))"
        ).format(self.relation, sql.Literal(size))

    def _row(self) -> sql.Composed:
        selected = [sql.SQL("t.{}{}").format(Name(one.name), sql.SQL(one.select)) for one in self.columns]
        return sql.SQL(", ").join([*selected, sql.SQL("t._version"), sql.SQL("t._owner")])

    def _canonical(self, generation: int) -> sql.Composed:
        keys = [sql.SQL("t.{}{}").format(Name(one.name), sql.SQL(one.select)) for one in self.keys]
        shown = [
            sql.SQL("t.{}{}").format(Name(one.name), sql.SQL(one.select)) for one in self.columns[len(self.keys) :]
        ]
        return sql.SQL("t._version::text || {} || t._owner, t._owner, row_to_json(ROW({}))::text, {}").format(
            sql.Literal(f" {generation} "), sql.SQL(", ").join(shown), sql.SQL(", ").join(keys)
        )

    def _joined(self) -> sql.Composed:
        given = [f"k{number}" for number in range(len(self.keys))]
        return sql.SQL("unnest({}) WITH ORDINALITY AS u ({}) JOIN {} AS t ON {}").format(
            sql.SQL(", ").join([_array(key.wire) for key in self.keys]),
            listed([*given, "n"]),
            self.relation,
            _same(self.keys, given),
        )


def _same(keys: Sequence[Column], given: Sequence[str]) -> sql.Composed:
    """Whether a row of the table has a given key."""
    return sql.SQL(" AND ").join(
        sql.SQL("t.{} = {}").format(Name(key.name), _given(name, key)) for key, name in zip(keys, given, strict=True)
    )


def _unnested(arrays: Sequence[tuple[str, str]]) -> sql.Composed:
    """The parameters, named and typed, row by row."""
    return sql.SQL(", ").join(sql.SQL("unnest({}) AS {}").format(_array(type), sql.SQL(name)) for name, type in arrays)


def _given(name: str, column: Column) -> sql.Composed:
    return sql.SQL("u.{}{}").format(Name(name), sql.SQL(column.cast))


def _array(type: str) -> sql.Composed:
    return sql.SQL("%s::{}[]").format(sql.SQL(type))
