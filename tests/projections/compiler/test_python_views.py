"""Python functions as projections."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from dynaview.projections.projection import ProjectionError

Make = Callable[..., Any]
ITEM = {"pk": "CUSTOMER#7", "sk": "PROFILE", "name": "ada", "ttl": Decimal(1_700_000_000)}
MATCH = {"pk": "CUSTOMER#{customer_id}", "sk": "PROFILE"}


def card(item: dict[str, Any]) -> Any:
    return {"name": item["name"].title(), "tier": item.get("tier", "basic")}


def test_open_fields(view: Make, table: Make) -> None:
    made = table(view(match=MATCH, function=card, key="customer:{customer_id}", sink="hash"))
    assert made.projection.attributes is None
    assert made.rows(ITEM) == [("customer:7", {"name": "Ada", "tier": "basic"})]
    assert made.rows({**ITEM, "sk": "ORDER"}) == []


def test_the_function_sees_item_and_captures_and_may_spoil_both(view: Make, table: Make) -> None:
    seen: list[dict[str, Any]] = []

    def spoil(item: dict[str, Any]) -> Any:
        seen.append(dict(item))
        item.clear()
        return {"id": "i"}

    made = table(view(match=MATCH, function=spoil, key="{customer_id}:{id}"))
    assert made.rows({**ITEM, "customer_id": "own"}) == [("7:i", {"id": "i"})]
    assert made.rows(ITEM) == [("7:i", {"id": "i"})]
    assert seen == [{**ITEM, "customer_id": "own"}, {**ITEM, "customer_id": "7"}]


def test_none_one_or_many_rows(view: Make, table: Make) -> None:
    made = table(view(function=lambda item: item["rows"], key="{pk}:{id}", match={"pk": "{pk}"}))
    assert made.rows({"pk": "p", "sk": "s", "rows": None}) == []
    assert made.rows({"pk": "p", "sk": "s", "rows": []}) == []
    assert made.rows({"pk": "p", "sk": "s", "rows": {"id": "a"}}) == [("p:a", {"id": "a"})]
    assert len(made.rows({"pk": "p", "sk": "s", "rows": [{"id": "a"}, {"id": "b"}]})) == 2
    with pytest.raises(ProjectionError, match="the same key 'p:a'"):
        made.rows({"pk": "p", "sk": "s", "rows": [{"id": "a"}, {"id": "a"}]})
    with pytest.raises(ProjectionError, match=r"shop:card returned text, where a dict"):
        made.rows({"pk": "p", "sk": "s", "rows": "x"})
    with pytest.raises(ProjectionError, match=r"shop:card returned null, where a dict"):
        made.rows({"pk": "p", "sk": "s", "rows": [None]})
    with pytest.raises(ProjectionError, match=r"\{id\} is missing or null"):
        made.rows({"pk": "p", "sk": "s", "rows": {"x": "y"}})


def test_where_comes_first(view: Make, table: Make) -> None:
    def never(item: dict[str, Any]) -> Any:
        raise AssertionError(item)

    made = table(view(match=MATCH, where="tier == 'gold'", function=never, key="{customer_id}"))
    assert made.rows(ITEM) == []


def test_declared_fields_are_picked_and_converted(view: Make, table: Make, field: Make) -> None:
    def totals(item: dict[str, Any]) -> Any:
        return {"total": item["total"] * 2, "price": 0.1}

    fields = {
        "total": field("total", "integer"),
        "cents": field("price", "decimal"),
        "customer_id": field("customer_id", "text"),
        "note": field("note", "text", default="-"),
    }
    made = table(view(match=MATCH, function=totals, key="{customer_id}", fields=fields))
    assert made.rows({**ITEM, "total": Decimal(4)}) == [("7", (8, Decimal("0.1"), "7", "-"))]
    with pytest.raises(ProjectionError, match=r"^field total: wanted integer, found a number with a fraction$"):
        made.rows({**ITEM, "total": Decimal("0.25")})


def test_what_the_function_returned_comes_before_captures_in_fields(view: Make, table: Make) -> None:
    fields = {"customer_id": "customer_id"}
    made = table(view(match=MATCH, function=lambda item: {"customer_id": "own"}, key="{customer_id}", fields=fields))
    assert made.rows(ITEM) == [("7", ("own",))]


def test_undeclared_names_are_refused(view: Make, table: Make) -> None:
    made = table(view(match=MATCH, function=card, key="{customer_id}", fields={"name": "name"}))
    with pytest.raises(ProjectionError, match=r"returned tier, which the view's fields do not declare"):
        made.rows(ITEM)


def test_declared_values_have_to_be_an_items(view: Make, table: Make) -> None:
    for value, words in (
        ({1}, "a Python set is not a value"),
        (float("nan"), "a finite number"),
        (object(), "a Python object"),
        ({1: 2}, "the names of a map are text"),
    ):
        for fields in (None, {"x": "x"}):
            made = table(
                view(match=MATCH, function=lambda item, value=value: {"x": value}, key="{customer_id}", fields=fields)
            )
            with pytest.raises(ProjectionError, match=words):
                made.rows(ITEM)


def test_field_names_have_to_be_names(view: Make, table: Make) -> None:
    for name in ("", "_v", 1):
        made = table(view(match=MATCH, function=lambda item, name=name: {name: "x"}, key="{customer_id}"))
        with pytest.raises(ProjectionError, match="whose name is not text, is empty or begins with _"):
            made.rows(ITEM)


def test_a_failing_function_is_named_without_values(view: Make, table: Make) -> None:
    def fails(item: dict[str, Any]) -> Any:
        return int(item["name"])

    made = table(view(match=MATCH, function=fails, key="{customer_id}"))
    with pytest.raises(ProjectionError) as caught:
        made.rows(ITEM)
    line = fails.__code__.co_firstlineno + 1
    assert str(caught.value) == f"python: shop:card raised ValueError in line {line}"


def test_interrupts_pass(view: Make, table: Make) -> None:
    def stop(item: dict[str, Any]) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table(view(match=MATCH, function=stop, key="{customer_id}")).rows(ITEM)


def test_score_and_expiry_see_returned_values_captures_and_the_item(view: Make, table: Make, field: Make) -> None:
    made = table(
        view(
            match=MATCH,
            function=card,
            key="{customer_id}",
            sink="hash",
            expire=field("ttl", "timestamp", unit="seconds"),
        )
    )
    assert made.rows(ITEM) == [("7", {"name": "Ada", "tier": "basic", "_expire": 1_700_000_000})]
    ranks = view(
        match=MATCH,
        function=lambda item: {"points": 3},
        key="ranks",
        member="{customer_id}",
        score=field("points", "double"),
        sink="sorted_set",
    )
    assert table(ranks).rows(ITEM) == [(("ranks", "7"), (3.0,))]


def test_writes_follow_what_the_function_returns(view: Make, table: Make) -> None:
    def known(item: dict[str, Any]) -> Any:
        return card(item) if "name" in item else None

    made = table(view(match=MATCH, function=known, key="{customer_id}"))
    nameless = {"pk": "CUSTOMER#7", "sk": "PROFILE"}
    assert [(one.key, one.values, one.owner) for one in made.writes(ITEM, nameless)] == [("7", None, "")]
    assert made.writes(nameless, None) == []
    # Captures alone make the key, so new images are enough.
    made = table(view(match=MATCH, function=known, key="{customer_id}"), images="NEW_IMAGE")
    assert [(one.key, one.values) for one in made.bound.writes(made.change(None, nameless, "MODIFY"), 5)] == [
        ("7", None)
    ]
    assert [(one.key, one.values) for one in made.bound.writes(made.change(ITEM, None), 5)] == [("7", None)]
