"""Decoding less of an item, held against decoding all of it on random items."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.projection import ProjectionError, shape_of
from tests.projections.compiler.conftest import _field, _view

KEY = ("id",)

VIEWS = [
    _view(key="{id}", fields={"city": "address.city", "deep": "address.street.name"}),
    _view(key="{id}", fields={"city": _field("address.city", "text"), "zip": "_item.address.zip || 'none'"}),
    _view(key="{id}", where="address.city != 'a' && length(address.street.name || '') < `2`", fields={"n": "id"}),
    _view(key="{id}", fields={"city": "address.city", "whole": "address"}),
    _view(key="{id}", fields={"keys": "keys(address || `{}`)", "zip": "address.zip"}),
    _view(key="{id}", fields={"one": "address.city.x[0]", "two": "address.zip | @", "three": "address.street.*"}),
    _view(key="{city}", fields={"city": "address.city", "zip": "address.zip"}),
    _view(each="address.lines", key="{id}:{_index}", fields={"id": "_item.id", "zip": "_item.address.zip"}),
    _view(match={"id": "{address}"}, key="{address}", fields={"a": "address.city", "b": "_item.address.city"}),
    _view(key="{id}", fields={"q": 'address."a b"', "r": 'address."a\\"b"'}),
]

VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.sampled_from(["", "a", "b"]), st.integers(0, 3), st.lists(st.just("x"), max_size=1)
)
ADDRESSES = st.fixed_dictionaries(
    {},
    optional={
        "city": st.one_of(VALUES, st.fixed_dictionaries({"x": VALUES})),
        "zip": VALUES,
        "street": st.one_of(VALUES, st.dictionaries(st.sampled_from(["name", "no"]), VALUES)),
        "lines": st.lists(st.fixed_dictionaries({"sku": VALUES}), max_size=2),
        "a b": VALUES,
        'a"b': VALUES,
        "other": VALUES,
    },
)
ITEMS = st.fixed_dictionaries(
    {"id": st.sampled_from(["1", "2"])}, optional={"address": st.one_of(ADDRESSES, VALUES), "n": VALUES}
)


def made(view: Any, shape: Shape, page: bytes) -> Any:
    bound = compile_view(view).bind(shape, KEY, "NEW_AND_OLD_IMAGES")
    try:
        return bound.rows(msgspec.json.decode(page, type=shape.type))
    except ProjectionError as error:
        return str(error)


@pytest.mark.parametrize("number", range(len(VIEWS)))
@given(item=ITEMS)
def test_rows_are_the_same_of_whatever_was_decoded(number: int, item: dict[str, Any]) -> None:
    view = VIEWS[number]
    page = msgspec.json.encode(Shape(None).pack(item))
    expected = made(view, Shape(None), page)
    assert made(view, shape_of([compile_view(view)], KEY), page) == expected
    assert made(view, shape_of(map(compile_view, VIEWS), KEY), page) == expected


@given(ITEMS)
def test_what_is_packed_is_what_is_decoded(item: dict[str, Any]) -> None:
    shape = Shape(["address", "id"], None, {"address": ["city", "street"]})
    packed = shape.pack(item)
    assert packed == msgspec.json.decode(msgspec.json.encode(Shape(None).pack(item)), type=shape.type)
    expected = {name: value for name, value in Shape(None).unpack(Shape(None).pack(item)).items() if name != "n"}
    if isinstance(address := expected.get("address"), dict):
        expected["address"] = {name: value for name, value in address.items() if name in ("city", "street")}
    assert shape.unpack(packed) == expected


def test_of_maps_members_alone_are_decoded() -> None:
    projections = [compile_view(view) for view in VIEWS]
    assert projections[0].members == {"address": frozenset({"city", "street"})}
    assert projections[3].members == {}
    shape = shape_of(projections[:2], KEY)
    image = msgspec.json.decode(b'{"address": {"M": {"city": {"S": "a"}, "other": {"S": "b"}}}}', type=shape.type)
    assert shape.unpack(image) == {"address": {"city": "a"}}
    whole = shape_of([projections[0], projections[3]], KEY)
    assert whole.unpack(whole.pack({"address": {"other": "b"}})) == {"address": {"other": "b"}}
