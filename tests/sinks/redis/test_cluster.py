"""A cluster that is resharded, fails over and loses slots while a view is written: what passes is SinkUnavailable, and
the rows end as if nothing had been."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from dynaview.local.valkey_cluster import Node, ValkeyCluster
from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, STALE, Outcome, SinkRefused, SinkUnavailable
from dynaview.sinks.redis import RedisSink
from dynaview.sinks.redis.slots import slot_of
from dynaview.sinks.redis.target import RedisTarget
from tests.conftest import needed
from tests.sinks.redis.keyed import layout
from tests.support import redis_cluster as operator
from tests.support.until import until

ROWS = 300


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    """A cluster whose servers are killed."""
    with needed(ValkeyCluster(tmp_path_factory.mktemp("own-cluster"))) as made:
        yield made


@pytest.fixture
def sink(redis_cluster: ValkeyCluster) -> Iterator[RedisSink]:
    made = RedisSink("cache", redis_cluster.url, {"timeout": 5})
    yield made
    made.close()


def view(sink: RedisSink, kind: str = "hash", prefix: str | None = None) -> RedisTarget:
    prefix = prefix or f"c{uuid4().hex[:10]}:"
    target = sink.open(layout(kind, (f"{prefix}all",) if "set" in kind else (prefix, "")), 1)
    target.prepare()
    return target


def puts(target: RedisTarget, version: int, rows: int = ROWS) -> list[Write]:
    prefix = target.family.literals[0]
    return [Write(f"{prefix}{number}", (f"{version}",), version) for number in range(rows)]


def written(target: RedisTarget, writes: list[Write]) -> list[Outcome]:
    """As a view writes: what passes is waited for, and the whole batch sent again. The outcomes of the last time."""
    found: list[list[Outcome]] = []

    def again() -> bool:
        try:
            found.append(target.write(writes))
        except SinkUnavailable:
            return False
        return True

    until(again, "the batch to be written", 60)
    return found[0]


def other(redis_cluster: ValkeyCluster, node: Node) -> Node:
    return next(one for one in redis_cluster.nodes[:3] if one is not node)


def test_a_cluster_is_found_out_and_named(sink: RedisSink) -> None:
    assert sink.check().endswith("a cluster of 3 primaries")


def test_what_the_declaration_says_of_the_server_and_is_not_so_is_refused(
    redis_cluster: ValkeyCluster, redis_url: str
) -> None:
    for url, clustered, said in (
        (redis_url, True, "not one of a cluster: leave cluster out"),
        (redis_cluster.url, False, "part of a cluster, which the sink's declaration denies"),
    ):
        sink = RedisSink("cache", url, {"cluster": clustered})
        with pytest.raises(SinkRefused, match=said):
            view(sink).write(puts(view(sink), 1))
        sink.close()


@pytest.mark.parametrize("kind", ["hash", "string"])
def test_a_slot_that_moves_between_two_batches_is_followed(
    sink: RedisSink, redis_cluster: ValkeyCluster, kind: str
) -> None:
    target = view(sink, kind)
    assert target.write(puts(target, 1)) == [APPLIED] * ROWS
    slot = slot_of(str(puts(target, 1)[7].key))
    operator.move_slot(redis_cluster, slot, other(redis_cluster, operator.serving(redis_cluster, slot)))
    with pytest.raises(SinkUnavailable, match="slots of its cluster are being moved, or were just now"):
        target.write(puts(target, 2))
    written(target, puts(target, 2))
    assert {row.version for row in target.rows()} == {2}
    assert written(target, puts(target, 1)) == [STALE] * ROWS


@pytest.mark.parametrize("kind", ["hash", "string"])
def test_rows_of_a_slot_that_is_on_its_way_wait_and_nothing_is_lost(
    sink: RedisSink, redis_cluster: ValkeyCluster, kind: str
) -> None:
    target = view(sink, kind)
    target.write(puts(target, 5, 20))
    old, new = puts(target, 6, 20)[3], Write(f"{target.family.literals[0]}new{{{uuid4().hex}}}", ("6",), 6)
    for row in (old, new):
        slot = slot_of(str(row.key))
        source = operator.serving(redis_cluster, slot)
        to = other(redis_cluster, source)
        operator.open_slot(slot, source, to)
        operator.move_keys(slot, source, to)
        with pytest.raises(SinkUnavailable, match="slots of its cluster are being moved"):
            target.write([row])
        operator.close_slot(slot, to, redis_cluster)
        assert written(target, [row]) == [APPLIED]
        assert target.read([row.key])[0] is not None
        assert written(target, [Write(row.key, None, 7)]) == [APPLIED]
        assert written(target, [row]) == [STALE], "its tombstone is beside it"


def test_a_listing_misses_no_row_whose_slot_moves_meanwhile(sink: RedisSink, redis_cluster: ValkeyCluster) -> None:
    target = view(sink)
    target.write(puts(target, 1))
    keys = {str(write.key) for write in puts(target, 1)}
    first, last = redis_cluster.nodes[0], redis_cluster.nodes[2]
    moving = [slot for slot in map(slot_of, keys) if operator.serving(redis_cluster, slot) is last][:5]
    assert moving
    pages = target.canonical_rows()
    met = set(next(pages).keys)
    for slot in moving:  # from the server that is looked at last to the one that was looked at first
        operator.move_slot(redis_cluster, slot, first)
    met.update(key for page in pages for key in page.keys)
    assert met == keys
    assert target.count() == ROWS
    for slot in moving:
        operator.move_slot(redis_cluster, slot, last)


def test_nothing_is_looked_through_while_slots_stay_open(sink: RedisSink, redis_cluster: ValkeyCluster) -> None:
    target = view(sink)
    target.write(puts(target, 1, 50))
    slot = slot_of(str(puts(target, 1)[0].key))
    source = operator.serving(redis_cluster, slot)
    to = other(redis_cluster, source)
    operator.open_slot(slot, source, to)
    operator.move_keys(slot, source, to)
    with pytest.raises(SinkUnavailable, match="slots are moved between the servers"):
        list(target.canonical_rows())
    operator.close_slot(slot, to, redis_cluster)
    assert len(list(target.rows())) == 50


def test_a_primary_that_is_killed_is_waited_for_until_its_replica_serves(own: ValkeyCluster) -> None:
    sink = RedisSink("cache", own.url, {"timeout": 2, "wait": 1})
    target = view(sink)
    assert target.write(puts(target, 1)) == [APPLIED] * ROWS
    slot = slot_of(str(puts(target, 1)[0].key))
    killed = operator.serving(own, slot)
    stop = threading.Event()
    versions: list[int] = []

    def write() -> None:
        version = 2
        while not stop.is_set():
            written(target, puts(target, version))
            versions.append(version)
            version += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until(lambda: bool(versions), "a batch")
        killed.kill()
        before = len(versions)
        until(lambda: operator.serving(own, slot) is not killed, "the failover")
        killed.launch()  # as a replica, for which the writes wait
        killed.ready()
        until(lambda: len(versions) > before + 2, "batches after the failover")
    finally:
        stop.set()
        writer.join(60)
    assert {row.version for row in target.rows()} == {versions[-1]}
    assert target.count() == ROWS
    sink.close()


def test_a_write_is_durable_only_once_the_replicas_that_are_asked_for_have_it(own: ValkeyCluster) -> None:
    sink = RedisSink("cache", own.url, {"timeout": 1, "wait": 1})
    target = view(sink)
    one = puts(target, 1, 1)
    slot = slot_of(str(one[0].key))
    primary = operator.serving(own, slot)
    until(lambda: operator.has_replica(own, primary), "a replica")
    assert written(target, one) == [APPLIED]
    with paused(operator.replica_of(own, primary)), pytest.raises(SinkUnavailable, match="wait: asks for 1"):
        target.write(puts(target, 2, 1))
    assert written(target, puts(target, 3, 1)) == [APPLIED]
    sink.close()


def test_rows_wait_for_a_primary_that_went_with_its_replica(own: ValkeyCluster) -> None:
    sink = RedisSink("cache", own.url, {"timeout": 1})
    target = view(sink)
    written(target, puts(target, 1))
    primary = operator.serving(own, slot_of(str(puts(target, 1)[0].key)))
    gone = [primary, operator.replica_of(own, primary)]
    for node in gone:
        node.kill()
    with pytest.raises(SinkUnavailable, match=r"no connection|is down \(CLUSTERDOWN\)"):
        target.write(puts(target, 2))
    with pytest.raises(SinkUnavailable):
        list(target.rows())
    for node in gone:
        node.launch()
    for node in gone:
        node.ready()
    written(target, puts(target, 3))
    assert {row.version for row in target.rows()} == {3}
    assert target.count() == ROWS
    sink.close()


def test_slots_that_nobody_serves_are_named_and_rows_wait_for_them(own: ValkeyCluster) -> None:
    sink = RedisSink("cache", own.url, {"timeout": 1})
    target = view(sink)
    one = puts(target, 1, 1)
    written(target, one)
    slot = slot_of(str(one[0].key))
    primary = operator.serving(own, slot)
    for node in own.nodes:
        with operator.asked(node) as client:
            client.execute_command("CLUSTER", "DELSLOTS", slot)

    def said(ask: Callable[[], object]) -> str:
        try:
            ask()
        except SinkUnavailable as error:
            return str(error)
        return ""

    named = f"no server of its cluster serves the slots {slot}"
    until(lambda: named in said(lambda: target.write(puts(target, 2, 1))), "a write to say which slots")
    until(lambda: named in said(lambda: list(target.rows())), "a listing to say which slots")
    with operator.asked(primary) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", slot)
    written(target, puts(target, 3, 1))
    assert [row.version for row in target.rows()] == [3]
    sink.close()


@contextmanager
def paused(node: Node) -> Iterator[None]:
    """A server that does nothing for the length of a block, as on a machine that hangs."""
    with operator.asked(node) as client:
        process = int(client.info("server")["process_id"])
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)
