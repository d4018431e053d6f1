"""Rebuilds beside a writer at full speed, killed again and again at what they record; readers look on."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import Options
from tests.support.reader_oracle import VIEWS, Items, Readers, Writer, settled
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    made = WorkerHarness(tmp_path, VIEWS)
    made.table.scan_page = 5
    yield made
    made.control.close()


def started(harness: WorkerHarness, count: int = 20) -> Items:
    items = Items(harness, count)
    for name in items.names:
        items.put(name)
    harness.start()
    for view in ("cards", "reads"):
        harness.wait_state(view, "following")
    return items


def live_until_cut(harness: WorkerHarness, chance: random.Random, most: int) -> threading.Event:
    """Cut the running worker off at one of its next records of a rebuild; set when that has come."""
    left, when, over = [chance.randrange(1, most)], chance.choice(("before", "after")), threading.Event()
    lock = threading.Lock()

    def heard(moment: str, _what: str) -> None:
        with lock:
            if moment == "before" and left[0]:
                left[0] -= 1
            if left[0] or moment != when or over.is_set():
                return
            harness.cut()
            over.set()
        if moment == "before":
            raise ControlUnavailable("scripted: killed here")

    harness.on_record(heard)
    return over


@pytest.mark.parametrize("seed", range(4))
def test_killed_again_and_again(harness: WorkerHarness, seed: int) -> None:
    chance = random.Random(seed)
    items = started(harness)
    with Readers(harness, items), Writer(items, chance):
        harness.rebuild("cards", "reads", options=Options(segments=2, yes=True, keep=0.0))
        for _ in range(8):
            over = live_until_cut(harness, chance, 12)
            until(lambda over=over: over.is_set() or all_ended(harness), "the worker to be killed")  # type: ignore[misc]
            harness.kill()
            harness.start()
        for view in ("cards", "reads"):
            harness.wait_ended(view)
    settled(harness, items)
    harness.stop()


def all_ended(harness: WorkerHarness) -> bool:
    return all(harness.rebuilt(view).ended for view in ("cards", "reads"))
