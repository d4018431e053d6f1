"""Tracing one item through views that a worker keeps, in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, ConditionalWrite, SinkUnavailable
from dynaview.sources.errors import SourceUnavailable
from dynaview.views.trace.records import ViewTrace
from dynaview.views.trace.service import Trace, TraceError, trace
from tests.support.until import until
from tests.support.worker_harness import CARDS, WorkerHarness

ORDERS = """
  orders:
    source: shop
    sink: reads
    table: orders
    match: {pk: "C#{customer}", sk: "O#{order}"}
    where: status != 'DRAFT'
    key: [order]
    fields: {order: {from: order, type: text}, total: {from: total, type: integer}}
  lines:
    source: shop
    sink: cache
    type: hash
    key: "line:{order}:{sku}"
    match: {pk: "C#{customer}", sk: "O#{order}"}
    each: lines
    fields: {sku: sku}
"""

KEY = {"pk": "C#1", "sk": "O#1"}
ORDER = {**KEY, "status": "PAID", "total": 5, "lines": [{"sku": "a"}, {"sku": "b"}], "value": "v"}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    made = WorkerHarness(tmp_path, CARDS + ORDERS)
    made.table.put(ORDER)
    made.start()
    settled(made)
    yield made
    made.close()


def settled(harness: WorkerHarness) -> None:
    def done(view: str) -> bool:
        record = harness.control.view(view)
        return record is not None and record.state == "following" and record.counts.read == harness.table.made

    for view in harness.declaration.views:
        until(lambda view=view: done(view), f"{view} to be in step")  # type: ignore[misc]  # a bound argument


def traced(harness: WorkerHarness, *names: str, key: Any = None, **more: Any) -> dict[str, ViewTrace]:
    return {each.view: each for each in found(harness, *names, key=key, **more).views}


def found(harness: WorkerHarness, *names: str, key: Any = None, **more: Any) -> Trace:
    return trace(
        harness.declaration,
        harness.control,
        json.dumps(key or KEY),
        names or tuple(harness.declaration.views),
        open_source=lambda source: harness.table,
        open_sink=lambda sink: harness.sinks[sink],
        **{"timeout": 20.0, **more},
    )


def by_hand(harness: WorkerHarness, view: str, key: Any, values: tuple[Any, ...] | None) -> None:
    target = harness.target(view)
    (seen,) = target.read([key])
    owner = seen.owner if seen else ""
    assert target.write_if_unchanged([ConditionalWrite(Write(key, values, 0, owner), seen)]) == [APPLIED]


def rows(each: ViewTrace) -> dict[Any, tuple[bool, str, str]]:
    """By row key whether it is asked for, what stands in the live generation, and the verdict."""
    return {row.key: (row.values is not None, row.standings[0].stands, row.standings[0].verdict) for row in each.rows}


def test_an_item_that_is_right_everywhere(harness: WorkerHarness) -> None:
    views = traced(harness)
    assert {name: each.verdict for name, each in views.items()} == {
        "cards": "right", "orders": "right", "lines": "right",
    }  # fmt: skip
    assert all(each.do == "" and each.state == "following" and each.letters == [] for each in views.values())
    assert rows(views["cards"]) == {"card:C#1:O#1": (True, "row", "right")}
    assert rows(views["lines"]) == {
        "line:1:a": (True, "row", "right"), "line:1:b": (True, "row", "right"),
    }  # fmt: skip
    (row,) = views["cards"].rows
    (standing,) = row.standings
    assert (standing.generation, standing.role, standing.written_by) == (1, "live", 1)
    assert views["lines"].owner
    assert views["lines"].rows[0].standings[0].owner == views["lines"].owner
    assert row.values == {"value": "v"}


def test_a_filtered_item_leaves_a_tombstone(harness: WorkerHarness) -> None:
    harness.table.put({**ORDER, "status": "DRAFT"})
    settled(harness)
    each = traced(harness, "orders")["orders"]
    assert (each.verdict, each.result) == ("right", "filtered")
    assert "status != 'DRAFT' is false" in each.reason
    assert rows(each) == {("1",): (False, "tombstone", "right")}
    (standing,) = each.rows[0].standings
    assert standing.version is not None
    assert standing.version > 0


def test_an_item_that_is_gone(harness: WorkerHarness) -> None:
    harness.table.delete(KEY)
    settled(harness)
    views = traced(harness)
    assert {each.result for each in views.values()} == {"absent"}
    assert {each.verdict for each in views.values()} == {"right"}
    assert rows(views["cards"]) == {"card:C#1:O#1": (False, "tombstone", "right")}
    assert "only found with --deep" in views["lines"].notes[0]


def test_rows_that_are_wrong_are_named_with_the_command_that_mends_them(harness: WorkerHarness) -> None:
    by_hand(harness, "cards", "card:C#1:O#1", ("other",))
    by_hand(harness, "orders", ("1",), None)
    views = traced(harness)
    cards, orders = views["cards"], views["orders"]
    assert (cards.verdict, orders.verdict, views["lines"].verdict) == ("wrong", "wrong", "right")
    assert rows(cards) == {"card:C#1:O#1": (True, "row", "different")}
    assert cards.rows[0].standings[0].fields == ("value",)
    assert rows(orders) == {("1",): (True, "tombstone", "missing")}
    key = """'{"pk":{"S":"C#1"},"sk":{"S":"O#1"}}'"""
    assert cards.do == (
        f"dynaview verify cards --key {key} --json > found.json; dynaview repair cards --from-verify found.json"
    )


def test_a_row_that_nothing_asks_for(harness: WorkerHarness) -> None:
    harness.table.delete(KEY)
    settled(harness)
    by_hand(harness, "cards", "card:C#1:O#1", ("back",))
    each = traced(harness, "cards")["cards"]
    assert (each.verdict, rows(each)) == ("wrong", {"card:C#1:O#1": (False, "row", "extra")})


def test_rows_of_states_that_nothing_names_are_found_with_deep(harness: WorkerHarness) -> None:
    owner = traced(harness, "lines")["lines"].owner
    harness.table.put({**ORDER, "lines": []})
    settled(harness)
    assert harness.target("lines").write([Write("line:9:z", ("z",), 10**30, owner)]) == [APPLIED]
    assert traced(harness, "lines")["lines"].verdict == "right"
    each = traced(harness, "lines", deep=True)["lines"]
    assert (each.verdict, rows(each)) == ("wrong", {"line:9:z": (False, "row", "extra")})


def test_a_row_of_another_item(harness: WorkerHarness) -> None:
    harness.table.put({**ORDER, "pk": "C#2", "lines": []})
    settled(harness)
    each = traced(harness, "orders", key={"pk": "C#2", "sk": "O#1"})["orders"]
    assert each.verdict == "dead-lettered"
    assert rows(each) == {("1",): (True, "row", "owner")}
    (letter,) = each.letters
    assert letter.kind == "owner"
    assert each.do == f"fix the item or the declaration, then dynaview dead-letters replay {letter.id}"


def test_a_dead_letter_explains_a_missing_row(harness: WorkerHarness) -> None:
    harness.table.put({**ORDER, "total": "many"})
    settled(harness)
    each = traced(harness, "orders")["orders"]
    assert (each.verdict, each.result) == ("dead-lettered", "dead-letter")
    assert each.reason.startswith("field total: ")
    assert [letter.kind for letter in each.letters] == ["projection"]
    assert rows(each)[("1",)][:2] == (False, "tombstone")


def test_a_view_that_never_started_and_one_that_does_not_run(harness: WorkerHarness) -> None:
    harness.declare(CARDS + ORDERS.replace("orders:", "new:", 1).replace("table: orders", "table: new"))
    assert (traced(harness, "new")["new"].verdict, traced(harness, "new")["new"].do) == (
        "not started", "dynaview run starts it",
    )  # fmt: skip


def test_a_view_of_another_declaration_is_shown_and_not_judged(harness: WorkerHarness) -> None:
    harness.declare(CARDS.replace("value: value", "worth: value"))
    each = traced(harness, "cards")["cards"]
    assert rows(each) == {"card:C#1:O#1": (True, "row", "not judged")}
    assert "is not the one that built the view: dynaview plan cards" in each.notes[-1]


def test_a_view_that_has_stopped_says_what_mends_it(harness: WorkerHarness) -> None:
    harness.table.disable_stream()
    harness.table.enable_stream("NEW_AND_OLD_IMAGES")
    harness.wait_state("cards", "gap")
    each = traced(harness, "cards")["cards"]
    assert each.verdict == "stopped"
    assert "dynaview rebuild cards" in each.do


def test_a_view_that_has_not_seen_all_is_behind(harness: WorkerHarness) -> None:
    harness.table.put({**ORDER, "value": "later"})
    settled(harness)
    by_hand(harness, "cards", "card:C#1:O#1", None)
    harness.table.fail("read", SourceUnavailable, times=10**6)
    each = traced(harness, "cards", timeout=0.0)["cards"]
    harness.table.heal()
    assert (each.verdict, each.do) == ("behind", "dynaview wait cards, then trace again")


def test_a_store_that_is_away_is_unknown(harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> Any:
        raise SinkUnavailable("scripted: away")

    monkeypatch.setattr(harness.sinks["cache"], "open", away)
    views = traced(harness)
    assert (views["cards"].verdict, views["cards"].do) == ("unknown", "scripted: away")
    assert views["orders"].verdict == "right"


def test_a_key_that_is_none(harness: WorkerHarness) -> None:
    for key in ({"pk": "C#1"}, {"pk": "a", "sk": None}):
        with pytest.raises(TraceError, match="shop: "):
            found(harness, key=key)
