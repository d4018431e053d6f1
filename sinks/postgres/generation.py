"""What stands in the database for a view: a table for each generation, and the SQL view that readers use.

Everything that is created carries a comment that says whose it is; what carries none, or another view's, is never
touched. The comment of a table also holds the fingerprint of its columns, so that a declaration that has changed
since is noticed before a write fails.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql

from dynaview.projections.rows import Index, Layout, PostgresOptions
from dynaview.sinks.port import ANEW, SinkRefused
from dynaview.sinks.postgres import dependents, grants
from dynaview.sinks.postgres.values import DELETED, OWNER, VERSION, Column

_MARK = re.compile(r"dynaview: view (?P<view>.+), generation (?P<generation>\d+), layout (?P<layout>[0-9a-f]+)")
_IDENTIFIER_BYTES = 63
_KINDS = {"r": "table", "p": "table", "v": "view", "m": "materialized view", "f": "foreign table", "S": "sequence"}

FILLFACTOR = 60
"""Room in each page, so that an update finds its place beside the old row and need not touch the indexes. Where every
row changes, the server does it in 0.6 of the time that a fillfactor of 90 takes, for half as many pages again."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The comment on what is ours."""

    view: str
    generation: int
    layout: str

    def __str__(self) -> str:
        return f"dynaview: view {self.view}, generation {self.generation}, layout {self.layout}"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or the like that stands under some name."""

    oid: int
    kind: str
    mark: Mark | None
    """None: not made by dynaview."""


class Schema:
    """One view's relations in one database. Methods run in the caller's transaction."""

    def __init__(self, layout: Layout, columns: Sequence[Column]) -> None:
        assert isinstance(layout.options, PostgresOptions)
        self.view = layout.view
        self.columns = tuple(columns)
        self._layout = layout
        self.name = layout.options.schema
        self.readers = layout.options.table
        """What readers select from."""
        for what in (self.name, self.readers):
            if not what or "\0" in what:
                raise ValueError(f"view {layout.view}: schema and table need names")
        shape = [[one.name, " ".join(one.sql.lower().split()), one.name in layout.key] for one in self.columns]
        self.fingerprint = hashlib.sha256(repr([list(layout.key), sorted(shape)]).encode()).hexdigest()[:16]

    def table(self, generation: int) -> str:
        """The name of a generation's table. Raises ValueError where Postgres would cut it."""
        name = f"{self.readers}__g{generation}"
        if len(name.encode()) > _IDENTIFIER_BYTES:
            raise ValueError(f"table {self.readers}: with __g{generation} its name has more than 63 bytes; shorten it")
        return name

    def shown(self, name: str) -> str:
        """A name as messages show it."""
        return f"{self.name}.{name}"

    # Looking

    def find(self, connection: Connection[Any], name: str) -> Relation | None:
        """What stands under `name` in the schema."""
        found = connection.execute(
            "SELECT c.oid, c.relkind, obj_description(c.oid, 'pg_class') FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
            (self.name, name),
        ).fetchone()
        if found is None:
            return None
        oid, kind, comment = found
        return Relation(oid, kind if isinstance(kind, str) else kind.decode(), _mark(comment))

    def published(self, connection: Connection[Any]) -> int | None:
        """The generation that readers see."""
        found = self.find(connection, self.readers)
        if found is None or found.kind != "v" or found.mark is None or found.mark.view != self.view:
            return None
        return found.mark.generation

    def highest(self, connection: Connection[Any]) -> int:
        """The highest generation that has a table, 0 where none has."""
        found = connection.execute(
            "SELECT c.relname, obj_description(c.oid, 'pg_class') FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relkind = 'r' AND starts_with(c.relname, %s)",
            (self.name, f"{self.readers}__g"),
        )
        marks = [(name, mark) for name, comment in found if (mark := _mark(comment)) and mark.view == self.view]
        # A table that was given another name is not a generation's any more.
        standing = (mark.generation for name, mark in marks if name == f"{self.readers}__g{mark.generation}")
        return max(standing, default=0)

    def taken(self, name: str, found: Relation | None) -> str | None:
        """Why the name cannot be used, where something stands there that is not this view's."""
        if found is None or (found.mark is not None and found.mark.view == self._layout.view):
            return None
        kind = _KINDS.get(found.kind, "relation")
        if found.mark is None:
            return (
                f"{self.shown(name)} is a {kind} that dynaview did not make, and is left alone: rename or drop it, "
                f"or declare another table for view {self._layout.view}"
            )
        return (
            f"{self.shown(name)} belongs to view {found.mark.view}: "
            f"declare another table for view {self._layout.view}, or drop view {found.mark.view} first"
        )

    def differs(self, connection: Connection[Any], name: str, found: Relation) -> str | None:
        """Why a table of this view cannot be used as it stands."""
        remedy = f"{ANEW}, or take the change back"
        if found.mark is None or found.mark.layout != self.fingerprint:
            return f"{self.shown(name)} was made by another declaration: its columns or key differ; {remedy}"
        rows = connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped", (found.oid,)
        )
        missing = {one.name for one in self.columns} | {VERSION, OWNER, DELETED}
        missing -= {row[0] for row in rows}
        if missing and found.kind == "r":
            return f"{self.shown(name)} has lost column {', '.join(sorted(missing))}; {remedy}"
        return None

    def problems(self, connection: Connection[Any], role: str) -> list[str]:
        """What stands in the way of this view."""
        found = self.find(connection, self.readers)
        taken = self.taken(self.readers, found)
        if taken is not None:
            return [taken]
        problems: list[str] = []
        if found is not None and found.mark is not None:
            name = self.table(found.mark.generation)
            table = self.find(connection, name)
            if table is None:
                problems.append(f"{self.shown(name)} is gone: {ANEW}")
            else:
                problems += filter(None, [self.taken(name, table) or self.differs(connection, name, table)])
        return problems + self._unknown(connection) + self._missing_rights(connection, role)

    def _unknown(self, connection: Connection[Any]) -> list[str]:
        """Declared types and index methods that this server does not have."""
        assert isinstance(self._layout.options, PostgresOptions)
        types = [(one.name, one.cast.removeprefix("::") or one.wire) for one in self.columns]
        problems = [
            f"column {name}: type {type} does not exist here: create it, name its schema (public.citext), or declare "
            "another column type"
            for name, type in types
            if connection.execute("SELECT to_regtype(%s)", (type,)).fetchone() == (None,)
        ]
        methods = sorted({index.method for index in self._layout.options.indexes})
        return problems + [
            f"index method {method} does not exist here"
            for method in methods
            if connection.execute("SELECT 1 FROM pg_am WHERE amname = %s", (method,)).fetchone() is None
        ]

    def _missing_rights(self, connection: Connection[Any], role: str) -> list[str]:
        there = connection.execute(
            "SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE') "
            "FROM pg_namespace WHERE nspname = %s",
            (self.name,),
        ).fetchone()
        if there is not None:
            return [] if there[0] else [f"a right is missing: {self.create_right(role)}"]
        (creates,) = connection.execute("SELECT has_database_privilege(current_database(), 'CREATE')").fetchone() or (
            False,
        )
        return [] if creates else [f"schema {self.name} is missing, and so is the right to create it"]

    def create_right(self, role: str) -> str:
        """What has to be granted to make a generation."""
        grant = sql.SQL("GRANT USAGE, CREATE ON SCHEMA {} TO {}").format(sql.Identifier(self.name), _role(role))
        return f"{grant.as_string()} (or, where the schema is missing: GRANT CREATE ON DATABASE)"

    def own_right(self, role: str, kind: str, name: str) -> str:
        """What has to be granted to change what stands: what making it takes, and to be its owner."""
        change = sql.SQL("ALTER {} {} OWNER TO {}").format(sql.SQL(kind), self.qualified(name), _role(role))
        return f"{self.create_right(role)}; where it belongs to another role: {change.as_string()}"

    def write_right(self, role: str, generation: int) -> str:
        """What has to be granted to write and read a generation."""
        grant = sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}")
        return grant.format(self.qualified(self.table(generation)), _role(role)).as_string()

    # Making

    def prepare(self, connection: Connection[Any], generation: int) -> bool:
        """Create the generation's table where it is missing; whether it was. Raises `SinkRefused`."""
        self.alone(connection)
        self._make_schema(connection)
        shown = self.find(connection, self.readers)
        taken = self.taken(self.readers, shown)
        if taken is not None:
            raise SinkRefused(taken)
        name = self.table(generation)
        found = self.find(connection, name)
        if found is not None:
            self._check(connection, name, found)
            return False
        self._create(connection, name, generation)
        if shown is not None and shown.mark is not None:
            # Who was let into the table that readers see now is let into this one.
            before = self.find(connection, self.table(shown.mark.generation))
            if before is not None:
                grants.copy(connection, before.oid, self.qualified(name), {one.name for one in self.columns})
        return True

    def standing(self, connection: Connection[Any], generation: int) -> Relation:
        """The generation's table. Raises `SinkRefused` where it is not there, or not as this view would have it."""
        name = self.table(generation)
        found = self.find(connection, name)
        if found is None:
            raise SinkRefused(f"{self.shown(name)} is not there: prepare it first")
        self._check(connection, name, found)
        return found

    def _check(self, connection: Connection[Any], name: str, found: Relation) -> None:
        reason = self.taken(name, found) or self.differs(connection, name, found)
        if reason is not None:
            raise SinkRefused(reason)

    def alone(self, connection: Connection[Any]) -> None:
        """Keep other workers from changing this view's relations until the transaction ends."""
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"dynaview {self.name}.{self.readers}",)
        )

    def _make_schema(self, connection: Connection[Any]) -> None:
        if connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self.name,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self.name)))

    def _create(self, connection: Connection[Any], name: str, generation: int) -> None:
        keys = set(self._layout.key)
        lines: list[sql.Composable] = [
            sql.SQL("{} {}{}").format(
                sql.Identifier(one.name), sql.SQL(one.sql), sql.SQL(" NOT NULL" if one.name in keys else "")
            )
            for one in self.columns
        ]
        lines += [
            sql.SQL("_version numeric NOT NULL"),
            sql.SQL("_owner text NOT NULL DEFAULT ''"),
            sql.SQL("_deleted timestamptz"),
            sql.SQL("PRIMARY KEY ({})").format(identifiers(self._layout.key)),
        ]
        connection.execute(
            sql.SQL("CREATE TABLE {} ({}) WITH (fillfactor = {})").format(
                self.qualified(name), sql.SQL(", ").join(lines), sql.Literal(FILLFACTOR)
            )
        )
        self._check_collations(connection, name)
        self.comment(connection, "TABLE", name, generation)
        connection.execute(
            sql.SQL("CREATE INDEX ON {} (_deleted) WHERE _deleted IS NOT NULL").format(self.qualified(name))
        )

    def _check_collations(self, connection: Connection[Any], name: str) -> None:
        """Raises `SinkRefused` where a column of the key has a collation to which different texts may be equal: one
        item would take the other's row."""
        found = connection.execute(
            "SELECT a.attname FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation "
            "WHERE a.attrelid = %s::regclass AND a.attname = ANY (%s) AND NOT c.collisdeterministic ORDER BY a.attnum",
            (self.qualified(name).as_string(), list(self._layout.key)),
        ).fetchall()
        if found:
            raise SinkRefused(
                f"column {', '.join(column for (column,) in found)} of view {self.view}: a key cannot have a collation "
                "that takes different texts for one: declare another collation"
            )

    def indexes(self, generation: int) -> dict[str, Index]:
        """The declared indexes by the names they have."""
        assert isinstance(self._layout.options, PostgresOptions)
        name = self.table(generation)
        return {self._index_name(name, index): index for index in self._layout.options.indexes}

    def unique_indexes(self, generation: int) -> dict[str, tuple[str, ...]]:
        """The columns of each declared index that is unique, by its name."""
        return {name: index.columns for name, index in self.indexes(generation).items() if index.unique}

    def _index_name(self, name: str, index: Index) -> str:
        digest = hashlib.sha256(repr((name, index.columns, index.unique, index.method)).encode()).hexdigest()[:12]
        readable = f"{name}_{'_'.join(index.columns)}".encode()[: _IDENTIFIER_BYTES - 13].decode(errors="ignore")
        return f"{readable}_{digest}"

    def index_columns(self, generation: int, constraint: str) -> tuple[str, ...]:
        """The columns of a declared index or of the primary key, by the name under which Postgres complains."""
        index = self.indexes(generation).get(constraint)
        if index is not None:
            return index.columns
        return self._layout.key if constraint.endswith("_pkey") else ()

    # Dropping

    def drop(self, connection: Connection[Any], generation: int) -> None:
        """Remove the generation's table, and the SQL view where it shows that generation. Only what is this view's."""
        self.alone(connection)
        readers = self.find(connection, self.readers)
        if readers is not None and self.published(connection) == generation:
            others = dependents.shown(connection, readers.oid)
            if others:
                raise SinkRefused(
                    f"{', '.join(others)} read from {self.shown(self.readers)}: drop them first, and try again"
                )
            connection.execute(sql.SQL("DROP VIEW {}").format(self.qualified(self.readers)))
        table = self.find(connection, self.table(generation))
        if table is None or table.kind != "r" or table.mark is None:
            return
        if (table.mark.view, table.mark.generation) == (self.view, generation):
            connection.execute(sql.SQL("DROP TABLE {}").format(self.qualified(self.table(generation))))

    def comment(self, connection: Connection[Any], kind: str, name: str, generation: int) -> None:
        """Mark what was made as ours."""
        mark = Mark(self._layout.view, generation, self.fingerprint)
        connection.execute(
            sql.SQL("COMMENT ON {} {} IS {}").format(sql.SQL(kind), self.qualified(name), sql.Literal(str(mark)))
        )

    def qualified(self, name: str) -> sql.Composed:
        """A name in this view's schema."""
        return sql.SQL("{}.{}").format(sql.Identifier(self.name), sql.Identifier(name))


def _mark(comment: str | None) -> Mark | None:
    marked = _MARK.fullmatch(comment or "")
    return Mark(marked["view"], int(marked["generation"]), marked["layout"]) if marked else None


def identifiers(names: Sequence[str]) -> sql.Composed:
    """Names side by side."""
    return sql.SQL(", ").join([sql.Identifier(name) for name in names])


def _role(role: str) -> sql.Composable:
    return sql.SQL("CURRENT_USER") if role == "CURRENT_USER" else sql.Identifier(role)
