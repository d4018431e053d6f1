"""Several workers share a table's shards: each change is counted once, whoever joins, leaves, dies or sleeps."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.sinks.memory import MemorySink
from dynaview.views.control.records import Progress, Task
from dynaview.views.control.store import ControlStore
from dynaview.views.states import ViewState
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.offsets import START, Delivery
from dynaview.views.streaming.ownership import SoleOwner
from dynaview.views.streaming.pipeline import PipelineContext, PipelineSettings, ViewPipeline
from dynaview.views.streaming.plan import PipelinePlan
from tests.support.cluster import Cluster, ClusterWorker
from tests.support.cluster import cluster as made_cluster
from tests.support.simple import SimpleBound, layout
from tests.support.until import until


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with made_cluster(tmp_path) as made:
        yield made


def fill(cluster: Cluster, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        cluster.put(number % 40, number)


def test_shards_are_spread_evenly_and_move_as_workers_come_and_go(cluster: Cluster) -> None:
    cluster.table.split("shard-0", 6)
    one = cluster.join()
    cluster.wait_shared([6])
    two = cluster.join()
    cluster.wait_shared([3, 3])
    fill(cluster, 200)
    cluster.join()
    cluster.wait_shared([2, 2, 2])
    fill(cluster, 200, 200)
    cluster.leave(one)
    cluster.wait_shared([3, 3])
    cluster.crash(two)
    cluster.wait_shared([6])
    fill(cluster, 100, 400)
    cluster.wait_done()


def test_a_shard_that_changes_hands_is_read_by_one_at_a_time(cluster: Cluster) -> None:
    cluster.table.split("shard-0", 4)
    cluster.join()
    fill(cluster, 100)
    cluster.wait_done()
    for start in range(100, 700, 100):
        worker = cluster.join()
        fill(cluster, 100, start)
        cluster.wait_shared([2, 2])
        cluster.leave(cluster.workers[0] if start % 200 else worker)
    cluster.wait_done()
    assert all(cluster.record(name).counts.stale == 0 for name in cluster.names)  # nothing was done again


def test_children_begin_when_another_workers_parent_has_ended(cluster: Cluster) -> None:
    cluster.table.split("shard-0", 2)
    cluster.join()
    cluster.join()
    cluster.wait_shared([1, 1])
    for _ in range(4):
        fill(cluster, 60, random.randrange(1000))
        for leaf in list(cluster.table.leaves)[:3]:
            cluster.table.split(leaf, 2)
    fill(cluster, 200, 2000)
    cluster.wait_done()
    assert all(cluster.record(name).counts.stale == 0 for name in cluster.names)


def test_the_watermark_counts_the_shards_of_others(cluster: Cluster) -> None:
    cluster.table.split("shard-0", 4)
    cluster.join()
    cluster.join()
    cluster.wait_shared([2, 2])
    fill(cluster, 100)
    cluster.wait_done()
    until(lambda: (cluster.record("one").watermark or 0) > time.time() - 1, "the watermark to follow the tips")
    sleeper = cluster.workers[0]
    sleeper.gate.close()
    stuck = time.time() + 0.2
    until(lambda: time.time() > stuck + 0.3, "time to pass")
    assert (cluster.record("one").watermark or 0) < stuck
    fill(cluster, 100, 100)
    sleeper.gate.open()
    until(lambda: (cluster.record("one").watermark or 0) > stuck, "the watermark to rise again")
    cluster.wait_done()


def test_a_paused_worker_that_wakes_up_moves_nothing_and_begins_anew(tmp_path: Path) -> None:
    with made_cluster(tmp_path, lease=0.4) as cluster:
        cluster.table.split("shard-0", 4)
        sleeper = cluster.join()
        fill(cluster, 200)
        cluster.join(lease=20.0)
        cluster.wait_shared([2, 2])
        before = sleeper.coordinator
        sleeper.gate.close()
        fill(cluster, 200, 200)
        until(lambda: before.id not in cluster.owners().values(), "the sleeper's shards to be taken over")
        cluster.wait_done()
        fill(cluster, 100, 400)
        sleeper.gate.open()
        until(lambda: sleeper.coordinator is not before, "the sleeper to begin anew")
        cluster.wait_shared([2, 2])
        fill(cluster, 100, 500)
        cluster.wait_done()


def test_a_worker_that_slept_too_long_takes_nothing_for_lost(tmp_path: Path) -> None:
    """What it has not read is gone from the stream by now, and has long been read by another one."""
    with made_cluster(tmp_path) as cluster:
        cluster.table.split("shard-0", 4)
        sleeper = cluster.join()
        fill(cluster, 100)
        cluster.wait_shared([4])
        cluster.wait_done()
        sleeper.gate.close()
        fill(cluster, 100, 100)
        asleep = sleeper.coordinator
        cluster.control.leases._remove_dead(asleep.id, True)
        cluster.join()
        cluster.wait_done()
        for leaf in cluster.table.leaves:
            cluster.table.trim(
                leaf, len(cluster.table._stream.shard(leaf).records) - 1
            )  # the last one is where all stand
        sleeper.gate.open()
        until(lambda: sleeper.coordinator is not asleep, "the sleeper to begin anew")
        cluster.wait_shared([2, 2])
        fill(cluster, 100, 200)
        cluster.wait_done()
        assert sleeper.failures == []


def test_two_owners_at_once_do_no_harm(cluster: Cluster) -> None:
    """Both believe that they own everything; what one has committed, the other one cannot commit again (law 1)."""
    cluster.table.split("shard-0", 3)
    robbed = cluster.join()
    cluster.wait_shared([3])
    fill(cluster, 100)
    robbed.gate.close()
    fill(cluster, 100, 100)
    with cluster.control._database.write() as connection:  # as if it had been dead for long
        connection.exec_driver_sql("DELETE FROM dynaview_workers")
        connection.exec_driver_sql("UPDATE dynaview_leases SET owner = NULL")
    thief = cluster.join()
    cluster.wait_done()
    tasks = {Task(leaf, half) for leaf in cluster.table.leaves for half in cluster.halves}
    assert tasks <= robbed.owned & thief.owned
    fill(cluster, 100, 200)
    robbed.gate.open()
    fill(cluster, 100, 300)
    cluster.wait_done()
    cluster.wait_shared([1, 2])


def test_one_worker_fills_and_another_one_goes_on(cluster: Cluster) -> None:
    for number in range(300):
        cluster.put(number, number)
    cluster.table.trim("shard-0")
    made = cluster.table.made
    cluster.table.made = 0
    cluster.table.scan_page = 10
    with cluster.table.hold("scan") as scan:
        first = cluster.join()
        assert scan.reached.wait(10)
        cluster.join()
        until(lambda: len(cluster.control.leases.sharing("one")) == 2, "both to share")
        scans = [call for call in cluster.table.calls if call.operation == "scan"]
        assert len(scans) == 1  # by one worker, for both views
        first.gate.dead = True
    cluster.crash(first)
    until(lambda: all(cluster.record(name).state == "following" for name in cluster.names), "the fill to be complete")
    cluster.wait_done()
    assert made == 300


def test_what_one_worker_says_of_a_views_end_holds_for_all(cluster: Cluster) -> None:
    cluster.table.split("shard-0", 2)
    one, two = cluster.join(), cluster.join()
    cluster.wait_shared([1, 1])
    fill(cluster, 50)
    cluster.wait_done()
    one.pipeline("one").fail(ViewState.GAP, "scripted")
    until(lambda: two.pipeline("one").failed is not None, "the other worker to hear of it")
    until(lambda: cluster.record("one").state == "gap", "the gap to show")
    fill(cluster, 50, 50)
    until(lambda: cluster.record("two").counts.read == cluster.table.made, "the other view to go on")
    assert cluster.record("one").state == "gap"


# One pipeline, while its shards change hands


class Shared(SoleOwner):
    """Others share the work."""

    shared = True
    alone = False


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[ViewPipeline]:
    """A pipeline that has adopted a shard and a child of it, and does not run yet."""
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    record = replace(control.add_view("one", "shop", "memory", "f"), filled=True)
    output = GenerationWriter("one", SimpleBound(), MemorySink("memory").open(layout("one"), 1))
    settings = PipelineSettings(commit_every=0.0, beat=0.01)
    made = ViewPipeline(PipelinePlan(record, [output], {}), PipelineContext(control, settings, owner=Shared()))
    made.inbox.track("parent", None)
    made.inbox.track("child", "parent")
    for shard in ("parent", "child"):
        made.inbox.adopt(shard, None)
    yield made
    made.end()
    control.close()


def test_a_shard_whose_end_was_taken_is_not_given_away_before_it_is_durable(pipeline: ViewPipeline) -> None:
    """The pipeline may have taken children already; another worker would be behind them in the parent."""
    assert pipeline.inbox.offer(Delivery("parent", START, 5, [], [], end=True))
    assert pipeline.inbox.offer(Delivery("child", START, 7, [], []))
    assert not pipeline.inbox.release("parent")
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    until(lambda: pipeline.inbox.release("parent") and pipeline.inbox.released("parent"), "the end to be durable")
    assert pipeline.control.checkpoints("one")["parent"].finished
    pipeline.end()
    thread.join()


def test_what_waits_of_a_shard_that_is_given_away_is_dropped(pipeline: ViewPipeline) -> None:
    assert pipeline.inbox.offer(Delivery("parent", START, 5, [], []))
    assert pipeline.inbox.release("parent")
    assert pipeline.inbox.released("parent")
    assert pipeline.inbox.position("parent").received == START
    assert pipeline.inbox.offer(Delivery("parent", START, 5, [], []))  # there is nothing to come back with
    assert not pipeline.inbox.wants("parent")
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    until(lambda: "parent" in pipeline.control.checkpoints("one"), "a commit")
    pipeline.end()
    thread.join()
    assert pipeline.control.checkpoints("one")["parent"].sequence is None


def test_a_shard_is_not_settled_while_a_look_at_its_end_is_being_committed(pipeline: ViewPipeline) -> None:
    seen: list[tuple[set[str], bool]] = []
    commit = pipeline.control.commit

    def look(view: str, progress: Progress, watermark: float | None) -> None:
        pipeline.inbox.release("parent")
        seen.append((set(progress.tips), pipeline.inbox.released("parent")))
        commit(view, progress, watermark)

    pipeline.control.commit = look  # type: ignore[method-assign]  # what another thread sees meanwhile
    pipeline.inbox.tip("parent", START, 5.0)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    until(lambda: bool(seen), "a commit")
    until(lambda: pipeline.inbox.released("parent"), "the commit to be over")
    pipeline.end()
    thread.join()
    assert seen[0] == ({"parent"}, False)


step = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 12), st.integers(0, 5)),
    st.tuples(st.just("put"), st.integers(0, 12), st.integers(0, 5)),
    st.tuples(st.just("hide"), st.integers(0, 12), st.just(0)),
    st.tuples(st.just("delete"), st.integers(0, 12), st.just(0)),
    st.tuples(st.just("split"), st.integers(0, 5), st.integers(1, 3)),
    st.tuples(st.just("join"), st.just(0), st.just(0)),
    st.tuples(st.just("leave"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("crash"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("pause"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("wake"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("bury"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("breathe"), st.integers(1, 40), st.just(0)),
)


@settings(max_examples=25, deadline=None)
@given(
    script=st.lists(step, min_size=5, max_size=60),
    page=st.integers(1, 7),
    workers=st.integers(1, 3),
    odd=st.sampled_from([(0.0, 0.0), (0.4, 0.3)]),
)
def test_whoever_comes_and_goes_every_change_is_counted_once(
    script: list[tuple[Any, ...]], page: int, workers: int, odd: tuple[float, float]
) -> None:
    with tempfile.TemporaryDirectory() as folder, made_cluster(Path(folder)) as cluster:
        table = cluster.table
        table.page = page
        table.hollow, table.flicker = odd
        cluster.pipeline.buffer, cluster.pipeline.batch = 6, 4
        for _ in range(workers):
            cluster.join()
        for what, first, second in script:
            act(cluster, what, first, second)
        for worker in cluster.workers:
            worker.gate.open()
        if not cluster.workers:
            cluster.join()
        cluster.wait_done()


def act(cluster: Cluster, what: str, first: int, second: int) -> None:
    """One step of a script."""
    table = cluster.table
    if what == "put":
        cluster.put(first, second)
    elif what == "hide":
        table.put({"pk": f"p{first}", "sk": "s", "hidden": True})
    elif what == "delete":
        table.delete({"pk": f"p{first}", "sk": "s"})
    elif what == "split":
        table.split(table.leaves[first % len(table.leaves)], second)
    elif what == "join":
        if len(cluster.workers) < 3:
            cluster.join()
    elif what == "breathe":
        passed = time.monotonic() + first / 1000
        until(lambda: time.monotonic() >= passed, "a moment")
    elif cluster.workers:
        of_one(cluster, what, cluster.workers[first % len(cluster.workers)])


def of_one(cluster: Cluster, what: str, worker: ClusterWorker) -> None:
    """What becomes of one worker."""
    if what == "leave":
        cluster.leave(worker)
    elif what == "crash":
        cluster.crash(worker)
    elif what == "pause":
        worker.gate.close()
    elif what == "wake":
        worker.gate.open()
    elif what == "bury" and worker.table_worker._coordinator is not None:  # as when its registration has expired
        cluster.control.leases._remove_dead(worker.table_worker._coordinator.id, True)
