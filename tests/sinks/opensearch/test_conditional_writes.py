"""Conditional writes where others write, remove or take over the same rows at the same moment, and answers are lost."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from opensearchpy import OpenSearch

from dynaview.projections.rows import Field, Layout, Write
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.opensearch.target import OpenSearchTarget
from dynaview.sinks.port import (
    APPLIED,
    STALE,
    ConditionalWrite,
    Outcome,
    Rejected,
    SinkRefused,
    SinkUnavailable,
    Stored,
)
from tests.sinks.opensearch.line import DROP, Answer, Line


def put(key: str, version: int, owner: str = "", number: int = 0) -> Write:
    return Write(key, (f"{key} {number}", Decimal(number), None), version, owner)


def gone(key: str, version: int, owner: str = "") -> Write:
    return Write(key, None, version, owner)


def seen(target: OpenSearchTarget, key: str) -> Stored | None:
    (found,) = target.read([key])
    return found


def conditionally(target: OpenSearchTarget, write: Write, before: Stored | None) -> Outcome:
    (outcome,) = target.write_if_unchanged([ConditionalWrite(write, before)])
    return outcome


def stands(target: OpenSearchTarget, write: Write) -> bool:
    return seen(target, str(write.key)) == Stored(write.key, write.version, write.owner, 1, target.content(write))


@pytest.fixture
def ours(through: OpenSearchSink, target: OpenSearchTarget) -> OpenSearchTarget:
    """The same rows as `target` holds, seen through the faulty line."""
    made = through.open(target.layout, 1)
    made.prepare()
    return made


def at_first_bulk(line: Line, act: Callable[[], object]) -> None:
    """Let `act` happen when the next bulk request is under way: compared, but not yet done."""

    def before(method: str, path: str, body: bytes) -> Answer | None:
        if "/_bulk" in path:
            line.before = lambda *_: None
            act()
        return None

    line.before = before


@pytest.mark.parametrize("there", [None, put("row", 5), gone("row", 5)])
@pytest.mark.parametrize("theirs", [put("row", 6, number=9), gone("row", 6)])
@pytest.mark.parametrize("mine", [put("row", 0, number=3), gone("row", 0)])
def test_a_change_that_comes_between_wins(
    line: Line, ours: OpenSearchTarget, target: OpenSearchTarget, there: Write | None, theirs: Write, mine: Write
) -> None:
    if there is not None:
        target.write([there])
    at_first_bulk(line, lambda: target.write([theirs]))
    assert conditionally(ours, mine, seen(ours, "row")) is STALE
    assert stands(target, theirs)
    # What is remembered of the row stands in the way of nothing that comes later.
    later = put("row", 7, number=4)
    assert ours.write([later]) == [APPLIED]
    assert stands(target, later)
    assert conditionally(ours, put("row", 0, number=8), seen(ours, "row")) is APPLIED
    assert stands(target, put("row", 7, number=8))


def test_a_row_that_goes_between_is_not_brought_back(
    line: Line, ours: OpenSearchTarget, target: OpenSearchTarget, store: OpenSearch
) -> None:
    target.write([put("row", 5)])
    before = seen(ours, "row")
    at_first_bulk(line, lambda: store.delete(index=f"{target.layout.view}-g1", id="row"))
    assert conditionally(ours, put("row", 5, number=3), before) is STALE
    assert seen(target, "row") is None
    older = put("row", 4, number=4)
    assert ours.write([older]) == [APPLIED], "what was remembered of it stands in nobody's way"
    store.delete(index=f"{target.layout.view}-g1", id="row")
    assert conditionally(ours, put("row", 5, number=3), before) is STALE
    assert conditionally(ours, put("row", 5, number=3), None) is APPLIED
    assert stands(target, put("row", 0, number=3))


def test_what_is_remembered_is_not_taken_for_what_stands(ours: OpenSearchTarget, target: OpenSearchTarget) -> None:
    # `ours` remembers the first; another worker has written since.
    ours.write([put("row", 5)])
    before = seen(ours, "row")
    target.write([put("row", 6)])
    assert conditionally(ours, put("row", 5, number=3), before) is STALE
    assert conditionally(ours, put("row", 6, number=3), seen(ours, "row")) is APPLIED
    assert stands(target, put("row", 6, number=3))


def test_rows_put_right_are_remembered_as_they_are_now(
    line: Line, ours: OpenSearchTarget, target: OpenSearchTarget
) -> None:
    ours.write([put("row", 5, "item1"), gone("gone", 5, "item1")])
    for key in ("row", "gone"):
        assert conditionally(ours, put(key, 9, "item2"), seen(ours, key)) is APPLIED
    line.seen.clear()
    changes = [put("row", 1, "item2", 4), put("gone", 1, "item2", 4)]
    assert ours.write(changes) == [APPLIED] * 2
    assert [path.partition("?")[0].rpartition("/")[2] for _, path, _ in line.seen] == ["_bulk"]
    assert all(stands(target, change) for change in changes)


def test_a_row_that_another_worker_put_right_for_another_item(ours: OpenSearchTarget, target: OpenSearchTarget) -> None:
    ours.write([put("row", 500, "item1")])
    assert conditionally(target, put("row", 0, "item2"), seen(target, "row")) is APPLIED
    change = put("row", 3, "item2", 4)
    assert ours.write([change]) == [APPLIED]
    assert isinstance(ours.write([put("row", 501, "item1")])[0], Rejected)
    assert stands(target, change)


def test_a_lost_answer(line: Line, ours: OpenSearchTarget, target: OpenSearchTarget) -> None:
    target.write([put("there", 5)])
    batch = [
        ConditionalWrite(put("there", 5, number=3), seen(ours, "there")),
        ConditionalWrite(put("new", 0, number=3), None),
    ]
    line.after = lambda method, path, body: DROP if "/_bulk" in path else None
    with pytest.raises(SinkUnavailable):
        ours.write_if_unchanged(batch)
    line.after = lambda *_: None
    assert ours.write_if_unchanged(batch) == [APPLIED, STALE], "the version is still the one that was seen"
    assert stands(target, put("there", 5, number=3))
    assert stands(target, put("new", 0, number=3))


def test_a_document_put_in_by_hand_is_put_right(target: OpenSearchTarget, store: OpenSearch) -> None:
    store.index(index=f"{target.layout.view}-g1", id="row", body={"name": "by hand"})
    before = seen(target, "row")
    assert before is not None
    assert before.version == -1
    assert conditionally(target, put("row", 9, number=3), before) is APPLIED
    assert stands(target, put("row", 0, number=3))
    store.index(index=f"{target.layout.view}-g1", id="row", body={"name": "by hand"})
    assert conditionally(target, gone("row", 9), before) is APPLIED
    assert stands(target, gone("row", 0))


def test_a_conditional_write_that_opensearch_refuses_fails_no_neighbour(
    sink: OpenSearchSink, layout: Callable[..., Layout]
) -> None:
    target = sink.open(layout((Field("name", "text", mapping={"type": "integer"}),)), 1)
    target.prepare()
    target.write([Write("a", ("1",), 5)])
    batch = [
        ConditionalWrite(Write("a", ("secret",), 0), seen(target, "a")),
        ConditionalWrite(Write("b", ("2",), 0), None),
        ConditionalWrite(Write("c" * 600, ("3",), 0), None),
    ]
    refused, applied, too_long = target.write_if_unchanged(batch)
    assert isinstance(refused, Rejected)
    assert "name" in refused.reason
    assert "secret" not in refused.reason
    assert applied is APPLIED
    assert isinstance(too_long, Rejected)
    assert stands(target, Write("a", ("1",), 5))
    assert target.write([Write("a", ("4",), 6)]) == [APPLIED]


def test_a_row_key_twice_in_a_batch_is_refused(target: OpenSearchTarget) -> None:
    with pytest.raises(ValueError, match="twice"):
        target.write_if_unchanged([ConditionalWrite(put("row", 0), None), ConditionalWrite(put("row", 0), None)])


def test_an_index_that_is_gone(target: OpenSearchTarget, store: OpenSearch) -> None:
    target.write([put("row", 5)])
    before = seen(target, "row")
    store.indices.delete(index=f"{target.layout.view}-g1")
    for conditional in (ConditionalWrite(put("row", 5), before), ConditionalWrite(put("new", 0), None)):
        with pytest.raises(SinkRefused, match="fill the view anew"):
            target.write_if_unchanged([conditional])
    target.prepare()
    assert target.write_if_unchanged([ConditionalWrite(put("new", 0), None)]) == [APPLIED]
