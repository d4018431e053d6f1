"""A register of the rows that a store listed: some 17 bytes a row, whatever a row holds.

Of each row it keeps hashes: of its key, of its state (version, owner and generation), and of its content and owner. So
a verification knows for a million rows which ones the table asks for, and in which state each one stood when it was
listed. Hashes are of this process only. Where two keys share one (at 10^8 rows the chance of any is 1 in 3000), a row
too many may go unseen; nothing is ever reported because of it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from dynaview.projections.attributes import number_text
from dynaview.projections.rows import RowKey
from dynaview.sinks.port import Stored

_BITS = 10
_BUCKETS = 1 << _BITS
_SHIFT = 64 - _BITS
_WORD = (1 << 64) - 1
_HALF = (1 << 32) - 1

_encode = msgspec.json.Encoder(order="deterministic", decimal_format="number", enc_hook=str).encode


class _Bucket:
    """Parallel arrays, in the order of `keys` once the ledger is closed."""

    __slots__ = ("contents", "keys", "met", "states")

    def __init__(self) -> None:
        self.keys = array("Q")
        self.states = array("I")
        self.contents = array("I")
        self.met = bytearray()

    def places(self, key: int) -> Iterator[int]:
        """Where a key stands: more than once where the store listed its row more than once."""
        place = bisect_left(self.keys, key)
        while place < len(self.keys) and self.keys[place] == key:
            yield place
            place += 1

    def sort(self) -> None:
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        self.keys = array("Q", [self.keys[place] for place in order])
        self.states = array("I", [self.states[place] for place in order])
        self.contents = array("I", [self.contents[place] for place in order])
        self.met = bytearray(len(order))


class Ledger:
    """`add` every row of a listing, then `close` it; after that, all the rest, from any thread."""

    def __init__(self) -> None:
        self._buckets = [_Bucket() for _ in range(_BUCKETS)]
        self.rows = 0

    def add(self, stored: Stored) -> None:
        """Enter a live row as it is listed."""
        key = _hash(stored.key)
        bucket = self._buckets[key >> _SHIFT]
        bucket.keys.append(key)
        bucket.states.append(_state(stored))
        bucket.contents.append(_content(stored.owner, stored.content))
        self.rows += 1

    def close(self) -> None:
        """The listing has ended."""
        for bucket in self._buckets:
            bucket.sort()

    def meet(self, key: RowKey, owner: str, content: Any) -> bool:
        """Whether the row was listed with this owner and content; then it is wanted."""
        hashed = _hash(key)
        bucket = self._buckets[hashed >> _SHIFT]
        content_hash = _content(owner, content)
        found = False
        for place in bucket.places(hashed):
            if bucket.contents[place] == content_hash:
                bucket.met[place] = 1
                found = True
        return found

    def want(self, key: RowKey) -> None:
        """The table asks for the row, however it stands."""
        hashed = _hash(key)
        bucket = self._buckets[hashed >> _SHIFT]
        for place in bucket.places(hashed):
            bucket.met[place] = 1

    def is_orphan(self, stored: Stored) -> bool:
        """Whether the row was listed in this very state, and nothing has wanted it since."""
        hashed = _hash(stored.key)
        bucket = self._buckets[hashed >> _SHIFT]
        state, found = _state(stored), False
        for place in bucket.places(hashed):
            if bucket.met[place]:
                return False
            found = found or bucket.states[place] == state
        return found

    def is_wanted(self, key: RowKey) -> bool:
        """Whether the row was listed, and is wanted."""
        hashed = _hash(key)
        bucket = self._buckets[hashed >> _SHIFT]
        return any(bucket.met[place] for place in bucket.places(hashed))

    @property
    def orphans(self) -> int:
        """How many listed rows nothing has wanted yet."""
        return sum(bucket.met.count(0) for bucket in self._buckets)


def _hash(key: RowKey) -> int:
    # Python gives -1 and -2 one hash, and takes integers modulo 2**61-1: numbers are hashed as texts.
    whole = hash(key if type(key) is str else tuple(map(_part, key)))
    return whole & _WORD


def _part(part: Any) -> Any:
    if type(part) is str:
        return part
    if isinstance(part, int | Decimal):
        return number_text(part)
    if isinstance(part, float):
        return str(int(part)) if part.is_integer() else repr(part)
    return part


def _state(stored: Stored) -> int:
    return hash((str(stored.version), stored.owner, stored.generation)) & _HALF


def _content(owner: str, content: Any) -> int:
    """Equal contents mostly have one hash (1.5 and 1.50 do not); different ones have two, but for 1 in 2**32."""
    if type(content) is bytes:
        return hash((owner, content)) & _HALF
    try:
        return hash((owner, _encode(content))) & _HALF
    except (TypeError, ValueError, UnicodeEncodeError, OverflowError, RecursionError):
        return hash((owner, repr(content))) & _HALF
