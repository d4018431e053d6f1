"""A view tried on items in hand: rows as everywhere, and why there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler.trial import LONGEST, Trial, fields_of, likely_key, shown
from dynaview.projections.projection import ProjectionError

PACK = Shape(None).pack
ORDER = {"pk": "CUSTOMER#c1", "sk": "ORDER#o1", "status": "PAID", "total": 12, "lines": [{"sku": "a"}, {"sku": "b"}]}
MATCH = {"pk": "CUSTOMER#{customer}", "sk": "ORDER#{order}"}


def state(declared: Any, item: dict[str, Any]) -> tuple[str, str]:
    found = Trial(declared).state(PACK(item))
    return found.result, found.reason


def test_rows_are_those_of_the_bound_view(view: Callable[..., Any], table: Callable[..., Any]) -> None:
    declared = view(match=MATCH, key="{order}", fields={"total": "total", "customer": "customer"})
    found = Trial(declared).state(PACK(ORDER))
    assert (found.result, found.reason, list(found.rows)) == ("rows", "", table(declared).rows(ORDER))
    ((_, values),) = found.rows
    assert fields_of(declared, values) == {"total": 12, "customer": "c1"}


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"pk": "CUSTOMER#c1", "sk": "PROFILE"}, 'sk is "PROFILE", and match wants ORDER#{order}'),
        ({"pk": "CUSTOMER#c1"}, "sk is missing, and match wants ORDER#{order}"),
        ({"pk": 17, "sk": "ORDER#1"}, 'pk is "17", and match wants CUSTOMER#{customer}'),
        ({"pk": b"x", "sk": "ORDER#1"}, "pk is neither text nor a number, and match wants CUSTOMER#{customer}"),
    ],
)
def test_what_does_not_match_says_which_part_of_the_key(
    view: Callable[..., Any], item: dict[str, Any], reason: str
) -> None:
    assert state(view(match=MATCH, key="{order}", fields={}), item) == ("unmatched", reason)


def test_every_alternative_says_why(view: Callable[..., Any]) -> None:
    declared = view(match=[{"pk": "A#{id}"}, {"pk": "B#{id}", "sk": "X"}], key="{id}", fields={})
    assert state(declared, {"pk": "C#1", "sk": "X"})[1] == (
        'pk is "C#1", and match wants A#{id}; or pk is "C#1", and match wants B#{id}'
    )
    assert state(declared, {"pk": "B#1", "sk": "Y"})[1] == (
        'pk is "B#1", and match wants A#{id}; or sk is "Y", and match wants X'
    )


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("status == 'DRAFT'", """where: status == 'DRAFT' is false (status is "PAID")"""),
        ("archived", "where: archived is null"),
        ("shipping.city", "where: shipping.city is null"),
        (
            "total > `20` || customer == 'x'",
            "where: total > `20` || customer == 'x' is false (customer is \"c1\", total is 12)",
        ),
        ("lines[?sku == 'z']", 'where: lines[?sku == \'z\'] is [] (lines is [{"sku":"a"},{"sku":"b"}])'),
        ('"odd-name"', 'where: "odd-name" is null'),
    ],
)
def test_what_is_filtered_says_what_the_filter_saw(view: Callable[..., Any], where: str, reason: str) -> None:
    assert state(view(match=MATCH, where=where, key="{order}", fields={}), ORDER) == ("filtered", reason)


def test_what_yields_nothing_says_so(view: Callable[..., Any]) -> None:
    declared = view(match=MATCH, each="parcels", key="{order}:{sku}", fields={"sku": "sku"})
    assert state(declared, ORDER) == ("empty", "each: parcels yields no element: it is null")
    assert state(declared, {**ORDER, "parcels": [None]}) == ("empty", "each: parcels yields no element: it is [null]")
    declared = view(match=MATCH, function=lambda item: None, key="{order}")
    assert state(declared, ORDER) == ("empty", "shop:card returned no row")


def test_what_would_be_a_dead_letter_has_its_reason(view: Callable[..., Any], field: Callable[..., Any]) -> None:
    declared = view(match=MATCH, key="{order}", fields={"status": field("status", "integer")})
    result, reason = state(declared, ORDER)
    assert result == "dead-letter"
    assert reason.startswith("field status: ")
    with pytest.raises(ProjectionError, match="field status"):
        Trial(declared).bound.rows(PACK(ORDER))


def test_a_change_upserts_what_stays_and_deletes_what_goes(view: Callable[..., Any]) -> None:
    trial = Trial(view(match=MATCH, each="lines", key="{order}:{sku}", fields={"sku": "sku"}))
    asked = trial.change(PACK(ORDER), PACK({**ORDER, "lines": [{"sku": "b"}, {"sku": "c"}]}))
    assert [(write.key, write.values) for write in asked.writes] == [
        ("o1:b", ("b",)), ("o1:c", ("c",)), ("o1:a", None),
    ]  # fmt: skip
    assert [write.key for write in trial.change(None, PACK(ORDER)).writes] == ["o1:a", "o1:b"]
    assert [write.values for write in trial.change(PACK(ORDER), None).writes] == [None, None]
    with pytest.raises(ValueError, match="an old image, a new one, or both"):
        trial.change(None, None)


def test_a_change_that_cannot_be_projected_takes_the_rows_of_the_old_state(
    view: Callable[..., Any], field: Callable[..., Any]
) -> None:
    trial = Trial(view(match=MATCH, key="{order}", fields={"total": field("total", "integer")}))
    asked = trial.change(PACK(ORDER), PACK({**ORDER, "total": "many"}))
    assert asked.reason.startswith("field total: ")
    assert [(write.key, write.values) for write in asked.writes] == [("o1", None)]


def test_rows_that_the_old_state_does_not_tell_are_spoken_of(view: Callable[..., Any]) -> None:
    def rows(item: dict[str, Any]) -> dict[str, Any]:
        return {"sku": item["main"]}

    trial = Trial(view(match=MATCH, function=rows, key="{order}:{sku}"))
    asked = trial.change(PACK(ORDER), PACK({**ORDER, "main": "b"}))
    assert ([write.key for write in asked.writes], asked.reason) == (["o1:b"], "")
    assert asked.note.startswith("the old state does not tell which rows the item had")


def test_the_key_of_a_table_is_guessed_from_what_its_views_match(view: Callable[..., Any]) -> None:
    one, two = view(match={"a": "{x}"}, key="{x}"), view(match={"b": "{x}", "a": "{x}"}, key="{x}")
    assert likely_key([one, two]) == ("a", "b")
    assert likely_key([view(key="{id}", fields={"id": "id"})]) == ("pk",)


@given(st.recursive(st.none() | st.booleans() | st.text() | st.binary(), lambda inner: st.lists(inner)))
def test_a_shown_value_is_one_short_line(value: Any) -> None:
    text = shown(value)
    assert len(text) <= LONGEST
    assert "\n" not in text


def test_half_a_surrogate_pair_can_be_shown() -> None:
    assert shown("\ud800") == "'\\ud800'"
