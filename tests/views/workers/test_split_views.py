"""One shard and several views: workers that would stand idle take a half of the views each. Nothing that holds for a
shard in one worker holds less for one in two."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dynaview.views.control.errors import LeaseLost
from dynaview.views.control.records import Checkpoint, Counts, Options, Part, Progress, Task
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.states import ViewState
from dynaview.views.status import all_status
from dynaview.views.streaming.offsets import START
from dynaview.views.streaming.ownership import SoleOwner
from dynaview.views.streaming.pipeline import ViewPipeline
from dynaview.views.streaming.reading import Reading
from dynaview.views.streaming.signals import ReaderSignals
from tests.support.cluster import Cluster, ClusterWorker
from tests.support.cluster import cluster as made_cluster
from tests.support.follower_harness import QUICK
from tests.support.scripted import ScriptedTable
from tests.support.simple import SHAPE
from tests.support.until import until

VIEWS = ("one", "two", "three")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with made_cluster(tmp_path, names=VIEWS) as made:
        yield made


def fill(cluster: Cluster, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        cluster.put(number % 40, number)


def holder(cluster: Cluster, task: Task) -> ClusterWorker:
    """The worker that has a task."""
    return next(worker for worker in cluster.workers if worker.coordinator.id == cluster.owners()[task])


def views_of(worker: ClusterWorker, half: int) -> list[str]:
    """The views of a half."""
    return sorted(view for view, its in worker.coordinator._halves.items() if its == half)


@contextmanager
def held(*pipelines: ViewPipeline) -> Iterator[None]:
    """Stores that answer nothing to these pipelines until the block ends."""
    over = threading.Event()

    def slow(target: Any) -> None:
        write = target.write
        target.write = lambda writes: (over.wait(30), write(writes))[1]

    for pipeline in pipelines:
        for output in pipeline.outputs:
            slow(output.target)
    try:
        yield
    finally:
        over.set()


def stale(cluster: Cluster) -> dict[str, int]:
    """How many changes were written again, by view."""
    return {name: cluster.record(name).counts.stale for name in cluster.names}


def test_a_second_worker_takes_half_of_the_views_of_the_only_shard(cluster: Cluster) -> None:
    one = cluster.join()
    cluster.wait_halves([2])
    fill(cluster, 100)
    two = cluster.join()
    cluster.wait_halves([1, 1])
    fill(cluster, 200, 100)
    cluster.wait_done()
    assert stale(cluster) == dict.fromkeys(VIEWS, 0)  # nothing was done twice
    assert {len(views_of(one, half)) for half in (0, 1)} == {1, 2}
    reads = {
        each["view"]: {worker["worker"]: worker["shards"] for worker in each["workers"]}
        for each in all_status(cluster.control)
    }
    for half in (0, 1):
        its, other = holder(cluster, Task("shard-0", half)), holder(cluster, Task("shard-0", 1 - half))
        for view in views_of(one, half):
            assert reads[view] == {its.coordinator.id: 1, other.coordinator.id: 0}
            assert its.pipeline(view).inbox.position("shard-0").owned
            assert not other.pipeline(view).inbox.position("shard-0").owned
    cluster.leave(two)
    cluster.wait_halves([2])
    fill(cluster, 50, 300)
    cluster.wait_done()
    assert stale(cluster) == dict.fromkeys(VIEWS, 0)


def test_no_more_than_two_read_a_shard_and_shards_for_all_are_not_divided(cluster: Cluster) -> None:
    for _ in range(3):
        cluster.join()
    cluster.wait_halves([0, 1, 1])
    cluster.table.split(
        "shard-0", 2
    )  # three workers on two shards: one of them has half of a shard, and so has another
    fill(cluster, 60)
    cluster.wait_halves([1, 1, 2])
    for leaf in list(cluster.table.leaves):
        cluster.table.split(leaf, 2)
    fill(cluster, 60, 60)
    cluster.wait_shared([1, 1, 2])
    cluster.wait_done()
    assert stale(cluster) == dict.fromkeys(VIEWS, 0)


@pytest.mark.parametrize("half", [0, 1])
def test_who_is_killed_with_half_of_the_views_is_replaced_and_the_others_go_on(cluster: Cluster, half: int) -> None:
    cluster.join()
    cluster.join()
    cluster.wait_halves([1, 1])
    fill(cluster, 100)
    victim, rest = holder(cluster, Task("shard-0", half)), holder(cluster, Task("shard-0", 1 - half))
    victim.gate.close()  # it is in the middle of something
    fill(cluster, 100, 100)
    for view in views_of(rest, 1 - half):
        until(lambda view=view: cluster.counted(view) == 200, f"{view} to go on without the other half")  # type: ignore[misc]
    cluster.crash(victim)
    cluster.wait_halves([2])
    fill(cluster, 100, 200)
    cluster.wait_done()
    assert all(stale(cluster)[view] == 0 for view in views_of(rest, 1 - half))
    cluster.join()
    cluster.wait_halves([1, 1])
    fill(cluster, 50, 300)
    cluster.wait_done()


def test_who_slept_with_half_of_the_views_moves_nothing_of_them(tmp_path: Path) -> None:
    with made_cluster(tmp_path, names=VIEWS, lease=0.4) as cluster:
        cluster.join()
        cluster.join(lease=20.0)
        cluster.wait_halves([1, 1])
        fill(cluster, 60)
        sleeper = cluster.workers[0]
        before = sleeper.coordinator
        sleeper.gate.close()
        fill(cluster, 60, 60)
        until(lambda: before.id not in cluster.owners().values(), "its half to be taken over")
        cluster.wait_done()
        sleeper.gate.open()
        until(lambda: sleeper.coordinator is not before, "it to begin anew")
        cluster.wait_halves([1, 1])
        fill(cluster, 60, 120)
        cluster.wait_done()


def test_the_lease_of_one_half_moves_no_view_of_the_other(cluster: Cluster) -> None:
    cluster.join()
    cluster.join()
    cluster.wait_halves([1, 1])
    one = holder(cluster, Task("shard-0", 0))
    (other,) = views_of(one, 1)
    moved = {"shard-0": Part(Checkpoint(10**30), Counts(read=1, applied=1))}
    with pytest.raises(LeaseLost, match="shard-0 is read by another worker"):
        cluster.control.commit(other, Progress(moved, fence=one.coordinator.fence(other, ["shard-0"])), None)
    assert cluster.record(other).counts.read == 0


def test_children_wait_for_their_parents_in_each_half_by_itself(cluster: Cluster) -> None:
    """One half is at the parent's end, and in its children, while the other one has hardly begun."""
    cluster.join()
    cluster.join()
    cluster.wait_halves([1, 1])
    fill(cluster, 30)
    cluster.wait_done()
    slow, quick = holder(cluster, Task("shard-0", 0)), holder(cluster, Task("shard-0", 1))
    behind, (ahead,) = views_of(quick, 0), views_of(quick, 1)
    with held(*(slow.pipeline(view) for view in behind)):
        fill(cluster, 60, 30)
        children = cluster.table.split("shard-0", 2)
        fill(cluster, 60, 90)
        until(lambda: cluster.counted(ahead) == cluster.table.made, "the other half to be through")
        for view in behind:
            kept = cluster.control.checkpoints(view)
            assert not kept["shard-0"].finished
            assert all(kept[child].sequence is None for child in children if child in kept)
    cluster.wait_done()
    assert stale(cluster) == dict.fromkeys(VIEWS, 0)


