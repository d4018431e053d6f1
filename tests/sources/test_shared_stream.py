"""Pages that processes hand to each other: whoever reads gets what AWS would have answered, and each page is fetched
once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import Shape
from dynaview.sources.errors import SourceUnavailable
from dynaview.sources.page_ring import PATIENCE, PLACES, ROOM, PageRing, _name, make_file
from dynaview.sources.pages import RecordsDecoder
from dynaview.sources.port import Broken, Page
from dynaview.sources.shared_stream import SharedStream

SHAPE = Shape({"pk"}, {"pk"})
FIRST = 10**20


class OneShard:
    """A stream of one shard, as AWS answers it; iterators are places in it."""

    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop/stream/one"

    def __init__(self, records: int = 0, page: int = 10) -> None:
        self.records = records
        self.page = page
        self.hidden = 0
        """Pages that are empty although there are records."""
        self.closed = False
        self.odd: set[int] = set()
        """Records that cannot be read."""
        self.fetched = 0
        self.fail = False
        self._decoder = RecordsDecoder(SHAPE, "NEW_AND_OLD_IMAGES")

    def shards(self) -> list[Any]:
        return []

    def children(self, shard_id: str) -> list[Any]:
        return []

    def open(self, shard_id: str, after: str | None) -> str:
        return "0" if after is None else str(int(after) - FIRST + 1)

    def fetch(self, iterator: str, limit: int = 1000) -> bytes:
        self.fetched += 1
        if self.fail:
            raise SourceUnavailable("scripted")
        begin = int(iterator)
        count = min(self.page, limit, self.records - begin)
        if self.hidden:
            self.hidden, count = self.hidden - 1, 0
        end = begin + count
        answer: dict[str, Any] = {"Records": [self._record(number) for number in range(begin, end)]}
        if not (self.closed and end == self.records):
            answer["NextShardIterator"] = str(end)
        return msgspec.json.encode(answer)

    def decode(self, body: bytes) -> Any:
        return self._decoder.decode(body)

    def read(self, iterator: str, limit: int = 1000) -> Any:
        return self.decode(self.fetch(iterator, limit))

    def _record(self, number: int) -> dict[str, Any]:
        image = {"pk": {"S": str(number)}}
        body = {"SequenceNumber": str(FIRST + number), "Keys": image, "NewImage": image, "OldImage": image}
        if number in self.odd:
            body = {"SequenceNumber": str(FIRST + number), "Keys": 5}  # type: ignore[dict-item]
        return {"eventName": "MODIFY", "dynamodb": {"ApproximateCreationDateTime": 1.0, **body}}


class Reader:
    """One process's reader of the shard."""

    def __init__(self, shard: OneShard, file: int, process: int) -> None:
        self.ring = PageRing(file, process=process)
        self.stream = SharedStream(shard, self.ring)  # type: ignore[arg-type]  # what it asks of a stream
        self.got: list[int] = []
        self.iterator: str | None = None
        self.ended = False

    def read(self) -> int:
        """One page; how many records it brought."""
        if self.iterator is None:
            after = None if not self.got else str(self.got[-1] + FIRST)
            self.iterator = self.stream.open("shard", after)
        page = self.stream.read(self.iterator)
        found = sorted(
            [int(change.body.sequence) - FIRST for change in page.changes]
            + [int(record.sequence or 0) - FIRST for record in page.broken]
        )
        self.got += found
        self.iterator, self.ended = page.next, page.next is None
        return len(found)


@pytest.fixture
def file() -> Iterator[int]:
    made = make_file()
    yield made
    os.close(made)


def readers(shard: OneShard, file: int, count: int = 2) -> list[Reader]:
    """Readers that know of each other."""
    made = [Reader(shard, file, process) for process in range(1, count + 1)]
    for _ in range(2):  # the oldest page, which each asks for itself, and the first behind it
        for each in made:
            each.read()
    for each in made:
        with each.ring._held():
            assert each.ring._sit(_name(shard.arn, "shard"))
    return made


def test_a_page_is_fetched_once_for_two_processes(file: int) -> None:
    shard = OneShard(records=200)
    one, two = readers(shard, file)
    before = shard.fetched
    for turn in range(10):
        first, second = (one, two) if turn % 3 else (two, one)
        first.read()
        second.read()
    assert shard.fetched == before + 10
    assert one.got == two.got == list(range(120))


def test_who_is_alone_keeps_nothing(file: int) -> None:
    shard = OneShard(records=100)
    alone = Reader(shard, file, 1)
    while alone.read():
        pass
    assert alone.got == list(range(100))
    assert all(place.state == 0 for place in alone.ring._places())


def test_pages_that_begin_elsewhere_are_cut(file: int) -> None:
    shard = OneShard(records=100)
    one, two = readers(shard, file)
    two.got, two.iterator = two.got[:15], None  # it begins anew behind its checkpoint
    before = shard.fetched
    two.read()
    assert two.got == list(range(20))
    assert shard.fetched == before
    one.read()
    two.read()
    assert one.got == two.got == list(range(30))
    assert shard.fetched == before + 1


class Pickier:
    """The same shard for a process that reads more of its records, and so cannot read one of them."""

    def __init__(self, shard: OneShard, number: int) -> None:
        self._shard = shard
        self._number = str(FIRST + number)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shard, name)

    def decode(self, body: bytes) -> Page[Any]:
        page: Page[Any] = self._shard.decode(body)
        if any(change.body.sequence == self._number for change in page.changes):
            page.changes = [change for change in page.changes if change.body.sequence != self._number]
            page.broken = [Broken(2, b"{}", "not as its shape has it", self._number)]
        return page


