"""The shop: customers, orders with lines and products in one table, and what happens there all day."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any, Literal, TypeAlias

from dynaview.projections.canonical import number_text

Item: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["insert", "update", "delete"]

_FIRST = ("Ada", "Alan", "Barbara", "Edgar", "Frances", "Grace", "Hedy", "Jean", "Katherine", "Leslie", "Radia", "Tim")
_LAST = ("Allen", "Codd", "Hopper", "Johnson", "Lamport", "Lamarr", "Liskov", "Lovelace", "Perlman", "Sammet", "Turing")
_PLACES = ("Lisbon", "Oslo", "Kyoto", "Zürich", "Lagos", "Lima")
_THINGS = ("lamp", "kettle", "chair", "bicycle", "notebook", "teapot", "blanket", "compass", "radio", "umbrella")
_TIERS = ("basic", "silver", "gold")
_NEXT = {"DRAFT": "PLACED", "PLACED": "PAID", "PAID": "SHIPPED", "SHIPPED": "DELIVERED"}
_START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in the shop: one write to the table."""

    said: str
    """For people."""
    old: Item | None
    new: Item | None

    @property
    def kind(self) -> Kind:
        """What it is to the table."""
        if self.old is None:
            return "insert"
        return "delete" if self.new is None else "update"

    @property
    def key(self) -> Item:
        """The key of the item that is written."""
        item = self.new or self.old or {}
        return {"pk": item["pk"], "sk": item["sk"]}


