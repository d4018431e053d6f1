"""A store that came back empty takes writes as before: the view says so, instead of showing what is written from then
on as if it were all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dynaview.sinks.memory import MemorySink
from dynaview.views.status import all_status
from tests.support.rebuilding import BOTH, begin, expected, follows, item
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    made = WorkerHarness(tmp_path)
    made.settings.pipeline.look_every = 0.02
    for number in range(5):
        made.table.put(item(number, "first"))
    begin(made)
    yield made
    made.close()


def lose(harness: WorkerHarness, name: str) -> None:
    """The store loses all that it had, and goes on."""
    sink = harness.sinks[name]
    assert isinstance(sink, MemorySink)
    with sink._lock:
        sink._made.clear()
        sink._published.clear()


@pytest.mark.parametrize(("sink", "view"), [("cache", "cards"), ("reads", "reads")])
def test_a_store_that_lost_its_data_is_told_and_a_rebuild_brings_it_back(
    harness: WorkerHarness, sink: str, view: str
) -> None:
    (other,) = (each for each in BOTH if each != view)
    lose(harness, sink)
    harness.wait_state(view, "refused")
    assert f"dynaview rebuild {view}" in harness.record(view).reason
    follows(harness, 7, "second", other)  # it holds nobody up
    assert harness.record(other).state == "following"
    harness.rebuild(view)
    until(lambda: harness.rebuilt(view).phase == "done", "the rebuild")
    harness.wait_state(view, "following")
    until(lambda: harness.rows(view) == expected(harness, view), "all rows")
    told = {each["view"]: each for each in all_status(harness.control)}[view]
    assert told["scan"] == {"read": 6, "matched": 6}
    assert told["filled_rows"] > 0
    follows(harness, 8, "third", view)


@pytest.mark.parametrize(("sink", "view"), [("cache", "cards"), ("reads", "reads")])
def test_what_is_lost_while_nobody_runs_is_told_at_the_next_start(harness: WorkerHarness, sink: str, view: str) -> None:
    harness.stop()
    lose(harness, sink)
    harness.start()
    harness.wait_state(view, "refused")
    assert f"dynaview rebuild {view}" in harness.record(view).reason
    harness.rebuild(view)
    until(lambda: harness.rebuilt(view).phase == "done", "the rebuild")
    until(lambda: harness.rows(view) == expected(harness, view), "all rows")


def test_a_view_whose_store_has_everything_is_left_alone(harness: WorkerHarness) -> None:
    harness.rebuild("cards")
    until(lambda: harness.rebuilt("cards").phase == "done", "the rebuild")
    follows(harness, 9, "on it goes", *BOTH)
    assert [harness.record(view).state for view in BOTH] == ["following"] * 2
