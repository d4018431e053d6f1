"""A filtered scan never leaves out what a view matches: patterns, tables in memory and on DynamoDB Local."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dynaview.projections.attributes import Attr, Shape, attribute
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import At, ViewDeclaration
from dynaview.projections.patterns import PatternError, parse_pattern
from dynaview.projections.rows import Layout, OpenSearchOptions
from dynaview.sources.filters import EXPRESSION_LIMIT, filter_expression, scan_filter
from dynaview.sources.port import KeyTest, ScanFilter, TableReader
from dynaview.sources.table import DynamoTable
from tests.sources.bodies import table as described
from tests.sources.stub import Answer, Stub
from tests.support.scripted import ScriptedTable

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Match = tuple[Mapping[str, str], ...]

ALL = Shape(None)
PIECES = ["CUSTOMER#", "ORDER#", "#", "A", "AB", "1", "10", "{{", "}}", "é", "😀"]
"""What patterns and keys are made of: beginnings of each other, numbers, braces, more than one byte."""

LITERALS = [piece.replace("{{", "{").replace("}}", "}") for piece in PIECES]


def view(match: Match) -> ViewDeclaration:
    """A view with this match and nothing else that could keep an item out."""
    at = At("views.v", "dynaview.yaml", 1)
    return ViewDeclaration(
        name="v",
        source="s",
        sink="k",
        match=match,
        where=None,
        each=None,
        function=None,
        function_name="",
        key="{pk}:{sk}",
        member=None,
        score=None,
        expire=None,
        fields={},
        layout=Layout("v", (), (), OpenSearchOptions("i", {}, {})),
        on_gap="stop",
        at=at,
        places={},
    )


def matched(match: Match, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that the compiled view makes a row of."""
    bound = compile_view(view(match)).bind(ALL, ("pk", "sk"), "NEW_AND_OLD_IMAGES")
    return [item for item in items if bound.rows(ALL.pack(item))]


def scanned(table: TableReader, only: ScanFilter | None) -> list[dict[str, Any]]:
    """All items that a scan brings, read on from page to page."""
    found = []
    position = None
    while True:
        page = next(table.scan(0, 1, position, ALL, only))
        assert page.broken == []
        assert len(page.keys) == len(page.images)
        found += [ALL.unpack(image) for image in page.images]
        if (position := page.position) is None:
            return found


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """A match pattern, often of captures at the beginning, several, or none."""
    parts = draw(st.lists(st.sampled_from([*PIECES, "{a}", "{b}", "{a}"]), min_size=1, max_size=4))
    text = "".join(parts)
    try:
        parse_pattern(text)
    except PatternError:
        assume(False)
    return text


MATCHES = st.lists(
    st.dictionaries(st.sampled_from(["pk", "sk", "kind"]), patterns(), min_size=1, max_size=3), min_size=1, max_size=3
).map(lambda found: tuple(found))


def texts(dice: random.Random) -> str:
    return "".join(dice.choice(LITERALS) for _ in range(dice.randrange(1, 4)))


def items_of(dice: random.Random, count: int, sort: Callable[[random.Random], Any]) -> list[dict[str, Any]]:
    """Items of different keys; their ``kind`` is text, a number, something else or not there."""
    found = {}
    for _ in range(count):
        item: dict[str, Any] = {"pk": texts(dice), "sk": sort(dice)}
        kinds = [texts(dice), Decimal(dice.choice([1, 10, 105])), True, b"A", None]
        if (kind := dice.choice([*kinds, "missing"])) != "missing":
            item["kind"] = kind
        found[item["pk"], item["sk"]] = item
    return list(found.values())


def fitting(alternative: Mapping[str, str], dice: random.Random) -> dict[str, Any]:
    """An item of which each attribute is what its pattern says, captures filled in."""
    item = {"pk": texts(dice), "sk": texts(dice)}
    for name, text in alternative.items():
        pattern = parse_pattern(text)
        held = {capture: dice.choice(LITERALS) for capture in pattern.captures}
        item[name] = pattern.literals[0]
        for capture, literal in zip(pattern.captures, pattern.literals[1:], strict=True):
            item[name] += held[capture] + literal
    return item


SORTS: dict[str, Callable[[random.Random], Any]] = {
    "S": texts,
    "N": lambda dice: Decimal(dice.choice(["1", "10", "105", "1.5", "-1", "0.1"])),
    "B": lambda dice: texts(dice).encode(),
}