def test_a_view_whose_store_is_slow_holds_up_no_other_in_its_half(cluster: Cluster) -> None:
    cluster.join()
    cluster.join()
    cluster.wait_halves([1, 1])
    fill(cluster, 20)
    cluster.wait_done()
    worker = holder(cluster, Task("shard-0", 0))
    stuck, well = views_of(worker, 0)
    with held(worker.pipeline(stuck)):
        fill(cluster, 400, 20)  # more than waits for a view
        until(lambda: cluster.counted(well) == cluster.table.made, "the other one to go on")
        assert cluster.counted(stuck) < cluster.table.made
    cluster.wait_done()
    assert stale(cluster) == dict.fromkeys(VIEWS, 0)


def test_views_come_and_go_while_two_share_a_shard(cluster: Cluster) -> None:
    old = [cluster.join(), cluster.join()]
    cluster.wait_halves([1, 1])
    fill(cluster, 100)
    cluster.wait_done()
    for names in (("one", "two", "three", "four"), ("four", "two")):
        cluster.declare(names)
        new = [cluster.join(), cluster.join()]
        fill(cluster, 50, cluster.table.made)
        for worker in old:
            cluster.leave(worker)
        fill(cluster, 50, cluster.table.made)
        cluster.wait_halves([1, 1])
        cluster.wait_done()
        old = new
    assert stale(cluster) == {"four": 0, "two": 0}


