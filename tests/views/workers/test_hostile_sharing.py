"""What AWS does not promise, where several workers share a stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dynaview.views.control.records import Options
from dynaview.views.states import ViewState
from tests.support.cluster import Cluster
from tests.support.cluster import cluster as made_cluster
from tests.support.until import until
from tests.support.worker_harness import CARDS, WorkerHarness


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with made_cluster(tmp_path) as made:
        yield made


def exhaust(cluster: Cluster) -> None:
    cluster.table.exhaust("shard-0")


def vanish(cluster: Cluster) -> None:
    cluster.table.expire("shard-0")
    cluster.table.reveal("shard-0")


@pytest.mark.parametrize("lose", [exhaust, vanish])
def test_what_is_left_of_an_expired_shard_holds_up_no_new_view(
    cluster: Cluster, lose: Callable[[Cluster], None]
) -> None:
    for number in range(10):
        cluster.put(number, "in the parent")
    cluster.table.split("shard-0", 4)
    lose(cluster)
    made = cluster.table.made
    for number in range(20):
        cluster.put(number, number)
    for _ in range(3):
        cluster.join()
    now = time.time()
    for name in cluster.names:
        until(
            lambda name=name: (
                cluster.counted(name) == cluster.table.made - made and cluster.record(name).state == "following"
            ),  # type: ignore[misc]
            f"{name} to follow",
        )
        until(lambda name=name: (cluster.record(name).watermark or 0.0) > now, f"the watermark of {name}")  # type: ignore[misc]


def test_the_watermark_waits_for_a_child_that_no_worker_has_been_shown(cluster: Cluster) -> None:
    cluster.follower.listing_lag = 1.0
    for _ in range(2):
        cluster.join()
    cluster.put(1, 1)
    cluster.wait_done()
    late, early = cluster.table.split("shard-0", listed=False)
    cluster.table.reveal(early)
    until(lambda: early in cluster.control.checkpoints("one"), "one child to be followed")
    number = next(each for each in range(99) if cluster.table.shard_of({"pk": f"p{each}", "sk": "s"}) == late)
    cluster.put(number, "of the other child")
    written = time.time()
    for _ in range(20):
        seen = cluster.table.counts()["read"]
        until(lambda seen=seen: cluster.table.counts()["read"] > seen + 5, "some reads")  # type: ignore[misc]
        assert (cluster.record("one").watermark or 0.0) < written
    cluster.table.reveal(late)
    until(lambda: (cluster.record("one").watermark or 0.0) > written, "the watermark")
    cluster.wait_done()


def test_a_gap_is_logged_by_one_worker(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    cluster.table.split("shard-0", 4)
    for number in range(20):
        cluster.put(number, number)
    for _ in range(3):
        cluster.join()
    cluster.wait_done()
    with caplog.at_level(logging.ERROR):
        lost = cluster.table.leaves[0]
        with cluster.table.hold("read", shard=lost) as held:
            assert held.reached.wait(20)
            number = next(each for each in range(99) if cluster.table.shard_of({"pk": f"p{each}", "sk": "s"}) == lost)
            cluster.put(number, "lost")
            cluster.table.trim(lost)
        for name in cluster.names:
            until(lambda name=name: cluster.record(name).state == "gap", f"the gap of {name}")  # type: ignore[misc]
            until(lambda name=name: all(each.pipeline(name).failed for each in cluster.workers), "all to hear of it")  # type: ignore[misc]
        cluster.join()
        until(lambda: len(cluster.workers[-1].failures) == 2, "the next one to hear of it")
    told = [record.message for record in caplog.records if ": gap: " in record.message]
    assert len(told) == len(cluster.names)


def test_what_a_worker_knew_before_a_rebuild_began_is_not_said_over_it(tmp_path: Path) -> None:
    harness = WorkerHarness(tmp_path, CARDS)
    harness.start()
    harness.wait_state("cards", "following")
    before = harness.record("cards")
    with harness.table.hold("scan") as held:
        harness.rebuild("cards", options=Options())
        assert held.reached.wait(20)
        assert harness.record("cards").revision > before.revision
        harness.worker.view_refused(before, ViewState.GAP, "of the past")
        assert harness.record("cards").state == "rebuilding"
    harness.wait_ended("cards")
    harness.close()
