"""Views of the shop whose rows Python makes. Beside the YAML ones, which name the source and the sinks:

dynaview validate -f examples/shop.yaml -f examples/shop_views.py
"""

from __future__ import annotations

from typing import Any

from dynaview.projections import projection


@projection(
    source="shop",
    match={"pk": "CUSTOMER#{customer_id}", "sk": "ORDER#{order_id}"},
    where="status == 'PAID'",
    sink="cache",
    type="string",
    key="label:{order_id}",
    expire=14 * 24 * 3600,
)
def shipping_label(item: dict[str, Any]) -> dict[str, Any] | None:
    """The label of a paid order; None, no row, while the address is unknown."""
    shipping = item.get("shipping")
    if not shipping:
        return None
    address = [shipping.get("name"), shipping.get("street"), shipping.get("city")]
    return {"label": "\n".join(line for line in address if line), "parcels": len(item.get("lines") or ())}


@projection(
    source="shop",
    match={"pk": "PRODUCT#{sku}", "sk": "DETAIL"},
    sink="reads",
    table="product_tags",
    key=["sku", "tag"],
    fields={"sku": {"type": "text"}, "tag": {"type": "text"}},
    indexes=["tag"],
)
def product_tags(item: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each tag."""
    return [{"sku": item["sku"], "tag": tag.lower()} for tag in item.get("tags", [])]
