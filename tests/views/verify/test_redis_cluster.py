"""Views in a Redis cluster: rebuilt while its slots move, and put right after a failover that forgot writes."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynaview.local.valkey_cluster import Node, ValkeyCluster
from dynaview.sinks.redis import RedisSink
from dynaview.sinks.redis.slots import slot_of
from dynaview.views.verify.findings import Report
from dynaview.views.verify.repair import Repairs
from dynaview.views.verify.service import Asked, verify_declared
from tests.conftest import needed
from tests.support import redis_cluster as operator
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness

ITEMS = 200

VIEWS = """
  cards:
    source: shop
    sink: cache
    type: hash
    key: "RUN:card:{sk}"
    match: {pk: "{pk}", sk: "{sk}"}
    fields: {value: value}
  texts:
    source: shop
    sink: cache
    type: string
    key: "RUN:text:{sk}"
    match: {pk: "{pk}", sk: "{sk}"}
    fields: {value: value}
  ranks:
    source: shop
    sink: cache
    type: sorted_set
    key: "RUN:ranks:{pk}"
    member: "{sk}"
    match: {pk: "{pk}", sk: "{sk}"}
    score: value
"""


class Views(WorkerHarness):
    """Of hashes, strings and sorted sets, in a cluster."""

    def __init__(self, folder: Path, cluster: ValkeyCluster) -> None:
        self.run = f"rc{uuid.uuid4().hex[:8]}"
        self.url = cluster.url
        super().__init__(folder, VIEWS.replace("RUN", self.run))
        self.cache = RedisSink("cache", cluster.url, {"timeout": 2})
        self.sinks = {"cache": self.cache}

    def declare_text(self, text: str) -> None:
        super().declare_text(text.replace("redis://127.0.0.1:1", self.url))

    def put(self, number: int, value: int) -> None:
        self.table.put({"pk": f"{number % 7}", "sk": f"{number}", "value": value})

    def close(self) -> None:
        super().close()
        self.cache.close()

    def wait_settled(self) -> None:
        def settled() -> bool:
            records = self.control.views()
            return len(records) == 3 and all(one.filled and one.counts.read == self.table.made for one in records)

        until(settled, "all views to be in step")

    def compared(self, repairs: Repairs | None = None) -> dict[str, Report]:
        reports = verify_declared(
            self.declaration,
            self.control,
            list(self.declaration.views),
            Asked(),
            repairs=repairs,
            open_source=lambda source: self.table,
        )
        assert [report.error for report in reports] == [""] * len(reports)
        return {report.view: report for report in reports}

    def drift(self) -> dict[str, int]:
        return {view: report.drift for view, report in self.compared().items()}


RIGHT = {"cards": 0, "texts": 0, "ranks": 0}


@pytest.fixture
def views(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Views]:
    made = Views(tmp_path, request.getfixturevalue(request.param))
    for number in range(ITEMS):
        made.put(number, number)
    made.start()
    made.wait_settled()
    yield made
    for view in made.declaration.views:
        made.target(view).drop()
    made.close()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """A cluster whose servers are killed."""
    with needed(ValkeyCluster(tmp_path_factory.mktemp("own-cluster"))) as made:
        yield made


@pytest.mark.parametrize("views", ["redis_cluster"], indirect=True)
def test_views_are_rebuilt_in_place_while_slots_move_and_items_change(
    views: Views, redis_cluster: ValkeyCluster
) -> None:
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.wait(0.002):
            views.put(number % ITEMS, number + 1000)
            if number % 5 == 0:
                views.table.delete({"pk": f"{number * 3 % ITEMS % 7}", "sk": f"{number * 3 % ITEMS}"})
            number += 1

    slots = sorted({slot_of(f"{views.run}:card:{number}") for number in range(ITEMS)})
    changing = threading.Thread(target=change)
    changing.start()
    try:
        views.rebuild("cards", "texts", "ranks")
        for at, slot in enumerate(slots[:40]):
            operator.move_slot(redis_cluster, slot, redis_cluster.nodes[at % 3])
        for view in RIGHT:
            views.wait_ended(view)
    finally:
        stop.set()
        changing.join()
    views.wait_settled()
    assert views.drift() == RIGHT
    assert {view: views.record(view).generation for view in RIGHT} == dict.fromkeys(RIGHT, 2)


@pytest.mark.parametrize("views", ["own"], indirect=True)
def test_a_failover_that_forgets_acknowledged_writes_is_found_and_mended(views: Views, own: ValkeyCluster) -> None:
    primary = operator.serving(own, slot_of(f"{views.run}:ranks:1"))
    replica = operator.replica_of(own, primary)
    process = _process(replica)
    os.kill(process, signal.SIGSTOP)  # it no longer hears what its primary acknowledges
    try:
        with operator.asked(primary) as client:
            client.client_kill_filter(_type="replica")  # nor later, from what is on its way
        for number in range(0, ITEMS, 2):
            views.put(number, number + 1000)
        for number in range(1, ITEMS, 4):
            views.table.delete({"pk": f"{number % 7}", "sk": f"{number}"})
        views.wait_settled()
        primary.kill()
    finally:
        os.kill(process, signal.SIGCONT)
    until(lambda: operator.serving(own, slot_of(f"{views.run}:ranks:1")) is replica, "the failover")
    primary.launch()
    primary.ready()
    lost = views.drift()
    assert all(lost.values()), lost
    repairs = Repairs()
    views.compared(repairs)
    assert {view: one.number("left") for view, one in repairs.by_view.items()} == RIGHT
    assert views.drift() == RIGHT
    for number in range(ITEMS):
        views.put(number, number + 2000)
    views.wait_settled()
    assert views.drift() == RIGHT


def _process(node: Node) -> int:
    with operator.asked(node) as client:
        told: dict[str, Any] = client.info("server")
    return int(told["process_id"])
