"""How a control store of an earlier dynaview becomes one of this: numbered migrations, each run once.

A change of the tables is made in two places: in `tables`, which new stores are made from, and here, under the next
number, for those that stand. A migration is a function from a connection, in the transaction that also records its
number, so a store is never between two schemas. It has to do for SQLite and Postgres.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import sqlalchemy as sa

from dynaview.views.control import tables

Migrations: TypeAlias = Mapping[int, Callable[[sa.Connection], None]]
"""By the number of the schema that each leads to."""

BASELINE = 8
"""The schema that every later one can be reached from. What is older was never released, and is refused."""


def _pause(connection: sa.Connection) -> None:
    """Views can be paused."""
    for column in (tables.views.c.paused, tables.views.c.pause_reason):
        add_column(connection, column)


def add_column(connection: sa.Connection, column: sa.Column[Any]) -> None:
    """Add a column that may be null to its table, as `tables` describe it."""
    kind = column.type.compile(connection.dialect)
    place = connection.dialect.identifier_preparer.format_table(column.table, use_schema=False)
    schema = connection.get_execution_options().get("schema_translate_map", {}).get(None)
    if schema is not None:
        place = f"{connection.dialect.identifier_preparer.quote_schema(schema)}.{place}"
    connection.exec_driver_sql(f"ALTER TABLE {place} ADD COLUMN {column.name} {kind}")


def _deal_views(connection: sa.Connection) -> None:
    """Groups deal their views into halves, see `dynaview.views.workers.assignment`."""
    add_column(connection, tables.ownership.c.half)


def _tasks(connection: sa.Connection) -> None:
    """Long work can be asked for over HTTP."""
    tables.tasks.create(connection)


def _meters(connection: sa.Connection) -> None:
    """Processes send what they count of their own work."""
    tables.meters.create(connection)


MIGRATIONS: Migrations = {9: _pause, 10: _deal_views, 11: _tasks, 12: _meters}


def newest(migrations: Migrations = MIGRATIONS) -> int:
    """The schema that the tables have after all of them."""
    return max(migrations, default=BASELINE)
