"""What a change asks of a view, for every kind of stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.projections.attributes import Attr
from dynaview.projections.changes import SCANNED, Body, Change
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.projection import OldRowsUnknown, ProjectionError, ViewType
from dynaview.projections.rows import Rule, Write

Make = Callable[..., Any]
BOTH: ViewType = "NEW_AND_OLD_IMAGES"


def item(**attributes: Any) -> dict[str, Any]:
    return {"pk": "P#1", "sk": "s", **attributes}


@pytest.fixture
def lines(view: Make) -> Any:
    """A row for each line, of active items only."""
    return view(match={"pk": "P#{p}"}, where="active", each="lines", key="{p}:{sku}", fields={"q": "q", "sku": "sku"})


def line(sku: str, q: int = 1) -> dict[str, Any]:
    return {"sku": sku, "q": Decimal(q)}


def test_upserts_of_what_is_and_deletes_of_what_was(lines: Any, table: Make) -> None:
    made = table(lines)
    old = item(active=True, lines=[line("a"), line("b")])
    new = item(active=True, lines=[line("b", 2), line("c")])
    owner = made.writes(None, old)[0].owner
    assert made.writes(None, old) == [
        Write("1:a", (Decimal(1), "a"), 5, owner),
        Write("1:b", (Decimal(1), "b"), 5, owner),
    ]
    assert made.writes(old, new) == [
        Write("1:b", (Decimal(2), "b"), 5, owner),
        Write("1:c", (Decimal(1), "c"), 5, owner),
        Write("1:a", None, 5, owner),
    ]
    assert made.writes(new, {**new, "active": False}) == [
        Write("1:b", None, 5, owner),
        Write("1:c", None, 5, owner),
    ]
    assert made.writes({**old, "active": False}, old) == made.writes(None, old)
    assert made.writes(old, None) == [Write("1:a", None, 5, owner), Write("1:b", None, 5, owner)]
    assert made.writes(item(active=False), item(lines=[])) == []
    assert made.writes(item(active=False), None) == []


def test_an_unchanged_row_is_written_again(lines: Any, table: Make) -> None:
    made = table(lines)
    state = item(active=True, lines=[line("a")])
    assert made.writes(state, {**state, "other": "x"}) == made.writes(None, state)


def test_scanned_items_are_inserted_where_absent(lines: Any, table: Make) -> None:
    made = table(lines)
    (write,) = made.inserts(item(active=True, lines=[line("a")]))
    assert (write.key, write.version, write.rule) == ("1:a", SCANNED, Rule.ABSENT)
    assert write.owner == made.writes(None, item(active=True, lines=[line("a")]))[0].owner != ""
    assert made.inserts(item()) == []


def test_an_old_state_without_rows_still_gives_up_its_keys(view: Make, table: Make, field: Make) -> None:
    made = table(view(match={"pk": "P#{p}"}, key="{id}", fields={"n": field("n", "integer")}))
    wrong = item(id="x", n="not a number")
    with pytest.raises(ProjectionError):
        made.writes(None, wrong)
    # Its key is known all the same, and an older state may have left a row there.
    assert [(one.key, one.values) for one in made.writes(wrong, None)] == [("x", None)]
    assert [(one.key, one.values) for one in made.writes(wrong, item(id="y"))] == [("y", (None,)), ("x", None)]
    # Where the key itself is wrong, there is nothing to delete.
    assert made.writes(item(), None) == []
    assert [one.key for one in made.writes(item(id=[]), item(id="y"))] == ["y"]


def test_a_change_from_which_no_row_can_be_made_names_the_rows_that_go(view: Make, table: Make, field: Make) -> None:
    made = table(view(match={"pk": "P#{p}"}, where="active", key="{id}", fields={"n": field("n", "integer")}))
    before, wrong = item(id="x", n=Decimal(1), active=True), item(id="y", n="not a number", active=True)
    assert asked(made, before, wrong) == ({"x", "y"}, "")  # where it was, and where it would be
    assert asked(made, before, item(id=[], active=True)) == ({"x"}, "")
    assert asked(made, None, wrong) == ({"y"}, "")
    # No row was made of a state whose key cannot be made, and the change that brought it has taken those before.
    assert asked(made, item(id=[], active=True), wrong) == ({"y"}, "")
    assert made.writes(item(id=[], active=True), None) == []


def test_what_the_key_tells_goes_whatever_the_images_say(view: Make, table: Make) -> None:
    made = table(view(match={"pk": "P#{p}"}, where="contains(tags, 'open')", key="{p}:{sk}"))
    assert asked(made, item(tags=["open"]), item()) == ({"1:s"}, "")
    assert asked(made, item(), item(tags=7)) == ({"1:s"}, "")
    assert [(one.key, one.values) for one in made.writes(item(), None)] == [("1:s", None)]
    assert [(one.key, one.values) for one in made.writes(item(), item(tags=[]))] == [("1:s", None)]
    made = table(view(match={"pk": "P#{p}"}, where="contains(tags, 'open')", key="{p}:{sk}"), images="NEW_IMAGE")
    assert asked(made, None, item(), "MODIFY") == ({"1:s"}, "")


def test_what_a_function_forgot_is_asked_of_the_store(view: Make, table: Make) -> None:
    def row(item: dict[str, Any]) -> Any:
        return {"room": item["room"]}

    made = table(view(match={"pk": "P#{p}"}, function=row, key="{room}"))
    (write,) = made.writes(None, item(room="1"))
    assert write.owner
    assert asked(made, item(room="1"), item()) == ({"1"}, "")
    assert asked(made, item(), item(room=[])) == (set(), write.owner)
    with pytest.raises(OldRowsUnknown) as caught:
        made.writes(item(), item(room="2"))
    assert [(one.key, one.owner) for one in caught.value.asked] == [("2", write.owner)]
    assert caught.value.owner == write.owner
    with pytest.raises(OldRowsUnknown):
        made.writes(item(), None)


def asked(made: Any, old: Any, new: Any, event: str = "") -> tuple[set[Any], str]:
    """The rows that go with a change of which no row can be made, and whose other rows the store is asked for."""
    with pytest.raises(ProjectionError) as caught:
        made.bound.writes(made.change(old, new, event), 5)
    assert not isinstance(caught.value, OldRowsUnknown)
    assert all(one.values is None and one.version == 5 for one in caught.value.asked)
    return {one.key for one in caught.value.asked}, caught.value.owner


@pytest.mark.parametrize(
    ("event", "new", "old", "words"),
    [
        ("INSERT", None, None, "an INSERT carries no new image"),
        ("MODIFY", None, {"pk": "P#1"}, "a MODIFY carries no new image"),
        ("TRUNCATE", {"pk": "P#1"}, {"pk": "P#1"}, "unknown kind: 'TRUNCATE'"),
    ],
)
def test_records_that_lack_what_they_should_carry(
    lines: Any, table: Make, event: str, new: Any, old: Any, words: str
) -> None:
    made = table(lines)
    pack = made.shape.pack
    body = Body("1", {"pk": Attr(S="P#1"), "sk": Attr(S="s")}, 0.0, new and pack(new), old and pack(old))
    with pytest.raises(ProjectionError) as caught:
        made.bound.writes(Change(event, body), 5)
    assert words in str(caught.value)


@pytest.mark.parametrize(("event", "new"), [("MODIFY", {"pk": "P#1"}), ("REMOVE", None)])
def test_what_a_record_without_an_old_image_leaves_open_is_asked_of_the_store(
    lines: Any, table: Make, event: str, new: Any
) -> None:
    made = table(lines)
    body = Body("1", {"pk": Attr(S="P#1"), "sk": Attr(S="s")}, 0.0, new and made.shape.pack(new), None)
    with pytest.raises(OldRowsUnknown) as caught:
        made.bound.writes(Change(event, body), 5)
    assert caught.value.owner


def test_a_delete_without_its_old_image_is_made_from_the_key_where_that_is_enough(view: Make, table: Make) -> None:
    made = table(view(match={"pk": "P#{p}"}, key="{p}", where="active"))
    body: Body[Any] = Body("1", {"pk": Attr(S="P#1"), "sk": Attr(S="s")}, 0.0, None, None)
    assert [(one.key, one.values) for one in made.bound.writes(Change("REMOVE", body), 5)] == [("1", None)]
    other: Body[Any] = Body("1", {"pk": Attr(S="Q#1"), "sk": Attr(S="s")}, 0.0, None, None)
    assert made.bound.writes(Change("REMOVE", other), 5) == []


def test_a_delete_without_its_old_image_is_not_the_views_where_its_key_is_not(lines: Any, table: Make) -> None:
    made = table(lines)
    body: Body[Any] = Body("1", {"pk": Attr(S="X#1"), "sk": Attr(S="s")}, 0.0, None, None)
    assert made.bound.writes(Change("REMOVE", body), 5) == []


# owners


@pytest.mark.parametrize(
    ("match", "key", "pk", "sk", "owned"),
    [
        # Every key attribute follows from captures in the key.
        ({"pk": "A#{a}", "sk": "B#{b}"}, "{a}:{b}", "A#1", "B#2", False),
        ({"pk": "A#{a}", "sk": "PROFILE"}, "x:{a}", "A#1", "PROFILE", False),
        ({"pk": "A#{a}", "sk": "{a}"}, "{a}", "A#1", "1", False),
        # Or stands in it itself.
        ({}, "{pk}/{sk}", "A#1", "X", False),
        ({"pk": "A#{a}"}, "{a}:{sk}", "A#1", "X", False),
        ({"pk": "A#{a}"}, "{pk}:{sk}", "A#1", "X", False),
        # One is missing.
        ({"pk": "A#{a}", "sk": "B#{b}"}, "{b}", "A#1", "B#2", True),
        ({"pk": "A#{a}"}, "{a}", "A#1", "X", True),
        ({}, "{pk}", "A#1", "X", True),
        ({}, "{id}", "A#1", "X", True),
        # Alternatives that the key does not tell apart: A#1 and B#1 would meet.
        ([{"pk": "A#{a}", "sk": "X"}, {"pk": "B#{a}", "sk": "X"}], "{a}", "A#1", "X", True),
        ([{"pk": "A#{a}", "sk": "X"}, {"pk": "A#{a}", "sk": "Y"}], "{a}", "A#1", "X", True),
        ([{"pk": "A#{a}", "sk": "X"}, {"pk": "A#{a}"}], "{a}", "A#1", "X", True),
        ([{"pk": "A#{a}", "sk": "X"}, {"pk": "A#{a}", "sk": "Y"}], "{a}:{sk}", "A#1", "X", False),
        ([{"pk": "A#{a}", "sk": "X"}, {"pk": "B#{a}", "sk": "X"}], "{pk}", "A#1", "X", False),
    ],
)
def test_writes_carry_an_owner_where_the_key_does_not_tell_items_apart(
    view: Make, table: Make, match: Any, key: str, pk: str, sk: str, owned: bool
) -> None:
    (write,) = table(view(match=match, key=key)).writes(None, {"pk": pk, "sk": sk, "id": "i"})
    assert (write.owner != "") == owned


KEYS = st.text(st.sampled_from("AB#:1"), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(
    match=st.sampled_from(
        [
            [],
            [{"pk": "A#{a}"}],
            [{"pk": "A#{a}", "sk": "B#{b}"}],
            [{"pk": "{a}#{b}", "sk": "{a}"}],
            [{"pk": "A#{a}", "sk": "{b}"}, {"pk": "{a}", "sk": "{b}"}],
            [{"pk": "{a}:{b}", "sk": "1"}, {"pk": "{b}:{a}", "sk": "1"}],
        ]
    ),
    key=st.sampled_from(["{a}", "{b}", "{a}:{b}", "{b}#{a}", "{pk}", "{sk}:{pk}", "{a}:{sk}", "{pk}#{b}"]),
    first=st.tuples(KEYS, KEYS),
    second=st.tuples(KEYS, KEYS),
)
def test_two_items_on_one_key_have_different_owners(
    view: Make, table: Make, match: Any, key: str, first: tuple[str, str], second: tuple[str, str]
) -> None:
    made = table(view(match=match, key=key))
    try:
        writes = [made.writes(None, {"pk": pk, "sk": sk}) for pk, sk in (first, second)]
    except ProjectionError:
        return  # a name that this alternative does not capture
    if first != second and all(writes) and writes[0][0].key == writes[1][0].key:
        assert writes[0][0].owner != writes[1][0].owner


def test_owners_through_fields(view: Make, table: Make, field: Make) -> None:
    def owned(fields: Mapping[str, Any], **more: Any) -> bool:
        declared = view(match={"pk": "A#{a}", "sk": "B#{b}"}, key=("x", "y"), fields=fields, sink="postgres", **more)
        (write,) = table(declared).writes(None, {"pk": "A#1", "sk": "B#2", "n": [Decimal(7)]})
        return bool(write.owner)

    a, b = field("a", "text", required=True), field("b", "text", required=True)
    assert not owned({"x": a, "y": b})
    assert not owned({"x": a, "y": field("_item.sk", "text", required=True)})
    # 7 and 07 are one integer, so two items could meet.
    assert owned({"x": a, "y": field("b", "integer", required=True)})
    assert owned({"x": a, "y": field("b", "text", default="none")})
    assert owned({"x": a, "y": field("to_string(b)", "text", required=True)})
    assert owned({"x": a, "y": field("a", "text", required=True)})
    # Beside each the key of an item does not tell how many rows it has: they are found by their owner.
    assert owned({"x": a, "y": b}, each="n")


def test_owners_differ_by_item_and_only_by_item(view: Make, table: Make) -> None:
    made = table(view(key="{id}"), key=("pk", "n"))
    owners = {
        made.writes(None, {"pk": pk, "n": n, "id": "i", "x": x})[0].owner
        for pk, n, x in [
            ("a", Decimal(1), "x"),
            ("a", Decimal("1.0"), "y"),
            ("a", Decimal(2), "x"),
            ("b", Decimal(1), "x"),
        ]
    }
    assert len(owners) == 3
    assert all(len(owner) == 16 for owner in owners)


# streams that carry less


def test_new_images_only(view: Make, table: Make) -> None:
    declared = view(match={"pk": "P#{p}"}, where="active", key="{p}:{sk}", fields={"n": "n"})
    made = table(declared, images="NEW_IMAGE")

    def writes(new: Any, event: str = "") -> Any:
        change = made.change(None, new, event)
        return [(one.key, one.values) for one in made.bound.writes(change, 5)]

    assert writes(item(active=True, n="x"), "INSERT") == [("1:s", ("x",))]
    assert writes(item(active=True, n="x"), "MODIFY") == [("1:s", ("x",))]
    # Whether it was there before is not known: it goes.
    assert writes(item(n="x"), "MODIFY") == [("1:s", None)]
    assert writes(item(n="x"), "INSERT") == []
    assert writes(item(pk="Q#1", active=True), "MODIFY") == []
    gone: Change[Any] = Change("REMOVE", Body("1", {"pk": Attr(S="P#1"), "sk": Attr(S="s")}))
    assert [(one.key, one.values) for one in made.bound.writes(gone, 5)] == [("1:s", None)]
    gone = Change("REMOVE", Body("1", {"pk": Attr(S="Q#1"), "sk": Attr(S="s")}))
    assert made.bound.writes(gone, 5) == []
    with pytest.raises(ProjectionError, match="carries no new image"):
        made.bound.writes(Change("MODIFY", gone.body), 5)


def test_a_filter_on_key_attributes_spares_deletes(view: Make, table: Make) -> None:
    made = table(view(match={"pk": "P#{p}"}, where="p != '1'", key="{p}:{sk}", fields={"n": "n"}), images="NEW_IMAGE")
    assert made.bound.writes(made.change(None, item(), "MODIFY"), 5) == []
    assert len(made.bound.writes(made.change(None, item(pk="P#2"), "MODIFY"), 5)) == 1
    gone: Change[Any] = Change("REMOVE", Body("1", {"pk": Attr(S="P#1"), "sk": Attr(S="s")}))
    assert made.bound.writes(gone, 5) == []


@pytest.mark.parametrize("images", ["KEYS_ONLY", "OLD_IMAGE", "NEW_IMAGE", BOTH])
def test_views_of_key_attributes_need_no_images(view: Make, table: Make, images: ViewType) -> None:
    declared = view(match={"pk": "P#{p}"}, where="sk != 'hidden'", key="{p}:{sk}", fields={"sk": "sk", "p": "p"})
    made = table(declared, images=images)
    assert made.projection.problems(("pk", "sk"), images) == []
    assert [(one.key, one.values) for one in made.writes(None, item())] == [("1:s", ("s", "1"))]
    assert made.inserts(item())[0].values == ("s", "1")
    assert made.writes(None, item(sk="hidden")) == []
    assert [(one.key, one.values) for one in made.writes(item(), None)] == [("1:s", None)]


@pytest.mark.parametrize(
    ("parts", "images", "words"),
    [
        ({"key": "{id}"}, "NEW_IMAGE", "the row key reads id"),
        ({"key": "{pk}:{sk}", "each": "lines"}, "NEW_IMAGE", "each yields rows from the item's content"),
        ({"key": "{pk}:{x}", "function": dict}, "NEW_IMAGE", "the row key comes from what shop:card returns"),
        ({"key": "{pk}:{sk}", "fields": {"a": "a", "b": "b"}}, "KEYS_ONLY", "this view reads a, b"),
        ({"key": "{pk}:{sk}", "where": "x"}, "OLD_IMAGE", "this view reads x"),
        ({"key": "{pk}:{sk}", "fields": {"a": "@"}}, "KEYS_ONLY", "this view reads the whole item"),
    ],
)
def test_streams_that_cannot_serve_a_view(view: Make, parts: Any, images: ViewType, words: str) -> None:
    projection = compile_view(view(**parts))
    (problem,) = projection.problems(("pk", "sk"), images)
    assert words in problem.message
    assert images in problem.message
    assert "NEW_AND_OLD_IMAGES" in problem.message
    assert "dynaview run --enable-stream" in problem.message
    assert problem.at.line in (7, 9)
    assert projection.problems(("pk", "sk"), BOTH) == []


def test_match_is_on_key_attributes(view: Make) -> None:
    (problem,) = compile_view(view(match={"PK": "a"}, key="{pk}")).problems(("pk", "sk"), BOTH)
    assert str(problem).startswith("dynaview.yaml:8: views.v.match: PK is not a key attribute of the table")


# whatever happens


STATES = st.none() | st.fixed_dictionaries(
    {
        "active": st.booleans(),
        "id": st.sampled_from(["x", "y", ""]),
        "lines": st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map(
            lambda skus: [{"sku": sku, "q": Decimal(index)} for index, sku in enumerate(skus)]
        ),
        "n": st.sampled_from([Decimal(1), "text"]),
    }
)


@settings(max_examples=200, deadline=None)
@given(states=st.lists(STATES, min_size=1, max_size=8), images=st.sampled_from([BOTH, "NEW_IMAGE"]), fan=st.booleans())
def test_a_view_ends_as_its_items_last_state(
    view: Make, table: Make, field: Make, states: list[dict[str, Any] | None], images: ViewType, fan: bool
) -> None:
    each = {"each": "lines", "key": "{p}:{sku}"} if fan and images == BOTH else {"key": "{p}"}
    by_id = {"key": "{p}/{id}"} if images == BOTH and not fan else {}
    made = table(
        view(
            match={"pk": "P#{p}", "sk": "s"}, where="active", fields={"q": "q", "n": field("_item.n", "integer")},
            **{**each, **by_id},
        ),
        images=images,
    )  # fmt: skip
    held: dict[Any, Any] = {}
    before: dict[str, Any] | None = None
    refused = False
    for version, state in enumerate(states):
        after = None if state is None else item(**state)
        if before is None and after is None:
            continue
        change = made.change(before, after)
        if images == "NEW_IMAGE":
            change.body.old = None
        refused = False
        try:
            writes = made.bound.writes(change, version)
        except ProjectionError:
            refused = True
            writes = []
        assert len({write.key for write in writes}) == len(writes)
        for write in writes:
            if write.values is None:
                held.pop(write.key, None)
            else:
                held[write.key] = write.values
        before = after
    if not refused:
        wanted = {} if before is None else dict(made.rows(before))
        assert {key: held[key] for key in wanted} == wanted
        if not any(_refuses(made, state) for state in states):
            assert held == wanted


def _refuses(made: Any, state: dict[str, Any] | None) -> bool:
    try:
        return state is not None and made.rows(item(**state)) is None
    except ProjectionError:
        return True
