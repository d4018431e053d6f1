"""One Redis, whether that is a server or a cluster of them: who holds a key, and calls of scripts to whoever does."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dynaview.projections.urls import host_of, refuse_tls_options
from dynaview.sinks.port import SinkError, SinkUnavailable
from dynaview.sinks.redis import slots
from dynaview.sinks.redis.server import IN_FLIGHT, Exchange, Server
from dynaview.sinks.redis.slots import Address, Slots

TIMEOUT = 10.0
"""Seconds to wait for a connection or an answer, unless the declaration says otherwise."""

AHEAD = 64
"""Calls sent to a server of a cluster ahead of their answers: a call there has few rows, those of one slot."""

ROUNDS = 20
"""How often servers are looked through again because slots were moved meanwhile."""

Call: TypeAlias = "tuple[str, tuple[bytes, ...]]"
"""A key that a call of a script touches, and the arguments. All other keys of the call are in the same slot."""


class Link:
    """Safe for threads; never retries. A cluster is found out at the first use, unless the options say what it is."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        """Raises ValueError for a URL or options that make no sense; shows nothing of the URL."""
        refuse_tls_options(url, options)
        if not url.startswith("unix://"):
            host_of(url, "redis://user:password@host:6379/0")
        self._timeout = float(options.get("timeout", TIMEOUT))
        self._replicas = int(options.get("wait", 0))
        settings: dict[str, Any] = {
            "socket_timeout": self._timeout,
            "socket_connect_timeout": self._timeout,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "client_name": "dynaview",
        }
        if url.startswith("rediss://"):
            verify = options.get("verify", True)
            settings |= {
                "ssl_cert_reqs": "required" if verify else "none",
                "ssl_check_hostname": bool(verify),
                "ssl_ca_certs": options.get("ca_file"),
            }
        pool = redis.ConnectionPool.from_url(url, **settings)
        _check_options(pool)
        self._connection: type[Any] = pool.connection_class
        self._settings: dict[str, Any] = pool.connection_kwargs
        self._lock = threading.Lock()
        self._first = Server(self._connection, self._settings)
        self._clustered: bool | None = options.get("cluster")
        self._servers: dict[Address, Server] = {}
        self._slots: Slots | None = None

    @property
    def clustered(self) -> bool:
        """Whether it is a cluster. Raises `SinkError`."""
        if self._clustered is None:
            info: dict[str, Any] = self._first.call(lambda client: client.info("cluster"))
            self._clustered = bool(info.get("cluster_enabled"))
        return self._clustered

    def groups(self, keys: Sequence[str], most: int) -> Iterator[Sequence[int]]:
        """The places of keys that one call may touch together, at most so many at once. Raises `SinkError`."""
        if self.clustered:
            return slots.by_slot(keys, most)
        return (range(start, min(start + most, len(keys))) for start in range(0, len(keys), most))

    def of(self, key: str) -> Server:
        """The server that holds a key. Raises `SinkError`."""
        return self._of(key, self._map()) if self.clustered else self._first

    def ask(self, script: str, key: str, *arguments: bytes) -> Any:
        """The answer of one call. Raises `SinkError`."""
        (answer,) = self.run(script, [(key, arguments)])
        return answer

    def run(self, script: str, calls: Iterable[Call], durable: bool = False) -> Iterator[Any]:
        """Call `script` once for each; the answers in order. With `durable` they are held back until as many replicas
        as the option ``wait`` asks for have what was written. Raises `SinkError`.

        Closing the iterator early drops the connections, whatever answers are still on their way.
        """
        if not durable or not self._replicas:
            return self._run(script, calls, 0)
        return iter([*self._run(script, calls, self._replicas)])

    def everywhere(self) -> Iterator[Server]:
        """Every server that holds keys, for whoever looks through all of them; one comes again where it was given slots
        meanwhile, so that no key is missed that moved. Raises `SinkError`, also where slots are served by nobody."""
        if not self.clustered:
            yield self._first
            return
        self._forget()
        before = self._whole()
        waiting = list(before.servers)
        for _ in range(ROUNDS):
            yield from map(self._server, waiting)
            self._forget()
            now = self._whole()
            gained = now.gained(before)
            waiting = [at for at in now.servers if at in gained or slots.importing(self._server(at))]
            before = now
            if not waiting:
                return
        raise SinkUnavailable(
            f"{self._first.where}: slots are moved between the servers of its cluster; its keys can be looked through "
            "when that is over"
        )

    def everyone(self) -> list[Server]:
        """Every server that takes writes. Raises `SinkError`."""
        return [self._server(address) for address in self._map().servers] if self.clustered else [self._first]

    def close(self) -> None:
        """Close all connections."""
        for server in [self._first, *self._servers.values()]:
            server.close()

    def _run(self, script: str, calls: Iterable[Call], replicas: int) -> Iterator[Any]:
        """Over all servers that hold the keys: each works on its calls, and answers come in order."""
        clustered = self.clustered
        ahead = AHEAD if clustered else IN_FLIGHT
        found = self._map() if clustered else None
        with contextlib.ExitStack() as stack:
            exchanges: dict[Server, Exchange] = {}
            waiting: deque[Exchange] = deque()
            for key, arguments in calls:
                server = self._first if found is None else self._of(key, found)
                exchange = exchanges.get(server)
                if exchange is None:
                    exchange = exchanges[server] = stack.enter_context(server.exchange(script))
                exchange.send(arguments, key if clustered else None)
                waiting.append(exchange)
                while exchange.pending > ahead:
                    yield waiting.popleft().answer()
            while waiting:
                yield waiting.popleft().answer()
            for server, exchange in exchanges.items() if replicas else ():
                self._await_replicas(server, exchange, replicas)

    def _await_replicas(self, server: Server, exchange: Exchange, replicas: int) -> None:
        within = self._timeout / 2
        acknowledged = exchange.wait(replicas, within)
        if acknowledged < replicas:
            raise SinkUnavailable(
                f"{server.where}: {acknowledged} of its replicas acknowledged a write within {within:.0f} s, and wait: "
                f"asks for {replicas}"
            )

    # The map of a cluster

    def _map(self) -> Slots:
        """As it was last read, unless a server has failed since."""
        with self._lock:
            if self._slots is None or any(server.failed for server in self._servers.values()):
                self._slots = None
                self._slots = self._read()
            return self._slots

    def _forget(self) -> None:
        with self._lock:
            self._slots = None

    def _whole(self) -> Slots:
        """The map, where all slots are served."""
        found = self._map()
        if found.missing:
            self._forget()
            raise SinkUnavailable(f"{self._first.where}: no server of its cluster serves the slots {found.missing}")
        return found

    def _read(self) -> Slots:
        """Ask the servers that are known, those that work first, until one answers with a whole map."""
        best: Slots | None = None
        failed: SinkError | None = None
        known = sorted(self._servers.values(), key=lambda server: server.failed)
        for server in [*known, self._first]:
            try:
                found = slots.read(server)
            except SinkError as error:
                failed = failed or error
                continue
            if best is None or len(found.missing) < len(best.missing):
                best = found
            if not best.missing:
                break
        if best is None:
            assert failed is not None
            raise failed
        self._keep([*best.servers, *best.replicas])
        return best

    def _keep(self, addresses: Sequence[Address]) -> None:
        """Know these servers, those that answered last time at the end, so that another one is asked next time."""
        for address in self._servers.keys() - addresses:
            self._servers.pop(address).close()
        kept = [address for address in self._servers if address in addresses]
        added = [address for address in addresses if address not in self._servers]
        for host, port in added:
            settings = self._settings | {"host": host, "port": port}
            self._servers[host, port] = Server(self._connection, settings, clustered=True)
        self._servers = {at: self._servers[at] for at in [*kept[1:], *added, *kept[:1]]}
        for server in self._servers.values():
            server.failed = False

    def _of(self, key: str, found: Slots) -> Server:
        address = found.primaries[slots.slot_of(key)]
        if address is None:
            self._forget()
            raise SinkUnavailable(
                f"{self._first.where}: no server of its cluster serves the slots {found.missing}, and keys of the view "
                "are there"
            )
        return self._server(address)

    def _server(self, address: Address) -> Server:
        server = self._servers.get(address)
        if server is None:  # the map was read anew meanwhile, and does not have it any more
            raise SinkUnavailable(f"Redis at {address[0]}:{address[1]}: has left the cluster")
        return server


def _check_options(pool: redis.ConnectionPool) -> None:
    """Raises ValueError for options in the URL that the client does not know; it would say so when it connects. No
    connection is made."""
    try:
        pool.connection_class(**pool.connection_kwargs)
    except redis.RedisError as error:
        raise ValueError(f"the URL has an option that cannot be used: {error}") from None
    except TypeError as error:
        name = str(error).rpartition("argument ")[2].strip("'\"")
        raise ValueError(f"the URL has an option that Redis clients do not know: {name}") from None
