"""What users' own tests of their views use."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections import projection
from dynaview.projections.declaration import DeclarationError
from dynaview.projections.testing import (
    Changed,
    ProjectionError,
    Row,
    change_of,
    from_dynamodb,
    rows_of,
    state_of,
    view_of,
)
from dynaview.views.declarations.load import load

ORDER = {"pk": "CUSTOMER#c1", "sk": "ORDER#o1", "status": "PAID", "total": Decimal("12.50"), "tags": {"a", "b"}}
ENVIRON = {"REDIS_URL": "redis://h", "OPENSEARCH_URL": "http://h", "DATABASE_URL": "postgresql://h/x"}
SHOP = Path(__file__).parents[2] / "examples" / "shop.yaml"


@projection(source="shop", match={"pk": "CUSTOMER#{id}", "sk": "ORDER#{order}"}, sink="cache", key="label:{order}")
def label(item: dict[str, Any]) -> dict[str, Any] | None:
    return None if item["status"] == "DRAFT" else {"label": item["status"].title()}


@projection(source="shop", sink="reads", table="tags", key=["id", "tag"], fields={"id": "id", "tag": {"type": "text"}})
def tags(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"id": item["pk"], "tag": tag} for tag in item["tags"]]


@projection(source="shop", sink="search", index="orders", key="{nobody}", fields={"total": "total"})
def wrong(item: dict[str, Any]) -> dict[str, Any]:
    return {"total": 1}


def test_rows_of_a_function() -> None:
    assert rows_of(label, ORDER) == [Row("label:o1", {"label": "Paid"})]
    assert rows_of(tags, ORDER) == [
        Row(("CUSTOMER#c1", "a"), {"id": "CUSTOMER#c1", "tag": "a"}),
        Row(("CUSTOMER#c1", "b"), {"id": "CUSTOMER#c1", "tag": "b"}),
    ]
    assert rows_of(label, {**ORDER, "status": "DRAFT"}) == []
    assert state_of(label, {**ORDER, "sk": "PROFILE"}).result == "unmatched"
    with pytest.raises(ProjectionError, match="label raised KeyError in line"):
        rows_of(label, {"pk": "CUSTOMER#c1", "sk": "ORDER#o1"})


def test_rows_of_a_declared_view() -> None:
    view = load([SHOP], ENVIRON).views["orders"]
    assert view_of(view) is view
    assert rows_of(view, ORDER) == [
        Row(("o1",), {"order_id": "o1", "customer_id": "c1", "status": "PAID", "total": Decimal("12.50")})
    ]


def test_what_a_change_asks() -> None:
    draft = {**ORDER, "status": "DRAFT"}
    assert change_of(label, None, ORDER) == Changed([Row("label:o1", {"label": "Paid"})], [])
    assert change_of(label, ORDER, draft) == Changed([], ["label:o1"])
    assert change_of(label, ORDER, None) == Changed([], ["label:o1"])
    assert change_of(label, draft, None) == Changed([], [])
    with pytest.raises(ProjectionError, match="raised"):
        change_of(label, ORDER, {"pk": "CUSTOMER#c1", "sk": "ORDER#o1"})


def test_items_in_dynamodb_json() -> None:
    item = {"pk": {"S": "CUSTOMER#c1"}, "sk": {"S": "ORDER#o1"}, "status": {"S": "PAID"}, "tags": {"SS": ["b", "a"]}}
    assert rows_of(label, from_dynamodb(item)) == [Row("label:o1", {"label": "Paid"})]
    assert from_dynamodb(item)["tags"] == ["a", "b"]
    for wrong_item in ({"pk": "CUSTOMER#c1"}, {"n": {"N": "twelve"}}, {"x": {"Q": "1"}}):
        with pytest.raises(ValueError, match="not DynamoDB JSON"):
            from_dynamodb(wrong_item)


def test_what_is_no_view_is_refused() -> None:
    with pytest.raises(DeclarationError, match="nobody"):
        rows_of(wrong, ORDER)
    for thing in (len, "orders"):
        with pytest.raises(TypeError, match="a function under @projection"):
            rows_of(thing, ORDER)  # type: ignore[arg-type]  # that is the point


def test_nothing_but_the_pure_room_is_imported_by_it() -> None:
    code = "import sys, dynaview.projections.testing\n"
    code += "print([name for name in sys.modules if name.startswith(('boto', 'redis', 'dynaview.s', 'dynaview.v'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
