"""A Valkey cluster: three primaries, each with a replica, as six processes on the loopback interface."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from dynaview.local import private
from dynaview.local.server import free_port
from dynaview.local.valkey import Valkey

PRIMARIES = 3
SLOTS = 16384

NODE_TIMEOUT = 1500
"""Milliseconds of silence after which a node is taken for dead: a failover then takes two to four seconds."""


class Node(Valkey):
    """One server of a cluster. It keeps its port, by which the others know it."""

    title = "Valkey (a node of a cluster)"
    attempts = 1

    def __init__(self, directory: Path, port: int, bus: int) -> None:
        super().__init__(directory)
        self.port = port
        self.bus = bus
        self.id = hashlib.sha1(f"{directory} {port}".encode()).hexdigest()

    def _chosen_port(self) -> int:
        return self.port

    def _more_arguments(self) -> list[str]:
        argv = ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(self.bus)]
        argv += ["--cluster-node-timeout", str(NODE_TIMEOUT), "--cluster-announce-ip", "127.0.0.1"]
        return [*argv, "--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"]

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"CLUSTER INFO\r\n")
            said = connection.recv(65536)
            if b"cluster_state:ok" not in said or b"cluster_known_nodes:%d" % (2 * PRIMARIES) not in said:
                return False
            connection.sendall(b"INFO replication\r\n")
            said = connection.recv(65536)
            return self.running and (b"master_link_status:up" in said or b"connected_slaves:1" in said)


class ValkeyCluster:
    """The six servers as one; used as a `dynaview.local.server.Server` is."""

    name: ClassVar[str] = "redis-cluster"
    title: ClassVar[str] = "Valkey cluster"

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.nodes: Sequence[Node] = ()
        """The primaries, then their replicas in the same order, as they were at the start."""

    @property
    def url(self) -> str:
        """Of one of its servers: clients ask it for the others."""
        return self.nodes[0].url

    @property
    def log(self) -> Path:
        """Of the server of `url`."""
        return self.nodes[0].log

    @property
    def running(self) -> bool:
        """Whether all of its servers are alive."""
        return bool(self.nodes) and all(node.running for node in self.nodes)

    @property
    def pid(self) -> int | None:
        """The process id of the first server's guard."""
        return self.nodes[0].pid if self.nodes else None

    def start(self) -> Self:
        """Start and wait until all of them know each other. Raises `LocalServerError`; nothing is left running then."""
        self.launch()
        return self.ready()

    def launch(self) -> None:
        """Start the processes; `ready` has to follow. Raises `LocalServerError`."""
        private.folder(self.directory)
        numbers = range(2 * PRIMARIES)
        self.nodes = [Node(self.directory / f"node-{number}", free_port(), free_port()) for number in numbers]
        try:
            for node in self.nodes:
                private.folder(node.directory)
                with private.opened(node.directory / "nodes.conf", "w") as file:
                    file.write(_configuration(node, self.nodes))
                node.launch()
        except BaseException:
            self.stop()
            raise

    def ready(self) -> Self:
        """Wait until the cluster serves. Raises `LocalServerError`."""
        try:
            for node in self.nodes:
                node.ready()
        except BaseException:
            self.stop()
            raise
        return self

    def end(self) -> None:
        """Ask all servers to end, without waiting for them."""
        for node in self.nodes:
            node.end()

    def stop(self) -> None:
        """End all servers; returns when they are gone."""
        self.end()
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """End all servers as a crash would. `launch` starts another cluster."""
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _configuration(me: Node, nodes: Sequence[Node]) -> str:
    """What a node of a cluster that was made earlier has in its ``nodes.conf``: so no command has to make it."""
    lines: list[str] = []
    for number, node in enumerate(nodes):
        flags = "myself," if node is me else ""
        address = f"{node.id} 127.0.0.1:{node.port}@{node.bus}"
        if number < PRIMARIES:
            first, last = SLOTS * number // PRIMARIES, SLOTS * (number + 1) // PRIMARIES - 1
            lines.append(f"{address} {flags}master - 0 0 {number + 1} connected {first}-{last}")
        else:
            primary = nodes[number - PRIMARIES]
            lines.append(f"{address} {flags}slave {primary.id} 0 0 {number - PRIMARIES + 1} connected")
    return "\n".join([*lines, f"vars currentEpoch {PRIMARIES} lastVoteEpoch 0", ""])
