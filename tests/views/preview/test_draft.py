"""Declarations proposed from a sample: they are valid, and every item of the sample gives the rows that were meant."""

from __future__ import annotations

import string
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler.trial import Trial
from dynaview.views.declarations.load import load
from dynaview.views.preview.draft import MOST_VIEWS, Proposal, Sink, draft, proposals, starter
from dynaview.views.preview.key_patterns import kinds_of

PACK = Shape(None).pack
KEY = ("pk", "sk")


def matches(*items: tuple[str, Any]) -> list[tuple[dict[str, str], int]]:
    images = [PACK({"pk": pk, "sk": sk}) for pk, sk in items]
    return [(dict(kind.match), len(kind.images)) for kind in kinds_of(images, KEY)]


def test_kinds_of_a_single_table_design() -> None:
    shop = [(f"CUSTOMER#c{number}", "PROFILE") for number in range(4)]
    shop += [(f"CUSTOMER#c{number % 4}", f"ORDER#o{number}") for number in range(6)]
    shop += [("PRODUCT#lamp", "DETAIL"), ("PRODUCT#lamp", "PRICE#EUR#2026-01-31T10:00:00Z")]
    assert matches(*shop) == [
        ({"pk": "CUSTOMER#{customer_id}", "sk": "ORDER#{order_id}"}, 6),
        ({"pk": "CUSTOMER#{customer_id}", "sk": "PROFILE"}, 4),
        ({"pk": "PRODUCT#{product_id}", "sk": "DETAIL"}, 1),
        ({"pk": "PRODUCT#{product_id}", "sk": "PRICE#EUR#{eur_id}"}, 1),
    ]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([("USER#1", "USER#1"), ("USER#2", "USER#2")], {"pk": "USER#{user_id}", "sk": "USER#{user_id}"}),
        ([("USER#1", "USER#9"), ("USER#2", "USER#2")], {"pk": "USER#{user_id}", "sk": "USER#{user_id2}"}),
        ([("alice", 1), ("bob", 20)], {"pk": "{pk}", "sk": "{sk}"}),
        ([("2026-01-31T10:00:00Z", "a-b"), ("x:", "7")], {"pk": "{pk}", "sk": "{sk}"}),
        ([("ORDER#1#LINE#2", "x1")], {"pk": "ORDER#{order_id}#LINE#{line_id}", "sk": "{sk}"}),
        ([("user|1", "a1")], {"pk": "user|{user_id}", "sk": "{sk}"}),
        ([("A{B}#1", "s1")], {"pk": "{pk}", "sk": "{sk}"}),
        ([("ORDER##1", "s1")], {"pk": "{pk}", "sk": "{sk}"}),
        ([("K#1", b"\x00")], {"pk": "K#{k_id}"}),
        ([("U#1", "A"), ("U#2", "B")], {"pk": "U#{u_id}", "sk": "{sk}"}),
        ([(f"{word * 2}#1", "s1") for word in string.ascii_uppercase], {"pk": "{pk}#{pk2}", "sk": "{sk}"}),
    ],
)
def test_one_kind(items: list[tuple[str, Any]], expected: dict[str, str]) -> None:
    assert matches(*items) == [(expected, len(items))]


def test_small_words_count_where_they_come_often() -> None:
    assert matches(*((f"u{number}", "profile") for number in range(3))) == [({"pk": "{pk}", "sk": "profile"}, 3)]
    assert matches(("u1", "profile"), ("u2", "other")) == [({"pk": "{pk}", "sk": "{sk}"}, 2)]


def test_items_without_a_key_are_left_out() -> None:
    assert kinds_of([PACK({"pk": "a"}), PACK({"pk": [], "sk": "b"})], KEY)[0].match == {"sk": "{sk}"}


def proposed(*items: dict[str, Any]) -> list[Proposal]:
    return proposals([PACK(item) for item in items], KEY, "shop")


