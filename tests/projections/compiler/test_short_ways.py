"""Short ways of compiled code, each held against the long one on random input."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dynaview.projections.attributes import Attr, Shape, attribute
from dynaview.projections.changes import Body, Change, change_type
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.projection import ProjectionError
from tests.projections.compiler.conftest import _field, _view

KEY = ("id",)

NUMBERS = st.one_of(
    st.integers(-(10**21), 10**21),
    st.integers(-9, 9),
    st.sampled_from([10**9, 10**9 - 1, 2**31, 2**31 - 1, 10**18, 2**63 - 1, 2**63]),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**6), max_value=10**6),
).map(Decimal)

ATTRIBUTES = st.one_of(
    st.none(),
    st.builds(Attr, S=st.one_of(st.text(max_size=5), NUMBERS.map(str), st.sampled_from(["true", "", "1e3", " 5"]))),
    st.builds(Attr, N=NUMBERS.map(str)),
    st.builds(Attr, N=st.sampled_from(["1E+3", "1.50", "-0", "0.0", "007", "12e-1", "+5", "x", ""])),
    st.builds(Attr, BOOL=st.booleans()),
    st.just(Attr(NULL=True)),
    st.just(Attr(B=b"\x01")),
    st.just(Attr(L=[Attr(S="a")])),
    st.just(Attr(M={"a": Attr(N="1")})),
    st.just(Attr(SS=["a"])),
)


def _made(expression: str, type_: str, image: dict[str, Any], **more: Any) -> Any:
    view = _view(fields={"id": "id", "x": _field(expression, type_, **more)})
    bound = compile_view(view).bind(Shape({"id", "x"}), KEY, "NEW_AND_OLD_IMAGES")
    packed = Shape({"id", "x"}).type(a0=attribute("1"), a1=image["x"])
    try:
        ((_, values),) = bound.rows(packed)
    except ProjectionError as error:
        return str(error)
    assert isinstance(values, tuple)
    return values[1], type(values[1])


@pytest.mark.parametrize("type_", ["text", "boolean", "decimal", "integer", "bigint"])
@example(found=Attr(N="2147483648"), more={})
@example(found=Attr(N="9223372036854775808"), more={})
@example(found=Attr(N="1.50"), more={})
@example(found=Attr(S=""), more={"required": True})
@given(found=ATTRIBUTES, more=st.sampled_from([{}, {"required": True}, {"default": None}]))
def test_a_field_read_at_once_is_what_its_conversion_makes(
    type_: str, found: Attr | None, more: dict[str, Any]
) -> None:
    long = _made("x | @", type_, {"x": found}, **more)
    assert _made("x", type_, {"x": found}, **more) == long


VIEWS = [
    _view(match={"id": "a{rest}"}, key="{rest}", fields={"n": "n", "s": "s"}),
    _view(where="n > `3`", key="{id}", fields={"s": "s"}),
    _view(where="n > `3`", key="{id}:{s}", fields={"s": "s", "n": "n"}),
    _view(key=("s", "n"), fields={"s": "s", "n": _field("n", "integer"), "t": "t"}, sink="postgres"),
    _view(each="l", key="{id}:{_index}", fields={"s": "s"}),
    _view(each="l[?@ != 'a']", key="{id}:{_index}:{t}", fields={"t": "_item.t"}),
    _view(function=lambda item: [{"id": item["id"], "s": item.get("s")}], key="{s}", fields={"s": "s"}),
]

ITEMS = st.fixed_dictionaries(
    {"id": st.sampled_from(["a1", "a2", "b1"])},
    optional={
        "n": st.one_of(st.integers(0, 6), st.just("many")),
        "s": st.sampled_from(["", "x", "y"]),
        "t": st.sampled_from(["p", "q"]),
        "l": st.lists(st.sampled_from(["a", "b"]), max_size=3),
    },
)


@pytest.mark.parametrize("number", range(len(VIEWS)))
@given(new=st.none() | ITEMS, old=st.none() | ITEMS)
def test_old_images_are_read_as_far_as_keys_need_them(
    number: int, new: dict[str, Any] | None, old: dict[str, Any] | None
) -> None:
    projection = compile_view(VIEWS[number])
    names = None if projection.attributes is None else {*projection.attributes, *KEY}
    before = None if projection.before is None else {*projection.before, *KEY}
    event = "REMOVE" if new is None else "INSERT" if old is None else "MODIFY"
    key = (new or old or {"id": "a1"})["id"]
    whole, part = Shape(names), Shape(names, before)
    body: Body[Any] = Body("7", {"id": attribute(key)}, 0.0, *(each and Shape(None).pack(each) for each in (new, old)))
    page = msgspec.json.encode(Change(event, body))
    asked: list[Any] = []
    for shape in (whole, part):
        change = msgspec.json.decode(page, type=change_type(shape))
        try:
            asked.append(projection.bind(shape, KEY, "NEW_AND_OLD_IMAGES").writes(change, 7))
        except ProjectionError as error:
            asked.append((str(error), error.asked, error.owner))
    assert asked[0] == asked[1]


def test_of_old_images_less_is_read() -> None:
    projection = compile_view(VIEWS[0])
    assert projection.attributes == frozenset({"id", "n", "s"})
    assert projection.before == frozenset({"id"})
    shape = Shape({"id", "n", "s"}, projection.before)
    assert shape.before.names == ("id",)
    assert shape.before.reference("image", "id") == shape.reference("image", "id")
