"""Tables and streams of a real DynamoDB Local, through boto3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from dynaview.projections.attributes import Attr, Shape, attribute, value
from dynaview.projections.changes import Change
from dynaview.sources.errors import SourceRefused, StreamGone, TableMissing
from dynaview.sources.port import StreamReader, TableReader
from dynaview.sources.session import Session
from dynaview.sources.table import DynamoTable

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

MakeTable = Callable[..., DynamoTable]

ALL = Shape(None)
ITEM: dict[str, Any] = {
    "pk": "CUSTOMER#1",
    "sk": "ORDER#ü€😀",
    "largest": Decimal("9.9999999999999999999999999999999999999E+125"),
    "smallest": Decimal("1E-130"),
    "digits": Decimal("-0.12345678901234567890123456789012345678"),
    "zero": Decimal(0),
    "empty": "",
    "none": None,
    "yes": True,
    "no": False,
    "bytes": b"\x00\xff",
    "no bytes": b"",
    "words": ["a", "b"],
    "nested": {"list": [Decimal(1), {"deep": [None, b"x", []]}], "map": {}, "é": ""},
    "status": "a reserved word",
    "a.b": Decimal(5),
    "text": 'quotes " and \\ and \n and \x00',
}
SETS: dict[str, Any] = {
    "texts": {"SS": ["b", "a"]},
    "numbers": {"NS": ["10", "9", "-1.5"]},
    "blobs": {"BS": [b"b", b"a"]},
}


def wire(plain: Any) -> Any:
    """A plain value as boto3's client takes it."""
    attr = attribute(plain)
    if attr.M is not None:
        return {"M": {name: wire(inner) for name, inner in plain.items()}}
    if attr.L is not None:
        return {"L": [wire(inner) for inner in plain]}
    found = {kind: getattr(attr, kind) for kind in ("S", "N", "BOOL", "NULL", "B")}
    return {kind: part for kind, part in found.items() if part is not None}


def put(client: DynamoDBClient, table: DynamoTable, item: dict[str, Any], **raw: Any) -> None:
    client.put_item(TableName=table.name, Item={name: wire(plain) for name, plain in item.items()} | raw)


def follow(stream: StreamReader, limit: int = 1000) -> Iterator[Change[Any]]:
    """Every change from the stream's beginning to its tip."""
    for shard in stream.shards():
        iterator: str | None = stream.open(shard.id, None)
        while iterator is not None:
            page = stream.read(iterator, limit)
            assert page.broken == []
            yield from page.changes
            if not page.changes:
                break
            iterator = page.next


def stream_of(table: TableReader, shape: Shape = ALL) -> StreamReader:
    arn = table.describe().stream_arn
    assert arn is not None
    return table.stream(arn, shape)


def test_changes_arrive_exactly(dynamodb: DynamoDBClient, make_table: MakeTable) -> None:
    table = make_table()
    put(dynamodb, table, ITEM, **SETS)
    put(dynamodb, table, ITEM | {"yes": False}, **SETS)
    put(dynamodb, table, ITEM | {"yes": False}, **SETS)  # changes nothing: no record
    dynamodb.delete_item(TableName=table.name, Key={name: wire(ITEM[name]) for name in ("pk", "sk")})
    inserted, modified, removed = follow(stream_of(table))

    assert [change.event for change in (inserted, modified, removed)] == ["INSERT", "MODIFY", "REMOVE"]
    plain = ITEM | {
        "texts": ["a", "b"],
        "numbers": [Decimal("-1.5"), Decimal(9), Decimal(10)],
        "blobs": [b"a", b"b"],
    }
    assert ALL.unpack(inserted.body.new) == plain
    assert inserted.body.old is None
    assert ALL.unpack(modified.body.old) == plain
    assert ALL.unpack(modified.body.new) == plain | {"yes": False}
    assert ALL.unpack(removed.body.old) == plain | {"yes": False}
    assert removed.body.new is None
    for change in (inserted, modified, removed):
        assert {name: value(attr) for name, attr in change.body.key.items()} == {
            name: ITEM[name] for name in ("pk", "sk")
        }
        assert change.body.time > 1_700_000_000
        assert not change.by_ttl
    numbers = [int(change.body.sequence) for change in (inserted, modified, removed)]
    assert numbers == sorted(set(numbers))


def test_only_what_a_shape_names_is_decoded(dynamodb: DynamoDBClient, make_table: MakeTable) -> None:
    table = make_table()
    put(dynamodb, table, ITEM)
    shape = Shape(["pk", "status", "a.b", "absent"])
    [change] = follow(stream_of(table, shape))
    assert shape.unpack(change.body.new) == {"pk": ITEM["pk"], "status": ITEM["status"], "a.b": 5}


def test_reading_goes_on_behind_a_record(dynamodb: DynamoDBClient, make_table: MakeTable) -> None:
    table = make_table()
    for number in range(7):
        put(dynamodb, table, {"pk": "p", "sk": str(number)})
    stream = stream_of(table)
    [shard] = stream.shards()
    assert shard.last is None
    assert shard.parent is None
    first = stream.read(stream.open(shard.id, None), 3)
    assert [change.body.key["sk"].S for change in first.changes] == ["0", "1", "2"]
    rest = stream.read(stream.open(shard.id, first.changes[1].body.sequence))
    assert [change.body.key["sk"].S for change in rest.changes] == ["2", "3", "4", "5", "6"]
    assert rest.next is not None
    tip = stream.read(rest.next)
    assert tip.changes == []
    assert tip.next is not None
    assert len(list(follow(stream, limit=2))) == 7
    assert stream.children(shard.id) == []