def test_fields_have_the_narrowest_type_that_all_values_fit() -> None:
    orders: list[dict[str, Any]] = [
        {"pk": f"C#{number}", "sk": "O#1", "n": number, "d": Decimal("1.5") * number, "at": "2026-01-31T10:00:00Z",
         "day": "2026-01-31", "s": "x", "ok": True, "m": {}, "tags": {"a"}, "mixed": number if number else "x",
         "maybe": None if number else 2**70, "numbers": {1}, "raw": b"x", "customer id": 1, "_v": 1, "c_id": "own"}
        for number in range(2)
    ]  # fmt: skip
    (view,) = proposed(*orders)
    assert view.name == "c_o"
    assert {field.name: (field.expression, field.type) for field in view.fields} == {
        "c_id": ("c_id", "text"), "o_id": ("o_id", "text"), "n": ("n", "bigint"), "d": ("d", "decimal"),
        "at": ("at", "timestamp"), "day": ("day", "date"), "s": ("s", "text"), "ok": ("ok", "boolean"),
        "m": ("m", "json"), "tags": ("tags", "text[]"), "mixed": ("mixed", "json"), "maybe": ("maybe", "decimal"),
        "numbers": ("numbers", "decimal[]"), "raw": ("raw", "binary"), "customer_id": ('"customer id"', "bigint"),
        "v": ("_v", "bigint"),
    }  # fmt: skip
    assert next(each for each in view.plain()["attributes"] if each["name"] == "n") == {
        "name": "n", "field": "n", "type": "bigint", "count": 2, "share": 1.0, "types": {"N": 2},
    }  # fmt: skip


NAMES = st.text(min_size=1, max_size=12)
SCALARS = (
    st.none() | st.booleans() | st.text(max_size=30) | st.binary(max_size=5) | st.integers(-(10**37), 10**37)
    | st.decimals(-(10**6), 10**6, places=3) | st.sampled_from(["2026-01-31", "2026-01-31T10:00:00Z", "2026-13-01"])
)  # fmt: skip
SETS = (
    st.sets(st.text(min_size=1), min_size=1) | st.sets(st.integers(), min_size=1) | st.sets(st.binary(), min_size=1)
).filter(lambda found: all(abs(each) < 10**37 for each in found if isinstance(each, int)))
VALUES = st.recursive(SCALARS | SETS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner))
PARTS = st.sampled_from(["ORDER", "LINE", "user", "a1", "7", "{x}", "%", "Ä", "#", "|", ":", ""]) | st.text(max_size=4)
KEYS = st.lists(PARTS, min_size=1, max_size=4).map("#".join).filter(bool)
ITEMS = st.builds(
    lambda pk, sk, rest: {**rest, "pk": pk, "sk": sk},
    KEYS, KEYS | st.integers(-99, 99), st.dictionaries(NAMES, VALUES, max_size=5),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(ITEMS, min_size=1, max_size=12), st.sampled_from(get_args(Sink)))
def test_whatever_is_sampled_the_draft_is_valid_and_its_items_give_rows(
    tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, Any]], sink: Sink
) -> None:
    found = proposed(*items)
    file = tmp_path_factory.getbasetemp() / "draft.yaml"
    file.write_text(draft(found, {"table": "shop"}, sink, ["a note\n: with \x85 odd letters"]))
    views = load([file], {}).views
    assert len(views) == min(len(found), MOST_VIEWS)
    assert sum(len(each.kind.images) for each in found) == len(items)
    for each in found[:MOST_VIEWS]:
        trial = Trial(views[each.name], KEY)
        for image in each.kind.images:
            state = trial.state(image)
            assert state.result == "rows", (state.reason, views[each.name])
            assert len(state.rows) == 1


def test_what_is_beyond_the_most_is_named(tmp_path: Path) -> None:
    words = [f"{first}{second}" for first in "ABCDE" for second in "ABCDE"]
    items = [{"pk": f"K{word}#{number}", "sk": word} for number, word in enumerate(words[:11])]
    items += [{"pk": "P#1", "sk": word * 2} for word in words[:11]]
    found = proposed(*items)
    assert len(found) > MOST_VIEWS
    text = draft(found, {"table": "shop"}, "redis", [])
    assert len(yaml.safe_load(text)["views"]) == MOST_VIEWS
    assert text.count("# not proposed: 1 items of pk: ") == len(found) - MOST_VIEWS


@pytest.mark.parametrize("sink", get_args(Sink))
@pytest.mark.parametrize("table", ["my-table", "arn:aws:dynamodb:eu-west-1:123456789012:table/shop", "no", "1.5"])
def test_the_starter_is_valid(tmp_path: Path, sink: Sink, table: str) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_text(starter(table, sink))
    declaration = load([file], {})
    assert declaration.sources["main"].table == table
    item = {"pk": "CUSTOMER#c1", "sk": "PROFILE", "name": "x", "joined_at": "2026-01-31T10:00:00Z"}
    assert Trial(declaration.views["customers"]).state(PACK(item)).result == "rows"
