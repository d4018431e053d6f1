"""The scripted table is a source like the real one: what other tests stand on has to stand itself."""

from __future__ import annotations

import random
import threading
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.projections.attributes import Shape
from dynaview.sources.errors import (
    AccessDenied,
    IteratorExpired,
    SourceError,
    SourceRefused,
    StreamGone,
    TableMissing,
    Throttled,
    Trimmed,
)
from dynaview.sources.port import StreamReader, TableReader
from dynaview.sources.shards import ShardTree
from tests.support.scripted import ScriptedTable

ALL = Shape(None)


def item(number: int, **rest: Any) -> dict[str, Any]:
    return {"pk": f"p{number}", "sk": "s"} | rest


def read_all(stream: StreamReader, patience: int = 1000) -> list[str]:
    """The sequence numbers of every record, read as the shard tree allows, from one shard to the next."""
    tree = ShardTree()
    found: list[str] = []
    for _ in range(patience):
        tree.add(stream.shards())
        ready = tree.ready()
        if not ready:
            break
        for shard in ready:
            iterator: str | None = stream.open(shard.id, None)
            empty = 0
            while iterator is not None and empty < 3:
                page = stream.read(iterator)
                found += [change.body.sequence for change in page.changes]
                found += [broken.sequence or "" for broken in page.broken]
                empty = 0 if page.changes or page.broken else empty + 1
                iterator = page.next
            tree.finish(shard.id)  # an open one at its tip counts as done for this look
    return found


def test_it_is_a_source() -> None:
    table: TableReader = ScriptedTable()
    stream: StreamReader = table.stream(table.describe().stream_arn or "", ALL)
    assert [shard.id for shard in stream.shards()] == ["shard-0"]


def test_changes_as_aws_makes_them() -> None:
    table = ScriptedTable()
    assert table.put(item(1, total=Decimal("1.50"))) is not None
    assert table.put(item(1, total=Decimal("1.50"))) is None
    assert table.put(item(1, total=True)) is not None
    assert table.put(item(1, total=1)) is not None
    assert table.delete(item(1), by_ttl=True) is not None
    assert table.delete(item(1)) is None
    stream = table.stream(table.arn, ALL)
    changes = stream.read(stream.open("shard-0", None)).changes
    assert [change.event for change in changes] == ["INSERT", "MODIFY", "MODIFY", "REMOVE"]
    assert [change.by_ttl for change in changes] == [False, False, False, True]
    assert ALL.unpack(changes[1].body.old) == item(1, total=Decimal("1.50"))
    assert ALL.unpack(changes[1].body.new) == item(1, total=True)
    numbers = [int(change.body.sequence) for change in changes]
    assert numbers == sorted(set(numbers))
    assert table.made == 4
    assert table.items() == []


def test_what_dynamodb_cannot_hold_is_refused_at_once() -> None:
    table = ScriptedTable()
    with pytest.raises(ValueError, match="float"):
        table.put(item(1, total=0.5))
    assert table.items() == []


def test_view_types() -> None:
    table = ScriptedTable(view_type="OLD_IMAGE")
    table.put(item(1))
    table.put(item(1, total=2))
    stream = table.stream(table.arn, ALL)
    changes = stream.read(stream.open("shard-0", None)).changes
    assert [(change.body.new is None, change.body.old is None) for change in changes] == [(True, True), (True, False)]


def test_a_line_of_text_grows_the_tree() -> None:
    table = ScriptedTable()
    table.grow("0>1,2 1>3")
    listed = {shard.id: (shard.parent, shard.last is None) for shard in table.stream(table.arn, ALL).shards()}
    assert listed == {
        "shard-0": (None, False),
        "shard-1": ("shard-0", False),
        "shard-2": ("shard-0", True),
        "shard-3": ("shard-1", True),
    }
    assert table.leaves == ["shard-2", "shard-3"]
    with pytest.raises(ValueError, match="continued already"):
        table.split("shard-0")


def test_a_closed_shard_ends_with_its_records_or_after_them() -> None:
    table = ScriptedTable()
    table.put(item(1))
    table.roll("shard-0")
    stream = table.stream(table.arn, ALL)
    page = stream.read(stream.open("shard-0", None))
    assert (len(page.changes), page.next) == (1, None)
    table.late_end = True
    page = stream.read(stream.open("shard-0", None))
    assert page.next is not None
    assert stream.read(page.next).next is None


