"""How soon a change is read from a shard that was idle: within the source's latency, and at once from a busy one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.follower_harness import QUICK
from tests.support.until import until
from tests.support.worker_harness import CARDS, WorkerHarness

ITEM = {"pk": "p", "sk": "s", "value": 1}


def test_idle_shards_are_read_within_the_latency_of_their_source(tmp_path: Path) -> None:
    harness = WorkerHarness(tmp_path, CARDS)
    harness.settings.follower = replace(QUICK, poll_first=300.0, poll_cap=300.0)
    text = (tmp_path / "dynaview.yaml").read_text().replace("{table: shop}", "{table: shop, latency: 0.05}")
    harness.declare_text(text)
    harness.start()
    harness.wait_state("cards", "following")
    until(lambda: harness.table.counts()["read"] >= 5, "reads of an idle shard")
    harness.table.put(ITEM)
    until(lambda: harness.rows("cards") == {"card:p:s": {"value": 1}}, "the row, without a wait of minutes")
    harness.close()


def test_a_source_says_nothing_so_the_pace_is_the_workers(tmp_path: Path) -> None:
    harness = WorkerHarness(tmp_path, CARDS)
    assert harness.declaration.sources["shop"].latency is None
    harness.start()
    assert harness.worker.pace() == QUICK
    harness.close()


def test_a_latency_above_the_first_wait_leaves_that_wait(tmp_path: Path) -> None:
    harness = WorkerHarness(tmp_path, CARDS)
    text = (tmp_path / "dynaview.yaml").read_text().replace("{table: shop}", "{table: shop, latency: 2s}")
    harness.declare_text(text)
    harness.start()
    assert harness.worker.pace() == replace(QUICK, poll_cap=2.0)
    harness.close()
