"""Hashes listed for comparing and counting: a page of SCAN and what is wanted of its rows in one script call.

The canonical bytes of a hash is the MessagePack array of an empty text and of its declared fields in their order, as
Lua makes it of what stands there, and Python of what ought to; both write each text under the shortest header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from dynaview.projections.rows import Write
from dynaview.sinks.canonical import owned
from dynaview.sinks.port import CanonicalRows, Stored, state_of
from dynaview.sinks.redis import lookups
from dynaview.sinks.redis.client import Link
from dynaview.sinks.redis.names import Family, is_beside
from dynaview.sinks.redis.values import Cell, Content, stored

PAGE = 250
"""Keys that the server looks at in one call: few enough that others are served in between."""

COUNTED = 500
"""The same, where a row costs one look."""

MOST_FIELDS = 1000
"""What Lua can surely hand on in one call."""

_STATE = re.compile(r"([0-9]+) ?([0-9]*) ?(.*)", re.DOTALL)
_HEADERS = ((1 << 5, 0xA0, 0), (1 << 8, 0xD9, 1), (1 << 16, 0xDA, 2), (1 << 32, 0xDB, 4))
"""MessagePack's texts: shorter than that, under this byte, and that many of their length."""

_pack = msgspec.msgpack.Encoder().encode


class Listing:
    """The hashes of one view, where `suits` it."""

    def __init__(self, link: Link, content: Content, family: Family) -> None:
        self._link = link
        self._content = content
        self._names = content.names or ()
        self._binary = content.binary
        self._beside = not family.glob or family.glob[0] in "_*"
        self._head = _pack([family.glob, PAGE, self._names])

    @staticmethod
    def suits(content: Content) -> bool:
        """Whether it knows the fields of rows."""
        return content.type == "hash" and content.names is not None and len(content.names) <= MOST_FIELDS

    def canonical(self, write: Write) -> bytes:
        """Of an upsert that has not expired. Raises ValueError for what cannot be stored."""
        cells = self._content.cells(write)
        if len(cells) == self._content.complete:
            values: list[Any] = cells[1::2]
        else:
            there = dict(zip(cells[::2], cells[1::2], strict=True))
            values = [there.get(name, False) for name in self._names]
        if self._binary:
            values = [_short(cell) if isinstance(cell, msgspec.Raw) else cell for cell in values]
        packed = _pack(["", *values])
        return owned(write.owner, packed) if write.owner else packed

    def pages(self) -> Iterator[CanonicalRows]:
        """As SCAN has them, see `RedisTarget.rows`."""
        for found in _answers(self._link, lookups.LIST_HASH, self._head):
            yield self._page(found)

    def _page(self, found: list[bytes]) -> CanonicalRows:
        states = found[1::3]
        if not self._beside and all(map(bytes.isdigit, states)) and not any(map(_padded, states)):
            try:
                return CanonicalRows(
                    [key.decode() for key in found[::3]], [state.decode() + " 1 " for state in states], found[2::3]
                )
            except UnicodeDecodeError:  # a key that is nobody's of ours
                pass
        page = CanonicalRows([], [], [])
        for key, state, canonical in zip(found[::3], states, found[2::3], strict=True):
            self._enter(page, key, state, canonical)
        return page

    def _enter(self, page: Any, key: bytes, state: bytes, canonical: bytes) -> None:
        try:
            name, match = key.decode(), _STATE.fullmatch(state.decode())
        except UnicodeDecodeError:
            return
        if match is not None and not (self._beside and is_beside(name)):
            version, generation, owner = match.groups()
            page.keys.append(name)
            page.states.append(state_of(int(version), int(generation or 1), owner))
            page.canonical_rows.append(owned(owner, canonical))


def count_hashes(link: Link, family: Family, generation: int) -> Iterator[tuple[int, list[Stored]]]:
    """By pages of SCAN: how many rows are live, and those of them that a generation before this one wrote."""
    for live, *found in _answers(link, lookups.COUNT_HASH, _pack([family.glob, COUNTED, generation])):
        yield live, [row for row in map(_row, found[::2], found[1::2]) if row is not None]


def _answers(link: Link, script: str, head: bytes) -> Iterator[list[Any]]:
    """Of a script that goes through the keys of a server by a cursor, on every server that has keys."""
    for server in link.everywhere():
        cursor = None
        while cursor != b"0":
            ((cursor, *found),) = server.run(script, [(cursor or b"0", head)])
            yield found


def _row(key: bytes, state: bytes) -> Stored | None:
    """A live row of which only its state was looked at; None for what is nobody's of ours."""
    try:
        name, match = key.decode(), _STATE.fullmatch(state.decode())
    except UnicodeDecodeError:
        return None
    if match is None:
        return None
    version, generation, owner = match.groups()
    return Stored(name, int(version), owner, int(generation or 1), True)


def _padded(state: bytes) -> bool:
    return state.startswith(b"0") and len(state) > 1  # by hand


def _short(cell: Cell) -> msgspec.Raw:
    """A binary cell as Lua would write it."""
    raw = stored(cell)
    kind, width = next((kind, width) for limit, kind, width in _HEADERS if len(raw) < limit)
    if not width:
        return msgspec.Raw(bytes([kind | len(raw)]) + raw)
    return msgspec.Raw(bytes([kind]) + len(raw).to_bytes(width, "big") + raw)
