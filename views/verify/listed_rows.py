"""A register of the rows that a store listed: some 33 bytes a row, whatever a row holds.

Of each row it keeps hashes: 64 bits of its key and of its state (version, owner and generation), and 128 of its
canonical bytes (content and owner). So a verification knows for a million rows which ones the table asks for, and in
which state each one stood when it was listed. Hashes of keys and states are of this process only. Where two keys share
one (at 10^8 rows the chance of any is 1 in 3000), a row too many may go unseen; nothing is ever reported because of it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from dynaview.projections.canonical import number_text
from dynaview.projections.rows import RowKey
from dynaview.sinks.port import CanonicalRows, Stored, Target, state_of
from dynaview.views.retry import Retrier, Stopped
from dynaview.views.scanning.ahead import ahead

_BITS = 10
_BUCKETS = 1 << _BITS
_SHIFT = 64 - _BITS
_WORD = (1 << 64) - 1
_DIGEST = 16


class _Bucket:
    """Parallel arrays, in the order of `keys` once the listing has ended; of digests there are `_DIGEST` bytes each."""

    __slots__ = ("digests", "keys", "met", "states")

    def __init__(self) -> None:
        self.keys = array("Q")
        self.states = array("q")
        self.digests = bytearray()
        self.met = bytearray()

    def places(self, key: int) -> Iterator[int]:
        """Where a key stands: more than once where the store listed its row more than once."""
        place = bisect_left(self.keys, key)
        while place < len(self.keys) and self.keys[place] == key:
            yield place
            place += 1

    def sort(self) -> None:
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        digests = self.digests
        self.keys = array("Q", [self.keys[place] for place in order])
        self.states = array("q", [self.states[place] for place in order])
        self.digests = bytearray().join([digests[place * _DIGEST : (place + 1) * _DIGEST] for place in order])
        self.met = bytearray(len(order))


class ListedRows:
    """`add` every row of a listing, then `close` it; after that, all the rest, from any thread."""

    def __init__(self) -> None:
        self._buckets = [_Bucket() for _ in range(_BUCKETS)]
        self.rows = 0

    def add(self, page: CanonicalRows) -> None:
        """Enter live rows as they are listed."""
        buckets = self._buckets
        for key, state, canonical in zip(*page, strict=True):
            hashed = _hash(key)
            bucket = buckets[hashed >> _SHIFT]
            bucket.keys.append(hashed)
            bucket.states.append(hash(state))
            bucket.digests += blake2b(canonical, digest_size=_DIGEST).digest()
        self.rows += len(page.keys)

    def close(self) -> None:
        """The listing has ended."""
        for bucket in self._buckets:
            bucket.sort()

    def meet(self, key: RowKey, canonical: bytes) -> bool:
        """Whether the row was listed with this canonical bytes; then it is wanted."""
        hashed = _hash(key)
        bucket = self._buckets[hashed >> _SHIFT]
        keys = bucket.keys
        place = bisect_left(keys, hashed)
        digest = blake2b(canonical, digest_size=_DIGEST).digest()
        found = False
        while place < len(keys) and keys[place] == hashed:
            if bucket.digests[place * _DIGEST : (place + 1) * _DIGEST] == digest:
                bucket.met[place] = 1
                found = True
            place += 1
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


def list_rows(target: Target, retrier: Retrier) -> ListedRows:
    """Every row that a store lists. Raises `SinkError`, `Stopped`."""

    def listed() -> ListedRows:
        rows = ListedRows()
        with closing(ahead(target.canonical_rows())) as pages:
            for page in pages:
                if retrier.stop.is_set():
                    raise Stopped
                rows.add(page)
        rows.close()
        return rows

    return retrier.insist(listed)


def _hash(key: RowKey) -> int:
    if type(key) is str:
        return hash(key) & _WORD
    for part in key:
        if type(part) is not str:
            # Python gives -1 and -2 one hash, and takes integers modulo 2**61-1: numbers are hashed as texts.
            return hash(tuple(map(_part, key))) & _WORD
    return hash(key) & _WORD


def _part(part: Any) -> Any:
    if type(part) is str:
        return part
    if isinstance(part, int | Decimal):
        return number_text(part)
    if isinstance(part, float):
        return str(int(part)) if part.is_integer() else repr(part)
    return part


def _state(stored: Stored) -> int:
    return hash(state_of(stored.version, stored.generation, stored.owner))
