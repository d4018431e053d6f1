"""Rows edited and deleted by hand in real stores are found exactly, and repaired; a busy table raises no alarm."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg
import pytest
import redis
import urllib3
from click.testing import CliRunner, Result

from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.connect import connect
from dynaview.sinks.port import APPLIED, ConditionalWrite
from dynaview.views.cli import cli
from dynaview.views.control.records import DeadLetterFilter
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.table_worker import TableWorker, WorkerSettings
from dynaview.views.declarations.load import load
from dynaview.views.kept_table import KeptTable
from dynaview.views.threads import Threads
from dynaview.views.verify.findings import Report, VerifyError
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.repair import Repair, Repairs
from dynaview.views.verify.service import Asked, verify_declared
from tests.support.follower_harness import QUICK
from tests.support.real_servers import STORES, RealServers
from tests.support.scripted import ScriptedTable
from tests.support.until import until

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

DECLARATION = """
control: "sqlite:///{folder}/control.db"
sources: {{shop: {{table: shop}}}}
sinks:
  cache: {{redis: "{redis}"}}
  search: {{opensearch: "{opensearch}"}}
  reads: {{postgres: "{postgres}"}}
views:
  cards:
    source: shop
    match: {{pk: "CUSTOMER#{{customer_id}}", sk: "ORDER#{{order_id}}"}}
    where: status != 'DRAFT'
    sink: cache
    type: hash
    key: "{run}:card:{{customer_id}}:{{order_id}}"
    fields: {{status: status, total: total, note: note}}
  ranks:
    source: shop
    match: {{pk: "CUSTOMER#{{customer_id}}", sk: "ORDER#{{order_id}}"}}
    where: status != 'DRAFT'
    sink: cache
    type: sorted_set
    key: "{run}:ranks"
    member: "{{customer_id}}:{{order_id}}"
    score: total
  search:
    source: shop
    match: {{pk: "CUSTOMER#{{customer_id}}", sk: "ORDER#{{order_id}}"}}
    where: status != 'DRAFT'
    sink: search
    index: {run}-orders
    key: "{{order_id}}"
    fields: {{order_id: order_id, customer_id: customer_id, status: status, total: {{from: total, type: decimal}}}}
  lines:
    source: shop
    match: {{pk: "CUSTOMER#{{customer_id}}", sk: "ORDER#{{order_id}}"}}
    where: status != 'DRAFT'
    each: lines
    sink: reads
    table: {run}_lines
    key: [order_id, sku]
    fields:
      order_id: {{from: order_id, type: text}}
      sku: {{from: sku, type: text}}
      quantity: {{from: quantity, type: integer}}
      price: {{from: price, type: decimal}}
      bought: {{from: bought, type: timestamp}}
