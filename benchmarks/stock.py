"""The stock stack, for orientation: botocore's parser, TypeDeserializer, jmespath, and a plain pipeline or
executemany. Over the first pages only, as it is slow; without any guard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore.session
import jmespath
import redis
import sqlalchemy as sa
from boto3.dynamodb.types import TypeDeserializer
from botocore.parsers import create_parser

from benchmarks.records import PAGE
from benchmarks.timing import Clock, clock
from benchmarks.workload import FIELDS, Workload

_PAGES = 2
_PATHS = {
    "status": "status",
    "total": "total",
    "quantity": "quantity",
    "gift": "gift",
    "placed_at": "placed_at",
    "city": "shipping.city",
}


def stock_redis(workload: Workload, client: redis.Redis) -> Clock:
    """Pages into hashes, a page a pipeline."""
    bodies = workload.bodies()[:_PAGES]
    with clock(_count(workload)) as timed:
        for rows in _rows(bodies):
            pipeline = client.pipeline(transaction=False)
            for row in rows:
                key = f"raw:{workload.run}:{row['customer_id']}:{row['order_id']}"
                pipeline.hset(key, mapping={name: str(value) for name, value in row.items()})
            pipeline.execute()
    return timed


def stock_postgres(workload: Workload, engine: sa.Engine, table: str) -> Clock:
    """Pages into a table, a page an executemany and a transaction."""
    columns = ", ".join(FIELDS)
    values = ", ".join(f":{name}" for name in FIELDS)
    changed = ", ".join(f"{name} = excluded.{name}" for name in FIELDS)
    statement = sa.text(
        f"INSERT INTO {table} ({columns}) VALUES ({values}) "  # noqa: S608 - names of our own
        f"ON CONFLICT (customer_id, order_id) DO UPDATE SET {changed}"
    )
    bodies = workload.bodies()[:_PAGES]
    with clock(_count(workload)) as timed:
        for rows in _rows(bodies):
            with engine.begin() as connection:
                connection.execute(statement, rows)
    return timed


def _count(workload: Workload) -> int:
    return min(workload.count, _PAGES * PAGE)


def _rows(bodies: list[bytes]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each page, the way that the libraries' own documentation shows."""
    model: Any = botocore.session.get_session().get_service_model("dynamodbstreams")
    output = model.operation_model("GetRecords").output_shape
    parser: Any = create_parser("json")
    deserialize = TypeDeserializer().deserialize
    where = jmespath.compile("status != 'DRAFT'")
    paths = {name: jmespath.compile(path) for name, path in _PATHS.items()}
    for body in bodies:
        answer = parser.parse({"body": body, "headers": {}, "status_code": 200}, output)
        rows: list[dict[str, Any]] = []
        for record in answer["Records"]:
            item = {name: deserialize(value) for name, value in record["dynamodb"]["NewImage"].items()}
            if where.search(item):
                row = {name: path.search(item) for name, path in paths.items()}
                row["customer_id"] = item["pk"].removeprefix("CUSTOMER#")
                row["order_id"] = item["sk"].removeprefix("ORDER#")
                rows.append(row)
        yield rows
