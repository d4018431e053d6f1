"""Declarations in the control store: read back, they make the same rows."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.projections.attributes import Shape, attribute
from dynaview.projections.changes import Body, Change
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import At, ViewDeclaration
from dynaview.projections.projection import ProjectionError
from dynaview.views.declarations.codec import decode, decode_runnable, encode
from dynaview.views.declarations.difference import Difference, difference
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.functions import functions_of
from dynaview.views.declarations.load import load
from tests.views.declarations.conftest import ENVIRON, FRAME, SECRET, Loaded, again

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "declarations.md").read_text()


ODD: dict[str, Any] = {
    "defaults": {
        "source": "shop",
        "match": [{"sk": "O#{order}", "pk": "C#{id}"}, {"pk": "D#{id}", "sk": "{order}"}],
        "where": "n != `1` && contains(name, 'ä\"')",
        "sink": "cache",
        "type": "string",
        "key": "odd:{id}:{order}",
        "expire": 3600,
        "fields": {
            "z.dotted": {"from": '"z.dotted"'},
            "exact": {"type": "decimal", "default": 12.50},
            "natural": {"default": 1.10},
            "listed": {"default": [1, 2.5, "x", None, {"!": "mark", "b": {"a": 1}}]},
            "json": {"type": "json", "default": {"!": "decimal", "of": "1"}},
            "large": {"default": 10**40},
            "when": {"type": "timestamp", "default": "2024-01-01T10:00:00Z", "unit": "milliseconds"},
            "day": {"type": "date", "default": "2024-02-29"},
            "yes": {"type": "boolean", "default": True},
            "text": {"type": "text", "default": "1.5", "required": True},
            "texts": {"type": "text[]", "default": ["a", "b"]},
            "double": {"type": "double", "default": 0.1},
        },
        "keep": "2.5s",
        "verify": {"every": "7d", "sample": 0.3},
        "dead_letters": {"limit": 5, "within": 2.5},
    },
    "settings": {
        "source": "shop",
        "sink": "search",
        "index": "odd",
        "key": "{pk}|{sk}",
        "settings": {"number_of_shards": 1, "factor": 1.0, "deep": {"b": [1, 2.5], "a": "x"}},
        "mappings": {"properties": {"pk": {"type": "keyword", "boost": 1.5}}},
        "fields": {"pk": "pk", "sk": "sk", "note": {"mapping": {"type": "text"}}},
    },
}


def _of_page(loaded: Loaded) -> Iterator[ViewDeclaration]:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
    python = "\n".join(text for language, text in blocks if language == "python")
    for language, text in blocks:
        if language == "yaml" and "views:\n" in text:
            yield from loaded(
                text + "\n" + yaml.safe_dump(FRAME), python + "\n\ndef tags(item):\n    return [item]\n"
            ).values()


@pytest.fixture(scope="module")
def views(loaded: Loaded) -> list[ViewDeclaration]:
    """The examples, those of the page, and odd ones."""
    examples = [ROOT / "examples" / name for name in ("shop.yaml", "shop_views.py")]
    return [*load(examples, ENVIRON).views.values(), *_of_page(loaded), *loaded(ODD).values()]


def exact(view: ViewDeclaration) -> str:
    """Everything of a view with its very types, but for the places."""
    at = At("", "", 1)
    fields = {name: dataclasses.replace(field, at=at) for name, field in (view.fields or {}).items()}
    others = {
        name: dataclasses.replace(field, at=at)
        for name, field in (("score", view.score), ("expire", view.expire))
        if field is not None
    }
    whole = dataclasses.replace(view, at=at, places={}, fields=None, function=None, **others)  # type: ignore[arg-type]  # only expressions
    return repr((whole, list(fields.items()) if view.fields is not None else None))


def test_every_declaration_comes_back_as_it_was(views: list[ViewDeclaration]) -> None:
    assert len(views) >= 20
    assert {type(view.layout.options).__name__ for view in views} == {
        "RedisOptions",
        "OpenSearchOptions",
        "PostgresOptions",
    }
    for view in views:
        found = again(view)
        assert exact(found) == exact(view)
        assert found.layout == view.layout
        assert fingerprint(found, "shop") == fingerprint(view, "shop")
        assert encode(found) == encode(view)
        assert fingerprint(decode(encode(view)), "shop") == fingerprint(view, "shop")
        assert difference(decode(encode(view)), view, ("shop", "shop")) == Difference((), "nothing")


def test_defaults_keep_their_types(views: list[ViewDeclaration]) -> None:
    odd = next(view for view in views if view.name == "defaults")
    fields = again(odd).fields
    assert fields is not None
    assert {name: field.default for name, field in fields.items() if field.default is not None} == {
        "exact": Decimal("12.5"),
        "natural": Decimal("1.1"),
        "listed": [1, Decimal("2.5"), "x", None, {"!": "mark", "b": {"a": 1}}],
        "json": {"!": "decimal", "of": "1"},
        "large": 10**40,
        "when": datetime(2024, 1, 1, 10, tzinfo=UTC),
        "day": date(2024, 2, 29),
        "yes": True,
        "text": "1.5",
        "texts": ["a", "b"],
        "double": 0.1,
    }


def test_bytes_that_python_declares_come_back(views: list[ViewDeclaration]) -> None:
    odd = next(view for view in views if view.name == "defaults")
    assert odd.fields is not None
    raw = dataclasses.replace(odd.fields["text"], type="binary", default=b"\0\xff")
    fields = again(dataclasses.replace(odd, fields={**odd.fields, "text": raw})).fields
    assert fields is not None
    assert fields["text"].default == b"\0\xff"


NAMES = ("name", "tier", "status", "total", "price", "stock", "tags", "lines", "ttl", "user", "roles", "points", "sku")
PARTS = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.decimals(-9, 9, places=2) | st.sampled_from(["a", "PAID", "1"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["sku", "city", "name", "quantity", "price", "street"]), inner, max_size=3)
    ),
    max_leaves=4,
)
KEYS = st.sampled_from(["CUSTOMER#c1", "PRODUCT#s1", "SESSION#1", "TEAM#a", "GAME#g", "SUPPLIER#9", "C#1", "D#1", "x"])
SORTS = st.sampled_from(["PROFILE", "ORDER#o1", "DETAIL", "USER#u", "CONTACT#1", "O#1", "x"])
ITEMS = st.builds(
    lambda pk, sk, rest: {"pk": pk, "sk": sk, **rest},
    KEYS,
    SORTS,
    st.dictionaries(st.sampled_from([*NAMES, "shipping", "placed_at", "n", "exact", "text", "when"]), PARTS),
)


def told(view: ViewDeclaration, old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[Any]:
    """What the view makes of a change and of a scanned item: writes, or why there are none."""
    shape, key = Shape(None), ("pk", "sk")
    bound = compile_view(view).bind(shape, key, "NEW_AND_OLD_IMAGES")
    item = new or old or {}
    images = [None if image is None else shape.pack(image) for image in (new, old)]
    event = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
    body = Body("1", {name: attribute(item[name]) for name in key}, 0.0, *images)
    found: list[Any] = []
    acts: list[Callable[[], Any]] = [
        lambda: bound.writes(Change(event, body), 7),
        lambda: bound.inserts(shape.pack(item)),
    ]
    for act in acts:
        try:
            found.append(act())
        except ProjectionError as error:
            found.append(str(error))
    return found


@settings(max_examples=60)
@given(old=st.none() | ITEMS, new=ITEMS, gone=st.booleans())
def test_what_is_restored_makes_the_same_writes(
    views: list[ViewDeclaration], old: dict[str, Any] | None, new: dict[str, Any], gone: bool
) -> None:
    before = None if old is None else {**old, "pk": new["pk"], "sk": new["sk"]}
    after = None if gone and before is not None else new
    for view in views:
        assert told(again(view), before, after) == told(view, before, after)


def test_the_items_of_the_property_make_rows(views: list[ViewDeclaration]) -> None:
    """Else the property above would compare nothing."""
    order = {"pk": "CUSTOMER#c1", "sk": "ORDER#o1", "status": "PAID", "lines": [{"sku": "a"}], "total": 1}
    made = {view.name for view in views if told(view, None, order)[0]}
    assert {"order_search", "orders", "order_lines", "order_totals"} <= made


def test_no_secrets_and_no_places_are_kept(views: list[ViewDeclaration]) -> None:
    for view in views:
        text = encode(view)
        assert SECRET not in text
        assert "dynaview.yaml" not in text
        assert "6379" not in text
        assert text.isascii()


PYTHON = """
def card(item):
    return {"name": item["name"]}
