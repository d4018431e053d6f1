"""A source whose table is another one now: what was a typo is taken back, what was built of another table is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dynaview.projections.declaration import Declaration
from dynaview.views.control.records import Options
from dynaview.views.states import ViewState
from tests.support.scripted import ScriptedTable
from tests.support.until import until
from tests.support.worker_harness import CARDS, WorkerHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    made = WorkerHarness(tmp_path, CARDS)
    yield made
    made.control.close()


def of_table(declaration: Declaration, name: str) -> Declaration:
    source = replace(declaration.sources["shop"], table=name)
    return replace(declaration, sources={"shop": source})


def test_rows_of_another_table_are_kept_and_the_reason_names_both(harness: WorkerHarness) -> None:
    shop, clinic = harness.table, ScriptedTable(clock=time.time, name="clinic")
    clinic.put({"pk": "patient", "sk": "1", "value": "of the clinic"})
    shop.put({"pk": "order", "sk": "1", "value": "of the shop"})
    declared = harness.declaration
    harness.start()
    until(lambda: harness.control.view("cards") is not None, "the view to be known")
    harness.wait_rows("cards", {"card:order:1": {"value": "of the shop"}})
    until(lambda: harness.record("cards").filled, "the first fill")
    harness.stop()
    harness.declaration, harness.table = of_table(declared, "clinic"), clinic
    harness.start()
    harness.wait_state("cards", "changed")
    reason = harness.record("cards").reason
    assert "its rows are of the table arn:aws:dynamodb:eu-west-1:000000000000:table/shop" in reason
    assert "names arn:aws:dynamodb:eu-west-1:000000000000:table/clinic now" in reason
    assert "dynaview rebuild cards" in reason
    harness.stop()
    # Declared as before it goes on, as nothing was lost.
    shop.put({"pk": "order", "sk": "2", "value": "later"})
    harness.declaration, harness.table = declared, shop
    harness.start()
    harness.wait_rows("cards", {"card:order:1": {"value": "of the shop"}, "card:order:2": {"value": "later"}})
    until(lambda: harness.record("cards").state is ViewState.FOLLOWING, "the view to follow")
    harness.stop()
    # A rebuild makes its rows from the other one.
    harness.declaration, harness.table = of_table(declared, "clinic"), clinic
    harness.start()
    harness.wait_state("cards", "changed")
    harness.rebuild("cards", options=Options(yes=True))
    harness.wait_ended("cards")
    harness.wait_rows("cards", {"card:patient:1": {"value": "of the clinic"}})
    until(lambda: harness.record("cards").state is ViewState.FOLLOWING, "the view to follow")
    harness.stop()
