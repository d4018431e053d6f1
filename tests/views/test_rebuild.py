"""Rebuilds: the next generation fills beside the live one, or in place, while the stream goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.house import until
from tests.support.yard import Yard


def item(number: int, value: str) -> dict[str, str]:
    return {"pk": f"p{number}", "sk": "s", "value": value}


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path)
    for number in range(20):
        made.table.put(item(number, "first"))
    made.start()
    for view in ("cards", "reads"):
        made.wait_state(view, "following")
    yield made
    made.close()


def test_a_rebuild_replaces_what_was_damaged(yard: Yard) -> None:
    good = {view: yard.rows(view) for view in ("cards", "reads")}
    assert all(len(rows) == 20 for rows in good.values())
    yard.rebuild("cards", "reads")
    for view, kind in (("cards", "in place"), ("reads", "beside")):
        assert yard.wait_ended(view).kind == kind
        assert yard.record(view).generation == 2
        assert yard.rows(view) == good[view]
        yard.wait_state(view, "following")
    yard.table.put(item(3, "second"))
    until(lambda: yard.rows("cards")["card:p3:s"] == {"value": "second"}, "the cards to follow")
    until(lambda: yard.rows("reads")["p3", "s"]["value"] == "second", "the reads to follow")
    until(lambda: yard.rows("reads", 1)["p3", "s"]["value"] == "second", "the kept generation to follow")
