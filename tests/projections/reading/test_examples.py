"""The examples make the rows that their comments promise."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import Declaration
from dynaview.views.declarations.load import load

EXAMPLES = Path(__file__).parents[3] / "examples"
ENVIRON = {"REDIS_URL": "redis://cache", "OPENSEARCH_URL": "http://search", "DATABASE_URL": "postgresql://reads/shop"}

ORDER = {
    "pk": "CUSTOMER#c1",
    "sk": "ORDER#o1",
    "status": "PAID",
    "placed_at": "2026-03-01T10:00:00Z",
    "total": Decimal("30.50"),
    "shipping": {"name": "Ada", "street": "Main 1", "city": "Berlin"},
    "lines": [
        {"sku": "s1", "name": "Pen", "quantity": 2, "price": Decimal("10.25")},
        {"sku": "s2", "name": "Ink", "quantity": 1, "price": Decimal(10)},
    ],
}
CUSTOMER = {"pk": "CUSTOMER#c1", "sk": "PROFILE", "name": "Ada", "ttl": 1_900_000_000}
PRODUCT = {
    "pk": "PRODUCT#s1",
    "sk": "DETAIL",
    "name": "Pen",
    "price": Decimal("10.25"),
    "stock": 3,
    "tags": {"New", "Blue"},
}


@pytest.fixture(scope="module")
def shop() -> Declaration:
    return load([EXAMPLES / "shop.yaml", EXAMPLES / "shop_views.py"], ENVIRON)


def rows(shop: Declaration, view: str, item: dict[str, Any]) -> dict[Any, Any]:
    shape = Shape(None)
    bound = compile_view(shop.views[view]).bind(shape, ("pk", "sk"), "NEW_AND_OLD_IMAGES")
    return dict(bound.rows(shape.pack(item)))


@pytest.mark.parametrize(
    ("view", "item", "keys"),
    [
        ("order_search", ORDER, ["o1"]),
        ("order_search", ORDER | {"status": "DRAFT"}, []),
        ("customer_card", CUSTOMER, ["customer:c1"]),
        ("customer_card", ORDER, []),
        ("product", PRODUCT, ["product:s1"]),
        ("products_by_price", PRODUCT, [("products_by_price", "s1")]),
        ("products_by_price", PRODUCT | {"stock": 0}, []),
        ("orders", ORDER, [("o1",)]),
        ("order_lines", ORDER, [("o1", "s1"), ("o1", "s2")]),
        ("shipping_label", ORDER, ["label:o1"]),
        ("shipping_label", ORDER | {"status": "OPEN"}, []),
        ("shipping_label", {key: part for key, part in ORDER.items() if key != "shipping"}, []),
        ("product_tags", PRODUCT, [("s1", "blue"), ("s1", "new")]),
    ],
)
def test_which_rows_an_item_has(shop: Declaration, view: str, item: dict[str, Any], keys: list[Any]) -> None:
    assert sorted(rows(shop, view, item)) == keys


def test_what_rows_hold(shop: Declaration) -> None:
    assert rows(shop, "customer_card", CUSTOMER) == {"customer:c1": ("Ada", "basic", 1_900_000_000)}
    assert rows(shop, "products_by_price", PRODUCT) == {("products_by_price", "s1"): (10.25,)}
    assert rows(shop, "order_lines", ORDER)["o1", "s1"] == ("o1", "s1", "Pen", 2, Decimal("10.25"))
    assert rows(shop, "order_search", ORDER)["o1"][4:] == ("Berlin", Decimal("30.50"), ["s1", "s2"])
    assert rows(shop, "shipping_label", ORDER) == {"label:o1": {"label": "Ada\nMain 1\nBerlin", "parcels": 2}}


def test_every_view_is_tried_here(shop: Declaration) -> None:
    (marks,) = (mark for mark in test_which_rows_an_item_has.pytestmark if mark.name == "parametrize")
    assert {view for view, _, _ in marks.args[1]} == shop.views.keys()