class TestMaking:
    @pytest.mark.parametrize(
        ("matches", "tests"),
        [
            ([({"pk": "CUSTOMER#{id}"},)], [[KeyTest("pk", "CUSTOMER#", False)]]),
            ([({"pk": "A{x}", "sk": "PROFILE"},)], [[KeyTest("pk", "A", False), KeyTest("sk", "PROFILE", True)]]),
            ([({"pk": "{a}#{b}", "sk": "S"},)], [[KeyTest("sk", "S", True)]]),
            ([({"pk": "{{{a}}}"},)], [[KeyTest("pk", "{", False)]]),
            ([({"pk": "A#{a}#{b}"},), ({"pk": "B"},)], [[KeyTest("pk", "A#", False)], [KeyTest("pk", "B", True)]]),
            ([({"pk": "A"}, {"pk": "B"})], [[KeyTest("pk", "A", True)], [KeyTest("pk", "B", True)]]),
        ],
    )
    def test_a_text_or_how_it_begins(self, matches: list[Match], tests: list[list[KeyTest]]) -> None:
        assert scan_filter(matches) == ScanFilter(tuple(tuple(each) for each in tests))

    @pytest.mark.parametrize(
        "matches",
        [
            [],
            [()],
            [({"pk": "A"},), ()],
            [({"pk": "A"}, {"pk": "{a}"})],
            [({"pk": "{a}#X"},)],
            [({"pk": "\ud800"},)],
        ],
    )
    def test_everything_is_asked_for_where_a_view_may_want_it(self, matches: list[Match]) -> None:
        assert scan_filter(matches) is None

    def test_what_another_view_asks_for_anyway_is_not_asked_for_twice(self) -> None:
        orders = ({"pk": "CUSTOMER#{c}", "sk": "ORDER#{o}"},)
        lines = ({"pk": "CUSTOMER#{c}", "sk": "ORDER#{o}#{l}"},)
        profile = ({"pk": "CUSTOMER#{c}", "sk": "PROFILE"},)
        assert scan_filter([lines, orders, orders, profile, lines]) == scan_filter([orders, profile])
        assert scan_filter([lines, profile, ({"pk": "CUSTOMER#{c}"},)]) == scan_filter([({"pk": "CUSTOMER#{c}"},)])
        assert scan_filter([({"pk": "A"},), ({"pk": "A{b}"},)]) == scan_filter([({"pk": "A{b}"},)])

    def test_attributes_that_are_not_at_hand_are_not_asked_about(self) -> None:
        only = scan_filter([({"pk": "A", "kind": "B"},)])
        assert only is not None
        assert only.within(["pk", "sk"]) == scan_filter([({"pk": "A"},)])
        assert only.within(["sk"]) is None


class TestExpressions:
    def test_names_and_values_stand_for_themselves(self) -> None:
        only = scan_filter([({"pk": "C#{c}", "sk": "P"}, {"pk": "C#{c}", "size": "P"})])
        assert filter_expression(only) == {
            "FilterExpression": (
                "(begins_with(#f0,:f0) OR attribute_type(#f0,:n)) AND (#f1=:f1 OR attribute_type(#f1,:n))"
                " OR (begins_with(#f0,:f0) OR attribute_type(#f0,:n)) AND (#f2=:f1 OR attribute_type(#f2,:n))"
            ),
            "ExpressionAttributeNames": {"#f0": "pk", "#f1": "sk", "#f2": "size"},
            "ExpressionAttributeValues": {":n": {"S": "N"}, ":f0": {"S": "C#"}, ":f1": {"S": "P"}},
        }
        assert filter_expression(None) == {}

    def test_more_than_dynamodb_takes_is_not_asked(self) -> None:
        few = scan_filter([tuple({"pk": f"P{number}"} for number in range(70))])
        assert 2500 < len(filter_expression(few)["FilterExpression"]) <= EXPRESSION_LIMIT
        assert filter_expression(scan_filter([tuple({"pk": f"P{number}"} for number in range(80))])) == {}
        assert filter_expression(scan_filter([({f"n{number}": f"P{number}{{x}}" for number in range(74)},)])) == {}
        assert filter_expression(scan_filter([({"n" * 256: "P"},)])) == {}

    def test_a_scan_asks_for_both_attributes_and_items(self, stub: Stub, table: DynamoTable) -> None:
        stub.say(Answer.of(described()), Answer.of({"Items": []}))
        only = scan_filter([({"pk": "A{x}"},)])
        assert len(list(table.scan(0, 1, None, Shape(["pk", "sk"]), only))) == 1
        asked = stub.asked[1].parameters
        assert asked["ProjectionExpression"] == "#0,#1"
        assert asked["FilterExpression"] == "(begins_with(#f0,:f0) OR attribute_type(#f0,:n))"
        assert asked["ExpressionAttributeNames"] == {"#0": "pk", "#1": "sk", "#f0": "pk"}
        assert asked["ConsistentRead"] is True

    def test_an_empty_page_with_a_position_is_not_the_end(self, stub: Stub, table: DynamoTable) -> None:
        empty = {"Items": [], "LastEvaluatedKey": {"pk": {"S": "p"}, "sk": {"S": "s"}}, "Count": 0, "ScannedCount": 9}
        item = {"pk": {"S": "A1"}, "sk": {"S": "s"}}
        stub.say(Answer.of(described()), Answer.of(empty), Answer.of(empty), Answer.of({"Items": [item]}))
        pages = list(table.scan(0, 1, None, ALL, scan_filter([({"pk": "A{x}"},)])))
        assert [len(page.images) for page in pages] == [0, 0, 1]


