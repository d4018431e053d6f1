"""Rebuilds beside a writer at full speed, killed again and again at what they record; readers look on."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import Options
from tests.support.glass import VIEWS, Items, Readers, Writer, settled
from tests.support.until import until
from tests.support.yard import Yard


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path, VIEWS)
    made.table.scan_page = 5
    yield made
    made.control.close()


def started(yard: Yard, count: int = 20) -> Items:
    items = Items(yard, count)
    for name in items.names:
        items.put(name)
    yard.start()
    for view in ("cards", "reads"):
        yard.wait_state(view, "following")
    return items


def live_until_cut(yard: Yard, chance: random.Random, most: int) -> threading.Event:
    """Cut the running worker off at one of its next records of a rebuild; set when that has come."""
    left, when, over = [chance.randrange(1, most)], chance.choice(("before", "after")), threading.Event()
    lock = threading.Lock()

    def heard(moment: str, _what: str) -> None:
        with lock:
            if moment == "before" and left[0]:
                left[0] -= 1
            if left[0] or moment != when or over.is_set():
                return
            yard.cut()
            over.set()
        if moment == "before":
            raise ControlUnavailable("scripted: killed here")

    yard.on_record(heard)
    return over


@pytest.mark.parametrize("seed", range(4))
def test_killed_again_and_again(yard: Yard, seed: int) -> None:
    chance = random.Random(seed)
    items = started(yard)
    with Readers(yard, items), Writer(items, chance):
        yard.rebuild("cards", "reads", options=Options(segments=2, yes=True, keep=0.0))
        for _ in range(8):
            over = live_until_cut(yard, chance, 12)
            until(lambda over=over: over.is_set() or all_ended(yard), "the worker to be killed")  # type: ignore[misc]
            yard.kill()
            yard.start()
        for view in ("cards", "reads"):
            yard.wait_ended(view)
    settled(yard, items)
    yard.stop()


def all_ended(yard: Yard) -> bool:
    return all(yard.rebuilt(view).ended for view in ("cards", "reads"))
