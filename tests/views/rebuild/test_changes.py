"""Rebuilds because of what has changed or is gone: declarations, streams, indexes and tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynaview.sinks.memory import MemorySink
from tests.support.rebuilding import BOTH, begin, expected, follows, item, paused, traces
from tests.support.until import until
from tests.support.worker_harness import CARDS, READS, WorkerHarness

# Declarations that change

OTHERS = {
    "fields": (READS.replace("    fields: {", "    fields: {more: {from: value, type: text}, "), "beside"),
    "key": (READS.replace("key: [pk, sk]", "key: [sk, pk]"), "beside"),
    "table": (READS.replace("table: reads", "table: other"), "beside"),
    "family": (CARDS.replace("card:", "face:"), "beside"),
    "hash": (CARDS.replace("fields: {", "fields: {more: value, "), "in place"),
}


@pytest.mark.parametrize("change", OTHERS)
def test_the_view_is_written_as_before_until_the_swap(harness: WorkerHarness, change: str) -> None:
    text, kind = OTHERS[change]
    view = "cards" if "cards:" in text else "reads"
    harness.stop()
    harness.declare(text + (READS if view == "cards" else CARDS))
    begin(harness)
    assert "declared before" in harness.record(view).reason
    harness.table.put(item(1, "as before"))
    old: Any = "card:p1:s" if view == "cards" else ("p1", "s")
    until(lambda: harness.rows(view, 1)[old]["value"] == "as before", "the old rows to follow")
    with harness.table.hold("scan") as held:
        harness.rebuild(view)
        assert held.reached.wait(20)
        harness.table.put(item(2, "meanwhile"))
        if kind == "beside":
            second: Any = "card:p2:s" if view == "cards" else ("p2", "s")
            until(lambda: old_rows(harness, view)[second]["value"] == "meanwhile", "the old rows to follow")
    found = harness.wait_ended(view)
    assert found.kind == kind
    rows = harness.rows(view)
    assert len([row for row in rows.values() if row["value"] in ("as before", "meanwhile", "first")]) == 20 + (
        20 if change == "family" else 0  # memory keeps both under one roof
    )
    if "more" in text:
        assert all(row["more"] == row["value"] for row in rows.values())
    assert harness.record(view).reason == ""


def old_rows(harness: WorkerHarness, view: str) -> dict[Any, Any]:
    return harness.rows(view, 1)


@pytest.mark.parametrize(("on_change", "state"), [("rebuild", "following"), ("ask", "following"), ("stop", "changed")])
def test_what_follows_a_change(harness: WorkerHarness, on_change: str, state: str) -> None:
    harness.stop()
    harness.declare(CARDS + OTHERS["fields"][0] + f"    on_change: {on_change}\n")
    harness.start()
    harness.wait_state("reads", state)
    if on_change == "rebuild":
        until(lambda: harness.record("reads").generation == 2, "the rebuild that it asks for")
        assert harness.rebuilt("reads").options.asked_by == "on_change"
    else:
        harness.wait_state("cards", "following")
        assert harness.rebuilt("reads").kind == "fill"
        harness.rebuild("reads")
        harness.wait_ended("reads")
    assert all(row["more"] == "first" for row in harness.rows("reads").values())
    harness.wait_state("reads", "following")
    harness.rebuild("reads", kind="rollback")
    harness.wait_ended("reads")
    harness.restart()
    harness.wait_state("reads", "following")
    assert harness.record("reads").generation == 1  # nobody builds at once what was rolled back


def test_changed_once_more_meanwhile(harness: WorkerHarness) -> None:
    with harness.table.hold("scan") as held:
        harness.rebuild(*BOTH)
        assert held.reached.wait(20)
        harness.cut()
    harness.kill()
    harness.declare(CARDS.replace("fields: {", "fields: {more: value, ") + OTHERS["fields"][0])
    harness.start()
    for view in BOTH:
        assert "was changed meanwhile" in harness.wait_ended(view, "failed").reason
    assert not traces(harness, "reads", 2)
    harness.rebuild(*BOTH)
    for view in BOTH:
        harness.wait_ended(view)
        assert all(row["more"] == row["value"] for row in harness.rows(view).values())


def test_another_type_under_the_same_keys_is_refused(harness: WorkerHarness) -> None:
    harness.stop()
    harness.declare(CARDS.replace("type: hash", "type: string") + READS)
    begin(harness)
    harness.rebuild("cards")
    assert "another type" in harness.wait_ended("cards", "failed").reason
    assert harness.record("cards").generation == 1
    follows(harness, 1, "later")


# Gaps, and what is gone


def switch(harness: WorkerHarness) -> None:
    harness.table.disable_stream()
    harness.table.put(item(0, "unseen"))
    harness.table.delete(item(1, ""))
    harness.table.enable_stream("NEW_AND_OLD_IMAGES")


def make_anew(harness: WorkerHarness) -> None:
    harness.table.recreate()
    harness.table.put(item(0, "of the new table"))


def trim(harness: WorkerHarness) -> None:
    harness.stop()
    harness.table.put(item(0, "unseen"))
    harness.table.delete(item(1, ""))
    harness.table.trim("shard-0")
    harness.start()


def trim_tails(harness: WorkerHarness) -> None:
    """Nothing is left of any open shard, and nothing comes, so nothing can be read up to where the view has been."""
    harness.table.split("shard-0", 4)
    for number in range(20):
        harness.table.put(item(number, "in a child"))
    for view in BOTH:
        harness.wait_rows(view, expected(harness, view))
    harness.stop()
    harness.table.put(item(0, "unseen"))
    for shard in ("shard-0", *harness.table.leaves):  # the oldest go first
        harness.table.trim(shard)
    harness.start()


@pytest.mark.parametrize("lose", [switch, make_anew, trim, trim_tails])
def test_a_gap_asks_for_a_rebuild(harness: WorkerHarness, lose: Callable[[WorkerHarness], None]) -> None:
    harness.stop()
    harness.declare(
        (CARDS + READS).replace("    source: shop\n", "    source: shop\n    on_gap: rebuild\n    shrink: 1.0\n")
    )
    begin(harness)
    lose(harness)
    for view in BOTH:
        until(lambda view=view: harness.record(view).generation == 2, f"{view} to be rebuilt")  # type: ignore[misc]
        assert harness.wait_ended(view).options.asked_by == "on_gap"
        assert harness.rows(view) == expected(harness, view)
        assert harness.record(view).stream_count == (0 if lose in (trim, trim_tails) else 1)
        harness.wait_state(view, "following")
    follows(harness, 0, "later")
    follows(harness, 7, "later")


@pytest.mark.parametrize("view", BOTH)
@pytest.mark.parametrize("kill", [False, True])
def test_a_gap_and_a_cancel_is_a_gap(harness: WorkerHarness, view: str, kill: bool) -> None:
    switch(harness)
    harness.wait_state(view, "gap")
    reason = harness.record(view).reason
    with harness.table.hold("scan") as held:
        harness.rebuild(view)
        assert held.reached.wait(20)
        if kill:
            harness.cut()
        harness.control.rebuilds.answer(view, "cancel")
    if kill:
        harness.kill()
        harness.start()
    harness.wait_ended(view, "cancelled")
    harness.wait_state(view, "gap")
    assert harness.record(view).reason == reason
    harness.restart()
    harness.rebuild(view)
    harness.wait_ended(view)
    assert harness.rows(view) == expected(harness, view)


@pytest.mark.parametrize("view", BOTH)
@pytest.mark.parametrize("cancel", [False, True])
def test_begun_before_the_first_fill_is_complete(tmp_path: Path, view: str, cancel: bool) -> None:
    harness = WorkerHarness(tmp_path)
    harness.table.scan_page = 5
    for number in range(20):
        harness.table.put(item(number, "first"))
    with harness.table.hold("scan") as held:
        harness.start()
        assert held.reached.wait(20)
        harness.wait_state(view, "filling")
        harness.rebuild(view)
        until(lambda: harness.rebuilt(view).phase != "requested", "it to begin")
        if cancel:
            harness.control.rebuilds.answer(view, "cancel")
    if cancel:  # the first fill begins anew by itself, perhaps before anyone sees what was cancelled
        until(lambda: (it := harness.rebuilt(view)).phase == "cancelled" or it.kind == "fill", "the rebuild to end")
    else:
        harness.wait_ended(view)
    until(lambda: harness.record(view).filled, "the fill, or what takes its place")
    until(lambda: harness.rows(view) == expected(harness, view), "the view to be whole")
    follows(harness, 1, "later", view)
    harness.wait_state(view, "following")
    harness.close()


def test_what_was_removed_by_hand_comes_back(harness: WorkerHarness) -> None:
    sink = harness.sinks["reads"]
    assert isinstance(sink, MemorySink)
    sink._drop("reads", 1)
    harness.table.put(item(1, "meanwhile"))
    harness.wait_state("reads", "refused")
    harness.rebuild("reads")
    harness.wait_ended("reads")
    assert harness.rows("reads") == expected(harness, "reads")
    harness.wait_state("reads", "following")
    follows(harness, 1, "later")


def test_a_next_one_that_is_removed_by_hand_is_not_made_anew_empty(harness: WorkerHarness) -> None:
    sink = harness.sinks["reads"]
    assert isinstance(sink, MemorySink)
    with paused(harness, "finishing") as reached:
        harness.rebuild("reads")
        assert reached.wait(20)
        harness.cut()
    harness.kill()
    sink._drop("reads", 2)
    harness.start()
    assert "gone" in harness.wait_ended("reads", "failed").reason
    follows(harness, 1, "later")
    assert harness.rows("reads") == expected(harness, "reads")