def test_a_record_that_only_this_process_cannot_read_is_told_once(file: int) -> None:
    shard = OneShard(records=100)
    one, two = readers(shard, file)
    two.stream = SharedStream(Pickier(shard, 22), two.ring)  # type: ignore[arg-type]  # what it asks of a stream
    one.read()  # the records from 20 to 29
    two.got, two.iterator = list(range(25)), None  # it begins anew in the middle of them, behind the odd one
    before = shard.fetched
    two.read()
    assert two.got == list(range(35))
    assert shard.fetched == before + 1


def test_the_tip_and_the_end_are_asked_of_aws_by_each(file: int) -> None:
    shard = OneShard(records=20)
    one, two = readers(shard, file)
    before = shard.fetched
    assert [each.read() for each in (one, two, one, two)] == [0] * 4
    assert shard.fetched == before + 4
    shard.records, shard.closed = 25, True
    assert [each.read() for each in (one, two)] == [5, 5]
    assert one.ended
    assert two.ended
    assert shard.fetched == before + 6


def test_records_that_cannot_be_read_are_asked_of_aws_by_each(file: int) -> None:
    shard = OneShard(records=60)
    shard.odd = {33}
    one, two = readers(shard, file)
    for _ in range(4):
        one.read()
        two.read()
    assert one.got == two.got == list(range(60))


def test_a_page_that_another_asks_for_is_waited_for_and_not_for_ever(file: int) -> None:
    shard = OneShard(records=100)
    one, two = readers(shard, file)
    now = [1000.0]
    one.ring._clock = lambda: now[0]
    one.ring._sit(_name(shard.arn, "shard"))
    assert one.ring.find(shard.arn, "shard", FIRST + 19) is None  # it asks, and says nothing any more
    seen = []

    def looked() -> float:
        seen.append(now[0])
        now[0] += PATIENCE / 10
        return now[0]

    two.ring._clock = looked
    assert two.read() == 10
    assert seen[-1] - seen[0] >= PATIENCE * 0.9


def test_an_error_lets_the_other_one_ask_at_once(file: int) -> None:
    shard = OneShard(records=100)
    one, two = readers(shard, file)
    shard.fail = True
    with pytest.raises(SourceUnavailable):
        one.read()
    assert not any(place.state == 1 for place in one.ring._places())
    shard.fail = False
    assert two.read() == 10


def test_what_is_too_large_is_not_kept(file: int) -> None:
    shard = OneShard(records=100)
    one, _ = readers(shard, file)
    one.ring.put(shard.arn, "shard", FIRST + 19, FIRST + 29, bytes(ROOM + 1))
    assert all(place.length <= ROOM for place in one.ring._places())


HOLDER = """
import fcntl, sys, time
fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX, 1)
print("held", flush=True)
time.sleep(60)
"""


def test_a_process_that_sleeps_in_the_middle_of_a_copy_holds_nobody_up(file: int) -> None:
    shard = OneShard(records=100)
    one, two = readers(shard, file)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdout=subprocess.PIPE, text=True, pass_fds=[file]
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        assert [one.read(), two.read()] == [10, 10]
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        before = shard.fetched
        assert [one.read(), two.read()] == [10, 10]
        assert shard.fetched == before + 1
    finally:
        holder.kill()
        holder.wait()
    assert one.got == two.got == list(range(40))


step = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 2)),
    st.tuples(st.just("read"), st.integers(0, 2)),
    st.tuples(st.just("again"), st.integers(0, 2)),
    st.tuples(st.just("write"), st.integers(1, 25)),
    st.tuples(st.just("page"), st.integers(1, 12)),
    st.tuples(st.just("hide"), st.integers(1, 3)),
    st.tuples(st.just("odd"), st.integers(0, 200)),
    st.tuples(st.just("close"), st.just(0)),
)


@given(script=st.lists(step, max_size=80))
def test_every_reader_gets_every_record_once_in_order(script: list[tuple[str, int]]) -> None:
    file = make_file()
    shard = OneShard()
    reading = [Reader(shard, file, process) for process in (1, 2, 3)]
    try:
        for what, number in script:
            if what == "read" and not reading[number].ended:
                reading[number].read()
            elif what == "again" and not reading[number].ended:
                reading[number].iterator = None
            elif what == "write" and not shard.closed:
                shard.records += number
            elif what == "page":
                shard.page = number
            elif what == "hide":
                shard.hidden = number
            elif what == "odd" and number >= shard.records:
                shard.odd.add(number)
            elif what == "close":
                shard.closed = True
        shard.closed, shard.hidden = True, 0
        for each in reading:
            while not each.ended:
                each.read()
            assert each.got == list(range(shard.records))
    finally:
        for each in reading:
            each.ring.close()
        os.close(file)


def test_more_shards_and_pages_than_there_is_room_for(file: int) -> None:
    rings = [PageRing(file, process=process) for process in (1, 2)]
    for number in range(100):
        for ring in rings * 2:
            ring.find("arn", f"shard-{number}", 5)
            ring.give_up("arn", f"shard-{number}", 5)
        rings[0].put("arn", f"shard-{number}", 5, 6, b"page %d" % number)
    for number in range(100 - PLACES, 100):
        assert rings[1].find("arn", f"shard-{number}", 5) == b"page %d" % number
    assert rings[1].find("arn", f"shard-{99 - PLACES}", 5) is None