def test_a_parent_that_lingers_is_open_beside_its_children() -> None:
    table = ScriptedTable()
    table.put(item(1))
    table.split("shard-0", linger=True)
    table.put(item(1, total=1))
    stream = table.stream(table.arn, ALL)
    assert [shard.last is None for shard in stream.shards()] == [True, True, True]
    page = stream.read(stream.open("shard-0", None))
    assert len(page.changes) == 1
    assert page.next is not None
    table.close("shard-0")
    assert stream.read(page.next).next is None


def test_a_closed_leaf_before_its_child_is_listed() -> None:
    table = ScriptedTable()
    table.close("shard-0")
    table.put(item(1))
    stream = table.stream(table.arn, ALL)
    assert [shard.id for shard in stream.shards()] == ["shard-0"]
    assert stream.children("shard-0") == []
    table.reveal()
    assert [shard.id for shard in stream.children("shard-0")] == ["shard-1"]
    assert len(stream.read(stream.open("shard-1", None)).changes) == 1


def test_trimmed_and_expired() -> None:
    table = ScriptedTable()
    first, second, third = (table.put(item(number)) for number in range(3))
    stream = table.stream(table.arn, ALL)
    begun = stream.open("shard-0", None)
    table.trim("shard-0", 2)
    with pytest.raises(Trimmed):
        stream.read(begun)
    with pytest.raises(Trimmed):
        stream.open("shard-0", second)
    [change] = stream.read(stream.open("shard-0", None)).changes
    assert change.body.sequence == third
    assert stream.read(stream.open("shard-0", third)).changes == []
    table.roll("shard-0")
    table.expire("shard-0")
    assert [shard.id for shard in stream.shards()] == ["shard-1"]
    with pytest.raises(StreamGone):
        stream.open("shard-0", first)
    table.reveal("shard-0")
    assert [shard.id for shard in stream.shards()] == ["shard-0", "shard-1"]
    with pytest.raises(StreamGone):
        stream.open("shard-0", None)


def test_iterators_expire_by_script_and_by_time() -> None:
    table = ScriptedTable()
    stream = table.stream(table.arn, ALL)
    iterator = stream.open("shard-0", None)
    table.expire_iterators()
    with pytest.raises(IteratorExpired):
        stream.read(iterator)
    iterator = stream.open("shard-0", None)
    table.advance(14 * 60)
    following = stream.read(iterator).next
    assert following is not None
    table.advance(14 * 60)
    stream.read(following)
    with pytest.raises(IteratorExpired):
        stream.read(iterator)


def test_pages_are_cut_as_told() -> None:
    table = ScriptedTable()
    for number in range(10):
        table.put(item(number))
    table.cut = lambda _, available: available % 3
    stream = table.stream(table.arn, ALL)
    sizes = []
    iterator = stream.open("shard-0", None)
    for _ in range(3):
        page = stream.read(iterator)
        sizes.append(len(page.changes))
        assert page.next is not None
        iterator = page.next
    assert sizes == [1, 0, 0]
    table.cut = None
    assert len(stream.read(iterator, limit=4).changes) == 4


def test_broken_records_stand_in_their_place() -> None:
    table = ScriptedTable()
    table.put(item(1))
    broken = table.break_record(item(2), "odd")
    table.put(item(3))
    stream = table.stream(table.arn, ALL)
    page = stream.read(stream.open("shard-0", None))
    assert len(page.changes) == 2
    assert [(each.index, each.reason, each.sequence) for each in page.broken] == [(1, "odd", broken)]
    assert len(table.items()) == 2


def test_streams_switched_off_and_tables_made_anew() -> None:
    table = ScriptedTable()
    table.put(item(1))
    old = table.stream(table.arn, ALL)
    table.disable_stream()
    table.put(item(2))
    described = table.describe()
    assert (described.stream_arn, described.view_type) == (None, None)
    assert [shard.last is None for shard in old.shards()] == [False]
    assert old.read(old.open("shard-0", None)).next is None
    assert table.enable_stream("NEW_IMAGE").stream_arn == table.arn != old.arn
    with pytest.raises(SourceRefused):
        table.enable_stream("KEYS_ONLY")
    table.forget_stream(old.arn)
    with pytest.raises(StreamGone):
        old.shards()
    table.drop()
    for call in (table.describe, lambda: next(table.scan(0, 1, None, ALL)), lambda: table.get([], ALL)):
        with pytest.raises(TableMissing):
            call()
    table.recreate()
    assert table.items() == []
    assert int(table.put(item(1)) or 0) < 2 * 10**20
    with pytest.raises(SourceRefused):
        table.stream("arn:aws:dynamodb:eu-west-1:0:table/other/stream/x", ALL)


