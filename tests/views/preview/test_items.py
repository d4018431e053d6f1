"""Items as people and AWS's tools write them."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import Shape, attribute
from dynaview.sources.port import Broken, ScanPage
from dynaview.views.preview.items import (
    PAGES,
    ItemsError,
    changes_from_file,
    from_file,
    image_of,
    of_table,
    written,
)

PLAIN = {"pk": "a", "n": 12, "tags": ["x"]}
WIRE = {"pk": {"S": "a"}, "n": {"N": "12"}, "tags": {"L": [{"S": "x"}]}}
IMAGE = {name: attribute(value) for name, value in PLAIN.items()}


def images(folder: Path, text: str, name: str = "items.json") -> list[Any]:
    file = folder / name
    file.write_text(text)
    return [(item.origin.removeprefix(str(folder) + "/"), item.image) for item in from_file(file)]


@pytest.mark.parametrize("item", [PLAIN, WIRE, {"Item": PLAIN}, {"Item": WIRE}])
def test_one_item_however_it_is_written(tmp_path: Path, item: Any) -> None:
    assert images(tmp_path, json.dumps(item)) == [("items.json:1", IMAGE)]
    assert images(tmp_path, json.dumps(item, indent=2)) == [("items.json", IMAGE)]


@pytest.mark.parametrize("text", [json.dumps([PLAIN, WIRE]), json.dumps({"Items": [WIRE, WIRE], "Count": 2}, indent=1)])
def test_several_items_in_one_text(tmp_path: Path, text: str) -> None:
    found = images(tmp_path, text)
    assert [image for _, image in found] == [IMAGE, IMAGE]
    assert [origin[-3:] for origin, _ in found] == ["[0]", "[1]"]


def test_one_item_a_line(tmp_path: Path) -> None:
    text = f"\n{json.dumps(PLAIN)}\n\n{json.dumps({'Item': WIRE})}\n{json.dumps([PLAIN])}\n"
    found = images(tmp_path, "\ufeff" + text)
    assert found == [("items.json:2", IMAGE), ("items.json:4", IMAGE), ("items.json:5[0]", IMAGE)]


def test_a_compressed_file_as_exports_have_them(tmp_path: Path) -> None:
    file = tmp_path / "data.json.gz"
    file.write_bytes(gzip.compress(f"{json.dumps({'Item': WIRE})}\n".encode() * 3))
    assert [item.image for item in from_file(file)] == [IMAGE] * 3
    file.write_bytes(b"not gzip")
    with pytest.raises(ItemsError, match="damaged, or not compressed"):
        list(from_file(file))


def test_numbers_stay_exact(tmp_path: Path) -> None:
    text = '{"pk": "a", "n": 12345678901234567890.123456789012345678, "m": 1E3}'
    ((_, image),) = images(tmp_path, text)
    assert Shape(None).unpack(image) == {"pk": "a", "n": Decimal("12345678901234567890.123456789012345678"), "m": 1000}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is nothing in it"),
        ("{", "not JSON: Expecting property name"),
        ('{"pk": 1}\n{"pk": \n', ":2: not JSON: Expecting value"),
        ('{"pk": 1}\n7\n', ":2: an item is a JSON object with its attributes"),
        ('["a"]', r"\[0\]: an item is a JSON object"),
        ("{}", "an item is a JSON object with its attributes"),
        ('{"pk": {"S": 1}}', "this is not DynamoDB JSON"),
        ('{"pk": {"N": "twelve"}}', "pk: not a DynamoDB number"),
        ('{"n": 123456789012345678901234567890123456789}', "n: not a DynamoDB number"),
        ('{"n": NaN}', "NaN is not a number of JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 5000 + "1" + "}" * 5000, "nested too deeply"),
    ],
)
def test_what_is_no_item_is_refused_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ItemsError, match=problem):
        images(tmp_path, text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for file, problem in ((tmp_path / "none", "can't be read: No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ItemsError, match=problem):
            list(from_file(file))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ItemsError, match="not a text file in UTF-8"):
        list(from_file(tmp_path / "binary"))


def test_a_large_file_is_read_as_far_as_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "large.jsonl").write_text('{"pk": "a"}\n' * 1000 + "broken")
    assert next(from_file(tmp_path / "large.jsonl")).origin.endswith("large.jsonl:1")


def test_one_state_as_text_file_or_none(tmp_path: Path) -> None:
    file = tmp_path / "item.json"
    file.write_text(json.dumps(WIRE))
    for text in (json.dumps(PLAIN), str(file)):
        item = written(text)
        assert item is not None
        assert item.image == IMAGE
    assert written("null") is None
    file.write_text(json.dumps([WIRE, WIRE]))
    with pytest.raises(ItemsError, match="one item is wanted, found 2"):
        written(str(file))


def test_changes(tmp_path: Path) -> None:
    file = tmp_path / "changes.jsonl"
    file.write_text(json.dumps({"old": PLAIN, "new": WIRE}) + "\n" + json.dumps([{"new": PLAIN}, {"old": WIRE}]))
    found = [(old and old.image, new and new.image) for old, new in changes_from_file(file)]
    assert found == [(IMAGE, IMAGE), (None, IMAGE), (IMAGE, None)]
    for text in ('{"old": null}', '{"before": {}}', "{}", "7", '{"old": 3}'):
        file.write_text(text)
        with pytest.raises(ItemsError, match=r"a change|an item is a JSON object"):
            list(changes_from_file(file))


SCALARS = st.none() | st.booleans() | st.text() | st.integers(-99, 99) | st.decimals(-99, 99, places=2)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(st.dictionaries(st.text(min_size=1), VALUES, min_size=1))
def test_plain_and_dynamodb_json_are_one_item(item: dict[str, Any]) -> None:
    image = image_of({"pk": "k", **item})
    assert image_of(msgspec.json.decode(msgspec.json.encode(image))) == image


@given(st.dictionaries(st.text(min_size=1), st.binary() | st.sets(st.binary(), min_size=1), min_size=1))
def test_binary_is_read_from_dynamodb_json_as_the_aws_tools_write_it(item: dict[str, Any]) -> None:
    image = {name: attribute(value) for name, value in item.items()}
    assert image_of(msgspec.json.decode(msgspec.json.encode(image))) == image


class Pages:
    """A table whose scan gives scripted pages."""

    name = "shop"

    def __init__(self, segments: list[list[list[str]]]) -> None:
        self.segments = segments
        self.read = 0

    def scan(self, segment: int, segments: int, after: None, shape: Shape, only: object = None) -> Any:
        pages = self.segments[segment]
        for number, page in enumerate(pages):
            self.read += 1
            found = [shape.pack({"pk": name}) for name in page if name != "broken"]
            broken = [Broken(0, b"", "it is broken")] * page.count("broken")
            yield ScanPage(found, [], broken, None if number == len(pages) - 1 else "on", 2.0)


def names(sample: Any) -> list[str]:
    return [item.broken or item.image["pk"].S for item in sample.items]


def test_no_more_of_a_table_is_read_than_it_takes() -> None:
    table: Any = Pages([[["a", "b", "c"], ["d"]]])
    sample = of_table(table, 2, None)
    assert (names(sample), table.read, sample.units, sample.more) == (["a", "b"], 1, 2.0, True)
    sample = of_table(table, 9, None)
    assert (names(sample), sample.more) == (["a", "b", "c", "d"], False)
    table = Pages([[["a", "broken"]]])
    assert names(of_table(table, 9, None)) == ["a", "it is broken"]
    table = Pages([[[]] * 100])
    assert (names(of_table(table, 1, None)), table.read) == ([], PAGES)


def test_a_sample_is_from_several_places() -> None:
    table: Any = Pages([[["a1", "a2", "a3"]], [["b1", "b2"], ["b3"]], [[]]])
    assert names(of_table(table, 3, None, 3)) == ["a1", "b1", "a2"]
    assert sorted(names(of_table(table, 9, None, 3))) == ["a1", "a2", "a3", "b1", "b2", "b3"]
