"""Decoding attributes as what they always were, held against decoding them as what they may be, on random pages."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import Attr, Shape, item_key
from dynaview.projections.narrow import Kinds, Number, Text, Truth
from dynaview.sources.pages import RecordsDecoder
from tests.sources.bodies import packed, page, record

SHAPE = Shape(["pk", "a", "b", "m"], ["pk", "a"], {"m": ["x"]})

USUAL: st.SearchStrategy[Any] = st.one_of(
    st.fixed_dictionaries({"S": st.sampled_from(["", "x"])}),
    st.fixed_dictionaries({"N": st.sampled_from(["1", "2.5"])}),
    st.fixed_dictionaries({"BOOL": st.booleans()}),
)
ATTRIBUTES: st.SearchStrategy[Any] = st.one_of(
    USUAL,
    USUAL,
    st.sampled_from(
        [{"NULL": True}, {"B": "AAE="}, {"L": []}, {"M": {"x": {"S": "y"}, "z": {"N": "1"}}}, {"SS": ["a"]}, {}]
    ),
    st.sampled_from([{"X": 1}, {"S": 5}, {"S": "x", "N": "1"}, None, "text"]),
)
IMAGES = st.dictionaries(st.sampled_from(["a", "b", "m", "other"]), ATTRIBUTES, max_size=4)
RECORDS = st.tuples(
    st.sampled_from(["INSERT", "MODIFY", "REMOVE"]), st.one_of(USUAL, USUAL, ATTRIBUTES), IMAGES, IMAGES
)


def body(records: list[Any]) -> bytes:
    made = []
    for number, (event, key, new, old) in enumerate(records):
        each = record(number, event, Keys={"pk": key})
        for name, image in (("NewImage", new), ("OldImage", old)):
            if name in each["dynamodb"]:
                each["dynamodb"][name] = {"pk": key, **image}
        made.append(each)
    return packed(page(*made))


@given(st.lists(st.lists(RECORDS, max_size=3).map(body), max_size=6))
def test_pages_are_read_as_by_a_reader_that_has_seen_none(bodies: list[bytes]) -> None:
    decoder = RecordsDecoder(SHAPE, "NEW_AND_OLD_IMAGES")
    for each in bodies:
        found = decoder.decode(each)
        expected = RecordsDecoder(SHAPE, "NEW_AND_OLD_IMAGES").decode(each)
        assert found.broken == expected.broken
        assert msgspec.json.encode(found.changes) == msgspec.json.encode(expected.changes)
        for one, other in zip(found.changes, expected.changes, strict=True):
            for shape, image, seen in (
                (SHAPE, one.body.new, other.body.new),
                (SHAPE.before, one.body.old, other.body.old),
            ):
                assert (image is None) is (seen is None)
                assert image is None or shape.unpack(image) == shape.unpack(seen)
            if not msgspec.json.encode(other.body.key).count(b"BOOL"):
                assert _named(one.body.key) == _named(other.body.key)


def _named(key: Any) -> str:
    try:
        return item_key(key)
    except ValueError as error:
        return str(error)


def test_what_attributes_always_were_is_learned_and_unlearned() -> None:
    kinds = Kinds(SHAPE)
    general = RecordsDecoder(SHAPE, "NEW_AND_OLD_IMAGES")

    def learned(*records: Any) -> tuple[Any, Any]:
        made = kinds.learn(general.decode(body(list(records))).changes)
        decoded = msgspec.json.decode(body(list(records)), type=dict[str, Any])["Records"][-1]
        read = msgspec.convert(decoded, type=made).body
        return type(read.key["pk"]), [type(attr) for attr in (read.new.a1, read.new.a0)]

    key = {"S": "x"}
    image = {"a": {"N": "1"}, "b": {"BOOL": True}}
    assert learned(("MODIFY", key, image, {})) == (Text, [Truth, Number])
    mixed = {"a": {"NULL": True}, "b": {"BOOL": False}}
    found_key, (second, first) = learned(("MODIFY", key, mixed, {}))
    assert (found_key, second) == (Text, Truth)
    assert first is Attr
    kinds = Kinds(SHAPE)
    assert learned(("MODIFY", key, {"a": {"L": []}, "b": {"NULL": True}}, {})) == (Text, [Attr, Attr])


def test_a_shape_of_everything_is_read_as_ever() -> None:
    assert Kinds(Shape(None)).learn([]) is None
