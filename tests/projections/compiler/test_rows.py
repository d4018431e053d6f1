"""From an item to rows: names, fields, keys, fan-out, decoding."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from dynaview.projections.attributes import Attr
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.expressions import ExpressionError
from dynaview.projections.projection import ProjectionError

Make = Callable[..., Any]
ORDER = {
    "pk": "CUSTOMER#7",
    "sk": "ORDER#99",
    "status": "PAID",
    "shipping": {"city": "Berlin", "zip": "10115"},
    "total": Decimal("12.50"),
    "lines": [{"sku": "a", "quantity": Decimal(2)}, {"sku": "b", "quantity": Decimal(1)}],
}
MATCH = {"pk": "CUSTOMER#{customer_id}", "sk": "ORDER#{order_id}"}


def test_the_order_of_the_design(view: Make, table: Make, field: Make) -> None:
    made = table(
        view(
            match=MATCH,
            where="status != 'DRAFT'",
            key="{order_id}",
            fields={
                "order_id": "order_id",
                "customer_id": "customer_id",
                "city": "shipping.city",
                "total": field("total", "decimal"),
                "skus": "lines[].sku",
            },
        )
    )
    assert made.projection.attributes == {"pk", "sk", "status", "shipping", "total", "lines"}
    assert made.rows(ORDER) == [("99", ("99", "7", "Berlin", Decimal("12.50"), ["a", "b"]))]
    assert made.rows({**ORDER, "status": "DRAFT"}) == []
    assert made.rows({**ORDER, "sk": "PROFILE"}) == []
    # The status is missing, and null is not 'DRAFT'.
    assert made.rows({"pk": "CUSTOMER#7", "sk": "ORDER#1"}) == [("1", ("1", "7", None, None, None))]


def test_where_takes_what_jmespath_takes_for_true(view: Make, table: Make) -> None:
    made = table(view(where="flag", key="{pk}"))
    right: list[Any] = [True, "x", Decimal(0), [Decimal(0)], {"a": None}]
    for flag in right:
        assert made.rows({"pk": "p", "sk": "s", "flag": flag}) == [("p", ())], flag
    wrong: list[Any] = [False, "", None, [], {}]
    for flag in wrong:
        assert made.rows({"pk": "p", "sk": "s", "flag": flag}) == [], flag
    assert made.rows({"pk": "p", "sk": "s"}) == []


def test_captures_come_before_attributes_and_item_is_the_item(view: Make, table: Make) -> None:
    made = table(view(match={"pk": "A#{name}"}, key="{name}", fields={"a": "name", "b": "_item.name", "c": "_item"}))
    item = {"pk": "A#captured", "sk": "s", "name": "attribute"}
    assert made.projection.attributes is None
    assert made.rows(item) == [("captured", ("captured", "attribute", item))]


def test_the_whole_item(view: Make, table: Make) -> None:
    made = table(view(key="{pk}", fields={"names": "keys(@)", "one": "pk", "deep": "shipping.city"}))
    item = {"pk": "p", "sk": "s", "shipping": {"city": "x"}}
    assert made.rows(item) == [("p", (["pk", "shipping", "sk"], "p", "x"))]


def test_nothing_is_decoded_before_it_is_needed(view: Make, table: Make, field: Make) -> None:
    made = table(
        view(match={"pk": "A#{a}"}, where="ok", key="{a}", fields={"n": "n", "m": "m.x", "again": "n"}), key=("pk",)
    )

    def image(**attrs: Attr) -> Any:
        packed = made.shape.pack({})
        for name, attr in attrs.items():
            setattr(packed, f"a{made.shape.names.index(name)}", attr)
        return packed

    broken = Attr(N="not a number")
    assert made.bound.rows(image(pk=Attr(S="B"), n=broken, ok=broken)) == []
    assert made.bound.rows(image(pk=Attr(S="A#1"), n=broken, ok=Attr(BOOL=False))) == []
    with pytest.raises(ProjectionError, match=r"^where: an attribute value that DynamoDB does not have$"):
        made.bound.rows(image(pk=Attr(S="A#1"), ok=broken))
    with pytest.raises(ProjectionError, match=r"^field n: an attribute value that DynamoDB does not have$"):
        made.bound.rows(image(pk=Attr(S="A#1"), n=broken, ok=Attr(BOOL=True)))
    # Beside what is read of a map, the rest stays undecoded.
    beside = {"pk": Attr(S="A#1"), "ok": Attr(BOOL=True), "m": Attr(M={"x": Attr(S="v"), "y": broken})}
    found = made.bound.rows(msgspec.json.decode(msgspec.json.encode(beside), type=made.shape.type))
    assert found == [("1", (None, "v", None))]


def test_null_and_missing_are_both_none_and_take_the_default(view: Make, table: Make, field: Make) -> None:
    made = table(
        view(
            key="{pk}", fields={"a": "a", "b": field("b", "integer", default=7), "c": field("c", "text", required=True)}
        )
    )
    assert made.rows({"pk": "p", "sk": "s", "a": None, "b": None, "c": "x"}) == [("p", (None, 7, "x"))]
    assert made.rows({"pk": "p", "sk": "s", "b": Decimal(0), "c": ""}) == [("p", (None, 0, ""))]
    with pytest.raises(ProjectionError, match=r"^field c: missing or null, but required$"):
        made.rows({"pk": "p", "sk": "s"})


def test_errors_name_field_and_types_and_no_value(view: Make, table: Make, field: Make) -> None:
    made = table(view(key="{pk}", fields={"n": field("n", "integer"), "s": "length(s)", "t": field("t", "timestamp")}))
    for item, message in (
        ({"n": "secret", "s": "x"}, "field n: wanted integer, found text that is not a whole number"),
        ({"s": Decimal(4711)}, "field s: length() takes string or array or object, found number"),
        ({"s": "", "t": Decimal(4711)}, "field t: wanted timestamp, found a number: say what it counts"),
    ):
        with pytest.raises(ProjectionError) as caught:
            made.rows({"pk": "p", "sk": "s", **item})
        assert str(caught.value).startswith(message)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


def test_errors_inside_nested_loops_name_their_field(view: Make, table: Make) -> None:
    deep = "l" + "[*].l" * 20 + "[?length(@) > `0`]"
    made = table(view(key="{pk}", fields={"fine": "sk", "deep": deep, "sorted": "sort_by(l, &length(v))"}))
    data: Any = [Decimal(1)]
    for _ in range(20):
        data = [{"l": data, "v": "x"}]
    with pytest.raises(ProjectionError, match=r"^field deep: length\(\)"):
        made.rows({"pk": "p", "sk": "s", "l": data})
    with pytest.raises(ProjectionError, match=r"^field sorted: length\(\)"):
        made.rows({"pk": "p", "sk": "s", "l": [{"v": Decimal(1)}]})


def test_fan_out_of_a_list(view: Make, table: Make, field: Make) -> None:
    made = table(
        view(
            match=MATCH,
            each="lines",
            key=("order_id", "sku"),
            fields={
                "order_id": field("order_id", "text", required=True),
                "sku": field("sku", "text", required=True),
                "quantity": field("quantity", "integer"),
                "position": "_index",
                "name": "_key",
                "whole": "_element",
                "status": "_item.status",
                "own": "status",
            },
            sink="postgres",
        )
    )
    assert made.projection.attributes == {"pk", "sk", "lines", "status"}
    assert made.rows(ORDER) == [
        (("99", "a"), ("99", "a", 2, 0, None, ORDER["lines"][0], "PAID", None)),  # type: ignore[index]  # a list
        (("99", "b"), ("99", "b", 1, 1, None, ORDER["lines"][1], "PAID", None)),  # type: ignore[index]  # a list
    ]
    assert made.rows({**ORDER, "lines": []}) == []
    assert made.rows({**ORDER, "lines": None}) == []
    assert made.rows({**ORDER, "lines": [None]}) == []
    with pytest.raises(ProjectionError, match=r"^each: wanted a list or a map, found text$"):
        made.rows({**ORDER, "lines": "a"})
    with pytest.raises(ProjectionError, match=r"^field sku: missing or null, but required$"):
        made.rows({**ORDER, "lines": [{"quantity": Decimal(1)}]})


def test_fan_out_of_a_map_and_of_plain_elements(view: Make, table: Make) -> None:
    made = table(
        view(
            each="prices",
            match={"pk": "{p}"},
            key="{p}/{_key}",
            fields={"price": "@", "index": "_index", "again": "_element"},
        )
    )
    item = {"pk": "p", "sk": "s", "prices": {"de": Decimal(1), "fr/ch": Decimal(2)}}
    assert made.rows(item) == [("p/de", (1, None, 1)), ("p/fr/ch", (2, None, 2))]


def test_one_key_twice_is_an_error(view: Make, table: Make) -> None:
    made = table(view(each="tags", match={"pk": "A#{a}"}, key="{a}:{tag}", fields={"tag": "_element"}))
    assert len(made.rows({"pk": "A#1", "sk": "s", "tags": ["x", "y"]})) == 2
    with pytest.raises(ProjectionError, match=r"^key: two rows of the item have the same key '1:x'"):
        made.rows({"pk": "A#1", "sk": "s", "tags": ["x", "y", "x"]})


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("x", "k:x"),
        (Decimal("1.50"), "k:1.5"),
        (Decimal("1E+2"), "k:100"),
        (True, "k:true"),
        (b"\x00\x01", "k:AAE="),
    ],
)
def test_key_parts(view: Make, table: Make, value: Any, key: str) -> None:
    assert table(view(key="k:{id}")).rows({"pk": "p", "sk": "s", "id": value}) == [(key, ())]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "is missing or null"),
        ("", "is empty"),
        ([], "is a list"),
        ({}, "is a map"),
        (b"", "is binary"),
    ],
)
def test_key_parts_that_are_refused(view: Make, table: Make, value: Any, words: str) -> None:
    with pytest.raises(ProjectionError, match=r"^key: \{id\} " + words):
        table(view(key="k:{id}")).rows({"pk": "p", "sk": "s", "id": value})


def test_keys_use_converted_fields(view: Make, table: Make, field: Make) -> None:
    made = table(
        view(
            key="{day}/{at}/{n}",
            fields={
                "day": field("t", "date", unit="seconds"),
                "at": field("t", "timestamp", unit="seconds"),
                "n": field("n", "double"),
            },
        )
    )
    item = {"pk": "p", "sk": "s", "t": Decimal(1_700_000_000), "n": Decimal("0.1")}
    assert made.rows(item)[0][0] == "2023-11-14/2023-11-14T22:13:20Z/0.1"


def test_key_columns(view: Make, table: Make, field: Make) -> None:
    fields = {"id": field("id", "bigint", required=True), "raw": field("raw", required=True), "x": field("x", "text")}
    made = table(view(key=("raw", "id"), fields=fields, sink="postgres"))
    item = {"pk": "p", "sk": "s", "id": Decimal("7.0"), "raw": "r"}
    assert made.rows(item) == [(("r", 7), (7, "r", None))]
    with pytest.raises(ProjectionError, match=r"^field raw: column raw is a list"):
        made.rows({**item, "raw": []})
    with pytest.raises(ProjectionError, match=r"^field id: missing or null, but required"):
        made.rows({**item, "id": None})


def test_redis_sets(view: Make, table: Make, field: Make) -> None:
    tags = table(view(key="tagged:{tag}", member="{pk}", sink="set", fields={"tag": "tag"}))
    assert tags.rows({"pk": "p", "sk": "s", "tag": "x"}) == [(("tagged:x", "p"), ())]
    ranks = table(view(key="ranks", member="{pk}", score=field("points", "double"), sink="sorted_set"))
    assert ranks.rows({"pk": "p", "sk": "s", "points": Decimal("1.5")}) == [(("ranks", "p"), (1.5,))]
    with pytest.raises(ProjectionError, match=r"^score: missing or null$"):
        ranks.rows({"pk": "p", "sk": "s"})
    with pytest.raises(ProjectionError, match=r"^member: \{pk\} is missing or null"):
        table(view(key="ranks", member="{pk}", sink="set")).rows({"sk": "s"})


def test_expiry_is_the_last_value_in_exact_seconds(view: Make, table: Make, field: Make) -> None:
    item = {"pk": "p", "sk": "s", "ttl": Decimal("1700000000.9"), "at": "2023-11-14T22:13:20.5Z"}
    for expire, seconds in (
        (field("ttl", "timestamp", unit="seconds"), Decimal("1700000000.9")),
        (field("ttl"), Decimal("1700000000.9")),
        (field("ttl", "timestamp", unit="milliseconds"), Decimal("1700000.0009")),
        (field("at", "timestamp"), Decimal("1700000000.5")),
        (field("missing", "timestamp", unit="seconds"), None),
    ):
        made = table(view(key="{pk}", sink="hash", fields={"a": "pk"}, expire=expire))
        assert made.rows(item) == [("p", ("p", seconds))]
    with pytest.raises(ProjectionError, match=r"^expire: wanted a time to live, found a boolean$"):
        table(view(key="{pk}", sink="hash", fields={"a": "pk"}, expire=field("ttl"))).rows({**item, "ttl": True})


def test_sets_and_binary_reach_fields(view: Make, table: Make, field: Make) -> None:
    made = table(
        view(
            key="{pk}",
            fields={"tags": field("tags", "text[]"), "ns": field("ns", "bigint[]"), "b": field("b", "binary")},
        )
    )
    item = {"pk": "p", "sk": "s", "tags": {"b", "a"}, "ns": {Decimal(2), Decimal(1)}, "b": b"\x00"}
    assert made.rows(item) == [("p", (["a", "b"], [1, 2], b"\x00"))]


def test_odd_names_never_become_code(view: Make, table: Make) -> None:
    name = 'a"] or __import__("os").abort() #\n\u2028{'
    quoted = '"' + name.replace('"', '\\"').replace("\n", "\\n") + '"'
    made = table(view(match={"pk": "'\"\\{x}"}, key="{x}", fields={name: quoted}))
    assert made.rows({"pk": "'\"\\1", "sk": "s", name: "v"}) == [("1", ("v",))]


def test_a_field_of_any_type_keeps_what_the_item_has(view: Make, table: Make) -> None:
    made = table(view(key="{pk}", fields={"x": "x"}))
    values: list[Any] = ["", "\ud800", Decimal("1E-130"), True, False, b"", [], {}, [None, {"a": [b"x"]}]]
    for plain in values:
        assert made.rows({"pk": "p", "sk": "s", "x": plain}) == [("p", (plain,))]


def test_timestamps_are_in_utc(view: Make, table: Make, field: Make) -> None:
    made = table(view(key="{pk}", fields={"t": field("t", "timestamp")}))
    (row,) = made.rows({"pk": "p", "sk": "s", "t": "2026-03-01T01:30:00+02:00"})
    assert row[1] == (datetime(2026, 2, 28, 23, 30, tzinfo=UTC),)
    assert row[1][0].tzinfo is UTC


def test_a_view_is_compiled_once(view: Make) -> None:
    one, other = view(key="{pk}", fields={"a": "b"}), view(key="{pk}", fields={"a": "b"})
    assert compile_view(one) is compile_view(one)
    assert compile_view(one) is not compile_view(other)
    wrong = view(key="{pk}", fields={"a": "b.."})
    for _ in range(2):
        with pytest.raises(ExpressionError):
            compile_view(wrong)
