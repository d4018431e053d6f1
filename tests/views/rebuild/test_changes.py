"""Rebuilds because of what has changed or is gone: declarations, streams, indexes and tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dynaview.sinks.memory import MemorySink
from tests.support.rebuilding import BOTH, begin, expected, follows, item, paused, traces
from tests.support.until import until
from tests.support.yard import CARDS, READS, Yard

# Declarations that change

OTHERS = {
    "fields": (READS.replace("    fields: {", "    fields: {more: {from: value, type: text}, "), "beside"),
    "key": (READS.replace("key: [pk, sk]", "key: [sk, pk]"), "beside"),
    "table": (READS.replace("table: reads", "table: other"), "beside"),
    "family": (CARDS.replace("card:", "face:"), "beside"),
    "hash": (CARDS.replace("fields: {", "fields: {more: value, "), "in place"),
}


@pytest.mark.parametrize("change", OTHERS)
def test_the_view_is_written_as_before_until_the_swap(yard: Yard, change: str) -> None:
    text, kind = OTHERS[change]
    view = "cards" if "cards:" in text else "reads"
    yard.stop()
    yard.declare(text + (READS if view == "cards" else CARDS))
    begin(yard)
    assert "declared before" in yard.record(view).reason
    yard.table.put(item(1, "as before"))
    old: Any = "card:p1:s" if view == "cards" else ("p1", "s")
    until(lambda: yard.rows(view, 1)[old]["value"] == "as before", "the old rows to follow")
    with yard.table.hold("scan") as held:
        yard.rebuild(view)
        assert held.reached.wait(20)
        yard.table.put(item(2, "meanwhile"))
        if kind == "beside":
            second: Any = "card:p2:s" if view == "cards" else ("p2", "s")
            until(lambda: old_rows(yard, view)[second]["value"] == "meanwhile", "the old rows to follow")
    found = yard.wait_ended(view)
    assert found.kind == kind
    rows = yard.rows(view)
    assert len([row for row in rows.values() if row["value"] in ("as before", "meanwhile", "first")]) == 20 + (
        20 if change == "family" else 0  # memory keeps both under one roof
    )
    if "more" in text:
        assert all(row["more"] == row["value"] for row in rows.values())
    assert yard.record(view).reason == ""


def old_rows(yard: Yard, view: str) -> dict[Any, Any]:
    return yard.rows(view, 1)


@pytest.mark.parametrize(("on_change", "state"), [("rebuild", "following"), ("ask", "following"), ("stop", "changed")])
def test_what_follows_a_change(yard: Yard, on_change: str, state: str) -> None:
    yard.stop()
    yard.declare(CARDS + OTHERS["fields"][0] + f"    on_change: {on_change}\n")
    yard.start()
    yard.wait_state("reads", state)
    if on_change == "rebuild":
        until(lambda: yard.record("reads").generation == 2, "the rebuild that it asks for")
        assert yard.rebuilt("reads").options.asked_by == "on_change"
    else:
        yard.wait_state("cards", "following")
        assert yard.rebuilt("reads").kind == "fill"
        yard.rebuild("reads")
        yard.wait_ended("reads")
    assert all(row["more"] == "first" for row in yard.rows("reads").values())
    yard.wait_state("reads", "following")
    yard.rebuild("reads", kind="rollback")
    yard.wait_ended("reads")
    yard.restart()
    yard.wait_state("reads", "following")
    assert yard.record("reads").generation == 1  # nobody builds at once what was rolled back


def test_changed_once_more_meanwhile(yard: Yard) -> None:
    with yard.table.hold("scan") as held:
        yard.rebuild(*BOTH)
        assert held.reached.wait(20)
        yard.cut()
    yard.kill()
    yard.declare(CARDS.replace("fields: {", "fields: {more: value, ") + OTHERS["fields"][0])
    yard.start()
    for view in BOTH:
        assert "was changed meanwhile" in yard.wait_ended(view, "failed").reason
    assert not traces(yard, "reads", 2)
    yard.rebuild(*BOTH)
    for view in BOTH:
        yard.wait_ended(view)
        assert all(row["more"] == row["value"] for row in yard.rows(view).values())


def test_another_type_under_the_same_keys_is_refused(yard: Yard) -> None:
    yard.stop()
    yard.declare(CARDS.replace("type: hash", "type: string") + READS)
    begin(yard)
    yard.rebuild("cards")
    assert "another type" in yard.wait_ended("cards", "failed").reason
    assert yard.record("cards").generation == 1
    follows(yard, 1, "later")


# Gaps, and what is gone


def switch(yard: Yard) -> None:
    yard.table.disable_stream()
    yard.table.put(item(0, "unseen"))
    yard.table.delete(item(1, ""))
    yard.table.enable_stream("NEW_AND_OLD_IMAGES")


def make_anew(yard: Yard) -> None:
    yard.table.recreate()
    yard.table.put(item(0, "of the new table"))


def trim(yard: Yard) -> None:
    yard.stop()
    yard.table.put(item(0, "unseen"))
    yard.table.delete(item(1, ""))
    yard.table.trim("shard-0")
    yard.start()


def trim_tails(yard: Yard) -> None:
    """Nothing is left of any open shard, and nothing comes, so nothing can be read up to where the view has been."""
    yard.table.split("shard-0", 4)
    for number in range(20):
        yard.table.put(item(number, "in a child"))
    for view in BOTH:
        yard.wait_rows(view, expected(yard, view))
    yard.stop()
    yard.table.put(item(0, "unseen"))
    for shard in ("shard-0", *yard.table.leaves):  # the oldest go first
        yard.table.trim(shard)
    yard.start()


@pytest.mark.parametrize("lose", [switch, make_anew, trim, trim_tails])
def test_a_gap_asks_for_a_rebuild(yard: Yard, lose: Callable[[Yard], None]) -> None:
    yard.stop()
    yard.declare(
        (CARDS + READS).replace("    source: shop\n", "    source: shop\n    on_gap: rebuild\n    shrink: 1.0\n")
    )
    begin(yard)
    lose(yard)
    for view in BOTH:
        until(lambda view=view: yard.record(view).generation == 2, f"{view} to be rebuilt")  # type: ignore[misc]
        assert yard.wait_ended(view).options.asked_by == "on_gap"
        assert yard.rows(view) == expected(yard, view)
        assert yard.record(view).stream_count == (0 if lose in (trim, trim_tails) else 1)
        yard.wait_state(view, "following")
    follows(yard, 0, "later")
    follows(yard, 7, "later")


@pytest.mark.parametrize("view", BOTH)
@pytest.mark.parametrize("kill", [False, True])
def test_a_gap_and_a_cancel_is_a_gap(yard: Yard, view: str, kill: bool) -> None:
    switch(yard)
    yard.wait_state(view, "gap")
    reason = yard.record(view).reason
    with yard.table.hold("scan") as held:
        yard.rebuild(view)
        assert held.reached.wait(20)
        if kill:
            yard.cut()
        yard.control.rebuilds.answer(view, "cancel")
    if kill:
        yard.kill()
        yard.start()
    yard.wait_ended(view, "cancelled")
    yard.wait_state(view, "gap")
    assert yard.record(view).reason == reason
    yard.restart()
    yard.rebuild(view)
    yard.wait_ended(view)
    assert yard.rows(view) == expected(yard, view)


@pytest.mark.parametrize("view", BOTH)
@pytest.mark.parametrize("cancel", [False, True])
def test_begun_before_the_first_fill_is_complete(tmp_path: Path, view: str, cancel: bool) -> None:
    yard = Yard(tmp_path)
    yard.table.scan_page = 5
    for number in range(20):
        yard.table.put(item(number, "first"))
    with yard.table.hold("scan") as held:
        yard.start()
        assert held.reached.wait(20)
        yard.wait_state(view, "filling")
        yard.rebuild(view)
        until(lambda: yard.rebuilt(view).phase != "requested", "it to begin")
        if cancel:
            yard.control.rebuilds.answer(view, "cancel")
    yard.wait_ended(view, "cancelled" if cancel else "done")
    until(lambda: yard.record(view).filled, "the fill, or what takes its place")
    until(lambda: yard.rows(view) == expected(yard, view), "the view to be whole")
    follows(yard, 1, "later", view)
    yard.wait_state(view, "following")
    yard.close()


def test_what_was_removed_by_hand_comes_back(yard: Yard) -> None:
    sink = yard.sinks["reads"]
    assert isinstance(sink, MemorySink)
    sink._drop("reads", 1)
    yard.table.put(item(1, "meanwhile"))
    yard.wait_state("reads", "refused")
    yard.rebuild("reads")
    yard.wait_ended("reads")
    assert yard.rows("reads") == expected(yard, "reads")
    yard.wait_state("reads", "following")
    follows(yard, 1, "later")


def test_a_next_one_that_is_removed_by_hand_is_not_made_anew_empty(yard: Yard) -> None:
    sink = yard.sinks["reads"]
    assert isinstance(sink, MemorySink)
    with paused(yard, "finishing") as reached:
        yard.rebuild("reads")
        assert reached.wait(20)
        yard.cut()
    yard.kill()
    sink._drop("reads", 2)
    yard.start()
    assert "gone" in yard.wait_ended("reads", "failed").reason
    follows(yard, 1, "later")
    assert yard.rows("reads") == expected(yard, "reads")