class Shop:
    """Makes up events, the same for the same seed, and remembers what the table holds because of them."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._items: dict[tuple[str, str], Item] = {}
        self._numbers = 1000

    def items(self) -> list[Item]:
        """What the table holds."""
        return list(self._items.values())

    def opening(self, products: int = 12, customers: int = 20, orders: int = 40) -> Iterator[Event]:
        """The shop before the first day."""
        for _ in range(products):
            yield self._product_arrives()
        for _ in range(customers):
            yield self._customer_joins()
        for _ in range(orders):
            yield self._order_begins()

    def event(self) -> Event:
        """The next thing that happens."""
        kinds = (
            (24, self._order_begins),
            (30, self._order_goes_on),
            (8, self._order_is_taken_back),
            (10, self._order_changes_lines),
            (9, self._order_is_deleted),
            (5, self._customer_joins),
            (6, self._customer_changes_tier),
            (2, self._customer_leaves),
            (4, self._price_changes),
            (3, self._product_sells_out),
            (3, self._product_is_back),
            (1, self._product_arrives),
        )
        weights = [weight for weight, _ in kinds]
        while True:
            (_, happens) = self._random.choices(kinds, weights)[0]
            event = happens()
            if event is not None:
                return event

    def _order_begins(self) -> Event:
        customer = self._random.choice(self._those("PROFILE"))
        city = self._random.choice(_PLACES)
        number = self._number()
        lines = self._lines(self._random.randint(1, 4))
        order = {
            "pk": customer["pk"],
            "sk": f"ORDER#{number}",
            "status": self._random.choice(("DRAFT", "PLACED")),
            "placed_at": self._moment(),
            "shipping": {"name": customer["name"], "street": f"{number % 90 + 1} Main Street", "city": city},
            "lines": lines,
            "total": _total(lines),
        }
        return self._happens(f"order {number} begins as {order['status']}", order)

    def _order_goes_on(self) -> Event | None:
        order = self._some("ORDER#", *_NEXT)
        if order is None:
            return None
        status = _NEXT[order["status"]]
        entering = " and is seen from now on" if status == "PLACED" else ""
        return self._happens(f"order {_number(order)} is {status}{entering}", {**order, "status": status})

    def _order_is_taken_back(self) -> Event | None:
        order = self._some("ORDER#", "PLACED")
        if order is None:
            return None
        return self._happens(
            f"order {_number(order)} is a DRAFT again and no longer seen", {**order, "status": "DRAFT"}
        )

    def _order_changes_lines(self) -> Event | None:
        order = self._some("ORDER#", "DRAFT", "PLACED")
        if order is None:
            return None
        before, lines = len(order["lines"]), self._lines(self._random.randint(1, 4))
        said = f"order {_number(order)} has {len(lines)} lines instead of {before}"
        return self._happens(said, {**order, "lines": lines, "total": _total(lines)})

    def _order_is_deleted(self) -> Event | None:
        order = self._some("ORDER#")
        return None if order is None else self._disappears(f"order {_number(order)} is deleted", order)

    def _customer_joins(self) -> Event:
        number = self._number()
        name = f"{self._random.choice(_FIRST)} {self._random.choice(_LAST)}"
        customer = {
            "pk": f"CUSTOMER#{number}",
            "sk": "PROFILE",
            "name": name,
            "email": f"{name.replace(' ', '.').lower()}.{number}@example.com",
            "tier": "basic",
            "points": self._random.randint(0, 900),
            "joined": self._moment(),
        }
        return self._happens(f"{name} joins", customer)

    def _customer_changes_tier(self) -> Event:
        customer = self._random.choice(self._those("PROFILE"))
        tier = self._random.choice([tier for tier in _TIERS if tier != customer["tier"]])
        points = customer["points"] + self._random.randint(1, 500)
        return self._happens(f"{customer['name']} is {tier}", {**customer, "tier": tier, "points": points})

    def _customer_leaves(self) -> Event | None:
        with_orders = {item["pk"] for item in self._those("ORDER#")}
        free = [item for item in self._those("PROFILE") if item["pk"] not in with_orders]
        customer = self._random.choice(free) if free else None
        return None if customer is None else self._disappears(f"{customer['name']} leaves", customer)

    def _product_arrives(self) -> Event:
        number = self._number()
        category = self._random.choice(_THINGS)
        sku = f"{category[:3].upper()}-{number}"
        product = {
            "pk": f"PRODUCT#{sku}",
            "sk": "DETAIL",
            "name": f"{category.capitalize()} no. {number}",
            "category": category,
            "price": self._price(),
            "stock": self._random.randint(1, 500),
            "tags": set(self._random.sample(("new", "sale", "blue", "green", "small"), 2)),
        }
        return self._happens(f"{product['name']} arrives", product)

    def _price_changes(self) -> Event:
        product = self._random.choice(self._those("DETAIL"))
        price = self._price()
        return self._happens(f"{product['name']} costs {price}", {**product, "price": price})

    def _product_sells_out(self) -> Event | None:
        stocked = [item for item in self._those("DETAIL") if item["stock"]]
        product = self._random.choice(stocked) if len(stocked) > 4 else None
        return None if product is None else self._happens(f"{product['name']} is sold out", {**product, "stock": 0})

    def _product_is_back(self) -> Event | None:
        sold_out = [item for item in self._those("DETAIL") if not item["stock"]]
        product = self._random.choice(sold_out) if sold_out else None
        if product is None:
            return None
        return self._happens(f"{product['name']} is back", {**product, "stock": self._random.randint(1, 90)})

    def _happens(self, said: str, item: Item) -> Event:
        key = item["pk"], item["sk"]
        old, self._items[key] = self._items.get(key), item
        return Event(said, old, item)

    def _disappears(self, said: str, item: Item) -> Event:
        return Event(said, self._items.pop((item["pk"], item["sk"])), None)

    def _those(self, kind: str) -> list[Item]:
        return [item for item in self._items.values() if item["sk"].startswith(kind)]

    def _some(self, kind: str, *statuses: str) -> Item | None:
        found = [item for item in self._those(kind) if not statuses or item["status"] in statuses]
        return self._random.choice(found) if found else None

    def _lines(self, count: int) -> list[Item]:
        return [
            {
                "sku": product["pk"].removeprefix("PRODUCT#"),
                "name": product["name"],
                "quantity": self._random.randint(1, 5),
                "price": product["price"],
            }
            for product in self._random.sample(self._those("DETAIL"), count)
        ]

    def _price(self) -> Decimal:
        return _canonical(Decimal(self._random.randint(199, 29999)).scaleb(-2))

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _moment(self) -> str:
        return (_START + datetime.timedelta(minutes=self._numbers)).isoformat()


def _total(lines: list[Item]) -> Decimal:
    return _canonical(sum((line["quantity"] * line["price"] for line in lines), Decimal(0)))


def _canonical(number: Decimal) -> Decimal:
    """As DynamoDB gives it back, without trailing zeros, so that expected rows can be told beforehand."""
    return Decimal(number_text(number))


def _number(order: Item) -> str:
    return str(order["sk"]).removeprefix("ORDER#")