"""

VIEWS = ("cards", "ranks", "search", "lines")


def order(number: int, **more: Any) -> dict[str, Any]:
    lines = [
        {"sku": f"sku-{line}", "quantity": line, "price": Decimal("1.50"), "bought": "2026-01-31T12:00:00Z"}
        for line in (1, 2)
    ]
    return {
        "pk": f"CUSTOMER#{number % 7}",
        "sk": f"ORDER#o{number}",
        "order_id": f"o{number}",
        "status": "PAID",
        "total": Decimal(number) + Decimal("0.25"),
        "note": f"note: {number}",
        "lines": lines,
        **more,
    }


class Shop:
    """Views of one scripted table in the real stores, followed as a daemon follows them."""

    def __init__(self, folder: Path, redis_url: str, opensearch: str, postgres: str) -> None:
        self.run = f"ver{uuid.uuid4().hex[:8]}"
        file = folder / "dynaview.yaml"
        file.write_text(
            DECLARATION.format(folder=folder, run=self.run, redis=redis_url, opensearch=opensearch, postgres=postgres)
        )
        self.declaration = load([file], {})
        self.table = ScriptedTable(clock=time.time)
        self.control = ControlStore(self.declaration.control)
        self.sinks = {name: connect(declared) for name, declared in self.declaration.sinks.items()}
        self.threads = Threads()
        self.worker = TableWorker(
            KeptTable(self.declaration.sources["shop"], self.declaration.views, self.table, self.sinks, self.control),
            WorkerSettings(follower=QUICK, watch_every=0.1, tend_every=0.05),
            self.threads,
        )
        self.redis = redis.Redis.from_url(redis_url)
        self.http = urllib3.PoolManager()
        self.opensearch = opensearch
        self.postgres = postgres

    def start(self) -> None:
        self.worker.start()
        self.wait_settled()

    def wait_settled(self) -> None:
        """All fills are complete, and every record that was ever made is counted."""

        def settled() -> bool:
            records = {record.name: record for record in self.control.views()}
            return all(
                name in records and records[name].filled and records[name].counts.read == self.table.made
                for name in VIEWS
            )

        until(settled, "all views to be in step", 60)

    def close(self) -> None:
        self.worker.stop()
        for view in self.declaration.views.values():
            self.sinks[view.sink].open(view.layout, 1).drop()
        for sink in self.sinks.values():
            sink.close()
        self.control.close()
        self.redis.close()
        assert not self.threads.crashed.is_set()

    def verify(self, *views: str, **asked: Any) -> dict[str, Report]:
        reports = verify_declared(
            self.declaration, self.control, views or VIEWS, Asked(**asked), open_source=lambda source: self.table
        )
        assert [report.error for report in reports] == [""] * len(reports)
        return {report.view: report for report in reports}

    def repair(self, *views: str) -> dict[str, Repair]:
        repairs = Repairs()
        reports = verify_declared(
            self.declaration, self.control, views or VIEWS, Asked(), repairs=repairs,
            open_source=lambda source: self.table,
        )  # fmt: skip
        assert [report.error for report in reports] == [""] * len(reports)
        return repairs.by_view

    def sql(self, text: str) -> None:
        with psycopg.connect(self.postgres, autocommit=True) as connection:
            connection.execute(text.replace("LINES", f'"{self.run}_lines__g1"').encode())

    def ask(self, method: str, path: str, body: dict[str, Any]) -> None:
        answer = self.http.request(
            method,
            f"{self.opensearch}/{self.run}-orders-g1/{path}",
            body=json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status < 300, answer.data


@pytest.fixture
def shop(tmp_path: Path, redis_url: str, opensearch_url: str, postgres_url: str) -> Iterator[Shop]:
    made = Shop(tmp_path, redis_url, opensearch_url, postgres_url)
    try:
        yield made
    finally:
        made.close()


def found(report: Report) -> set[tuple[str, RowKey]]:
    return {(finding.kind, finding.key) for finding in report.listed}


HARM_WHERE_THERE = "return redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HSET', KEYS[1], 'status', 'LOST')"

Found: TypeAlias = "set[tuple[str, RowKey]]"


def harm_cards(shop: Shop) -> Found:
    def key(number: int) -> str:
        return f"{shop.run}:card:{number % 7}:o{number}"

    shop.redis.hset(key(1), "status", "LOST")
    shop.redis.hdel(key(2), "note")
    shop.redis.hset(key(3), "more", "x")
    shop.redis.delete(key(4))
    shop.redis.copy(key(5), f"{shop.run}:card:9:orphan")
    shop.redis.delete(f"_v{{{key(28)}}}")  # the tombstone of a row that is gone
    return {
        ("different", key(1)),
        ("different", key(2)),
        ("different", key(3)),
        ("missing", key(4)),
        ("extra", f"{shop.run}:card:9:orphan"),
    }


def harm_ranks(shop: Shop) -> Found:
    key = f"{shop.run}:ranks"
    shop.redis.zadd(key, {"1:o1": 1000})
    shop.redis.zrem(key, "2:o2")
    shop.redis.zadd(key, {"9:orphan": 5})
    version = shop.redis.hget(f"_v{{{key}}}", "3:o3")
    assert version is not None
    shop.redis.hset(f"_v{{{key}}}", "9:orphan", version)
    return {("different", (key, "1:o1")), ("missing", (key, "2:o2")), ("extra", (key, "9:orphan"))}


def harm_search(shop: Shop) -> Found:
    shop.ask("POST", "_update/o1?refresh=true", {"doc": {"status": "LOST", "total": 5}})
    shop.ask("POST", "_delete_by_query?refresh=true", {"query": {"ids": {"values": ["o2", "o28"]}}})
    shop.ask("PUT", "_doc/orphan?refresh=true", {"_v": str(10**20), "_o": "0123456789abcdef", "status": "PAID"})
    shop.ask("POST", "_update/o3?refresh=true", {"doc": {"_o": "0123456789abcdef"}})
    return {("different", "o1"), ("missing", "o2"), ("extra", "orphan"), ("owner", "o3")}


def harm_lines(shop: Shop) -> Found:
    shop.sql("UPDATE LINES SET quantity = 77, price = NULL WHERE order_id = 'o1' AND sku = 'sku-1'")
    shop.sql("DELETE FROM LINES WHERE order_id IN ('o2', 'o28')")
    shop.sql("INSERT INTO LINES SELECT 'orphan', sku, quantity, price, bought, _version, _owner FROM LINES "
             "WHERE order_id = 'o5' AND sku = 'sku-1'")  # fmt: skip
    shop.sql("UPDATE LINES SET _owner = '0123456789abcdef' WHERE order_id = 'o3' AND sku = 'sku-2'")
    return {
        ("different", ("o1", "sku-1")),
        ("missing", ("o2", "sku-1")),
        ("missing", ("o2", "sku-2")),
        ("extra", ("orphan", "sku-1")),
        ("owner", ("o3", "sku-2")),
    }


HARM: dict[str, Callable[[Shop], Found]] = {
    "cards": harm_cards,
    "ranks": harm_ranks,
    "search": harm_search,
    "lines": harm_lines,
}


def test_what_was_done_by_hand_is_found_exactly_and_mended(shop: Shop) -> None:
    for number in range(30):
        shop.table.put(order(number))
    shop.start()
    for number in (28, 29):
        shop.table.delete(order(number))
    shop.table.put(order(27, status="DRAFT"))
    shop.wait_settled()
    assert {view: report.drift for view, report in shop.verify().items()} == dict.fromkeys(VIEWS, 0)
    harmed = {view: harm(shop) for view, harm in HARM.items()}
    reports = shop.verify()
    assert {view: found(report) for view, report in reports.items()} == harmed
    assert {view: report.rows for view, report in reports.items()} == {
        "cards": 27,
        "ranks": 27,
        "search": 27,
        "lines": 54,
    }
    fields = {finding.key: finding.fields for finding in reports["lines"].listed}
    assert fields["o1", "sku-1"] == ("quantity", "price")
    fields = {finding.key: finding.fields for finding in reports["cards"].listed}
    assert fields[f"{shop.run}:card:3:o3"] == ("more",)
    repairs = shop.repair()
    assert {view: (one.number("mended"), one.number("left")) for view, one in repairs.items()} == {
        view: (len(rows), 0) for view, rows in harmed.items()
    }
    assert {view: report.drift for view, report in shop.verify().items()} == dict.fromkeys(VIEWS, 0)
    assert all(not one.counts for one in shop.repair().values())
    # What was repaired is followed as before.
    for number in (1, 2, 3, 4):
        shop.table.put(order(number, status="SENT", total=Decimal(number), lines=[]))
    shop.table.put(order(28))
    shop.wait_settled()
    assert {view: report.drift for view, report in shop.verify().items()} == dict.fromkeys(VIEWS, 0)
    assert shop.control.dead_letters.count()[0] == 0


def test_stores_that_were_emptied_are_filled_again(shop: Shop) -> None:
    for number in range(30):
        shop.table.put(order(number))
    shop.start()
    for pattern in (f"{shop.run}:*", f"_v{{{shop.run}:*", f"_t{{{shop.run}:*"):
        for key in list(shop.redis.scan_iter(pattern)):
            shop.redis.delete(key)
    shop.sql("TRUNCATE LINES")
    shop.ask("POST", "_refresh", {})  # it deletes what a search finds
    shop.ask("POST", "_delete_by_query?refresh=true", {"query": {"match_all": {}}})
    reports = shop.verify(limits=Limits(listed=5))
    assert {view: report.missing for view, report in reports.items()} == {
        "cards": 30, "ranks": 30, "search": 30, "lines": 60,
    }  # fmt: skip
    repairs = shop.repair()
    assert [one.number("left") for one in repairs.values()] == [0] * len(VIEWS)
    assert {view: (report.drift, report.stale) for view, report in shop.verify().items()} == dict.fromkeys(
        VIEWS, (0, 0)
    )


def test_single_keys_and_recent_changes(shop: Shop) -> None:
    for number in range(20):
        shop.table.put(order(number))
    shop.start()
    for harm in HARM.values():
        harm(shop)
    run = shop.run
    cards = shop.verify("cards", keys=[f"{run}:card:1:o1", f"{run}:card:4:o4", f"{run}:card:6:o6"])["cards"]
    assert found(cards) == {("different", f"{run}:card:1:o1"), ("missing", f"{run}:card:4:o4")}
    orphan = shop.verify("cards", keys=[f"{run}:card:9:orphan"])["cards"]
    assert found(orphan) == {("extra", f"{run}:card:9:orphan")}
    ranks = shop.verify("ranks", keys=[json.dumps([f"{run}:ranks", "1:o1"])])["ranks"]
    assert found(ranks) == {("different", (f"{run}:ranks", "1:o1"))}
    search = shop.verify("search", keys=["o1", "o5"])["search"]  # the row itself tells its item
    assert found(search) == {("different", "o1")}
    with pytest.raises(VerifyError, match=r'give the item.s key, as {"pk": "…", "sk": "…"}'):
        shop.verify("search", keys=["o2"])  # nothing stands that could tell
    with pytest.raises(VerifyError, match="give the item's key"):
        shop.verify("search", keys=["o3"])  # the row is of another owner than its fields say
    key = json.dumps({"pk": "CUSTOMER#1", "sk": "ORDER#o1"})
    reports = shop.verify(keys=[key])
    assert {view: report.drift for view, report in reports.items()} == dict.fromkeys(VIEWS, 1)
    reports = shop.verify(since=time.time() - 600)
    assert found(reports["lines"]) >= {("missing", ("o2", "sku-1")), ("different", ("o1", "sku-1"))}


def test_a_busy_table_raises_no_alarm_in_any_store_and_is_repaired_meanwhile(shop: Shop) -> None:
    chance, stop = random.Random(11), threading.Event()

    def change() -> None:
        number = chance.randrange(40)
        lines = [{"sku": f"sku-{sku}", "quantity": chance.randrange(5)} for sku in chance.sample(range(4), 2)]
        asked = order(number, status=chance.choice(["PAID", "SENT", "DRAFT"]), lines=lines, total=chance.randrange(9))
        if chance.random() < 0.25:
            shop.table.delete(asked)
        else:
            shop.table.put(asked)

    def write() -> None:
        while not stop.wait(0.01):
            change()

    for _ in range(60):
        change()
    shop.start()
    work = threading.Thread(target=write)
    work.start()
    try:
        for _ in range(2):
            reports = shop.verify()
            assert {view: report.drift for view, report in reports.items()} == dict.fromkeys(VIEWS, 0), reports
        shop.sql("UPDATE LINES SET quantity = 77 WHERE _deleted IS NULL AND sku = 'sku-1'")
        gone = [f"o{number}" for number in range(10, 20)]
        shop.ask("POST", "_delete_by_query?refresh=true&conflicts=proceed", {"query": {"ids": {"values": gone}}})
        for key in list(shop.redis.scan_iter(f"{shop.run}:card:1:*")):
            # Only where the row still stands: a key that somebody else makes is never touched.
            shop.redis.eval(HARM_WHERE_THERE, 1, key)
        shop.repair()
    finally:
        stop.set()
        work.join()
    shop.wait_settled()
    assert {view: report.drift for view, report in shop.verify().items()} == dict.fromkeys(VIEWS, 0)
    assert [
        (kept.letter.view, kept.letter.kind, kept.letter.reason)
        for kept in shop.control.dead_letters.find(DeadLetterFilter())
    ] == []


def test_without_a_daemon_the_command_follows_the_views_itself(
    tmp_path: Path, dynamodb: DynamoDBClient, dynamodb_endpoint: str, redis_url: str, opensearch_url: str,
    postgres_url: str,
) -> None:  # fmt: skip
    urls = {"dynamodb": dynamodb_endpoint, "redis": redis_url, "opensearch": opensearch_url, "postgres": postgres_url}
    with RealServers(tmp_path, urls, dynamodb) as real:
        real.put(0, 50, "first")
        real.start()
        until(lambda: all(real.target(store).count() == 50 for store in STORES), "the fills", 60)
        until(lambda: all(record.filled for record in real.control.views()), "the fills to be recorded")
        real.daemon.stop()
        real.put(40, 20, "while nobody follows")
        real.delete(3)
        for store in STORES:
            target = real.target(store)
            (key,) = [row.key for row in target.rows() if str(row.key).rstrip("',)").endswith("item7")]
            (seen,) = target.read([key])
            assert target.write_if_unchanged(
                [ConditionalWrite(Write(key, None, 0, seen.owner if seen else ""), seen)]
            ) == [APPLIED]

        def asked(*words: str) -> Result:
            command = [words[0], "-f", str(real.file), *words[1:]]
            return CliRunner(env={**real.environment}).invoke(cli, command)

        done = asked("verify", "--json")
        assert done.exit_code == 1, done.output
        reports = json.loads(done.stdout)
        assert [(report["missing"], report["drift"]) for report in reports] == [(1, 1)] * 3
        done = asked("repair", *(real.view(store) for store in STORES))
        assert done.exit_code == 0, done.output
        assert [real.target(store).count() for store in STORES] == [59] * 3
