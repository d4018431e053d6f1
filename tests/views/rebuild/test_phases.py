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
from tests.support.yard import CARDS, READS, Yard


def test_a_rebuild_replaces_what_was_damaged(yard: Yard) -> None:
    good = {view: yard.rows(view) for view in BOTH}
    assert all(len(rows) == 20 for rows in good.values())
    damage(yard)
    assert all(yard.rows(view) != good[view] for view in BOTH)
    yard.rebuild(*BOTH)
    for view, kind in (("cards", "in place"), ("reads", "beside")):
        found = yard.wait_ended(view)
        assert (found.kind, found.items, found.generation) == (kind, 20, 2)
        assert yard.record(view).generation == 2
        assert yard.rows(view) == good[view]
        yard.wait_state(view, "following")
    assert yard.rebuilt("cards").job == yard.rebuilt("reads").job
    assert yard.table.counts()["scan"] <= 5 + 5 + 5 + 60  # two first fills, one scan for both, two samples
    follows(yard, 3, "second")
    until(lambda: yard.rows("reads", 1)["p3", "s"]["value"] == "second", "the kept generation to follow")


# Cancelling

PHASES = ("starting", "scanning", "finishing", "waiting", "checking", "sweeping", "swapping")


@pytest.mark.parametrize("phase", [each for each in PHASES if each != "sweeping"])
def test_cancelled_beside_nothing_is_left(yard: Yard, phase: str) -> None:
    before = yard.rows("reads")
    name = "begin" if phase == "starting" else phase
    with paused(yard, name) as reached:
        yard.rebuild("reads")
        assert reached.wait(20)
        assert yard.control.rebuilds.answer("reads", "cancel")
    yard.wait_ended("reads", "cancelled")
    assert not traces(yard, "reads", 2)
    assert yard.record("reads").write_order == (1,)
    assert yard.sinks["reads"].published(yard.declaration.views["reads"].layout) == 1
    assert yard.rows("reads") == before
    follows(yard, 2, "later", "reads")
    yard.wait_state("reads", "following")
    yard.rebuild("reads")
    assert yard.wait_ended("reads").generation == 3
    assert yard.rows("reads") == expected(yard, "reads")


@pytest.mark.parametrize("phase", [each for each in PHASES if each != "finishing"])
def test_cancelled_in_place_it_goes_on_as_the_next_generation(yard: Yard, phase: str) -> None:
    name = "begin" if phase == "starting" else phase
    with paused(yard, name) as reached:
        yard.rebuild("cards")
        assert reached.wait(20)
        assert yard.control.rebuilds.answer("cards", "cancel")
    assert "rows that were not reached stay as they were" in yard.wait_ended("cards", "cancelled").reason
    record = yard.record("cards")
    assert (record.generation, record.write_order) == (2, (2,))
    assert yard.rows("cards") == expected(yard, "cards")
    follows(yard, 2, "later", "cards")
    yard.wait_state("cards", "following")
    yard.rebuild("cards")
    assert yard.wait_ended("cards").generation == 3
    assert yard.rows("cards") == expected(yard, "cards")


def test_cancelled_while_the_store_is_away(yard: Yard) -> None:
    down = threading.Event()

    def act(name: str, target: Target) -> None:
        if target.generation == 2 and name == "write":
            down.set()
            raise SinkUnavailable("scripted")

    held = Held(yard.sinks["reads"], act)
    yard.rebuild("reads")
    assert down.wait(20)
    yard.control.rebuilds.answer("reads", "cancel")
    yard.wait_ended("reads", "cancelled")
    held.heal()
    assert not traces(yard, "reads", 2)
    follows(yard, 1, "later")


def test_of_two_views_that_share_a_scan_one_is_cancelled(yard: Yard) -> None:
    with yard.table.hold("scan") as held:
        yard.rebuild(*BOTH)
        assert held.reached.wait(20)
        yard.control.rebuilds.answer("reads", "cancel")
    yard.wait_ended("reads", "cancelled")
    assert yard.wait_ended("cards").items == 20
    assert yard.record("cards").generation == 2
    assert yard.record("reads").generation == 1
    follows(yard, 1, "later")