"""
CARD = {
    "card": {
        "source": "shop",
        "sink": "cache",
        "match": {"pk": "C#{id}"},
        "key": "c:{id}",
        "python": "./views.py:card",
    }
}


def test_a_function_is_found_again_by_its_name_while_its_code_is_the_same(loaded: Loaded) -> None:
    old = loaded(CARD, PYTHON)["card"]
    text = encode(old)
    same = loaded(CARD, "# moved\n" + PYTHON)
    found = decode_runnable(text, functions_of(same.values()))
    assert found is not None
    assert found.function is same["card"].function
    changed = loaded(CARD, PYTHON.replace('["name"]', '["title"]'))
    assert decode_runnable(text, functions_of(changed.values())) is None
    assert decode_runnable(text, {}) is None
    assert decode_runnable(text) is None


def test_what_a_lost_function_built_can_still_be_named_and_compared(loaded: Loaded) -> None:
    old = loaded(CARD, PYTHON)["card"]
    lost = decode(encode(old))
    assert lost.layout == old.layout
    changed = loaded(CARD, PYTHON.replace('["name"]', '["title"]'))["card"]
    found = difference(lost, changed)
    assert [str(change) for change in found.changes] == ["function views.py:card: its code changed"]
    assert found.consequence == "rebuild"
    assert difference(lost, old).changes == ()


def test_another_python_is_named_as_the_reason(loaded: Loaded) -> None:
    old = loaded(CARD, PYTHON)["card"]
    text = re.sub(r'"mark":"\w+","python":"[\d.]+"', '"mark":"0","python":"2.7"', encode(old))
    (change,) = difference(decode(text), old).changes
    assert re.fullmatch(
        r"function views.py:card: compiled by Python 3\.\d+, before by 2.7, so that its code cannot be compared",
        str(change),
    )


def test_the_same_code_of_another_python_is_the_same(loaded: Loaded) -> None:
    old = loaded(CARD, PYTHON)["card"]
    text = re.sub(r'"python":"[\d.]+"', '"python":"2.7"', encode(old))
    assert difference(decode(text), old) == Difference((), "nothing")


UNREADABLE = {
    "nothing": "",
    "no JSON": "{",
    "no mapping": "[]",
    "no view": '{"format":1}',
    "another format": '{"format":2,"view":{}}',
    "a view without keys": '{"format":1,"view":{"!":"ViewDeclaration"}}',
    "an unknown part": '{"format":1,"view":{"!":"os.system"}}',
    "another part": '{"format":1,"view":{"!":"LetterLimits"}}',
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_what_cannot_be_read_is_none(what: str) -> None:
    assert decode_runnable(UNREADABLE[what]) is None
    with pytest.raises(ValueError, match="declaration"):
        decode(UNREADABLE[what])


def test_keys_of_a_later_version_make_it_unreadable(views: list[ViewDeclaration]) -> None:
    written = json.loads(encode(views[0]))
    written["view"]["telepathy"] = True
    assert decode_runnable(json.dumps(written)) is None


def test_expressions_that_this_version_does_not_know_make_it_none(views: list[ViewDeclaration]) -> None:
    written = json.loads(encode(views[0]))
    written["view"]["where"] = "guess(what)"
    assert decode_runnable(json.dumps(written)) is None
    assert decode(json.dumps(written)).where == "guess(what)"