@settings(max_examples=200)
@given(st.lists(MATCHES, min_size=1, max_size=3), st.integers(0, 2**32), st.sampled_from("SNB"), st.integers(1, 5))
def test_no_item_that_a_view_matches_is_left_out(matches: list[Match], seed: int, kind: str, page: int) -> None:
    dice = random.Random(seed)
    items = items_of(dice, 10, SORTS[kind])
    if kind == "S":  # and some that the patterns are about
        items += [fitting(alternative, dice) for match in matches for alternative in match]
        items = list({(item["pk"], item["sk"]): item for item in items}.values())
    only = scan_filter(matches)
    table = ScriptedTable()
    table.scan_page = page
    for item in items:
        table.put(item)
    found = scanned(table, only)
    for match in matches:
        assert [item for item in matched(match, items) if item not in found] == []
    assert all(item in items for item in found)
    assert len(scanned(table, None)) == len(items)


class TestDynamoDBLocal:
    @pytest.mark.parametrize("kind", ["S", "N", "B"])
    def test_it_leaves_out_what_a_filter_says_and_no_more(
        self, dynamodb: DynamoDBClient, make_table: Callable[..., DynamoTable], kind: str
    ) -> None:
        table = make_table(None, kind)
        items = items_of(random.Random(11), 150, SORTS[kind])
        for start in range(0, len(items), 25):
            puts: Any = [{"PutRequest": {"Item": _wire(item)}} for item in items[start : start + 25]]
            assert dynamodb.batch_write_item(RequestItems={table.name: puts})["UnprocessedItems"] == {}
        left_out = 0

        @settings(max_examples=25)
        @given(st.lists(MATCHES, min_size=1, max_size=3))
        def check(matches: list[Match]) -> None:
            nonlocal left_out
            only = scan_filter(matches)
            found = scanned(table, only)
            for match in matches:
                assert [item for item in matched(match, items) if item not in found] == []
            wanted = [item for item in items if only is None or only.accepts(_attributes(item).get)]
            assert [item for item in found if item not in wanted] == []
            assert len(found) == len(wanted)
            left_out += len(items) - len(found)

        check()
        assert left_out > 0

    def test_the_largest_filter_is_taken(self, make_table: Callable[..., DynamoTable]) -> None:
        wanted = tuple({"pk": f"P{number}"} for number in range(74))
        assert filter_expression(scan_filter([wanted]))
        [page] = make_table(None).scan(0, 1, None, ALL, scan_filter([wanted]))
        assert page.images == []

    def test_a_filter_costs_as_much_as_none(
        self, dynamodb: DynamoDBClient, make_table: Callable[..., DynamoTable]
    ) -> None:
        table = make_table(None)
        for number in range(10):
            dynamodb.put_item(TableName=table.name, Item={"pk": {"S": "p"}, "sk": {"S": f"{number}" * 1000}})
        [every], [none] = (list(table.scan(0, 1, None, ALL, only)) for only in (None, scan_filter([({"pk": "q"},)])))
        assert (len(every.images), len(none.images)) == (10, 0)
        assert every.consumed == none.consumed > 0


def test_provisioned_read_capacity(stub: Stub, table: DynamoTable) -> None:
    answer = described()
    units: list[int | None] = []
    for throughput in ({"ReadCapacityUnits": 40, "WriteCapacityUnits": 7}, {"ReadCapacityUnits": 0}, None):
        answer["Table"]["ProvisionedThroughput"] = throughput
        stub.say(Answer.of(answer))
        units.append(table.describe().read_units)
    assert units == [40, None, None]
    stub.say(Answer.of({"Table": answer["Table"] | {"TableId": "1-2-3"}}))
    assert table.describe().id == "1-2-3"
    scripted = ScriptedTable()
    assert scripted.describe().read_units is None
    scripted.read_units = 25
    assert scripted.describe().read_units == 25


def _attributes(item: Mapping[str, Any]) -> dict[str, Attr]:
    return {name: attribute(plain) for name, plain in item.items()}


def _wire(item: Mapping[str, Any]) -> Any:
    """A plain item as boto3's client takes it."""
    found = {}
    for name, attr in _attributes(item).items():
        kinds = {kind: getattr(attr, kind) for kind in ("S", "N", "BOOL", "NULL", "B")}
        found[name] = {kind: part for kind, part in kinds.items() if part is not None}
    return found
