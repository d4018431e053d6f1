"""Redis, and whatever speaks its protocol and runs its scripts (Valkey, ElastiCache, MemoryDB)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dynaview.projections.rows import Layout
from dynaview.projections.urls import AddressError
from dynaview.sinks.port import Danger, Room, SinkRefused
from dynaview.sinks.redis import generation as generations
from dynaview.sinks.redis.client import Link
from dynaview.sinks.redis.neighbours import Neighbours
from dynaview.sinks.redis.server import Server
from dynaview.sinks.redis.target import RedisTarget

OLDEST = 7
"""The first major version of Redis whose scripts keep the code of an error they meet."""


FULL = 0.9
"""The share of the memory from which on a server is called nearly full."""


class RedisSink:
    """One database of one Redis server, or a cluster. `url` is ``redis://`` or ``rediss://``, ``unix://`` for a socket;
    of a cluster, that of one of its servers.

    `options` are ``timeout`` (seconds), ``cluster`` (whether the server is one of a cluster; asked where it is left
    out), ``wait`` (replicas that have to acknowledge a write) and, for ``rediss://``, ``ca_file`` and ``verify``.
    Raises ValueError for a URL that is none; its text does not repeat the URL.
    """

    in_place = True

    def __init__(self, name: str, url: str, options: Mapping[str, Any]) -> None:
        self.name = name
        try:
            self._link = Link(url, options)
        except AddressError as error:
            raise ValueError(f"sink {name}: {error}") from None
        except ValueError:
            raise ValueError(
                f"sink {name}: not the URL of a Redis (redis://user:password@host:6379/0, special characters in the "
                "password percent-encoded)"
            ) from None

        self._neighbours = Neighbours(self._link)

    def open(self, layout: Layout, generation: int) -> RedisTarget:
        return RedisTarget(self._link, self._neighbours, layout, generation)

    def gone(self, layout: Layout, generation: int) -> str | None:
        """Keys stand for themselves: a server that lost them cannot be told from one that never had them."""
        return None

    def published(self, layout: Layout) -> int | None:
        """Readers address keys directly."""
        return None

    def highest(self, layout: Layout) -> int:
        """What key ``_g{…}`` holds (see `names`): `Target.prepare` raises it, and dropping the highest generation
        removes it. So 0 is also the answer when the highest was dropped, whatever earlier ones have left, and when the
        key was evicted or flushed, until a generation is prepared again."""
        return generations.look(self._link, self.open(layout, 1).family) or 0

    def room(self, layout: Layout, generation: int) -> Room | None:
        """None where the server has no ``maxmemory``. `Room.used` is an estimate over all generations, which share
        their keys: the view's keys are counted, up to a thousand of them measured (``MEMORY USAGE``, with the version
        beside each), and their mean taken for all; tombstones and the server's table of keys are left out."""
        free = [_free(memory) for memory in self._infos("memory")]
        limited = [room for room in free if room is not None]
        if len(limited) < len(free):
            return None
        # Rows spread evenly: the fullest server of a cluster is the first that has no room.
        return Room(self.open(layout, generation).bytes_used(), min(limited) * len(limited))

    def check(self) -> str:
        server = self._infos("server")[0]
        product = "Valkey" if server.get("server_name") == "valkey" else "Redis"
        version = str(server.get("valkey_version") or server.get("redis_version"))
        if int(str(server.get("redis_version", OLDEST)).partition(".")[0]) < OLDEST:
            raise SinkRefused(f"{product} {version} is too old: dynaview needs Redis {OLDEST} or newer, or Valkey")
        servers = len(self._link.everyone())
        return f"{product} {version}" + (f", a cluster of {servers} primaries" if self._link.clustered else "")

    def dangers(self) -> list[Danger]:
        """Of a cluster's primaries, each danger once."""
        found = dict.fromkeys(danger for server in self._link.everyone() for danger in self._dangers_of(server))
        return list(found)

    def _dangers_of(self, server: Server) -> list[Danger]:
        memory, found = _info(server, "memory"), []
        limit, policy = int(memory.get("maxmemory") or 0), str(memory.get("maxmemory_policy", "noeviction"))
        if limit and policy != "noeviction":
            of = "rows" if policy.startswith("allkeys") else "rows that expire, and what deletes leave behind,"
            found.append(
                Danger(
                    f"maxmemory-policy {policy}: once memory is full, {of} are evicted without a word",
                    "set maxmemory-policy noeviction, and watch the memory",
                )
            )
        used = int(memory["used_memory"]) - int(memory.get("mem_not_counted_for_evict") or 0)
        if limit and used > FULL * limit:
            found.append(
                Danger(f"memory is {100 * used / limit:.0f}% full", "raise maxmemory, or keep less in this server")
            )
        if _info(server, "replication").get("role") in ("slave", "replica"):
            found.append(Danger("the server is a replica, which takes no writes", "name its primary in the sink's URL"))
        return found

    def problems(self, layout: Layout) -> list[str]:
        found: list[str] = []
        target = self.open(layout, 1)
        strangers = target.strangers()
        if strangers:
            found.append(
                f"{len(strangers)} keys of the view's family were not created by dynaview and will not be touched, "
                f"such as {strangers[0].key!r}: choose another key template, or remove them"
            )
        found += map(str, target.neighbours())
        if generations.look(self._link, target.family) is None:
            found.append(generations.taken(target.family))
        memories = self._infos("memory")
        policies = [str(memory.get("maxmemory_policy", "")) for memory in memories if memory.get("maxmemory")]
        policy = next((policy for policy in policies if policy.startswith("allkeys")), "")
        if policy and target.keeps_versions_beside:
            found.append(
                f"maxmemory-policy {policy} may evict the versions of rows, after which they cannot be written: "
                "use noeviction or a volatile policy, or a view of type hash"
            )
        return found

    def close(self) -> None:
        self._link.close()

    def _infos(self, section: str) -> list[dict[str, Any]]:
        return [_info(server, section) for server in self._link.everyone()]


def _info(server: Server, section: str) -> dict[str, Any]:
    info: dict[str, Any] = server.call(lambda client: client.info(section))
    return info


def _free(memory: Mapping[str, Any]) -> int | None:
    """Bytes that a server has room for; None where it has no limit."""
    limit = int(memory.get("maxmemory") or 0)
    used = int(memory["used_memory"]) - int(memory.get("mem_not_counted_for_evict") or 0)
    return max(0, limit - used) if limit else None