def test_faults_come_as_scripted() -> None:
    table = ScriptedTable(shards=2)
    stream = table.stream(table.arn, ALL)
    table.fail("shards", Throttled, times=2, after=1)
    assert len(stream.shards()) == 2
    for _ in range(2):
        with pytest.raises(Throttled):
            stream.shards()
    stream.shards()
    denied = AccessDenied("x", "dynamodb:GetRecords", "table/shop/stream/*")
    table.fail("read", denied, shard="shard-1")
    stream.read(stream.open("shard-0", None))
    with pytest.raises(AccessDenied):
        stream.read(stream.open("shard-1", None))
    stream.read(stream.open("shard-1", None))
    table.fail("describe", Throttled, times=5)
    table.heal()
    table.describe()
    assert table.counts()["shards"] == 4
    assert [call.shard for call in table.calls if call.operation == "read"] == ["shard-0", "shard-1", "shard-1"]


def test_held_calls_wait() -> None:
    table = ScriptedTable()
    stream = table.stream(table.arn, ALL)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(len(stream.shards())))
    with table.hold("shards") as held:
        thread.start()
        assert held.reached.wait(10)
        assert seen == []
        table.split("shard-0")
    thread.join(10)
    assert seen == [3]


@settings(max_examples=40)
@given(st.integers(1, 7), st.integers(1, 5), st.sets(st.integers(0, 60)))
def test_segments_share_the_items(page: int, segments: int, numbers: set[int]) -> None:
    table = ScriptedTable()
    table.scan_page = page
    for number in numbers:
        table.put(item(number))
    found = []
    for segment in range(segments):
        position = None
        while True:
            scanned = next(table.scan(segment, segments, position, ALL))
            found += [ALL.unpack(image)["pk"] for image in scanned.images]
            assert table.get(scanned.keys, ALL) == scanned.images
            if (position := scanned.position) is None:
                break
    assert sorted(found, key=str) == sorted(f"p{number}" for number in numbers)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_everything_is_read_once_in_the_order_of_each_key(seed: int, shards: int) -> None:
    """Law 3 end to end: random writes, splits, rolls, lingering parents and page cuts, read as the tree allows."""
    dice = random.Random(seed)
    table = ScriptedTable(shards=shards)
    table.cut = lambda _, available: dice.randrange(1, available + 1) if available else 0
    table.late_end = dice.random() < 0.5
    written: list[str] = []
    paths: dict[str, list[int]] = {}
    for step in range(dice.randrange(1, 60)):
        match dice.randrange(6):
            case 0:
                table.split(dice.choice(table.leaves), dice.randrange(1, 4))
            case 1 if len(table.leaves) > 1:
                leaf = dice.choice(table.leaves)
                table.split(leaf, linger=True)
                table.close(leaf)
            case _:
                number = dice.randrange(8)
                sequence = table.put(item(number, total=step))
                assert sequence is not None
                written.append(sequence)
                paths.setdefault(f"p{number}", []).append(int(sequence))
    table.arrange = lambda listing: sorted(listing, key=lambda _: dice.random())
    found = read_all(table.stream(table.arn, ALL))
    assert sorted(found) == sorted(written)
    places = {int(sequence): place for place, sequence in enumerate(found)}
    for path in paths.values():
        assert [places[sequence] for sequence in path] == sorted(places[sequence] for sequence in path)


def test_threads_may_write_split_and_read_at_once() -> None:
    table = ScriptedTable(shards=2)
    stream = table.stream(table.arn, ALL)
    errors: list[SourceError] = []

    def write(offset: int) -> None:
        for number in range(200):
            table.put(item(offset + number))

    def divide() -> None:
        dice = random.Random(7)
        for _ in range(10):
            table.split(dice.choice(table.leaves))

    def look() -> None:
        try:
            read_all(stream, 5)
        except SourceError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(offset,)) for offset in (0, 1000)]
    threads += [threading.Thread(target=divide), threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = read_all(stream)
    assert len(found) == len(set(found)) == table.made == 400