# Failing


def test_too_many_dead_letters_fail_it(yard: Yard) -> None:
    bad = READS.replace("value: {from: value, type: text}", "value: {from: value, type: integer}")
    yard.stop()
    yard.declare(CARDS + bad + "    dead_letters: {limit: 3}\n")
    begin(yard)
    yard.rebuild("reads")
    assert "more than 3 dead letters" in yard.wait_ended("reads", "failed").reason
    assert not traces(yard, "reads", 2)
    assert yard.rows("reads", 1) == expected(yard, "reads")


def test_a_share_of_a_capacity_that_there_is_not_is_refused(yard: Yard) -> None:
    yard.rebuild("reads", options=Options(capacity=Capacity(share=0.25)))
    assert "on demand" in yard.wait_ended("reads", "failed").reason
    assert not traces(yard, "reads", 2)


@pytest.mark.parametrize("call", ["prepare", "write", "finish", "publish"])
def test_a_store_that_refuses_fails_it(yard: Yard, call: str) -> None:
    def act(name: str, target: Target) -> None:
        if target.generation == 2 and name == call:
            raise SinkRefused("scripted: no right to do so")

    held = Held(yard.sinks["reads"], act)
    yard.rebuild("reads")
    assert "no right to do so" in yard.wait_ended("reads", "failed").reason
    held.heal()
    assert not traces(yard, "reads", 2)
    assert yard.rows("reads") == expected(yard, "reads")
    follows(yard, 1, "later")


@pytest.mark.parametrize("view", BOTH)
def test_a_gap_that_comes_meanwhile_stays(yard: Yard, view: str) -> None:
    with yard.table.hold("scan") as held:
        yard.rebuild(view)
        assert held.reached.wait(20)
        yard.table.disable_stream()
        yard.wait_state(view, "gap")
    yard.table.enable_stream("NEW_AND_OLD_IMAGES")
    yard.wait_ended(view, "failed")
    yard.restart()
    yard.wait_state(view, "gap")
    yard.rebuild(view)
    yard.wait_ended(view)
    assert yard.record(view).stream_count == 1
    assert yard.rows(view) == expected(yard, view)
    follows(yard, 1, "later", view)


# Asking


def test_a_view_that_shrinks_asks(yard: Yard) -> None:
    yard.table.disable_stream()
    for number in range(15):
        yard.table.delete(item(number, ""))
    yard.table.enable_stream("NEW_AND_OLD_IMAGES")
    yard.wait_state("reads", "gap")
    yard.rebuild(*BOTH)
    for view in BOTH:
        until(lambda view=view: yard.rebuilt(view).answer == "?", "the question")  # type: ignore[misc]
        assert "shrink from 20 to 5" in yard.rebuilt(view).reason
    assert len(yard.rows("reads")) == len(yard.rows("cards")) == 20
    yard.restart()
    yard.control.rebuilds.answer("reads", "yes")
    yard.control.rebuilds.answer("cards", "cancel")
    yard.wait_ended("reads")
    yard.wait_ended("cards", "cancelled")
    assert yard.rows("reads") == expected(yard, "reads")
    yard.wait_state("cards", "gap")  # as it was


def test_a_job_that_asks_holds_up_no_other(yard: Yard) -> None:
    room(yard, Room(100, 50))
    yard.rebuild("reads")
    until(lambda: yard.rebuilt("reads").answer == "?", "the question")
    assert "free" in yard.rebuilt("reads").reason
    yard.rebuild("cards")
    yard.wait_ended("cards")
    yard.control.rebuilds.answer("reads", "yes")
    yard.wait_ended("reads")


def room(yard: Yard, found: Room) -> None:
    sink: Any = yard.sinks["reads"]
    sink.room = lambda layout, generation: found


def test_told_yes_it_does_not_ask(yard: Yard) -> None:
    room(yard, Room(100, 50))
    yard.rebuild("reads", options=Options(yes=True))
    yard.wait_ended("reads")


