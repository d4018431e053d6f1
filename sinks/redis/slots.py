"""Which server of a cluster holds which keys. A cluster has 16384 slots, and a key's name tells its slot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, TypeAlias

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from dynaview.sinks.redis.server import Server

SLOTS = REDIS_CLUSTER_HASH_SLOTS

Address: TypeAlias = tuple[str, int]


def slot_of(key: str) -> int:
    """The slot of a key."""
    return key_slot(key.encode(errors="surrogatepass"))


@dataclass(frozen=True)
class Slots:
    """Who serves what, as one server of the cluster told it."""

    primaries: Sequence[Address | None]
    """By slot; None where nobody serves it."""
    replicas: Sequence[Address]

    @cached_property
    def servers(self) -> Sequence[Address]:
        """All primaries that have slots."""
        return list(dict.fromkeys(address for address in self.primaries if address is not None))

    @cached_property
    def missing(self) -> str:
        """The slots that nobody serves, such as ``0-5460, 16383``; empty where all are served."""
        spans: list[str] = []
        for unserved, slots in groupby(range(SLOTS), lambda slot: self.primaries[slot] is None):
            if unserved:
                first, *rest = slots
                spans.append(f"{first}-{rest[-1]}" if rest else str(first))
        return ", ".join(spans)

    def gained(self, before: Slots) -> set[Address]:
        """The servers that have slots which they did not have `before`."""
        return {
            now for now, then in zip(self.primaries, before.primaries, strict=True) if now is not None and now != then
        }


def read(server: Server) -> Slots:
    """Ask one server of a cluster. Raises `SinkError`."""
    # Where a server does not know by which name it is called, it is the one that was asked.
    asked = server.client.connection_pool.connection_kwargs.get("host", "")
    primaries: list[Address | None] = [None] * SLOTS
    replicas: dict[Address, None] = {}
    for first, last, primary, *others in server.call(_ask("SLOTS")):
        primaries[first : last + 1] = [_address(primary, asked)] * (last - first + 1)
        replicas |= dict.fromkeys(_address(other, asked) for other in others)
    return Slots(primaries, list(replicas))


def importing(server: Server) -> bool:
    """Whether keys of a slot are on their way to this server, one by one. Raises `SinkError`."""
    nodes: bytes = server.call(_ask("NODES"))
    return any(b"myself" in line and b"-<-" in line for line in nodes.splitlines())


def _ask(what: str) -> Callable[[Any], Any]:
    return lambda client: client.execute_command("CLUSTER", what)


def _address(told: Sequence[Any], asked: str) -> Address:
    host, port = told[:2]
    return (host.decode() if host else asked), int(port)


def by_slot(keys: Sequence[str], most: int) -> Iterator[Sequence[int]]:
    """The places of `keys` in groups of one slot, each of at most `most`."""
    places: dict[int, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(slot_of(key), []).append(place)
    for group in places.values():
        for start in range(0, len(group), most):
            yield group[start : start + most]
