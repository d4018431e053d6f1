"""Bodies into changes and images: exact, whole or not at all, and one odd record never holds up its neighbours."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import Attr, Shape
from dynaview.projections.projection import ViewType
from dynaview.sources.errors import BadPage
from dynaview.sources.pages import ItemsDecoder, RecordsDecoder, position_key
from tests.sources.bodies import packed, page, record

ALL = Shape(None)
SOME = Shape(["pk", "total"])


@pytest.fixture(params=[ALL, SOME], ids=["whole items", "needed attributes"])
def shape(request: pytest.FixtureRequest) -> Shape:
    found: Shape = request.param
    return found


def test_a_page(shape: Shape) -> None:
    found = RecordsDecoder(shape).decode(packed(page(record(1, "INSERT"), record(2), record(3, "REMOVE"))))
    assert [change.event for change in found.changes] == ["INSERT", "MODIFY", "REMOVE"]
    assert found.next == "next"
    assert found.broken == []
    change = found.changes[1]
    assert change.body.sequence == str(10**20 + 2)
    assert change.body.key == {"pk": Attr(S="p2")}
    assert change.body.time == 1_700_000_000
    assert shape.unpack(change.body.new) == {"pk": "p2", "total": Decimal("1.50")}
    assert shape.unpack(change.body.old) == {"pk": "p2"}
    assert not change.by_ttl


def test_a_ttl_delete_says_so() -> None:
    expired = record(1, "REMOVE") | {"userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"}}
    [first, second] = RecordsDecoder(ALL).decode(packed(page(expired, record(2, "REMOVE")))).changes
    assert first.by_ttl
    assert not second.by_ttl


def test_the_last_page_of_a_shard_keeps_its_records() -> None:
    found = RecordsDecoder(ALL).decode(packed(page(record(1), following=None)))
    assert len(found.changes) == 1
    assert found.next is None


def test_an_empty_page_is_not_an_end() -> None:
    assert RecordsDecoder(ALL).decode(packed(page())).next == "next"
    assert RecordsDecoder(ALL).decode(packed(page(following=None))).next is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b'{"message":"x"}',
        b'{"NextShardIterator":"x"}',
        b'{"Records":null,"NextShardIterator":"x"}',
        b'{"Records":{},"NextShardIterator":"x"}',
        b'{"Records":[],"NextShardIterator":7}',
        b"<html>busy</html>",
        packed(page(record(1), record(2)))[:-1],
        packed(page(record(1), record(2)))[:200],
        b"\xff\xfe",
    ],
)
def test_a_body_that_is_no_page_is_never_an_empty_page(body: bytes) -> None:
    with pytest.raises(BadPage):
        RecordsDecoder(ALL).decode(body)


ODD: list[tuple[str, Any, str]] = [
    ("an image of a wrong JSON type", record(2, NewImage="x"), "NewImage"),
    ("a number that is no text", record(2, NewImage={"pk": {"S": "p"}, "total": {"N": 7}}), "Expected `str"),
    ("bytes that are not base64", record(2, NewImage={"pk": {"S": "p"}, "total": {"B": "?"}}), "base64"),
    ("a type that DynamoDB does not have", record(2, NewImage={"pk": {"Q": "p"}}), "unknown field"),
    ("no sequence number", record(2, SequenceNumber=None), "SequenceNumber"),
    ("a sequence number of words", record(2, SequenceNumber="soon"), "sequence number"),
    ("a sequence number of 41 digits", record(2, SequenceNumber="1" * 41), "sequence number"),
    ("no key", record(2, Keys=None), "Keys"),
    ("an empty key", record(2, Keys={}), "no key"),
    ("no dynamodb part", {"eventName": "MODIFY"}, "dynamodb"),
    ("no event", {"dynamodb": record(2)["dynamodb"]}, "eventName"),
    ("an unknown event", record(2, "REWRITE"), "REWRITE"),
    ("a promised new image missing", record(2, NewImage=None), "without its NewImage"),
    ("a promised old image missing", record(2, OldImage=None), "without its OldImage"),
    ("an insert without its image", record(2, "INSERT", NewImage=None), "without its NewImage"),
    ("no record", "record", "object"),
    ("null", None, "object"),
]


@pytest.mark.parametrize(("odd", "reason"), [case[1:] for case in ODD], ids=[case[0] for case in ODD])
def test_an_odd_record_stands_beside_its_neighbours(odd: Any, reason: str, shape: Shape) -> None:
    found = RecordsDecoder(shape).decode(packed(page(record(1), odd, record(3))))
    assert [change.body.sequence for change in found.changes] == [str(10**20 + 1), str(10**20 + 3)]
    [broken] = found.broken
    assert broken.index == 1
    assert broken.raw == packed(odd)
    assert reason in broken.reason
    assert found.next == "next"


def test_an_odd_record_keeps_its_number_and_shows_no_values() -> None:
    odd = record(2, NewImage={"pk": {"S": "p"}, "secret": {"N": 987654}})
    [broken] = RecordsDecoder(ALL).decode(packed(page(odd))).broken
    assert broken.sequence == str(10**20 + 2)
    assert "987654" not in broken.reason
    assert "987654" not in repr(broken)
    [unnumbered] = RecordsDecoder(ALL).decode(packed(page(record(1), record(2, SequenceNumber="soon")))).broken
    assert unnumbered.sequence is None


def test_an_odd_attribute_that_no_view_needs_is_no_matter() -> None:
    odd = record(1, NewImage={"pk": {"S": "p"}, "other": {"N": 7}})
    found = RecordsDecoder(SOME).decode(packed(page(odd)))
    assert found.broken == []
    assert len(found.changes) == 1


def test_an_empty_map_as_dynamodb_local_writes_it() -> None:
    """Version 3 leaves the M away in streams; see awslabs/amazon-dynamodb-local-samples issue 37."""
    [change] = RecordsDecoder(ALL).decode(packed(page(record(1, NewImage={"pk": {"S": "p"}, "map": {}})))).changes
    assert ALL.unpack(change.body.new) == {"pk": "p", "map": {}}


@pytest.mark.parametrize(
    ("view_type", "new", "old"),
    [
        ("KEYS_ONLY", False, False),
        ("NEW_IMAGE", True, False),
        ("OLD_IMAGE", False, True),
        ("NEW_AND_OLD_IMAGES", True, True),
    ],
)
def test_what_a_stream_does_not_promise_is_not_missed(view_type: str, new: bool, old: bool) -> None:
    bare = record(1, NewImage=None, OldImage=None, StreamViewType=view_type)
    promised = record(1, StreamViewType=view_type)
    decoder = RecordsDecoder(ALL)
    found = decoder.decode(packed(page(promised, bare)))
    assert len(found.broken) == (new or old)
    assert decoder.view_type == view_type


def test_the_first_record_tells_what_is_promised_even_when_it_is_odd_itself() -> None:
    found = RecordsDecoder(ALL).decode(packed(page(record(1, NewImage=None))))
    assert len(found.broken) == 1


def test_numbers_of_40_digits_are_exact() -> None:
    [change] = RecordsDecoder(ALL).decode(packed(page(record(1, SequenceNumber="9" * 40)))).changes
    assert int(change.body.sequence) == 10**40 - 1


def items(*found: Any, **rest: Any) -> bytes:
    return packed({"Items": list(found), "Count": len(found), "ScannedCount": len(found)} | rest)


def test_a_scan_page(shape: Shape) -> None:
    last = {"pk": {"S": "p2"}, "sk": {"B": "AQI="}}
    found = ItemsDecoder(shape, ("pk",)).decode(
        items(
            {"pk": {"S": "p1"}, "total": {"N": "1"}},
            {"pk": {"S": "p2"}},
            LastEvaluatedKey=last,
            ConsumedCapacity={"TableName": "shop", "CapacityUnits": 1.5},
        )
    )
    assert [shape.unpack(image) for image in found.images] == [{"pk": "p1", "total": 1}, {"pk": "p2"}]
    assert found.keys == [{"pk": Attr(S="p1")}, {"pk": Attr(S="p2")}]
    assert found.consumed == 1.5
    assert found.position is not None
    assert position_key(found.position) == {"pk": Attr(S="p2"), "sk": Attr(B=b"\x01\x02")}


def test_a_delete_without_its_old_image_is_left_to_the_projections(shape: Shape) -> None:
    found = RecordsDecoder(shape).decode(packed(page(record(1), record(2, "REMOVE", OldImage=None, NewImage=None))))
    assert found.broken == []
    assert [change.body.old is None for change in found.changes] == [False, True]


@pytest.mark.parametrize("rest", [{}, {"LastEvaluatedKey": None}, {"LastEvaluatedKey": {}}])
def test_the_end_of_a_segment(rest: dict[str, Any]) -> None:
    found = ItemsDecoder(ALL, ("pk",)).decode(items(**rest))
    assert found.position is None
    assert found.images == []


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"Count":0}', b'{"Items":{}}', items({"pk": {"S": "p"}})[:-1], items({"sk": {"S": "x"}})]
)
def test_a_body_that_is_no_scan_page(body: bytes) -> None:
    with pytest.raises(BadPage):
        ItemsDecoder(ALL, ("pk",)).decode(body)


def test_an_odd_item_stands_beside_its_neighbours() -> None:
    found = ItemsDecoder(ALL, ("pk",)).decode(
        items({"pk": {"S": "p1"}}, {"pk": {"S": "p2"}, "total": {"N": 7}}, {"pk": {"S": "p3"}})
    )
    assert [key["pk"].S for key in found.keys] == ["p1", "p3"]
    [broken] = found.broken
    assert broken.index == 1


def test_a_position_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not a scan position"):
        position_key("here")


ANYTHING = st.fixed_dictionaries(
    {},
    optional={
        "event": st.sampled_from(["INSERT", "MODIFY", "REMOVE", "RENAME", "LOCAL"]),
        "sequence": st.sampled_from(["", "12", "1x", "-1", "\u0661", "9" * 40, "9" * 41]),
        "without": st.lists(st.sampled_from(["NewImage", "OldImage", "Keys"]), unique=True),
    },
)


@given(st.lists(ANYTHING, max_size=4), st.sampled_from(["NEW_AND_OLD_IMAGES", "NEW_IMAGE", "OLD_IMAGE", "KEYS_ONLY"]))
def test_a_page_read_at_once_is_what_its_records_are_one_by_one(odd: list[dict[str, Any]], images: ViewType) -> None:
    records = []
    for number, each in enumerate(odd):
        made = record(number, each.get("event", "MODIFY"))
        made["dynamodb"]["SequenceNumber"] = each.get("sequence", str(number))
        for name in each.get("without", ()):
            made["dynamodb"].pop(name, None)
            if name == "Keys":
                made["dynamodb"]["Keys"] = {}
        records.append(made)
    decoder = RecordsDecoder(ALL, images)
    at_once = decoder.decode(packed(page(*records)))
    # A record that cannot be read has the page read one by one.
    one_by_one = decoder.decode(packed(page(*records, {"dynamodb": 5})))
    assert at_once.changes == one_by_one.changes
    assert at_once.broken == one_by_one.broken[:-1]
