"""Redis: guarded rows and the whole way, against pipelined HSET."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hiredis
import redis

from benchmarks import stock_lambda
from benchmarks.sinks import anew, followed, write
from benchmarks.stock import stock_redis
from benchmarks.timing import Clock, Contender, Figure, Group, clock
from benchmarks.workload import FIELDS, Workload, batches
from dynaview.projections.rows import Write

_AHEAD = 2
"""Groups of 1000 commands that are sent before the answers to the first are read."""


def group(workload: Workload) -> Group:
    """Everything that ends in Redis."""
    view = workload.view("redis")
    target = view.target()
    client = redis.Redis.from_url(workload.environment["REDIS_URL"], protocol=2)
    handler = stock_lambda.into_redis(client, workload.run)
    first, second = (view.writes(workload.bodies(revision)) for revision in (1, 2))

    def raw(writes: Sequence[Write], fresh: bool) -> Clock:
        rows = [(f"raw:{workload.run}:{row.key}", cells(row)) for row in writes]
        if fresh:
            for part in batches(rows):
                client.unlink(*(key for key, _ in part))
        return hset(client, rows)

    return Group(
        "redis",
        [
            Contender("raw HSET, fresh", lambda: raw(first, True)),
            Contender("raw HSET, update", lambda: raw(second, False)),
            Contender("guarded, fresh", lambda: write(anew(view), first)),
            Contender("guarded, update", lambda: write(target, second)),
            Contender("end to end", followed(workload, view)),
            Contender("stock stack", lambda: stock_redis(workload, client)),
            Contender(stock_lambda.NAME, lambda: stock_lambda.invoked(workload, handler)),
        ],
        [
            Figure("guarded, fresh", "raw HSET, fresh", 0.70),
            Figure("guarded, update", "raw HSET, update", 0.80),
            Figure("end to end", "raw HSET, fresh", 0.42),
            Figure("end to end", "stock stack", 30),
            Figure("end to end", stock_lambda.NAME),
        ],
    )


def cells(row: Write) -> list[str]:
    texts = (str(value) for value in row.values or ())
    return [part for pair in zip(FIELDS, texts, strict=True) for part in pair]


def hset(client: redis.Redis, rows: Sequence[tuple[str, list[str]]]) -> Clock:
    """HSET as fast as one connection goes: packed by hiredis, 1000 a group, groups in flight."""
    connection: Any = client.connection_pool.get_connection()
    try:
        with clock(len(rows)) as timed:
            waiting: list[int] = []
            for part in batches(rows):
                packed = [hiredis.pack_command(("HSET", key, *cells)) for key, cells in part]
                connection.send_packed_command([b"".join(packed)])
                waiting.append(len(part))
                if len(waiting) > _AHEAD:
                    _read(connection, waiting.pop(0))
            for count in waiting:
                _read(connection, count)
    finally:
        client.connection_pool.release(connection)
    return timed


def _read(connection: Any, count: int) -> None:
    for _ in range(count):
        connection.read_response()
