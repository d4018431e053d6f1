"""The SQL view that readers use: pointed at one generation after the other, while everything built on it stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import Connection, sql

from dynaview.projections.rows import Layout
from dynaview.sinks.port import SinkRefused
from dynaview.sinks.postgres.dependents import Dependents, SqlView, with_options
from dynaview.sinks.postgres.generation import Mark, Relation, Schema, identifiers


class Readers:
    """What readers of one view see. Methods run in the caller's transaction."""

    def __init__(self, layout: Layout, schema: Schema) -> None:
        self._schema = schema
        self._view = layout.view
        self._declared = [field.name for field in layout.fields or ()]
        """The columns in the order of the declaration."""

    def publish(self, connection: Connection[Any], generation: int) -> None:
        """Point the SQL view at the generation, keeping its grants, owner and options, the order of its columns and
        what was built on it. Raises `SinkRefused`."""
        schema = self._schema
        schema.alone(connection)
        table = schema.standing(connection, generation)
        found = schema.find(connection, schema.readers)
        taken = schema.taken(schema.readers, found)
        if taken is not None:
            raise SinkRefused(taken)
        if found is None:
            self._create(connection, "VIEW", self._declared, (), generation)
        elif found.mark != Mark(self._view, generation, schema.fingerprint):
            self._replace(connection, found, table, generation)
        else:
            return
        schema.comment(connection, "VIEW", schema.readers, generation)

    def _replace(self, connection: Connection[Any], found: Relation, table: Relation, generation: int) -> None:
        before, now = self._types(connection, found), self._types(connection, table)
        names = [name for name in before if name in self._declared]
        names += [name for name in self._declared if name not in before]
        view = SqlView.of(connection, found.oid)
        # All that CREATE OR REPLACE VIEW can do is to add columns behind those that stay as they are.
        if all(now.get(name) == type and name in self._declared for name, type in before.items()):
            self._create(connection, "OR REPLACE VIEW", names, view.options, generation)
        else:
            dependents = Dependents.of(connection, view, found.oid)
            dependents.drop(connection)
            connection.execute(sql.SQL("DROP VIEW {}").format(view.qualified))
            self._create(connection, "VIEW", names, view.options, generation)
            view.dress(connection)
            dependents.make(connection)
        # A SQL view looks with the eyes of its owner, who may be another than the table's.
        (sees,) = connection.execute(
            "SELECT has_table_privilege(%s, %s, 'SELECT')", (view.owner, table.oid)
        ).fetchone() or (True,)
        if not sees:
            connection.execute(
                sql.SQL("GRANT SELECT ON {} TO {}").format(
                    self._schema.qualified(self._schema.table(generation)), sql.Identifier(view.owner)
                )
            )

    def _types(self, connection: Connection[Any], found: Relation) -> dict[str, str]:
        rows = connection.execute(
            "SELECT attname, format_type(atttypid, atttypmod) || ' ' || attcollation::text FROM pg_attribute "
            "WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            (found.oid,),
        )
        return dict(rows.fetchall())

    def _create(
        self, connection: Connection[Any], kind: str, names: Sequence[str], options: Sequence[str], generation: int
    ) -> None:
        # Options that are not said again would be gone.
        connection.execute(
            sql.SQL("CREATE {} {}{} AS SELECT {} FROM {} WHERE _deleted IS NULL").format(
                sql.SQL(kind),
                self._schema.qualified(self._schema.readers),
                with_options(options),
                identifiers(names),
                self._schema.qualified(self._schema.table(generation)),
            )
        )
