"""Two declarations of a view, compared: what changed, and what follows."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.views.declarations.codec import decode, encode
from dynaview.views.declarations.difference import Difference, difference
from dynaview.views.declarations.fingerprint import fingerprint
from tests.views.declarations.conftest import Loaded, again

BASE: dict[str, Any] = {
    "search": {
        "source": "shop",
        "match": {"pk": "C#{id}", "sk": "O#{order}"},
        "where": "a",
        "sink": "search",
        "index": "orders",
        "key": "{order}",
        "settings": {"number_of_replicas": 1, "refresh_interval": "1s"},
        "mappings": {"properties": {"a": {"type": "keyword", "norms": False}}},
        "fields": {"order": "order", "total": {"type": "integer"}, "a": "a"},
    },
    "reads": {
        "source": "shop",
        "match": {"pk": "C#{id}", "sk": "O#{order}"},
        "sink": "reads",
        "table": "orders",
        "key": ["order", "id"],
        "fields": {"order": "order", "id": "id", "total": {"type": "decimal"}},
        "indexes": ["total"],
    },
    "text": {
        "source": "shop",
        "sink": "cache",
        "type": "string",
        "key": "t:{a}",
        "fields": {"a": "a", "b": "b"},
    },
    "hash": {
        "source": "shop",
        "sink": "cache",
        "key": "h:{a}",
        "expire": 60,
        "fields": {"a": "a", "b": "b"},
    },
    "best": {
        "source": "shop",
        "sink": "cache",
        "type": "sorted_set",
        "key": "best",
        "member": "{pk}",
        "score": "points",
        "fields": {"pk": "pk"},
    },
}

Edit = tuple[str, str, Any, str, list[str]]
"""View, path, value (... removes), consequence, lines."""

EDITS: list[Edit] = [
    # nothing
    ("search", "on_gap", "rebuild", "nothing", ["on_gap: stop -> rebuild"]),
    ("search", "on_change", "stop", "nothing", ["on_change: ask -> stop"]),
    ("search", "keep", "7d", "nothing", ["keep: 24h -> 7d"]),
    ("search", "shrink", "5%", "nothing", ["shrink: 50% -> 5%"]),
    (
        "search",
        "verify",
        {"every": 3600},
        "nothing",
        ["verify.every: added 1h", "verify.sample: added 100%", "verify.repair: added false"],
    ),
    ("search", "dead_letters", {"limit": 5}, "nothing", ["dead_letters.limit: 1000 -> 5"]),
    ("search", "match", {"sk": "O#{order}", "pk": "C#{id}"}, "nothing", []),
    ("search", "settings", {"refresh_interval": "1s", "number_of_replicas": 1}, "nothing", []),
    ("search", "mappings.properties.a", {"norms": False, "type": "keyword"}, "nothing", []),
    ("reads", "indexes", ["total", "id"], "nothing", ["indexes: added id"]),
    ("reads", "indexes", ..., "nothing", ["indexes: removed (it was total)"]),
    (
        "reads",
        "indexes",
        [{"columns": ["total"], "method": "brin"}],
        "nothing",
        ["indexes: added brin total", "indexes: removed (it was total)"],
    ),
    (
        "reads",
        "fields",
        {"total": {"type": "decimal"}, "id": "id", "order": "order"},
        "nothing",
        ["fields: in the order [order, id, total] -> in the order [total, id, order]"],
    ),
    (
        "hash",
        "fields",
        {"b": "b", "a": "a"},
        "nothing",
        ["fields: in the order [a, b] -> in the order [b, a]"],
    ),
    (
        "text",
        "fields",
        {"b": "b", "a": "a"},
        "nothing",
        ["fields: in the order [a, b] -> in the order [b, a]"],
    ),
    # column
    ("search", "fields.city", "shipping.city", "column", ["fields.city: added {from: shipping.city, type: any}"]),
    (
        "reads",
        "fields.city",
        {"from": "shipping.city", "type": "text", "column": "varchar(40)"},
        "column",
        ["fields.city: added {from: shipping.city, type: text, column: varchar(40)}"],
    ),
    (
        "search",
        "fields.note",
        {"mapping": {"type": "text"}},
        "column",
        ['fields.note: added {from: note, type: any, mapping: {type: "text"}}'],
    ),
    # rebuild
    (
        "search",
        "fields.tier",
        {"default": "basic"},
        "rebuild",
        ['fields.tier: added {from: tier, type: any, default: "basic"}'],
    ),
    (
        "search",
        "fields.must",
        {"required": True},
        "rebuild",
        ["fields.must: added {from: must, type: any, required: true}"],
    ),
    ("search", "fields.total.type", "decimal", "rebuild", ["fields.total: type integer -> decimal"]),
    ("search", "fields.total.default", 0, "rebuild", ["fields.total: default added 0"]),
    ("search", "fields.total", ..., "rebuild", ["fields.total: removed (it was {from: total, type: integer})"]),
    ("search", "where", ..., "rebuild", ["where: removed (it was a)"]),
    ("search", "where", "a && b", "rebuild", ["where: a -> a && b"]),
    ("search", "index", "orders2", "rebuild", ["index: orders -> orders2"]),
    ("search", "settings.number_of_replicas", 2, "rebuild", ["settings.number_of_replicas: 1 -> 2"]),
    (
        "search",
        "mappings.properties.a",
        {"type": "text"},
        "rebuild",
        ['mappings.properties.a: {norms: false, type: "keyword"} -> {type: "text"}'],
    ),
    (
        "search",
        "match",
        {"pk": "C#{id}", "sk": "ORDER#{order}"},
        "rebuild",
        ["match: {pk: C#{id}, sk: O#{order}} -> {pk: C#{id}, sk: ORDER#{order}}"],
    ),
    (
        "search",
        "match",
        [{"pk": "C#{id}", "sk": "O#{order}"}, {"pk": "D#{order}#{id}"}],
        "rebuild",
        ["match: {pk: C#{id}, sk: O#{order}} -> [{pk: C#{id}, sk: O#{order}}, {pk: D#{order}#{id}}]"],
    ),
    ("search", "key", "{order}:{id}", "rebuild", ["key: {order} -> {order}:{id}"]),
    ("reads", "key", ["id", "order"], "rebuild", ["key: [order, id] -> [id, order]"]),
    ("reads", "table", "orders2", "rebuild", ["table: orders -> orders2"]),
    ("reads", "schema", "shop", "rebuild", ["schema: public -> shop"]),
    ("reads", "fields.total.column", "numeric(12,2)", "rebuild", ["fields.total: column added numeric(12,2)"]),
    (
        "reads",
        "indexes",
        [{"columns": ["total"], "unique": True}],
        "rebuild",
        ["indexes: added unique total", "indexes: removed (it was total)"],
    ),
    ("hash", "fields.c", "c", "rebuild", ["fields.c: added {from: c, type: any}"]),
    ("hash", "expire", 90, "rebuild", ["expire: 60 -> 90"]),
    (
        "hash",
        "expire",
        {"from": "ttl"},
        "rebuild",
        ["expire: 60 -> ttl", "expire.unit: added seconds"],
    ),
    ("hash", "type", "string", "rebuild", ["type: hash -> string"]),
    ("hash", "key", "g:{a}", "rebuild", ["key: h:{a} -> g:{a}"]),
    ("best", "score", {"from": "points", "default": 0}, "rebuild", ["score.default: added 0.0"]),
    ("best", "member", "p:{pk}", "rebuild", ["member: {pk} -> p:{pk}"]),
]
RANKS = ("nothing", "column", "rebuild")


def edited(base: dict[str, Any], *edits: Edit) -> dict[str, Any]:
    data = copy.deepcopy(base)
    for view, path, value, _, _ in edits:
        *above, last = path.split(".")
        part = data[view]
        for step in above:
            if not isinstance(part[step], dict):
                part[step] = {"from": part[step]}
            part = part[step]
        if value is ...:
            part.pop(last, None)
        else:
            part[last] = copy.deepcopy(value)
    return data


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: f"{edit[0]}.{edit[1]}={edit[2]}")
def test_each_change_has_its_line_and_its_consequence(edit: Edit, loaded: Loaded) -> None:
    view, _, _, consequence, lines = edit
    old, new = loaded(BASE)[view], loaded(edited(BASE, edit))[view]
    found = difference(old, new, ("shop", "shop"))
    assert sorted(map(str, found.changes)) == sorted(lines)
    assert found.consequence == consequence
    assert bool(found.columns) == (consequence == "column")
    assert difference(decode(encode(old)), new, ("shop", "shop")) == found


@settings(max_examples=40)
@given(picked=st.lists(st.sampled_from(EDITS), max_size=4, unique_by=lambda edit: (edit[0], edit[1].split(".")[0])))
def test_the_gravest_consequence_is_that_of_the_whole(loaded: Loaded, picked: list[Edit]) -> None:
    before, after = loaded(BASE), loaded(edited(BASE, *picked))
    for name, old in before.items():
        expected = max((RANKS.index(edit[3]) for edit in picked if edit[0] == name), default=0)
        found = difference(old, after[name], ("shop", "shop"))
        assert found.consequence == RANKS[expected]


@settings(max_examples=60)
@given(
    one=st.lists(st.sampled_from(EDITS), max_size=3, unique_by=lambda edit: (edit[0], edit[1].split(".")[0])),
    other=st.lists(st.sampled_from(EDITS), max_size=3, unique_by=lambda edit: (edit[0], edit[1].split(".")[0])),
)
def test_nothing_follows_exactly_where_the_fingerprints_are_equal(
    loaded: Loaded, one: list[Edit], other: list[Edit]
) -> None:
    before, after = loaded(edited(BASE, *one)), loaded(edited(BASE, *other))
    for name, old in before.items():
        new = after[name]
        found = difference(old, new, ("shop", "shop"))
        assert (found.consequence == "nothing") == (fingerprint(old, "shop") == fingerprint(new, "shop"))
        assert found.changes or found.consequence == "nothing"
        assert again(new).layout == new.layout
        assert difference(again(old), again(new), ("shop", "shop")) == found


def test_in_place_fields_are_named(loaded: Loaded) -> None:
    old = loaded(BASE)["search"]
    new = loaded(
        edited(
            BASE,
            ("search", "fields.b", "b", "column", []),
            ("search", "fields.c", {"type": "text"}, "column", []),
            ("search", "mappings.properties.c", {"type": "text"}, "column", []),
            ("search", "keep", 0, "nothing", []),
        )
    )["search"]
    assert difference(old, new).columns == ("b", "c")
    assert difference(new, old).consequence == "rebuild"


def test_another_table_is_another_view(loaded: Loaded) -> None:
    view = loaded(BASE)["search"]
    found = difference(view, view, ("shop", "shop2"))
    assert ([str(change) for change in found.changes], found.consequence) == (
        ["source.table: shop -> shop2"],
        "rebuild",
    )
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop"
    assert difference(view, view, ("shop", arn)) == Difference((), "nothing")


def test_another_store_of_another_kind_is_told(loaded: Loaded) -> None:
    old = loaded(BASE)["hash"]
    view = {key: value for key, value in BASE["hash"].items() if key != "expire"}
    new = loaded({"hash": {**view, "sink": "search", "index": "h"}})["hash"]
    found = difference(old, new, ("shop", "shop"))
    assert "sink: cache (Redis) -> search (OpenSearch)" in map(str, found.changes)
    assert found.consequence == "rebuild"


def test_long_values_are_cut(loaded: Loaded) -> None:
    old = loaded(BASE)["search"]
    new = loaded(edited(BASE, ("search", "where", " || ".join(["a"] * 100), "rebuild", [])))["search"]
    (change,) = difference(old, new).changes
    assert len(str(change)) < 140
    assert change.after == " || ".join(["a"] * 100)
