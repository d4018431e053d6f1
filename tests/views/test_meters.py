"""What processes count of their own work, and how it is added up."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dynaview.sinks.port import SinkUnavailable
from dynaview.sources.errors import Throttled
from dynaview.views.control.store import ControlStore
from dynaview.views.meters import Meter, kind_of
from tests.support.rebuilding import begin, item
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness


def test_only_what_is_new_is_told_and_again_where_it_did_not_arrive() -> None:
    meter = Meter()
    assert meter.news() == {}
    meter.add("polls", "empty")
    meter.observe("write_seconds", 0.1)
    meter.observe("write_seconds", 0.2)
    news = meter.news()
    assert news == {"polls:empty": 1, "write_seconds<0.1": 1, "write_seconds<0.25": 1, "write_seconds:sum": 0.1 + 0.2}
    assert meter.news() == news
    meter.told()
    assert meter.news() == {}
    meter.observe("write_seconds", 99)
    assert set(meter.news()) == {"write_seconds<+Inf", "write_seconds:sum"}


@pytest.mark.parametrize(("error", "kind"), [(SinkUnavailable("x"), "sink_unavailable"), (Throttled("x"), "throttled")])
def test_kinds_are_words(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


@pytest.mark.parametrize("kept", ["sqlite", "postgres"])
def test_processes_that_send_at_once_lose_nothing(tmp_path: Path, postgres_url: str, kept: str) -> None:
    url = f"sqlite:///{tmp_path / 'control.db'}" if kept == "sqlite" else postgres_url
    stores = [ControlStore(url) for _ in range(4)]
    name = f"{tmp_path.name} {kept}"
    before = stores[0].meters.all().get(("view", name), {}).get("retries:x", 0)

    def send(store: ControlStore) -> None:
        for _ in range(20):
            store.meters.add({("view", name): {"retries:x": 1.0}, ("source", name): {"polls:empty": 2.0}})

    threads = [threading.Thread(target=send, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    found = stores[0].meters.all()
    for store in stores:
        store.close()
    assert found["view", name]["retries:x"] - before == 80
    assert found["source", name]["polls:empty"] >= 160


def test_a_worker_counts_what_it_does_and_the_next_one_goes_on(tmp_path: Path) -> None:
    made = WorkerHarness(tmp_path)
    made.settings.meters_every = 0.02
    for number in range(5):
        made.table.put(item(number, "first"))
    begin(made)
    try:
        made.table.put(item(1, "second"))
        until(lambda: made.control.meters.all().get(("view", "cards"), {}).get("batch_rows:sum", 0) >= 1, "a batch")
        made.stop()
        counted = made.control.meters.all()
        source = counted["source", "shop"]
        assert source["polls:empty"] > 0
        read = sum(value for name, value in source.items() if name.startswith("read_seconds<"))
        assert read == sum(value for name, value in source.items() if name.startswith("polls:"))
        made.start()
        made.table.fail("read", Throttled("scripted"), times=3)
        made.table.put(item(1, "third"))
        sent = counted["view", "cards"]["batch_rows:sum"]
        until(lambda: made.control.meters.all()["view", "cards"]["batch_rows:sum"] > sent, "another batch")
        until(lambda: made.control.meters.all()["source", "shop"].get("retries:throttled", 0) >= 3, "the retries")
    finally:
        made.close()