def test_a_view_is_rebuilt_while_two_share_its_table(cluster: Cluster) -> None:
    cluster.join()
    cluster.join()
    cluster.wait_halves([1, 1])
    fill(cluster, 100)
    cluster.wait_done()
    marks = {name: fingerprint(cluster.declaration.views[name], "shop") for name in VIEWS}
    with cluster.table.hold("scan") as scan:
        cluster.control.rebuilds.request(VIEWS, "shop", marks, Options(), "beside")
        assert scan.reached.wait(20)
        fill(cluster, 50, 100)
        cluster.crash(holder(cluster, Task("shard-0", 1)))
        fill(cluster, 50, 150)
        cluster.join()
    for name in VIEWS:
        until(lambda name=name: cluster.control.rebuilds.get(name).ended, f"the rebuild of {name}", 60)  # type: ignore[misc,union-attr]
        assert cluster.record(name).generation == 2
    fill(cluster, 50, 200)
    cluster.wait_halves([1, 1])
    cluster.wait_done()


def test_a_table_that_allows_one_reader_a_shard_is_not_divided(tmp_path: Path) -> None:
    with made_cluster(tmp_path, names=VIEWS, source="{table: shop, readers: 1}") as cluster:
        for _ in range(3):
            cluster.join()
        fill(cluster, 100)
        cluster.wait_done()
        until(lambda: len(cluster.control.leases.sharing("one")) == 3, "all to share")
        assert {task for task, owner in cluster.owners().items() if owner is not None} == {Task("shard-0")}
        assert all(worker.coordinator.takes_turns("shard-0") for worker in cluster.workers)


def test_a_gap_ends_its_own_half_and_is_heard_in_the_other_worker(cluster: Cluster) -> None:
    cluster.join()
    cluster.join()
    cluster.wait_halves([1, 1])
    fill(cluster, 20)
    cluster.wait_done()
    one, two = holder(cluster, Task("shard-0", 0)), holder(cluster, Task("shard-0", 1))
    (lost,) = views_of(one, 1)
    two.pipeline(lost).fail(ViewState.GAP, "scripted")
    until(lambda: one.pipeline(lost).failed is not None, "the other worker to hear of it")
    fill(cluster, 50, 20)
    for view in views_of(one, 0):
        until(lambda view=view: cluster.counted(view) == cluster.table.made, f"{view} to go on")  # type: ignore[misc]
    assert cluster.record(lost).state == "gap"
    assert cluster.counted(lost) == 20


class TwoReaders(SoleOwner):
    """Another worker reads every shard too."""

    def __init__(self) -> None:
        self.asked = 0

    def takes_turns(self, shard: str) -> bool:
        self.asked += 1
        return True


def test_of_a_shard_that_another_worker_reads_too_one_page_is_read_at_a_time() -> None:
    table, owner = ScriptedTable(), TwoReaders()
    table.put({"pk": "a", "sk": "b"})
    reading = Reading(table.stream(table.arn, SHAPE), [], QUICK, owner, ReaderSignals())
    (shard,) = table.listing(table.arn)
    readers = [reading.reader(shard, START) for _ in ("front", "catch-up")]
    threads = [threading.Thread(target=reading.read, args=[reader]) for reader in readers]
    with table.hold("read") as hold:
        for thread in threads:
            thread.start()
        assert hold.reached.wait(20)
        until(lambda: owner.asked == 2, "both to want a page")
        assert table.counts()["read"] == 1
    for thread in threads:
        thread.join()
    assert table.counts()["read"] == 2
