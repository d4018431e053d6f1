"""What an operator does to a Redis cluster: moving slots, open or at once, and finding who serves what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from dynaview.local.valkey_cluster import Node, ValkeyCluster


@contextmanager
def asked(node: Node) -> Iterator[Any]:
    """A client of one server, whatever it serves."""
    with redis.Redis.from_url(node.url) as client:
        yield client


def serving(cluster: ValkeyCluster, slot: int) -> Node:
    """The server that serves a slot, as the first one that runs tells it."""
    for node in cluster.nodes:
        if node.running:
            with asked(node) as client:
                for first, last, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(node for node in cluster.nodes if node.port == primary[1])
    raise AssertionError(f"nobody serves slot {slot}")


def has_replica(cluster: ValkeyCluster, primary: Node) -> bool:
    """Whether a replica follows it."""
    return any(True for _ in _replicas(cluster, primary))


def replica_of(cluster: ValkeyCluster, primary: Node) -> Node:
    """The replica of a primary."""
    return next(_replicas(cluster, primary))


def _replicas(cluster: ValkeyCluster, primary: Node) -> Iterator[Node]:
    for node in cluster.nodes:
        if node.running:
            with asked(node) as client:
                told = client.info("replication")
            if told.get("master_port") == primary.port and told.get("master_link_status") == "up":
                yield node


def open_slot(slot: int, source: Node, target: Node) -> None:
    """Begin to move a slot: keys that are not there are asked for at the target from now on."""
    with asked(target) as client:
        client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
    with asked(source) as client:
        client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)


def move_keys(slot: int, source: Node, target: Node, most: int = 10_000) -> int:
    """Move keys of an open slot; how many were."""
    with asked(source) as client:
        keys = client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, most)
        if keys:
            client.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)


def close_slot(slot: int, target: Node, cluster: ValkeyCluster) -> None:
    """Say that the slot is moved, to every server."""
    for node in [target, *cluster.nodes]:
        if node.running:
            with asked(node) as client:
                if "master" in str(client.info("replication")["role"]):
                    client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target.id)


def move_slot(cluster: ValkeyCluster, slot: int, target: Node) -> None:
    """Move a slot and all its keys."""
    source = serving(cluster, slot)
    if source is not target:
        open_slot(slot, source, target)
        while move_keys(slot, source, target):
            pass
        close_slot(slot, target, cluster)
