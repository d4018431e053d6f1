"""A daemon with items that cannot be projected in some states: letters settle, rebuilds change nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynaview.views.control.records import Counts
from dynaview.views.daemon import letter_settling
from tests.support.until import until
from tests.support.yard import Yard

ROOMS = """
  cards: {source: shop, sink: cache, key: "room:{room}", fields: {room: room, value: {type: integer}}}
  reads:
    source: shop
    sink: reads
    table: rooms
    key: [room]
    fields: {room: {from: room, type: text, required: true}, value: {type: integer}}
"""
BOTH = ("cards", "reads")


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    monkeypatch.setattr(letter_settling, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(letter_settling, "FIRST", 0.05)
    made = Yard(tmp_path, ROOMS)
    made.start()
    for view in BOTH:
        made.wait_state(view, "following")
    yield made
    made.close()


def guest(number: int, room: str | None, value: object) -> dict[str, Any]:
    found: dict[str, Any] = {"pk": f"p{number}", "sk": "s", "value": value}
    return found if room is None else {**found, "room": room}


def asked(yard: Yard, view: str) -> dict[Any, Any]:
    """What a rebuild would give."""
    good = [
        each for each in yard.table.items() if isinstance(each.get("room"), str) and not isinstance(each["value"], str)
    ]
    key = (lambda room: f"room:{room}") if view == "cards" else (lambda room: (room,))
    return {key(each["room"]): {"room": each["room"], "value": int(each["value"])} for each in good}


def in_step(yard: Yard) -> None:
    for view in BOTH:
        until(lambda view=view: yard.rows(view) == asked(yard, view), f"{view} to be what a rebuild would give")  # type: ignore[misc]


def kept(yard: Yard, view: str) -> int:
    return yard.control.dead_letters.by_view().get(view, 0)


def test_letters_that_nothing_needs_go_by_themselves(yard: Yard) -> None:
    yard.table.put(guest(1, "101", 1))
    yard.table.put(guest(1, "102", "TBD"))
    yard.table.put(guest(2, None, 1))
    yard.table.put(guest(3, "103", "TBD"))
    until(lambda: all(kept(yard, view) == 3 for view in BOTH), "the letters")
    in_step(yard)
    yard.table.delete(guest(1, None, 0))
    yard.table.put(guest(2, "102", 2))
    in_step(yard)
    until(lambda: all(kept(yard, view) == 1 for view in BOTH), "what nothing needs to go")
    for view in BOTH:
        assert yard.record(view).counts == Counts(read=6, applied=3, stale=2, dead_lettered=1)


def test_a_row_key_that_comes_free_is_taken_by_whoever_was_refused_it(yard: Yard) -> None:
    yard.table.put(guest(1, "101", 1))
    in_step(yard)
    yard.table.put(guest(2, "101", 2))
    until(lambda: all(kept(yard, view) == 1 for view in BOTH), "the letters")
    yard.table.put(guest(1, "102", "TBD"))  # a dead letter too, which gives its room free
    in_step(yard)
    until(lambda: [kept(yard, view) for view in BOTH] == [1, 1], "the letter of the one that left")


def test_a_rebuild_changes_nothing_and_leaves_one_letter_an_item(yard: Yard) -> None:
    chance = random.Random(5)
    for _ in range(120):
        number = chance.randrange(12)
        room = None if chance.random() < 0.2 else f"{number}-{chance.randrange(3)}"  # of its own: no two items meet
        state = guest(number, room, "TBD" if chance.random() < 0.2 else chance.randrange(9))
        yard.table.delete(state) if chance.random() < 0.15 else yard.table.put(state)
    in_step(yard)
    yard.rebuild(*BOTH)
    for _ in range(40):
        number = chance.randrange(12)
        yard.table.put(guest(number, f"{number}-{chance.randrange(3)}", "TBD" if chance.random() < 0.3 else 1))
    for view in BOTH:
        assert yard.wait_ended(view).generation == 2
    in_step(yard)
    bad = [
        each for each in yard.table.items() if isinstance(each["value"], str) or not isinstance(each.get("room"), str)
    ]
    for view in BOTH:
        until(lambda view=view: kept(yard, view) == len(bad), f"one letter an item of {view}")  # type: ignore[misc]
        yard.wait_state(view, "following")
        counts = yard.record(view).counts
        assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered


def test_what_cannot_settle_is_tried_less_and_less_often(yard: Yard) -> None:
    yard.table.put(guest(1, "101", "TBD"))
    until(lambda: kept(yard, "reads") == 1, "the letter")
    gets = yard.table.counts().get("get", 0)
    until(lambda: yard.table.counts().get("get", 0) >= gets + 2, "the letter to be tried")
    began = time.monotonic()
    before = yard.table.counts()["get"]
    until(lambda: time.monotonic() - began > 0.5, "half a second")
    assert yard.table.counts()["get"] - before < 12  # two views, every look would be 50
