"""Postgres: guarded rows and the whole way, against COPY into a table without a guard."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import sqlalchemy as sa
from psycopg import sql

from benchmarks import stock_lambda
from benchmarks.sinks import anew, followed, write
from benchmarks.stock import stock_postgres
from benchmarks.timing import Clock, Contender, Figure, Group, clock
from benchmarks.workload import FIELDS, Workload, batches
from dynaview.projections.rows import Write

TYPES = ("text", "text", "text", "numeric", "integer", "boolean", "text", "text")
CONNECTIONS = 2


def group(workload: Workload) -> Group:
    """Everything that ends in Postgres."""
    view = workload.view("postgres")
    target = view.target()
    url = workload.environment["DATABASE_URL"]
    first, second = (view.writes(workload.bodies(revision)) for revision in (1, 2))
    table = f"{workload.run}_raw"
    connections = [psycopg.connect(url) for _ in range(CONNECTIONS)]
    names = [sql.Identifier(name) for name in FIELDS]
    columns = [sql.SQL("{} " + kind).format(name) for name, kind in zip(names, TYPES, strict=True)]
    made = sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY (customer_id, order_id))")
    connections[0].execute(made.format(sql.Identifier(table), sql.SQL(", ").join(columns)))
    connections[0].commit()
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    copied = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), sql.SQL(", ").join(names))

    def empty() -> None:
        connections[0].execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(table)))
        connections[0].commit()

    def copy(connection: psycopg.Connection, rows: Sequence[Write]) -> None:
        for part in batches(rows):
            with connection.cursor().copy(copied) as out:
                out.write("\n".join("\t".join(map(str, row.values or ())) for row in part) + "\n")
            connection.commit()

    def raw() -> Clock:
        empty()
        parts = batches(first, -(-len(first) // CONNECTIONS))
        with ThreadPoolExecutor(CONNECTIONS) as pool, clock(len(first)) as timed:
            list(pool.map(copy, connections, parts))
        return timed

    def stock() -> Clock:
        empty()
        return stock_postgres(workload, engine, table)

    handler = stock_lambda.into_postgres(connections[0], table)

    def handled() -> Clock:
        empty()
        return stock_lambda.invoked(workload, handler)

    return Group(
        "postgres",
        [
            Contender("plain COPY", raw),
            Contender("guarded, fresh", lambda: write(anew(view), first, CONNECTIONS)),
            Contender("guarded, update", lambda: write(target, second, CONNECTIONS)),
            Contender("end to end", followed(workload, view)),
            Contender("stock stack", stock),
            Contender(stock_lambda.NAME, handled),
        ],
        [
            Figure("guarded, fresh", "plain COPY", 0.70),
            Figure("guarded, update", "plain COPY", 0.62),
            Figure("end to end", "plain COPY", 0.40),
            Figure("end to end", "stock stack", 25),
            Figure("end to end", stock_lambda.NAME),
        ],
    )
