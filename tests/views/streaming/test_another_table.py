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
from tests.support.yard import CARDS, Yard


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path, CARDS)
    yield made
    made.control.close()


def of_table(declaration: Declaration, name: str) -> Declaration:
    source = replace(declaration.sources["shop"], table=name)
    return replace(declaration, sources={"shop": source})


def test_rows_of_another_table_are_kept_and_the_reason_names_both(yard: Yard) -> None:
    shop, clinic = yard.table, ScriptedTable(clock=time.time, name="clinic")
    clinic.put({"pk": "patient", "sk": "1", "value": "of the clinic"})
    shop.put({"pk": "order", "sk": "1", "value": "of the shop"})
    declared = yard.declaration
    yard.start()
    until(lambda: yard.control.view("cards") is not None, "the view to be known")
    yard.wait_rows("cards", {"card:order:1": {"value": "of the shop"}})
    until(lambda: yard.record("cards").filled, "the first fill")
    yard.stop()
    yard.declaration, yard.table = of_table(declared, "clinic"), clinic
    yard.start()
    yard.wait_state("cards", "changed")
    reason = yard.record("cards").reason
    assert "its rows are of the table arn:aws:dynamodb:eu-west-1:000000000000:table/shop" in reason
    assert "names arn:aws:dynamodb:eu-west-1:000000000000:table/clinic now" in reason
    assert "dynaview rebuild cards" in reason
    yard.stop()
    # Declared as before it goes on, as nothing was lost.
    shop.put({"pk": "order", "sk": "2", "value": "later"})
    yard.declaration, yard.table = declared, shop
    yard.start()
    yard.wait_rows("cards", {"card:order:1": {"value": "of the shop"}, "card:order:2": {"value": "later"}})
    until(lambda: yard.record("cards").state is ViewState.FOLLOWING, "the view to follow")
    yard.stop()
    # A rebuild makes its rows from the other one.
    yard.declaration, yard.table = of_table(declared, "clinic"), clinic
    yard.start()
    yard.wait_state("cards", "changed")
    yard.rebuild("cards", options=Options(yes=True))
    yard.wait_ended("cards")
    yard.wait_rows("cards", {"card:patient:1": {"value": "of the clinic"}})
    until(lambda: yard.record("cards").state is ViewState.FOLLOWING, "the view to follow")
    yard.stop()