def test_a_sample_that_differs_asks(yard: Yard) -> None:
    with paused(yard, "finishing") as reached:
        yard.rebuild("reads")
        assert reached.wait(20)
        sink = yard.sinks["reads"]
        assert isinstance(sink, MemorySink)
        rows = sink._made["reads", 2].held
        rows["p1", "s"].content = b'{"value": "edited"}'
        del rows["p2", "s"]
    until(lambda: yard.rebuilt("reads").answer == "?", "the question")
    assert "(1 missing, 1 different)" in yard.rebuilt("reads").reason
    yard.control.rebuilds.answer("reads", "cancel")
    yard.wait_ended("reads", "cancelled")


def test_asked_for_twice_it_is_one(yard: Yard) -> None:
    with yard.table.hold("scan") as held:
        yard.rebuild("reads")
        assert held.reached.wait(20)
        job = yard.rebuilt("reads").job
        yard.rebuild("reads", "cards")
        assert yard.rebuilt("reads").job == job
    assert yard.wait_ended("reads").generation == 2
    yard.wait_ended("cards")
    assert yard.record("reads").generation == 2


# Keeping, and going back


def test_back_and_forth(yard: Yard) -> None:
    layout = yard.declaration.views["reads"].layout
    yard.rebuild("reads")
    yard.wait_ended("reads")
    for number, generation in enumerate((1, 2, 1)):
        follows(yard, number, f"before {generation}", "reads")
        yard.rebuild("reads", kind="rollback")
        yard.wait_ended("reads")
        assert yard.sinks["reads"].published(layout) == yard.record("reads").generation == generation
        assert yard.record("reads").write_order[0] == generation
        assert yard.rows("reads") == expected(yard, "reads")
    follows(yard, 5, "later", "reads")
    until(lambda: yard.rows("reads", 2) == expected(yard, "reads"), "the other one to be written")


def test_a_rollback_is_cancelled(yard: Yard) -> None:
    yard.rebuild("reads")
    yard.wait_ended("reads")
    with paused(yard, "waiting") as reached:
        yard.rebuild("reads", kind="rollback")
        assert reached.wait(20)
        yard.control.rebuilds.answer("reads", "cancel")
    yard.wait_ended("reads", "cancelled")
    assert yard.record("reads").write_order == (2, 1)
    assert yard.record("reads").generation == 2
    follows(yard, 5, "later")


@pytest.mark.parametrize("view", BOTH)
def test_nothing_to_go_back_to(yard: Yard, view: str) -> None:
    yard.rebuild(view, kind="rollback")
    assert "no generation before" in yard.wait_ended(view, "failed").reason
    assert yard.record(view).generation == 1
    yard.rebuild(view, options=Options(keep=0.0))
    yard.wait_ended(view)
    until(lambda: len(yard.control.generations(view)) == 1, "the generation before to be dropped")
    until(lambda: yard.record(view).write_order == (2,), "it to be written no more")
    assert yard.rows(view) == expected(yard, view)
    if view == "reads":
        assert not traces(yard, view, 1)
    yard.rebuild(view, kind="rollback")
    yard.wait_ended(view, "failed")
    follows(yard, 1, "later")


def test_one_that_was_not_written_is_not_gone_back_to(yard: Yard) -> None:
    yard.table.disable_stream()
    yard.table.put(item(0, "unseen"))
    yard.table.enable_stream("NEW_AND_OLD_IMAGES")
    yard.wait_state("reads", "gap")
    yard.rebuild("reads")
    yard.wait_ended("reads")
    yard.rebuild("reads", kind="rollback")
    assert "was not written any more" in yard.wait_ended("reads", "failed").reason
    assert yard.rows("reads") == expected(yard, "reads")


def test_a_kept_one_that_was_removed_by_hand_stops_nothing(yard: Yard) -> None:
    yard.rebuild("reads")
    yard.wait_ended("reads")
    sink = yard.sinks["reads"]
    assert isinstance(sink, MemorySink)
    sink._drop("reads", 1)
    follows(yard, 5, "later")
    until(lambda: len(yard.control.generations("reads")) == 1, "it to be forgotten")
    yard.wait_state("reads", "following")
    yard.rebuild("reads", kind="rollback")
    yard.wait_ended("reads", "failed")
