"""Pages of streams that processes of one machine have just read, in memory that they share.

Two workers may read one shard, each for its own views. What the first one has asked AWS for the other one finds here,
so a page is fetched once; each decodes it by its own shape, which is cheaper than to hand decoded records on.

Nothing rests on it: a page is what AWS answered behind a position, and records do not change. Who finds nothing, or
a process in its way that sleeps, asks AWS. The memory is a file that only these processes have open: seats, which say
who reads which shard, then the headers of the places, then room for a page each. A lock of the operating system, which
ends with its process, guards a look and a copy, never a call to AWS. A page that its process did not finish is marked
as free.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

PLACES = 16
ROOM = 3 << 20
"""Bytes of the largest page that is kept. AWS answers with 1 MB of records, which JSON makes more."""

PATIENCE = 0.25
"""Seconds for which a page that another process is asking for is waited for."""

PAUSE = 0.001
"""Seconds between two looks while waiting, or while the memory is locked."""

LOCKED = 0.02
"""Seconds after which memory that stays locked is left alone: a process sleeps in the middle of a copy."""

SEATS = 64
PRESENT = 5.0
"""Seconds after its last read for which a process counts as a reader of a shard."""

_SEAT = struct.Struct("<16sId")
"""The hash of the shard, the process, and when it read last."""

_HEADER = struct.Struct("<B16s48s48sIdQ")
"""State, the hash of the shard, positions before the page and at its end, length, time, ticket."""

_FREE, _ASKED, _READ = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Place:
    number: int
    state: int
    shard: bytes
    start: int
    last: int
    length: int
    at: float
    ticket: int


class PageRing:
    """The pages. Safe to use from several threads and processes."""

    def __init__(self, file: int, clock: Callable[[], float] = time.monotonic, process: int | None = None) -> None:
        """`file` is an open file of `make_file`, perhaps of the parent's; `process` tells who reads, by its number."""
        self._file = file
        self._clock = clock
        self._memory = mmap.mmap(file, _SIZE)
        self._lock = threading.Lock()
        self._process = os.getpid() if process is None else process
        self._shared: set[bytes] = set()
        """Shards that other processes read too."""

    def close(self) -> None:
        """Let go of the memory; the file stays open."""
        self._memory.close()

    def find(self, stream: str, shard: str, after: int) -> bytes | None:
        """The page that holds the record behind a position, or ends there and begins before it. Where nobody has it
        and nobody asks for it, None: whoever asked is to fetch it, and say so by `put` or `give_up`. Waits a moment
        for a page that another one is asking for."""
        name = _name(stream, shard)
        end = self._clock() + PATIENCE
        while True:
            with self._held() as held:
                if not held or not self._sit(name):
                    return None
                places = [place for place in self._places() if place.shard == name]
                for place in places:
                    if place.state == _READ and place.start <= after < place.last:
                        begin = _PAGES + place.number * ROOM
                        return self._memory[begin : begin + place.length]
                now = self._clock()
                asked = any(
                    each.state == _ASKED and each.start == after and each.at > now - PATIENCE for each in places
                )
                if not asked or now >= end:
                    self._write(self._oldest(), _ASKED, name, after, after, b"")
                    return None
            time.sleep(PAUSE)

    def put(self, stream: str, shard: str, after: int, last: int, page: bytes) -> None:
        """A page was fetched that holds the records behind `after` up to `last`."""
        name = _name(stream, shard)
        if name not in self._shared:
            return
        if len(page) > ROOM or last <= after:
            self.give_up(stream, shard, after)
            return
        with self._held() as held:
            if held:
                mine = (place for place in self._places() if self._is_asked(place, name, after))
                self._write(next(mine, None) or self._oldest(), _READ, name, after, last, page)

    def give_up(self, stream: str, shard: str, after: int) -> None:
        """What was asked for did not come, or is nothing to keep."""
        name = _name(stream, shard)
        if name not in self._shared:
            return
        with self._held() as held:
            for place in self._places() if held else ():
                if self._is_asked(place, name, after):
                    self._write(place, _FREE, b"", 0, 0, b"")

    # Inside

    @contextmanager
    def _held(self) -> Iterator[bool]:
        """Whether the memory is this thread's until the block ends."""
        end = time.monotonic() + LOCKED
        if not self._lock.acquire(timeout=LOCKED):
            yield False
            return
        try:
            while not (locked := self._try_lock()) and time.monotonic() < end:
                time.sleep(PAUSE)
            try:
                yield locked
            finally:
                if locked:
                    fcntl.lockf(self._file, fcntl.LOCK_UN, 1)
        finally:
            self._lock.release()

    def _try_lock(self) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except OSError:
            return False
        return True

    def _sit(self, shard: bytes) -> bool:
        """Say that this process reads a shard; whether others do so too."""
        now = self._clock()
        seats = [_SEAT.unpack_from(self._memory, number * _SEAT.size) for number in range(SEATS)]
        its = [number for number, (of, who, _) in enumerate(seats) if of == shard and who == self._process]
        at = its[0] if its else min(range(SEATS), key=lambda number: seats[number][2])
        _SEAT.pack_into(self._memory, at * _SEAT.size, shard, self._process, now)
        shared = any(of == shard and who != self._process and now - then < PRESENT for of, who, then in seats)
        (self._shared.add if shared else self._shared.discard)(shard)
        return shared

    def _places(self) -> list[_Place]:
        found = []
        for number in range(PLACES):
            state, shard, start, last, *rest = _HEADER.unpack_from(self._memory, _HEADERS + number * _HEADER.size)
            ends = (0, 0) if state == _FREE else (int(start.rstrip(b"\0")), int(last.rstrip(b"\0")))
            found.append(_Place(number, state, shard, *ends, *rest))
        return found

    def _oldest(self) -> _Place:
        return min(self._places(), key=lambda place: (place.state != _FREE, place.ticket))

    def _is_asked(self, place: _Place, shard: bytes, after: int) -> bool:
        return place.state == _ASKED and place.shard == shard and place.start == after

    def _write(self, place: _Place, state: int, shard: bytes, start: int, last: int, page: bytes) -> None:
        at = _HEADERS + place.number * _HEADER.size
        self._memory[at] = _FREE  # until all of it stands
        ticket = 1 + max(each.ticket for each in self._places())
        begin = _PAGES + place.number * ROOM
        self._memory[begin : begin + len(page)] = page
        texts = [str(position).encode() for position in (start, last)]
        _HEADER.pack_into(self._memory, at, _FREE, shard, *texts, len(page), self._clock(), ticket)
        self._memory[at] = state


_HEADERS = SEATS * _SEAT.size
_PAGES = -(-(_HEADERS + PLACES * _HEADER.size) // mmap.PAGESIZE) * mmap.PAGESIZE
_SIZE = _PAGES + PLACES * ROOM


def make_file() -> int:
    """A file for a ring, open and inherited by processes that are started with it; the system frees it when the last of
    them has ended. It takes memory only for what was written."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("dynaview-pages")
    else:  # not on macOS
        with tempfile.TemporaryFile() as made:
            file = os.dup(made.fileno())
    os.ftruncate(file, _SIZE)
    os.set_inheritable(file, True)
    return file


def _name(stream: str, shard: str) -> bytes:
    return hashlib.blake2b(f"{stream}\0{shard}".encode(), digest_size=16).digest()
