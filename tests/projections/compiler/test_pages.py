"""Projecting a page at once, held against projecting its changes one by one on random input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.attributes import Shape, attribute
from dynaview.projections.changes import Body, Change
from dynaview.projections.columns import ProjectedPage, columns_of
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.projection import Bound, ProjectionError, ViewType
from dynaview.projections.rows import Write
from tests.projections.compiler.conftest import _field, _view

KEY = ("id", "sort")

PAGED = [
    _view(match={"id": "a{rest}"}, key="{rest}:{sort}", fields={"n": "n", "s": "s"}),
    _view(where="n > `3`", key="{id}:{sort}", fields={"s": "s"}),
    _view(key=("id", "sort"), fields={"id": "id", "sort": "sort", "n": _field("n", "integer")}, sink="postgres"),
    _view(match=[{"id": "a{rest}"}, {"id": "{rest}1"}], where="s", key="{id}:{sort}", fields={}),
    _view(match={"id": "a{rest}", "sort": "one"}, key="{rest}", fields={"s": _field("s", "text", required=True)}),
    _view(key="{id}:{sort}", fields={"s": "s"}, expire=_field("n"), sink="hash"),
    _view(key="{id}", member="{sort}", score=_field("n", "double"), sink="sorted_set"),
    _view(key="{id}", member="{sort}", where="s != 'x'", sink="set"),
]
"""Views of which an item has one row, told by its key."""

OTHERS = [
    _view(key="{id}:{sort}:{s}", fields={"n": "n"}),
    _view(key="{id}", fields={"n": "n"}),
    _view(each="l", key="{id}:{sort}:{_index}", fields={"s": "s"}),
    _view(function=lambda item: item, match={"id": "{a}", "sort": "{b}"}, key="{a}:{b}"),
]
"""Views that are asked change by change."""

ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "n": st.one_of(st.integers(0, 6), st.just("many"), st.none()),
        "s": st.sampled_from(["", "x", "y"]),
        "l": st.lists(st.sampled_from(["a", "b"]), max_size=3),
    },
)


@st.composite
def changes(draw: st.DrawFn, images: ViewType, odd: bool) -> Change[Any]:
    """A change as its stream promises it, or, where `odd`, with anything missing."""
    key = {"id": draw(st.sampled_from(["a1", "a2", "b1", "b2"])), "sort": draw(st.sampled_from(["one", "two"]))}
    event = draw(st.sampled_from(["INSERT", "MODIFY", "REMOVE"]))
    new: dict[str, Any] | None = {**draw(ITEMS), **key}
    old: dict[str, Any] | None = {**draw(ITEMS), **key}
    if event == "REMOVE" or images not in ("NEW_IMAGE", "NEW_AND_OLD_IMAGES"):
        new = None
    if event == "INSERT" or images not in ("OLD_IMAGE", "NEW_AND_OLD_IMAGES"):
        old = None
    if odd and draw(st.booleans()):
        event = draw(st.sampled_from([event, "RENAME"]))
        new, old = draw(st.sampled_from([(new, old), (None, old), (new, None)]))
    pack = Shape(None).pack
    named = {name: attribute(value) for name, value in key.items()}
    return Change(event, Body("1", named, 0.0, None if new is None else pack(new), None if old is None else pack(old)))


def one_by_one(bound: Bound, asked: Sequence[Change[Any]], versions: Sequence[int]) -> ProjectedPage | None:
    """What `Bound.writes` answers, as a page has it; None where it raises."""
    page = ProjectedPage([], [], [])
    upserts: list[int] = []
    origins: list[Change[Any]] = []
    for change, version in zip(asked, versions, strict=True):
        try:
            writes = bound.writes(change, version)
        except ProjectionError:
            return None
        page.unmatched += not writes
        for write in writes:
            assert not write.owner
            if write.values is None:
                page.gone.append(write.key)
                page.gone_versions.append(write.version)
                page.gone_origins.append(change)
            else:
                page.rows.append((write.key, *write.values))
                upserts.append(write.version)
                origins.append(change)
    page.versions, page.origins = upserts, origins
    return page


def told(page: ProjectedPage) -> list[Any]:
    return [
        page.rows,
        list(page.versions),
        list(map(id, page.origins)),
        page.gone,
        page.gone_versions,
        list(map(id, page.gone_origins)),
        page.unmatched,
    ]


@pytest.mark.parametrize("images", get_args(ViewType))
@pytest.mark.parametrize("number", range(len(PAGED)))
def test_a_page_is_what_its_changes_are_one_by_one(number: int, images: ViewType) -> None:
    projection = compile_view(PAGED[number])
    if projection.problems(KEY, images):
        pytest.skip("such a stream does not serve the view")
    bound = projection.bind(Shape(None), KEY, images)

    @given(st.booleans().flatmap(lambda odd: st.lists(changes(images, odd), max_size=8)))
    def run(asked: list[Change[Any]]) -> None:
        versions = [7 + at for at in range(len(asked))]
        page, expected = bound.page(asked, versions), one_by_one(bound, asked, versions)
        if page is not None:
            assert expected is not None
            assert told(page) == told(expected)
        elif expected is not None:
            # What needs a look of its own for its form alone.
            assert any(change.event != "REMOVE" and change.body.new is None for change in asked) or any(
                _old_cannot_be_read(bound, change) for change in asked
            )

    run()


def _old_cannot_be_read(bound: Bound, change: Change[Any]) -> bool:
    try:
        bound.rows(change.body.old)
    except ProjectionError:
        return True
    return False


@pytest.mark.parametrize("number", range(len(PAGED)))
def test_views_whose_rows_the_item_key_tells_are_asked_at_once(number: int) -> None:
    bound = compile_view(PAGED[number]).bind(Shape(None), KEY, "NEW_AND_OLD_IMAGES")
    image = Shape(None).pack({"id": "a1", "sort": "one", "n": 5, "s": "y"})
    change: Change[Any] = Change("INSERT", Body("1", {"id": attribute("a1"), "sort": attribute("one")}, 0.0, image))
    page = bound.page([change], [7])
    assert page is not None
    assert len(page.rows) == 1


@pytest.mark.parametrize("view", OTHERS, ids=["moved", "owned", "each", "python"])
def test_views_whose_rows_the_item_key_does_not_tell_are_asked_change_by_change(view: Any) -> None:
    bound = compile_view(view).bind(Shape(None), KEY, "NEW_AND_OLD_IMAGES")
    assert bound.page([], []) is None


def test_columns_are_the_writes_that_they_stand_for() -> None:
    columns = columns_of([("a", 1, "x"), ("b", 2, None)], [5, 6], ["c"], [7])
    writes = [Write("a", (1, "x"), 5), Write("b", (2, None), 6), Write("c", None, 7)]
    assert list(columns) == writes
    assert columns.writes() == writes
    assert len(columns) == 3
    assert columns[-1] == writes[2]
    assert columns[1:] == writes[1:]
    assert list(columns_of([], [], ["c"], [7])) == writes[2:]
    assert list(columns_of([("a",)], [5])) == columns_of([("a",)], [5]).writes() == [Write("a", (), 5)]
    with pytest.raises(IndexError):
        columns[3]
