"""Rebuilds and rollbacks: every phase, and whatever may come between."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import Room, SinkRefused, SinkUnavailable, Target
from dynaview.views.budget import Capacity
from dynaview.views.control.records import Options
from tests.support.rebuilding import BOTH, Held, begin, damage, expected, follows, item, paused, traces
from tests.support.until import until
from tests.support.worker_harness import CARDS, READS, WorkerHarness


def test_a_rebuild_replaces_what_was_damaged(harness: WorkerHarness) -> None:
    good = {view: harness.rows(view) for view in BOTH}
    assert all(len(rows) == 20 for rows in good.values())
    damage(harness)
    assert all(harness.rows(view) != good[view] for view in BOTH)
    harness.rebuild(*BOTH)
    for view, kind in (("cards", "in place"), ("reads", "beside")):
        found = harness.wait_ended(view)
        assert (found.kind, found.items, found.generation) == (kind, 20, 2)
        assert harness.record(view).generation == 2
        assert harness.rows(view) == good[view]
        harness.wait_state(view, "following")
    assert harness.rebuilt("cards").job == harness.rebuilt("reads").job
    assert harness.table.counts()["scan"] <= 5 + 5 + 5 + 60  # two first fills, one scan for both, two samples
    follows(harness, 3, "second")
    until(lambda: harness.rows("reads", 1)["p3", "s"]["value"] == "second", "the kept generation to follow")


# Cancelling

PHASES = ("starting", "scanning", "finishing", "waiting", "checking", "sweeping", "swapping")


@pytest.mark.parametrize("phase", [each for each in PHASES if each != "sweeping"])
def test_cancelled_beside_nothing_is_left(harness: WorkerHarness, phase: str) -> None:
    before = harness.rows("reads")
    name = "begin" if phase == "starting" else phase
    with paused(harness, name) as reached:
        harness.rebuild("reads")
        assert reached.wait(20)
        assert harness.control.rebuilds.answer("reads", "cancel")
    harness.wait_ended("reads", "cancelled")
    assert not traces(harness, "reads", 2)
    assert harness.record("reads").write_order == (1,)
    assert harness.sinks["reads"].published(harness.declaration.views["reads"].layout) == 1
    assert harness.rows("reads") == before
    follows(harness, 2, "later", "reads")
    harness.wait_state("reads", "following")
    harness.rebuild("reads")
    assert harness.wait_ended("reads").generation == 3
    assert harness.rows("reads") == expected(harness, "reads")


@pytest.mark.parametrize("phase", [each for each in PHASES if each != "finishing"])
def test_cancelled_in_place_it_goes_on_as_the_next_generation(harness: WorkerHarness, phase: str) -> None:
    name = "begin" if phase == "starting" else phase
    with paused(harness, name) as reached:
        harness.rebuild("cards")
        assert reached.wait(20)
        assert harness.control.rebuilds.answer("cards", "cancel")
    assert "rows that were not reached stay as they were" in harness.wait_ended("cards", "cancelled").reason
    record = harness.record("cards")
    assert (record.generation, record.write_order) == (2, (2,))
    assert harness.rows("cards") == expected(harness, "cards")
    follows(harness, 2, "later", "cards")
    harness.wait_state("cards", "following")
    harness.rebuild("cards")
    assert harness.wait_ended("cards").generation == 3
    assert harness.rows("cards") == expected(harness, "cards")


def test_cancelled_while_the_store_is_away(harness: WorkerHarness) -> None:
    down = threading.Event()

    def act(name: str, target: Target) -> None:
        if target.generation == 2 and name == "write":
            down.set()
            raise SinkUnavailable("scripted")

    held = Held(harness.sinks["reads"], act)
    harness.rebuild("reads")
    assert down.wait(20)
    harness.control.rebuilds.answer("reads", "cancel")
    harness.wait_ended("reads", "cancelled")
    held.heal()
    assert not traces(harness, "reads", 2)
    follows(harness, 1, "later")


def test_of_two_views_that_share_a_scan_one_is_cancelled(harness: WorkerHarness) -> None:
    with harness.table.hold("scan") as held:
        harness.rebuild(*BOTH)
        assert held.reached.wait(20)
        harness.control.rebuilds.answer("reads", "cancel")
    harness.wait_ended("reads", "cancelled")
    assert harness.wait_ended("cards").items == 20
    assert harness.record("cards").generation == 2
    assert harness.record("reads").generation == 1
    follows(harness, 1, "later")


# Failing


def test_too_many_dead_letters_fail_it(harness: WorkerHarness) -> None:
    bad = READS.replace("value: {from: value, type: text}", "value: {from: value, type: integer}")
    harness.stop()
    harness.declare(CARDS + bad + "    dead_letters: {limit: 3}\n")
    begin(harness)
    harness.rebuild("reads")
    assert "more than 3 dead letters" in harness.wait_ended("reads", "failed").reason
    assert not traces(harness, "reads", 2)
    assert harness.rows("reads", 1) == expected(harness, "reads")


def test_a_share_of_a_capacity_that_there_is_not_is_refused(harness: WorkerHarness) -> None:
    harness.rebuild("reads", options=Options(capacity=Capacity(share=0.25)))
    assert "on demand" in harness.wait_ended("reads", "failed").reason
    assert not traces(harness, "reads", 2)


@pytest.mark.parametrize("call", ["prepare", "write", "finish", "publish"])
def test_a_store_that_refuses_fails_it(harness: WorkerHarness, call: str) -> None:
    def act(name: str, target: Target) -> None:
        if target.generation == 2 and name == call:
            raise SinkRefused("scripted: no right to do so")

    held = Held(harness.sinks["reads"], act)
    harness.rebuild("reads")
    assert "no right to do so" in harness.wait_ended("reads", "failed").reason
    held.heal()
    assert not traces(harness, "reads", 2)
    assert harness.rows("reads") == expected(harness, "reads")
    follows(harness, 1, "later")


@pytest.mark.parametrize("view", BOTH)
def test_a_gap_that_comes_meanwhile_stays(harness: WorkerHarness, view: str) -> None:
    with harness.table.hold("scan") as held:
        harness.rebuild(view)
        assert held.reached.wait(20)
        harness.table.disable_stream()
        harness.wait_state(view, "gap")
    harness.table.enable_stream("NEW_AND_OLD_IMAGES")
    harness.wait_ended(view, "failed")
    harness.restart()
    harness.wait_state(view, "gap")
    harness.rebuild(view)
    harness.wait_ended(view)
    assert harness.record(view).stream_count == 1
    assert harness.rows(view) == expected(harness, view)
    follows(harness, 1, "later", view)


# Asking


def test_a_view_that_shrinks_asks(harness: WorkerHarness) -> None:
    harness.table.disable_stream()
    for number in range(15):
        harness.table.delete(item(number, ""))
    harness.table.enable_stream("NEW_AND_OLD_IMAGES")
    harness.wait_state("reads", "gap")
    harness.rebuild(*BOTH)
    for view in BOTH:
        until(lambda view=view: harness.rebuilt(view).answer == "?", "the question")  # type: ignore[misc]
        assert "shrink from 20 to 5" in harness.rebuilt(view).reason
    assert len(harness.rows("reads")) == len(harness.rows("cards")) == 20
    harness.restart()
    harness.control.rebuilds.answer("reads", "yes")
    harness.control.rebuilds.answer("cards", "cancel")
    harness.wait_ended("reads")
    harness.wait_ended("cards", "cancelled")
    assert harness.rows("reads") == expected(harness, "reads")
    harness.wait_state("cards", "gap")  # as it was


def test_a_job_that_asks_holds_up_no_other(harness: WorkerHarness) -> None:
    room(harness, Room(100, 50))
    harness.rebuild("reads")
    until(lambda: harness.rebuilt("reads").answer == "?", "the question")
    assert "free" in harness.rebuilt("reads").reason
    harness.rebuild("cards")
    harness.wait_ended("cards")
    harness.control.rebuilds.answer("reads", "yes")
    harness.wait_ended("reads")


def room(harness: WorkerHarness, found: Room) -> None:
    sink: Any = harness.sinks["reads"]
    sink.room = lambda layout, generation: found


def test_told_yes_it_does_not_ask(harness: WorkerHarness) -> None:
    room(harness, Room(100, 50))
    harness.rebuild("reads", options=Options(yes=True))
    harness.wait_ended("reads")


def test_a_sample_that_differs_asks(harness: WorkerHarness) -> None:
    with paused(harness, "finishing") as reached:
        harness.rebuild("reads")
        assert reached.wait(20)
        sink = harness.sinks["reads"]
        assert isinstance(sink, MemorySink)
        rows = sink._made["reads", 2].held
        rows["p1", "s"].content = b'{"value": "edited"}'
        del rows["p2", "s"]
    until(lambda: harness.rebuilt("reads").answer == "?", "the question")
    assert "(1 missing, 1 different)" in harness.rebuilt("reads").reason
    harness.control.rebuilds.answer("reads", "cancel")
    harness.wait_ended("reads", "cancelled")


def test_asked_for_twice_it_is_one(harness: WorkerHarness) -> None:
    with harness.table.hold("scan") as held:
        harness.rebuild("reads")
        assert held.reached.wait(20)
        job = harness.rebuilt("reads").job
        harness.rebuild("reads", "cards")
        assert harness.rebuilt("reads").job == job
    assert harness.wait_ended("reads").generation == 2
    harness.wait_ended("cards")
    assert harness.record("reads").generation == 2


# Keeping, and going back


def test_back_and_forth(harness: WorkerHarness) -> None:
    layout = harness.declaration.views["reads"].layout
    harness.rebuild("reads")
    harness.wait_ended("reads")
    for number, generation in enumerate((1, 2, 1)):
        follows(harness, number, f"before {generation}", "reads")
        harness.rebuild("reads", kind="rollback")
        harness.wait_ended("reads")
        assert harness.sinks["reads"].published(layout) == harness.record("reads").generation == generation
        assert harness.record("reads").write_order[0] == generation
        assert harness.rows("reads") == expected(harness, "reads")
    follows(harness, 5, "later", "reads")
    until(lambda: harness.rows("reads", 2) == expected(harness, "reads"), "the other one to be written")


def test_a_rollback_is_cancelled(harness: WorkerHarness) -> None:
    harness.rebuild("reads")
    harness.wait_ended("reads")
    with paused(harness, "waiting") as reached:
        harness.rebuild("reads", kind="rollback")
        assert reached.wait(20)
        harness.control.rebuilds.answer("reads", "cancel")
    harness.wait_ended("reads", "cancelled")
    assert harness.record("reads").write_order == (2, 1)
    assert harness.record("reads").generation == 2
    follows(harness, 5, "later")


@pytest.mark.parametrize("view", BOTH)
def test_nothing_to_go_back_to(harness: WorkerHarness, view: str) -> None:
    harness.rebuild(view, kind="rollback")
    assert "no generation before" in harness.wait_ended(view, "failed").reason
    assert harness.record(view).generation == 1
    harness.rebuild(view, options=Options(keep=0.0))
    harness.wait_ended(view)
    until(lambda: len(harness.control.generations(view)) == 1, "the generation before to be dropped")
    until(lambda: harness.record(view).write_order == (2,), "it to be written no more")
    assert harness.rows(view) == expected(harness, view)
    if view == "reads":
        assert not traces(harness, view, 1)
    harness.rebuild(view, kind="rollback")
    harness.wait_ended(view, "failed")
    follows(harness, 1, "later")


def test_one_that_was_not_written_is_not_gone_back_to(harness: WorkerHarness) -> None:
    harness.table.disable_stream()
    harness.table.put(item(0, "unseen"))
    harness.table.enable_stream("NEW_AND_OLD_IMAGES")
    harness.wait_state("reads", "gap")
    harness.rebuild("reads")
    harness.wait_ended("reads")
    harness.rebuild("reads", kind="rollback")
    assert "was not written any more" in harness.wait_ended("reads", "failed").reason
    assert harness.rows("reads") == expected(harness, "reads")


def test_a_kept_one_that_was_removed_by_hand_stops_nothing(harness: WorkerHarness) -> None:
    harness.rebuild("reads")
    harness.wait_ended("reads")
    sink = harness.sinks["reads"]
    assert isinstance(sink, MemorySink)
    sink._drop("reads", 1)
    follows(harness, 5, "later")
    until(lambda: len(harness.control.generations("reads")) == 1, "it to be forgotten")
    harness.wait_state("reads", "following")
    harness.rebuild("reads", kind="rollback")
    harness.wait_ended("reads", "failed")
