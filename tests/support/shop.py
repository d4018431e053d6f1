"""A random single-table shop: customers, orders with lines, products; hot keys, deletes, TTL, filters crossed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from dynaview.projections.attributes import attribute

DECLARATION = """
sources:
  shop: {table: "${SHOP_TABLE}", endpoint: "${DYNAMODB_ENDPOINT}"}
sinks:
  cache: {redis: "${REDIS_URL}"}
  search: {opensearch: "${OPENSEARCH_URL}"}
  reads: {postgres: "${DATABASE_URL}"}
control: "${CONTROL_URL}"
views:
  ${PREFIX}_customers:
    source: shop
    match: {pk: "CUSTOMER#{customer_id}", sk: PROFILE}
    sink: cache
    type: hash
    key: "${PREFIX}:customer:{customer_id}"
    fields: {name: name, tier: tier, spent: spent, tags: tags}
  ${PREFIX}_ranking:
    source: shop
    match: {pk: "CUSTOMER#{customer_id}", sk: PROFILE}
    where: tier != 'none'
    sink: cache
    type: sorted_set
    key: "${PREFIX}:ranking:{tier}"
    member: "{customer_id}"
    score: points
    fields: {tier: {from: tier, type: text}}
  ${PREFIX}_orders:
    source: shop
    match: {pk: "CUSTOMER#{customer_id}", sk: "ORDER#{order_id}"}
    where: status != 'DRAFT'
    sink: search
    index: ${PREFIX}-orders
    key: "{order_id}"
    fields:
      order_id: order_id
      customer_id: customer_id
      status: status
      city: shipping.city
      total: {from: total, type: decimal}
      skus: lines[].sku
  ${PREFIX}_lines:
    source: shop
    match: {pk: "CUSTOMER#{customer_id}", sk: "ORDER#{order_id}"}
    each: lines
    sink: reads
    table: ${PREFIX}_lines
    key: [order_id, sku]
    fields:
      order_id: {from: order_id, type: text}
      sku: {from: sku, type: text}
      quantity: {from: quantity, type: integer}
      price: {from: price, type: decimal}
  ${PREFIX}_products:
    source: shop
    match: {pk: "PRODUCT#{product_id}", sk: PRODUCT}
    sink: reads
    table: ${PREFIX}_products
    key: [category, product_id]
    fields:
      category: {from: category, type: text}
      product_id: {from: product_id, type: text}
      price: {from: price, type: decimal}
      note: {from: note, type: text}
"""
"""Views of every kind. ``${PREFIX}`` keeps the names of one run apart from those of another."""

TTL_SHARE = 0.02
DELETE_SHARE = 0.15

BROKEN_SHARE = 0.004
"""How many states no row can be made of, in one view of theirs at least: dead letters, which take the earlier rows."""


def item_at(index: int, rng: random.Random) -> dict[str, Any]:
    """A random state of item number `index`; its key depends on the index alone."""
    item = _good_item(index, rng)
    if rng.random() < BROKEN_SHARE:
        for name in ("points", "price", "total"):  # a score, a column and a field that have to be numbers
            if name in item:
                item[name] = "unknown"
        for line in item.get("lines", [])[:1]:
            del line["sku"]  # a part of a row's key
    return item


def _good_item(index: int, rng: random.Random) -> dict[str, Any]:
    key: dict[str, Any] = dict(key_at(index))
    if key["sk"] == "PROFILE":
        return key | {
            "name": rng.choice(["Ada", "Grace", "Edsger", "Barbara", "Ünïcödé 🚀"]),
            "tier": rng.choice(["none", "basic", "gold"]),
            "points": rng.randrange(10_000),
            "spent": Decimal(rng.randrange(10**12)) / 100,
            "tags": {rng.choice("abcdef") for _ in range(3)},
        }
    if key["sk"] == "PRODUCT":
        product: dict[str, Any] = key | {
            "category": rng.choice(["tea", "coffee"]),
            "price": Decimal(rng.randrange(999)) / 100,
        }
        return product if rng.random() < 0.5 else product | {"note": "x" * rng.randrange(50)}
    lines: list[dict[str, Any]] = [
        {"sku": f"s{sku}", "quantity": rng.randrange(1, 9), "price": Decimal(rng.randrange(10**6)) / 100}
        for sku in rng.sample(range(12), rng.randrange(5))
    ]
    return key | {
        "status": rng.choice(["DRAFT", "PLACED", "SHIPPED"]),
        "shipping": {"city": rng.choice(["Oslo", "Lima", "Kyoto"])},
        "lines": lines,
        "total": sum((line["price"] * line["quantity"] for line in lines), Decimal(0)),
    }


def key_at(index: int) -> dict[str, str]:
    """The key of item number `index`: one in five a customer, three an order, one a product."""
    kind = index % 5
    if kind == 0:
        return {"pk": f"CUSTOMER#{index}", "sk": "PROFILE"}
    if kind == 4:
        return {"pk": f"PRODUCT#{index}", "sk": "PRODUCT"}
    return {"pk": f"CUSTOMER#{index - kind}", "sk": f"ORDER#{index}"}


def wire(item: dict[str, Any]) -> dict[str, Any]:
    """An item as DynamoDB JSON for a boto3 client."""
    return {name: _wire(value) for name, value in item.items()}


def _wire(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(attribute(value))
    return plain


def create_table(client: Any, name: str) -> None:
    """A table with its stream on and TTL on attribute ``ttl``."""
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": part, "AttributeType": "S"} for part in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    client.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"})


def write_changes(
    client: Any,
    table: str,
    changes: int,
    items: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
    ttl_share: float = TTL_SHARE,
) -> None:
    """Write that many random puts and deletes, in batches of 25 distinct items; hot keys are drawn more often."""
    rng = random.Random(seed)
    done = 0
    while done < changes:
        batch: dict[int, dict[str, Any]] = {}
        for _ in range(min(25, changes - done)):
            index = min(items - 1, int(rng.paretovariate(0.6)) - 1) if rng.random() < 0.3 else rng.randrange(items)
            if rng.random() < DELETE_SHARE:
                batch[index] = {"DeleteRequest": {"Key": wire(key_at(index))}}
                continue
            item = item_at(index, rng)
            if rng.random() < ttl_share:
                item["ttl"] = int(time.time()) - 5
            batch[index] = {"PutRequest": {"Item": wire(item)}}
        left = list(batch.values())
        done += len(left)
        while left:
            answer = client.batch_write_item(RequestItems={table: left})
            left = answer.get("UnprocessedItems", {}).get(table, [])
        progress(done)
