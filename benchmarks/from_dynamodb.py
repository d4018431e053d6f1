"""The whole way from a real stream, against pulling the same pages without reading them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import boto3
import msgspec

from benchmarks.pipeline import follow
from benchmarks.records import item
from benchmarks.sinks import anew
from benchmarks.timing import Clock, Contender, Figure, Group, clock
from benchmarks.workload import View, Workload, batches
from dynaview.sources.session import Session
from dynaview.sources.stream import DynamoStream
from dynaview.sources.table import DynamoTable
from tests.support.shop import create_table

_PULLED = "pages pulled, not read"
_WRITERS = 4
_BATCH = 25
"""Items that one BatchWriteItem takes."""


class _Only(msgspec.Struct):
    next: str = msgspec.field(name="NextShardIterator")


_next = msgspec.json.Decoder(_Only)


def group(workload: Workload) -> Group:
    """A stream of DynamoDB Local into each store: every order written, then changed."""
    orders = min(workload.count, max(1000, workload.count // 4))
    endpoint = workload.environment["DYNAMODB_ENDPOINT"]
    session = Session("ddblocal", endpoint)
    client = boto3.client("dynamodb", region_name="ddblocal", endpoint_url=endpoint)
    create_table(client, workload.run)
    for revision in (1, 2):
        write_orders(client, workload.run, orders, revision)
    arn = DynamoTable(session, workload.run).describe().stream_arn or ""
    views = [workload.view(store) for store in ("redis", "postgres", "opensearch")]
    stream = DynamoStream(session, arn, views[0].shape)
    (shard,) = stream.shards()
    last, records, pages = _end(stream, shard.id)
    if records != 2 * orders:
        raise RuntimeError(f"{2 * orders} changes were written, but the stream holds {records}")

    def pull() -> Clock:
        iterator = stream.open(shard.id, None)
        with clock(records) as timed:
            for _ in range(pages):
                parameters = {"ShardIterator": iterator, "Limit": 1000}
                iterator = _next.decode(session.ask("GetRecords", arn, parameters)).next
        return timed

    def into(view: View) -> Callable[[], Clock]:
        return lambda: follow(DynamoStream(session, arn, view.shape), view, anew(view), workload.folder, last, records)

    contenders = [Contender(_PULLED, pull)]
    contenders += [Contender(f"into {view.sink.name}", into(view)) for view in views]
    return Group("dynamodb", contenders, [Figure(each.name, _PULLED, 0.85) for each in contenders[1:]])


def _end(stream: DynamoStream, shard: str) -> tuple[int, int, int]:
    """The last sequence number, and how many records and pages there are."""
    iterator: str | None = stream.open(shard, None)
    last, records, pages = 0, 0, 0
    while iterator is not None:
        page = stream.read(iterator)
        if not page.changes:
            break
        last = int(page.changes[-1].body.sequence)
        records, pages, iterator = records + len(page.changes), pages + 1, page.next
    return last, records, pages


def write_orders(client: Any, table: str, orders: int, revision: int) -> None:
    """Bring so many orders to a revision."""
    failed: list[BaseException] = []

    def write(numbers: range) -> None:
        try:
            for part in batches(numbers, _BATCH):
                left: Any = [{"PutRequest": {"Item": item(number, revision)}} for number in part]
                while left:
                    answer = client.batch_write_item(RequestItems={table: left})
                    left = answer.get("UnprocessedItems", {}).get(table, [])
        except BaseException as error:
            failed.append(error)
            raise

    share = -(-orders // _WRITERS)
    threads = [
        threading.Thread(target=write, args=(range(start, min(start + share, orders)),))
        for start in range(0, orders, share)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
