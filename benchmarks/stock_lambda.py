"""A view in the stock way of AWS Lambda: an event of the same records through json, boto3's TypeDeserializer and the
store's own client, a batch a call, with partial batch answers; without any guard.

Written for speed: one pipeline, one executemany, one bulk request for the whole event. A handler that is called record
by record, as Powertools' batch processor does, asks the store once a record and is slower by that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import psycopg
import redis
from boto3.dynamodb.types import TypeDeserializer
from opensearchpy import OpenSearch, helpers

from benchmarks.records import PAGE
from benchmarks.timing import Clock, clock
from benchmarks.workload import FIELDS, Workload

NAME = "stock Lambda handler"

_PAGES = 4

_Row: TypeAlias = dict[str, Any]
_Store: TypeAlias = Callable[[Sequence[_Row]], None]

_deserialize = TypeDeserializer().deserialize


def invoked(workload: Workload, store: _Store) -> Clock:
    """The first pages as so many events, each handled as it would be in an invocation."""
    bodies = workload.bodies()[:_PAGES]
    with clock(min(workload.count, _PAGES * PAGE)) as timed:
        for body in bodies:
            if handle(json.loads(body), store)["batchItemFailures"]:
                raise RuntimeError("the stock handler failed")
    return timed


def handle(event: Any, store: _Store) -> dict[str, Any]:
    """Bring an event's rows into the store; what cannot be made a row is answered, and comes again from there on."""
    rows: list[_Row] = []
    failures: list[dict[str, str]] = []
    for record in event["Records"]:
        try:
            item = {name: _deserialize(value) for name, value in record["dynamodb"]["NewImage"].items()}
            if item["status"] != "DRAFT":
                rows.append(_row(item))
        except (KeyError, TypeError):
            failures.append({"itemIdentifier": record["dynamodb"]["SequenceNumber"]})
            break
    store(rows)
    return {"batchItemFailures": failures}


def _row(item: dict[str, Any]) -> _Row:
    return {
        "order_id": item["sk"].removeprefix("ORDER#"),
        "customer_id": item["pk"].removeprefix("CUSTOMER#"),
        "status": item["status"],
        "total": item["total"],
        "quantity": int(item["quantity"]),
        "gift": item["gift"],
        "placed_at": item["placed_at"],
        "city": item["shipping"]["city"],
    }


def into_redis(client: redis.Redis, run: str) -> _Store:
    """A pipeline of HSET."""

    def store(rows: Sequence[_Row]) -> None:
        pipeline = client.pipeline(transaction=False)
        for row in rows:
            texts: dict[Any, Any] = {name: str(value) for name, value in row.items()}
            pipeline.hset(f"raw:{run}:{row['customer_id']}:{row['order_id']}", mapping=texts)
        pipeline.execute()

    return store


def into_postgres(connection: psycopg.Connection, table: str) -> _Store:
    """An upsert by executemany, which psycopg sends as one pipeline."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in FIELDS)
    statement = (
        f"INSERT INTO {table} ({', '.join(FIELDS)}) VALUES ({', '.join(f'%({name})s' for name in FIELDS)}) "  # noqa: S608 - names of our own
        f"ON CONFLICT (customer_id, order_id) DO UPDATE SET {changed}"
    )

    def store(rows: Sequence[_Row]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(statement.encode(), rows)
        connection.commit()

    return store


def into_opensearch(client: OpenSearch, index: str) -> _Store:
    """`helpers.bulk`, as its documentation shows."""

    def store(rows: Sequence[_Row]) -> None:
        actions = [
            {
                "_op_type": "index",
                "_index": index,
                "_id": f"{row['customer_id']}:{row['order_id']}",
                "_source": {**row, "total": float(row["total"])},
            }
            for row in rows
        ]
        helpers.bulk(client, actions, chunk_size=len(actions))

    return store