@pytest.mark.parametrize(
    ("view_type", "new", "old"), [("KEYS_ONLY", False, False), ("NEW_IMAGE", True, False), ("OLD_IMAGE", False, True)]
)
def test_every_view_type(dynamodb: DynamoDBClient, make_table: MakeTable, view_type: str, new: bool, old: bool) -> None:
    table = make_table(view_type)
    put(dynamodb, table, {"pk": "p", "sk": "s", "total": 1})
    put(dynamodb, table, {"pk": "p", "sk": "s", "total": 2})
    assert table.describe().view_type == view_type
    _, modified = follow(stream_of(table))
    assert (modified.body.new is not None, modified.body.old is not None) == (new, old)


def test_a_stream_switched_on_off_and_on_again(dynamodb: DynamoDBClient, make_table: MakeTable) -> None:
    table = make_table(None)
    described = table.describe()
    assert (described.stream_arn, described.view_type) == (None, None)
    assert described.key == ("pk", "sk")
    assert described.status == "ACTIVE"

    first = table.enable_stream("NEW_IMAGE").stream_arn
    assert first is not None
    assert table.enable_stream("NEW_IMAGE").stream_arn == first
    with pytest.raises(SourceRefused, match="NEW_IMAGE"):
        table.enable_stream("KEYS_ONLY")
    put(dynamodb, table, {"pk": "p", "sk": "s"})

    dynamodb.update_table(TableName=table.name, StreamSpecification={"StreamEnabled": False})
    assert table.describe().stream_arn is None
    old = table.stream(first, ALL)
    [shard] = old.shards()
    assert shard.last is not None
    page = old.read(old.open(shard.id, None))
    assert len(page.changes) == 1  # still readable, and its last page carries its records
    assert page.next is None

    second = table.enable_stream("NEW_AND_OLD_IMAGES").stream_arn
    assert second not in (None, first)


def test_what_does_not_exist(make_table: MakeTable, local_session: Session) -> None:
    missing = DynamoTable(local_session, "no_such_table")
    for call in (
        missing.describe,
        lambda: missing.enable_stream("NEW_IMAGE"),
        lambda: missing.scan(0, 1, None, ALL),
        lambda: missing.get([{"pk": Attr(S="p")}], ALL),
    ):
        with pytest.raises(TableMissing, match="no_such_table"):
            call()
    table = make_table()
    stream = stream_of(table)
    gone = table.stream(stream.arn[:-1] + "x", ALL)
    for lost in (gone.shards, lambda: gone.open(stream.shards()[0].id, None)):
        with pytest.raises(StreamGone):
            lost()
    with pytest.raises(StreamGone):
        stream.open("shardId-00000000000000000000-00000000", None)
    with pytest.raises(SourceRefused):
        stream.read("nonsense")


def write_many(client: DynamoDBClient, table: DynamoTable, count: int, padding: int) -> None:
    for start in range(0, count, 25):
        requests: Any = [
            {
                "PutRequest": {
                    "Item": {
                        "pk": {"S": f"p{number % 37}"},
                        "sk": {"N": str(number)},
                        "status": {"S": "new"},
                        "padding": {"S": "x" * padding},
                    }
                }
            }
            for number in range(start, min(count, start + 25))
        ]
        client.batch_write_item(RequestItems={table.name: requests})


def test_a_scan_in_segments_that_stops_and_goes_on(dynamodb: DynamoDBClient, make_table: MakeTable) -> None:
    table = make_table(None, "N")
    write_many(dynamodb, table, 300, 10_000)  # 3 MB: several pages of 1 MB
    shape = Shape(["pk", "sk", "status"])
    found: list[str] = []
    pages = 0
    for segment in range(2):
        position = None
        while True:
            page = next(table.scan(segment, 2, position, shape))  # a new scan for each page, as after a crash
            pages += 1
            assert page.broken == []
            assert [shape.get(image, "sk") for image in page.images] == [key["sk"] for key in page.keys]
            assert all(set(shape.unpack(image)) == {"pk", "sk", "status"} for image in page.images)
            found += [key["sk"].N or "" for key in page.keys]
            assert page.consumed > 0 or not page.images
            if (position := page.position) is None:
                break
    assert sorted(map(int, found)) == list(range(300))
    assert pages > 2
    assert sum(len(page.images) for page in table.scan(0, 1, None, ALL)) == 300


def test_items_by_key(dynamodb: DynamoDBClient, make_table: MakeTable) -> None:
    table = make_table(None, "N")
    write_many(dynamodb, table, 220, 10)
    keys = [{"pk": Attr(S=f"p{number % 37}"), "sk": Attr(N=f"{number}.0")} for number in range(250)]
    shape = Shape(["pk", "sk", "status"])
    found = table.get(keys[::-1], shape)[::-1]
    assert [image is not None for image in found] == [number < 220 for number in range(250)]
    assert shape.unpack(found[7]) == {"pk": "p7", "sk": Decimal(7), "status": "new"}


def test_binary_keys(dynamodb: DynamoDBClient, make_table: MakeTable) -> None:
    table = make_table("NEW_IMAGE", "B")
    put(dynamodb, table, {"pk": "p", "sk": b"\x00\xfe"})
    [change] = follow(stream_of(table))
    assert change.body.key["sk"].B == b"\x00\xfe"
    [page] = table.scan(0, 1, None, ALL)
    assert table.get(page.keys, ALL) == page.images
