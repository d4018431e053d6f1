"""A daemon with items that cannot be projected in some states: letters settle, rebuilds change nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynaview.views.control.records import Counts
from dynaview.views.daemon.letter_settling import SettlingPace
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness

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
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    made = WorkerHarness(tmp_path, ROOMS)
    made.settings.settling = SettlingPace(look_every=0.02, first=0.05)
    made.start()
    for view in BOTH:
        made.wait_state(view, "following")
    yield made
    made.close()


def guest(number: int, room: str | None, value: object) -> dict[str, Any]:
    found: dict[str, Any] = {"pk": f"p{number}", "sk": "s", "value": value}
    return found if room is None else {**found, "room": room}


def asked(harness: WorkerHarness, view: str) -> dict[Any, Any]:
    """What a rebuild would give."""
    good = [
        each
        for each in harness.table.items()
        if isinstance(each.get("room"), str) and not isinstance(each["value"], str)
    ]
    key = (lambda room: f"room:{room}") if view == "cards" else (lambda room: (room,))
    return {key(each["room"]): {"room": each["room"], "value": int(each["value"])} for each in good}


def in_step(harness: WorkerHarness) -> None:
    for view in BOTH:
        until(lambda view=view: harness.rows(view) == asked(harness, view), f"{view} to be what a rebuild would give")  # type: ignore[misc]


def kept(harness: WorkerHarness, view: str) -> int:
    return harness.control.dead_letters.by_view().get(view, 0)


def test_letters_that_nothing_needs_go_by_themselves(harness: WorkerHarness) -> None:
    harness.table.put(guest(1, "101", 1))
    harness.table.put(guest(1, "102", "TBD"))
    harness.table.put(guest(2, None, 1))
    harness.table.put(guest(3, "103", "TBD"))
    until(lambda: all(kept(harness, view) == 3 for view in BOTH), "the letters")
    in_step(harness)
    harness.table.delete(guest(1, None, 0))
    harness.table.put(guest(2, "102", 2))
    in_step(harness)
    until(lambda: all(kept(harness, view) == 1 for view in BOTH), "what nothing needs to go")
    for view in BOTH:
        assert harness.record(view).counts == Counts(read=6, applied=3, stale=2, dead_lettered=1)


def test_a_row_key_that_comes_free_is_taken_by_whoever_was_refused_it(harness: WorkerHarness) -> None:
    harness.table.put(guest(1, "101", 1))
    in_step(harness)
    harness.table.put(guest(2, "101", 2))
    until(lambda: all(kept(harness, view) == 1 for view in BOTH), "the letters")
    harness.table.put(guest(1, "102", "TBD"))  # a dead letter too, which gives its room free
    in_step(harness)
    until(lambda: [kept(harness, view) for view in BOTH] == [1, 1], "the letter of the one that left")


def test_a_rebuild_changes_nothing_and_leaves_one_letter_an_item(harness: WorkerHarness) -> None:
    chance = random.Random(5)
    for _ in range(120):
        number = chance.randrange(12)
        room = None if chance.random() < 0.2 else f"{number}-{chance.randrange(3)}"  # of its own: no two items meet
        state = guest(number, room, "TBD" if chance.random() < 0.2 else chance.randrange(9))
        harness.table.delete(state) if chance.random() < 0.15 else harness.table.put(state)
    in_step(harness)
    harness.rebuild(*BOTH)
    for _ in range(40):
        number = chance.randrange(12)
        harness.table.put(guest(number, f"{number}-{chance.randrange(3)}", "TBD" if chance.random() < 0.3 else 1))
    for view in BOTH:
        assert harness.wait_ended(view).generation == 2
    in_step(harness)
    bad = [
        each
        for each in harness.table.items()
        if isinstance(each["value"], str) or not isinstance(each.get("room"), str)
    ]
    for view in BOTH:
        until(lambda view=view: kept(harness, view) == len(bad), f"one letter an item of {view}")  # type: ignore[misc]
        harness.wait_state(view, "following")
        counts = harness.record(view).counts
        assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered


def test_what_cannot_settle_is_tried_less_and_less_often(harness: WorkerHarness) -> None:
    harness.table.put(guest(1, "101", "TBD"))
    until(lambda: kept(harness, "reads") == 1, "the letter")
    gets = harness.table.counts().get("get", 0)
    until(lambda: harness.table.counts().get("get", 0) >= gets + 2, "the letter to be tried")
    began = time.monotonic()
    before = harness.table.counts()["get"]
    until(lambda: time.monotonic() - began > 0.5, "half a second")
    assert harness.table.counts()["get"] - before < 12  # two views, every look would be 50
