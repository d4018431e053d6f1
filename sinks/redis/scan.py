"""Finding a view's keys again, by SCAN: no register of them is kept, so none can go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import redis

from dynaview.sinks.redis.client import Link
from dynaview.sinks.redis.names import COMPANIONS, TOMBSTONES, Family, is_beside, member_of, row_of
from dynaview.sinks.redis.server import Server

PAGE = 500
"""Keys that the server looks at in one step."""


class Scan:
    """Pages of names, each without duplicates. What stands all the while is met at least once."""

    def __init__(self, link: Link, family: Family) -> None:
        self._link = link
        self._family = family

    def keys(self, kind: str | None) -> Iterator[list[str]]:
        """Keys of the family that are of a Redis type (None: any), without what dynaview keeps beside them."""
        for page in self._named(self._family.glob, kind):
            yield [key for key in page if key in self._family and not is_beside(key)]

    def members(self, key: str, kind: str) -> Iterator[list[str]]:
        """Members of a set, or, where `kind` is ``zset``, of a sorted set."""

        def step(client: redis.Redis, cursor: int) -> Any:
            if kind == "set":
                return client.sscan(key, cursor, count=PAGE)
            following, pairs = client.zscan(key, cursor, count=PAGE)
            return following, [member for member, _ in pairs]

        return _pages(self._link.of(key), step)

    def companions(self) -> Iterator[list[tuple[str, str]]]:
        """Companions of the family's keys, each with its key; hashes (of sets) not among them."""
        for page in self._named(COMPANIONS, "string"):
            pairs = ((name, row_of(name)) for name in page)
            yield [(name, key) for name, key in pairs if key is not None and key in self._family]

    def tombstones(self) -> Iterator[list[str]]:
        """Tombstones of members of the family's sets."""
        for page in self._named(TOMBSTONES, "string"):
            rows = ((name, member_of(name)) for name in page)
            yield [name for name, row in rows if row is not None and row[0] in self._family]

    def _named(self, glob: str, kind: str | None) -> Iterator[list[str]]:
        for server in self._link.everywhere():
            yield from _pages(server, lambda client, cursor: client.scan(cursor, match=glob, count=PAGE, _type=kind))


def _pages(server: Server, step: Callable[[redis.Redis, int], Any]) -> Iterator[list[str]]:
    cursor = 0
    while True:
        cursor, names = server.call(partial(_at, step, cursor))
        # Names that are not UTF-8 are nobody's of ours.
        yield [name for name in map(_decoded, dict.fromkeys(names)) if name is not None]
        if not cursor:
            return


def _at(step: Callable[[redis.Redis, int], Any], cursor: int, client: redis.Redis) -> Any:
    return step(client, cursor)


def _decoded(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None
