"""From a write in DynamoDB to the row that readers see: the daemon in a process of its own, against DynamoDB Local.

    python -m benchmarks.latency
    python -m benchmarks.latency --samples 100 --latency 1s

A clock item is written, and readers (one a store, in threads of this process) ask for its row until they see that
version. *Idle*: nothing else is written, and the shard has not been read for as long as its poll has backed off. *Half
load*: beside it so many changes a second as are half of what this machine writes into DynamoDB Local at its best.

OpenSearch shows a row to a read by its id at once and to a search after the next refresh (a second by default): both
are told.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import msgspec
import psycopg
import redis
from opensearchpy import NotFoundError, OpenSearch
from psycopg import sql

from benchmarks.daemon import Running, command_of
from benchmarks.records import item
from benchmarks.workload import declaration_text
from dynaview.local.servers import REGION
from tests.support.servers import servers
from tests.support.shop import create_table

STORES = ("redis", "postgres", "opensearch")
SEARCHED = "opensearch, searched"
_CLOCK = 0
"""The order that is written and looked for."""
_DEADLINE = 60.0


class Told(msgspec.Struct, frozen=True):
    """Seconds from a write to its row."""

    p50: float
    p99: float
    most: float
    samples: int

    @classmethod
    def of(cls, delays: Sequence[float]) -> Told:
        """Of at least two."""
        return cls(
            statistics.median(delays),
            statistics.quantiles(delays, n=100, method="inclusive")[98],
            max(delays),
            len(delays),
        )


class Found(msgspec.Struct, frozen=True):
    """Idle and at half load, by store."""

    idle: dict[str, Told]
    loaded: dict[str, Told]
    load: float
    """Changes a second beside the measurement, as they were written."""


def readers(urls: Mapping[str, str], run: str) -> dict[str, Callable[[], str | None]]:
    """What asks each store for the clock's `placed_at`."""
    customer, order = f"{_CLOCK // 7:07d}", f"{_CLOCK:08d}"
    cache = redis.Redis.from_url(urls["REDIS_URL"], decode_responses=True)
    connection = psycopg.connect(urls["DATABASE_URL"], autocommit=True)
    query = sql.SQL("SELECT placed_at FROM {} WHERE customer_id = %s AND order_id = %s").format(
        sql.Identifier(f"{run}n0_orders")
    )
    documents: Any = OpenSearch([urls["OPENSEARCH_URL"]], timeout=60)
    index, key = f"{run}n0-orders", f"{customer}:{order}"

    def row() -> str | None:
        found: Any = connection.execute(query, (customer, order)).fetchone()
        return None if found is None else str(found[0])

    def document() -> str | None:
        try:
            found: str = documents.get(index=index, id=key)["_source"]["placed_at"]
        except NotFoundError:
            return None
        return found

    def searched() -> str | None:
        body = {"query": {"ids": {"values": [key]}}, "_source": ["placed_at"]}
        hits = documents.search(index=index, body=body)["hits"]["hits"]
        return str(hits[0]["_source"]["placed_at"]) if hits else None

    def cell() -> str | None:
        found: Any = cache.hget(f"{run}n0:{customer}:{order}", "placed_at")
        return None if found is None else str(found)

    return {"redis": cell, "postgres": row, "opensearch": document, SEARCHED: searched}


