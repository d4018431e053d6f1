"""The Postgres sink: one database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynaview.projections.rows import Layout
from dynaview.sinks.port import Danger, Room
from dynaview.sinks.postgres.client import Connections
from dynaview.sinks.postgres.generation import Schema
from dynaview.sinks.postgres.limits import LIMITS, Limits
from dynaview.sinks.postgres.target import PostgresTarget
from dynaview.sinks.postgres.values import columns_of


class PostgresSink:
    """See `dynaview.sinks.port.Sink`. No I/O until the first use.

    `options`: ``ca_file`` and ``verify`` (TLS; without them the URL's ``sslmode`` decides), ``timeout`` (seconds a
    statement may take, 30 unless said), ``auth`` and ``region`` for tokens of RDS, and ``pooler`` where one stands
    between. Raises ValueError for a URL or options that make no sense.
    """

    in_place = False

    def __init__(self, name: str, url: str, options: Mapping[str, Any], limits: Limits = LIMITS) -> None:
        self.name = name
        self._connections = Connections(url, options, limits)
        self._limits = limits

    def open(self, layout: Layout, generation: int) -> PostgresTarget:
        return PostgresTarget(self._connections, layout, generation, self._limits)

    def gone(self, layout: Layout, generation: int) -> str | None:
        return self.open(layout, generation).gone()

    def published(self, layout: Layout) -> int | None:
        schema = Schema(layout, columns_of(layout))
        with self._connections.transaction("reading the catalogs") as connection:
            return schema.published(connection)

    def highest(self, layout: Layout) -> int:
        schema = Schema(layout, columns_of(layout))
        with self._connections.transaction("reading the catalogs") as connection:
            return schema.highest(connection)

    def room(self, layout: Layout, generation: int) -> Room | None:
        # SQL does not tell how much of the disk is free.
        return None

    def check(self) -> str:
        with self._connections.transaction("connecting") as connection:
            (version,) = connection.execute("SHOW server_version").fetchone() or ("",)
        # Distributions add their own words behind the number.
        return f"PostgreSQL {str(version).split()[0]}"

    def dangers(self) -> list[Danger]:
        with self._connections.transaction("connecting") as connection:
            row = connection.execute(
                "SELECT pg_catalog.pg_is_in_recovery(),"
                " pg_catalog.current_setting('default_transaction_read_only') OPERATOR(pg_catalog.=) 'on'"
            ).fetchone()
        standby, read_only = row or (False, False)
        found = []
        if standby:
            do = "name the primary in the sink's URL"
            found.append(Danger("the server is a standby, which takes no writes", do))
        elif read_only:
            do = "ALTER DATABASE or ALTER ROLE ... SET default_transaction_read_only = off"
            found.append(Danger("transactions are read-only by default", do))
        return found

    def problems(self, layout: Layout) -> list[str]:
        try:
            schema = Schema(layout, columns_of(layout))
        except ValueError as error:
            return [str(error)]
        with self._connections.transaction("reading the catalogs") as connection:
            return schema.problems(connection, self._connections.role)

    def close(self) -> None:
        self._connections.close()
