"""One form of everything that becomes text: names sorted, numbers and letters written in one way."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import Attr, Shape, attribute, number, value
from dynaview.projections.canonical import canonical_number, canonical_value, json_encoder, json_text, number_text

NUMBERS = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent),
    st.integers(-(10**38) + 1, 10**38 - 1),
    st.integers(-130, 87),
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8) | NUMBERS.map(canonical_number),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def reversed_maps(plain: Any) -> Any:
    """The same with every map in the opposite order."""
    match plain:
        case dict():
            return {name: reversed_maps(inner) for name, inner in reversed(plain.items())}
        case list():
            return [reversed_maps(inner) for inner in plain]
    return plain


def shown(plain: Any) -> str:
    """Canonical JSON written by Python's own encoder."""
    match plain:
        case dict():
            return "{" + ",".join(f"{shown(name)}:{shown(plain[name])}" for name in sorted(plain)) + "}"
        case list():
            return "[" + ",".join(map(shown, plain)) + "]"
        case Decimal():
            return number_text(plain)
    return json.dumps(plain, ensure_ascii=False)


@given(PLAIN)
def test_equal_values_are_one_text(plain: Any) -> None:
    assert json_text(plain) == json_text(reversed_maps(plain)) == shown(plain)
    assert json.loads(json_text(plain), parse_float=Decimal, parse_int=Decimal) == plain


@given(st.lists(PLAIN, min_size=1, max_size=4))
def test_lines_are_the_texts_of_their_values(plain: list[Any]) -> None:
    assert json_encoder.encode_lines(plain).decode() == "".join(f"{shown(one)}\n" for one in plain)


@given(NUMBERS)
def test_a_number_of_an_item_is_written_in_one_form(exact: Decimal) -> None:
    for written in (str(exact), f"{exact:E}", f"{exact:f}", str(canonical_number(exact))):
        found = number(written)
        assert found == exact
        assert json_text([found]) == f"[{number_text(exact)}]"
        assert "E" not in str(found) or abs(exact) < Decimal("0.000001")


@pytest.mark.parametrize(
    ("written", "text"),
    [("1.50", "1.5"), ("1E+3", "1000"), ("-0", "0"), ("0.00", "0"), ("1E-7", "0.0000001"), ("-2.0E-9", "-0.000000002")],
)
def test_number(written: str, text: str) -> None:
    assert json_text({"n": number(written)}) == f'{{"n":{text}}}'
    assert json_text(canonical_value([{"n": Decimal(written)}, float(written)])) == f'[{{"n":{text}}},{text}]'


def test_structs_keep_their_fields_names_and_order() -> None:
    row = msgspec.defstruct("Row", [("b", Any), ("a", Any)], rename={"b": "_v"})
    assert json_text(row("x", {"d": Decimal("1E-9"), "c": "1E-9"})) == '{"_v":"x","a":{"c":"1E-9","d":0.000000001}}'


def test_only_what_json_asks_for_is_escaped() -> None:
    assert json_text("München 東京 😀 /<>&\x7f\u2028") == '"München 東京 😀 /<>&\x7f\u2028"'
    assert json_text('"\\\n\t\x01') == '"\\"\\\\\\n\\t\\u0001"'


def test_maps_and_sets_of_an_item_come_in_one_order() -> None:
    one = {"b": {"z": Decimal(1), "a": Decimal(2)}, "a": {"y", "x"}}
    for shape in (Shape(None), Shape({"a", "b"})):
        image = shape.pack(reversed_maps(one))
        assert json.dumps(shape.unpack(image), default=str) == '{"a": ["x", "y"], "b": {"a": "2", "z": "1"}}'
    assert [*value(Attr(M={"b": attribute(1), "a": attribute(2)}))] == ["a", "b"]  # type: ignore[misc]  # a dict