class Clock:
    """Writes the clock's item, and times when each store shows it."""

    def __init__(self, client: Any, table: str, asks: Mapping[str, Callable[[], str | None]]) -> None:
        self._client = client
        self._table = table
        self._asks = asks
        self._count = 0

    def tick(self) -> dict[str, float]:
        """One write; the seconds from then until each store showed it."""
        self._count += 1
        stamp, delays = f"tick {self._count}", dict[str, float]()
        made = {**item(_CLOCK, self._count), "placed_at": {"S": stamp}}
        began = time.perf_counter()
        self._client.put_item(TableName=self._table, Item=made)
        written = time.perf_counter()

        def watch(name: str, ask: Callable[[], str | None]) -> None:
            while time.perf_counter() - began < _DEADLINE:
                if ask() == stamp:
                    delays[name] = time.perf_counter() - written
                    return
                time.sleep(0.002)

        threads = [threading.Thread(target=watch, args=each) for each in self._asks.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if missing := self._asks.keys() - delays.keys():
            raise TimeoutError(f"not seen within {_DEADLINE:.0f} s in {', '.join(sorted(missing))}")
        return delays

    def ticks(self, samples: int, rest: Callable[[], float]) -> dict[str, Told]:
        """So many, each after a rest of some seconds."""
        found: dict[str, list[float]] = {name: [] for name in self._asks}
        for _ in range(samples):
            time.sleep(rest())
            for name, delay in self.tick().items():
                found[name].append(delay)
        return {name: Told.of(delays) for name, delays in found.items()}


class Load:
    """Writes orders other than the clock's, at a rate or as fast as it goes, 25 a request."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table
        self._stop = threading.Event()
        self.written = 0

    @contextmanager
    def running(self, rate: float) -> Iterator[None]:
        """While the block runs; `rate` changes a second."""
        thread = threading.Thread(target=self._write, args=(rate,))
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _write(self, rate: float) -> None:
        began, number = time.perf_counter(), 1
        while not self._stop.wait(max(0.0, began + self.written / rate - time.perf_counter())):
            part = [{"PutRequest": {"Item": item(number + each, self.written)}} for each in range(25)]
            left = self._client.batch_write_item(RequestItems={self._table: part}).get("UnprocessedItems", {})
            self.written += 25 - len(left.get(self._table, []))
            number = 1 + (number + 25) % 5000


def best_rate(client: Any, table: str, seconds: float) -> float:
    """What one writer brings into the table at its best."""
    load, began = Load(client, table), time.perf_counter()
    with load.running(1e9):
        time.sleep(seconds)
    return load.written / (time.perf_counter() - began)


def measure(urls: Mapping[str, str], samples: int, latency: str | None, seconds: float) -> Found:
    """One daemon with a view in each store."""
    endpoint, run = urls["DYNAMODB_ENDPOINT"], f"bench{uuid4().hex[:8]}"
    client = boto3.client("dynamodb", region_name=REGION, endpoint_url=endpoint)
    create_table(client, run)
    said = "" if latency is None else f", latency: {latency}"
    source = f'{{table: {run}, region: {REGION}, endpoint: "{endpoint}"{said}}}'
    command, environment = command_of(None)
    chance = random.Random(run)
    with tempfile.TemporaryDirectory() as folder:
        file, control = Path(folder) / "dynaview.yaml", Path(folder) / "control.db"
        file.write_text(declaration_text(f"sqlite:///{control}", source, STORES, run))
        running = Running(command, {**environment, **urls}, file, control)
        running.start(1)
        try:
            running.until("state = 'following'", "the fill did not end")
            clock = Clock(client, run, readers(urls, run))
            clock.tick()
            idle = clock.ticks(samples, lambda: 1.0 + chance.random())  # by then polls have backed off
            half = best_rate(client, run, seconds) / 2
            load, began = Load(client, run), time.perf_counter()
            with load.running(half):
                clock.tick()  # what the best rate left behind is read
                loaded = clock.ticks(samples, lambda: 0.1 + 0.2 * chance.random())
            return Found(idle, loaded, load.written / (time.perf_counter() - began))
        finally:
            running.stop()
            with closing(client):
                client.delete_table(TableName=run)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=60, help="writes that are timed, idle and loaded each (60)")
    parser.add_argument("--latency", metavar="TIME", help="the latency of the source, as a declaration has it")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long the best rate of writes is looked for (5)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with servers((*STORES, "dynamodb")) as urls:
        found = measure(urls, options.samples, options.latency, options.seconds)
    if options.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return
    for title, told in {"idle": found.idle, f"{found.load:,.0f} changes/s beside it": found.loaded}.items():
        for store, each in told.items():
            print(f"{title:28}{store:24}p50 {each.p50 * 1000:7.0f} ms   p99 {each.p99 * 1000:7.0f} ms")


if __name__ == "__main__":
    main()
