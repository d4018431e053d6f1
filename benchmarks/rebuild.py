"""How fast a view is rebuilt into each store, against a raw bulk load of the same rows.

What the source costs is kept out of it: the scan is one of pages in a file, decoded as those of DynamoDB are. For
orientation the same is done from DynamoDB Local, against a scan of it that is only pulled. ``python -m
benchmarks.rebuild_lag`` tells what a rebuild does to the lag of its view, and the memory that it needs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import boto3
import psycopg
import redis
from opensearchpy import OpenSearch
from psycopg import sql

from benchmarks.from_dynamodb import write_orders
from benchmarks.into_opensearch import bulk, make_alike
from benchmarks.into_postgres import CONNECTIONS, TYPES
from benchmarks.into_redis import cells, hset
from benchmarks.sinks import anew
from benchmarks.synthetic import OrdersTable, PagesFile
from benchmarks.timing import Clock, Contender, Figure, Group, clock
from benchmarks.verify import PULLED, SEGMENTS, STORES, pull_all
from benchmarks.workload import FIELDS, View, Workload, batches
from dynaview.projections.attributes import Image
from dynaview.projections.rows import Write
from dynaview.sinks.port import Target
from dynaview.sources.port import Key, ScanPage
from dynaview.sources.session import Session
from dynaview.sources.table import DynamoTable
from dynaview.views.control.rebuilds import RebuildStore
from dynaview.views.control.records import Options, PageCost, PageResult, Segment
from dynaview.views.control.store import ControlStore
from dynaview.views.rebuild.in_place import InPlace
from dynaview.views.rebuild.side_by_side import SideBySide
from dynaview.views.retry import Retrier
from dynaview.views.scanning.page_writer import FillStrategy, PendingPage
from dynaview.views.scanning.parallel_scan import ParallelScan
from dynaview.views.scanning.segment_reader import Scan, SegmentPages
from tests.support.shop import create_table

T = TypeVar("T")


class Rebuilds:
    """Rebuilds of the view of orders in one store, from its scan on; what comes before and behind does not depend on
    how many rows there are."""

    def __init__(self, workload: Workload, store: str, source: Scan, items: int) -> None:
        """`source` holds so many orders."""
        self.view = workload.view(store)
        self._source = source
        self._items = items
        self._control = ControlStore(f"sqlite:///{workload.folder / workload.run}_{store}_rebuilds.db")
        self._generation = 1

    def beside(self) -> Clock:
        """Into an empty generation, with what is made good after the load."""
        target = emptied(self.view)
        return self._timed(SideBySide(_AtOnce(self.view.name), self.view.bound, target), target.finish, target)

    def in_place(self) -> Clock:
        """Over the rows of the generation before it, with the sweep. Nothing is waited for: a watermark is always
        late enough here."""
        self._generation += 1
        target = self.view.sink.open(self.view.layout, self._generation)
        target.prepare()
        filling = InPlace(_AtOnce(self.view.name), self.view.bound, target)
        return self._timed(filling, lambda: filling.sweep(lambda rows: None), target)

    def in_place_of_nothing(self) -> Clock:
        """The same where the store has lost its rows."""
        self.view.sink.open(self.view.layout, self._generation).drop()
        return self.in_place()

    def _timed(self, filling: FillStrategy, finish: Callable[[], object], target: Target) -> Clock:
        store, name = self._control.rebuilds, self.view.name
        (rebuild,) = store.request([name], "shop", {name: ""}, Options())
        journal = _Journal(store, rebuild.job)
        reader = SegmentPages(self._source, self.view.shape, None, [_Taking(name, filling)])
        with clock(self._items) as timed:
            ParallelScan(reader, journal, None).run(SEGMENTS)
            finish()
        found = store.update(rebuild, phase="done")
        counted = next((each.items, each.rows) for each in store.all() if each.view == found.view)
        if counted != (self._items, self._items):
            raise RuntimeError(f"{name}: {self._items} rows, but items and rows were {counted}")
        return timed


@dataclass(slots=True)
class _AtOnce:
    """In place of a rebuild that waits: every store answers, and a watermark is always late enough."""

    view: str

    def retry(self, act: Callable[[], T]) -> T:
        return act()

    def hold(self, at: float) -> None:
        pass

    def read_again(self, keys: Sequence[Key]) -> list[Image | None]:
        return []


@dataclass(frozen=True, slots=True)
class _Taking:
    """The view, as who takes part in the scan."""

    view: str
    strategy: FillStrategy

    def take(self, page: ScanPage[Any]) -> PendingPage | None:
        return self.strategy.take(page)

    def settle(self, page: PendingPage) -> PageResult | None:
        return page.settle()


class _Journal:
    """The scan's progress, kept as a rebuild's is."""

    def __init__(self, store: RebuildStore, job: str) -> None:
        self._store, self._job = store, job

    def segments(self, count: int) -> list[Segment]:
        planned = [Segment(number, count) for number in range(count)]
        for segment in planned:
            self._store.save_segment(self._job, segment)
        return planned

    def save(self, segment: Segment, cost: PageCost, results: Mapping[str, PageResult]) -> None:
        self._store.save_page(self._job, self._job, segment, cost, results)

    def check(self) -> None:
        pass

    def retrier(self, end: threading.Event) -> Retrier:
        return Retrier(end, "benchmark")


def emptied(view: View) -> Target:
    """A generation of its own, made ready for a load."""
    target = view.target()
    target.prepare()
    target.drop()
    target = view.target()
    target.prepare(bulk=True)
    return target


def groups(workload: Workload) -> list[Group]:
    """A group for each store, and one from DynamoDB Local."""
    workload = workload.apart("r")
    views = {store: workload.view(store) for store in STORES}
    pages = PagesFile.write(workload.folder / f"{workload.run}.pages", workload.count, views["redis"].shape.names or ())
    table = OrdersTable(pages)
    return [
        _redis(workload, Rebuilds(workload, "redis", table, workload.count), rows(views["redis"], table)),
        _postgres(workload, Rebuilds(workload, "postgres", table, workload.count), rows(views["postgres"], table)),
        _opensearch(
            workload, Rebuilds(workload, "opensearch", table, workload.count), rows(views["opensearch"], table)
        ),
        _dynamodb(workload),
    ]


def rows(view: View, table: OrdersTable) -> list[Write]:
    """What a raw load takes, ready made."""
    images = (image for page in table.scan(0, 1, None, view.shape) for image in page.images)
    return [write for image in images for write in view.bound.inserts(image)]


def _redis(workload: Workload, rebuilds: Rebuilds, writes: Sequence[Write]) -> Group:
    client = redis.Redis.from_url(workload.environment["REDIS_URL"], protocol=2)
    made = [(f"raw:{workload.run}:{row.key}", cells(row)) for row in writes]

    def fresh() -> Clock:
        for part in batches(made):
            client.unlink(*(key for key, _ in part))
        return hset(client, made)

    return Group(
        "rebuild redis",
        [
            Contender("raw HSET, fresh", fresh),
            Contender("raw HSET, update", lambda: hset(client, made)),
            Contender("in place of nothing", rebuilds.in_place_of_nothing),
            Contender("in place", rebuilds.in_place),
        ],
        [
            Figure("in place of nothing", "raw HSET, fresh", 0.5),
            Figure("in place", "raw HSET, update", 0.5),
        ],
    )


def _postgres(workload: Workload, rebuilds: Rebuilds, writes: Sequence[Write]) -> Group:
    url = workload.environment["DATABASE_URL"]
    connections = [psycopg.connect(url, autocommit=True) for _ in range(CONNECTIONS)]
    table = sql.Identifier(f"{workload.run}_raw")
    names = [sql.Identifier(name) for name in FIELDS]
    columns = [sql.SQL("{} " + kind).format(name) for name, kind in zip(names, TYPES, strict=True)]
    made = sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(", ").join(columns))
    copied = sql.SQL("COPY {} ({}) FROM STDIN").format(table, sql.SQL(", ").join(names))
    keyed = sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (customer_id, order_id)").format(table)

    def copy(connection: psycopg.Connection, part: Sequence[Write]) -> None:
        with connection.cursor().copy(copied) as out:
            for some in batches(part):
                out.write("\n".join("\t".join(map(str, row.values or ())) for row in some) + "\n")

    def raw() -> Clock:
        connections[0].execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
        connections[0].execute(made)
        parts = batches(writes, -(-len(writes) // CONNECTIONS))
        with ThreadPoolExecutor(CONNECTIONS) as pool, clock(len(writes)) as timed:
            list(pool.map(copy, connections, parts))
            connections[0].execute(keyed)
        return timed

    return Group(
        "rebuild postgres",
        [Contender("raw COPY, key made after it", raw), Contender("beside", rebuilds.beside)],
        [Figure("beside", "raw COPY, key made after it", 0.5)],
    )


def _opensearch(workload: Workload, rebuilds: Rebuilds, writes: Sequence[Write]) -> Group:
    client: Any = OpenSearch([workload.environment["OPENSEARCH_URL"]], timeout=60)
    index = f"{workload.run}-raw"
    anew(rebuilds.view)

    def raw() -> Clock:
        make_alike(client, f"{workload.run}-orders-g1", index)
        client.indices.put_settings(index=index, body={"index": {"refresh_interval": "-1", "number_of_replicas": 0}})
        timed = bulk(client, index, writes)
        with clock(0) as refreshed:
            client.indices.refresh(index=index)
        return Clock(timed.records, timed.seconds + refreshed.seconds)

    return Group(
        "rebuild opensearch",
        [Contender("raw bulk, not refreshed until its end", raw), Contender("beside", rebuilds.beside)],
        [Figure("beside", "raw bulk, not refreshed until its end", 0.5)],
    )


def _dynamodb(workload: Workload) -> Group:
    workload = workload.apart("d")
    orders = min(workload.count, max(2000, workload.count // 2))
    endpoint = workload.environment["DYNAMODB_ENDPOINT"]
    session = Session("ddblocal", endpoint)
    client = boto3.client("dynamodb", region_name="ddblocal", endpoint_url=endpoint)
    create_table(client, workload.run)
    write_orders(client, workload.run, orders, 1)
    table = DynamoTable(session, workload.run)
    rebuilds = {store: Rebuilds(workload, store, table, orders) for store in STORES}

    def pull() -> Clock:
        with clock(orders) as timed:
            pull_all(session, workload.run, rebuilds["redis"].view)
        return timed

    return Group(
        "rebuild dynamodb",
        [
            Contender(PULLED, pull),
            Contender("redis in place", rebuilds["redis"].in_place_of_nothing),
            Contender("postgres beside", rebuilds["postgres"].beside),
            Contender("opensearch beside", rebuilds["opensearch"].beside),
        ],
        [Figure(name, PULLED) for name in ("redis in place", "postgres beside", "opensearch beside")],
    )
