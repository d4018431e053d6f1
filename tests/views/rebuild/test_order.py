"""What a rebuild waits for, and what it leaves where its process ends: readers are never sent back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from dynaview.projections.rows import Write
from dynaview.sinks.memory import MemorySink, MemoryTarget
from dynaview.sinks.port import Outcome, Target
from dynaview.views.control.leases import LeaseStore
from dynaview.views.control.store import ControlStore
from tests.support.rebuilding import BOTH, Held, begin, expected, follows, item, paused, pipelines, stays
from tests.support.until import until
from tests.support.yard import CARDS, READS, Yard

# What a swap waits for


def test_no_swap_before_the_watermark_has_passed_the_scan(yard: Yard) -> None:
    layout, late, held_up = yard.declaration.views["reads"].layout, threading.Event(), threading.Event()

    def act(name: str, target: Target) -> None:
        if name == "write" and pipelines(threading.current_thread()) and late.is_set():
            held_up.set()
            until(lambda: not late.is_set(), "the pipeline to be let go")

    held = Held(yard.sinks["reads"], act)
    with yard.table.hold("scan") as scan:
        yard.rebuild("reads")
        assert scan.reached.wait(20)
        late.set()
        yard.table.put(item(1, "second"))
        assert held_up.wait(20)
        yard.table.put(item(1, "third"))  # which is scanned, and then would go back to the second
    until(lambda: yard.rows("reads", 2).get(("p1", "s"), {}).get("value") == "third", "the scan")
    until(lambda: yard.rebuilt("reads").phase == "waiting", "the scan's end")
    stays(lambda: yard.rebuilt("reads").phase == "waiting" and yard.sinks["reads"].published(layout) == 1)
    late.clear()
    yard.wait_ended("reads")
    held.heal()
    assert yard.rows("reads")["p1", "s"]["value"] == "third"


def test_a_page_in_place_is_held_until_the_watermark_has_passed_the_look(yard: Yard) -> None:
    late, held_up = threading.Event(), threading.Event()
    with yard.table.hold("scan") as scan:
        yard.rebuild("cards")
        assert scan.reached.wait(20)

        sink: Any = yard.sinks["cache"]
        through = MemoryTarget.write

        def write(target: MemoryTarget, writes: Sequence[Write]) -> list[Outcome]:
            if pipelines(threading.current_thread()) and late.is_set():
                held_up.set()
                until(lambda: not late.is_set(), "the pipeline to be let go")
            return through(target, writes)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemoryTarget, "write", write)
            late.set()
            yard.table.put(item(1, "second"))
            assert held_up.wait(20)
            scan.released.set()
            until(lambda: yard.rebuilt("cards").phase == "scanning", "the scan")
            stays(lambda: all(held.generation == 1 for held in sink._made["cards", 0].held.values()))
            late.clear()
            yard.wait_ended("cards")
    assert yard.rows("cards") == expected(yard, "cards")


def test_what_readers_are_to_see_is_written_first(yard: Yard) -> None:
    layout, order = yard.declaration.views["reads"].layout, list[int]()
    through = MemoryTarget.write

    def noted(target: MemoryTarget, writes: Sequence[Write]) -> list[Outcome]:
        if target.layout.view == "reads" and pipelines(threading.current_thread()):
            order.append(target.generation)
        return through(target, writes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryTarget, "write", noted)
        with paused(yard, "swapping") as reached:
            yard.rebuild("reads")
            assert reached.wait(20)
            order.clear()
            yard.table.put(item(1, "second"))
            until(lambda: len(order) == 2, "both generations to be written")
            assert order == [2, 1]
        yard.wait_ended("reads")
        with paused(yard, "swapping") as reached:
            yard.rebuild("reads", kind="rollback")
            assert reached.wait(20)
            assert yard.sinks["reads"].published(layout) == 2
            order.clear()
            yard.table.put(item(1, "third"))
            until(lambda: len(order) == 2, "both generations to be written")
            assert order == [1, 2]
        yard.wait_ended("reads")


@pytest.mark.parametrize("kind", ["beside", "rollback"])
def test_every_worker_is_waited_for(yard: Yard, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "rollback":
        yard.rebuild("reads")
        yard.wait_ended("reads")
    sharing = LeaseStore.sharing
    monkeypatch.setattr(LeaseStore, "sharing", lambda crew, view: [*sharing(crew, view), "another"])
    yard.control.adopt("reads", "another", yard.record("reads").revision)
    yard.restart()
    yard.wait_state("reads", "following")
    before = yard.table.counts()["scan"]
    yard.rebuild("reads", kind=kind)
    until(lambda: yard.rebuilt("reads").phase == "starting", "it to begin")
    stays(lambda: yard.rebuilt("reads").phase == "starting" and yard.table.counts()["scan"] == before)
    yard.control.adopt("reads", "another", yard.record("reads").revision)
    yard.wait_ended("reads")


# Processes that end


@pytest.mark.parametrize("view", BOTH)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "what", ["begin", "update", "scanning", "save_page", "finishing", "checking", "swapping", "swapped", "done"]
)
def test_killed_around_a_record(yard: Yard, what: str, moment: str, view: str) -> None:
    cut = threading.Event()

    def heard(when: str, recorded: str) -> None:
        if (when, recorded) == (moment, what):
            yard.cut()
            cut.set()

    yard.on_record(heard)
    yard.rebuild(view)
    until(lambda: cut.is_set() or yard.rebuilt(view).ended, "the moment")
    yard.kill()
    yard.table.put(item(1, "meanwhile"))
    yard.table.delete(item(2, ""))
    yard.start()
    yard.wait_ended(view)
    assert yard.record(view).generation in (2, 3)  # above what was prepared and never begun
    until(lambda: yard.rows(view) == expected(yard, view), "the view to be right")
    follows(yard, 1, "later", view)
    yard.wait_state(view, "following")


def test_between_the_swap_and_its_record_readers_are_not_sent_back(yard: Yard) -> None:
    layout = yard.declaration.views["reads"].layout
    seen: list[int | None] = []

    def heard(when: str, recorded: str) -> None:
        if (when, recorded) == ("before", "swapped"):
            yard.cut()

    yard.on_record(heard)
    yard.rebuild("reads")
    until(lambda: yard.sinks["reads"].published(layout) == 2, "the swap")
    yard.kill()
    held = Held(yard.sinks["reads"], lambda name, target: seen.append(target.generation) if name == "publish" else None)
    yard.control.rebuilds.answer("reads", "cancel")  # too late
    yard.start()
    yard.wait_ended("reads")
    held.heal()
    assert 1 not in seen
    assert yard.record("reads").generation == 2
    follows(yard, 1, "later")


def test_a_view_that_is_declared_no_more_goes_on_by_itself_later(yard: Yard) -> None:
    calls = [0]

    def heard(when: str, recorded: str) -> None:
        calls[0] += (when, recorded) == ("after", "save_page")
        if calls[0] == 3:
            yard.cut()

    yard.on_record(heard)
    yard.rebuild(*BOTH)
    until(lambda: calls[0] >= 3, "half of the scan")
    yard.kill()
    yard.declare(CARDS)
    begin(yard, "cards")
    yard.wait_ended("cards")
    assert not yard.rebuilt("reads").ended
    yard.stop()
    yard.declare(CARDS + READS)
    yard.start()
    yard.wait_ended("reads")
    for view in BOTH:
        assert yard.rows(view) == expected(yard, view)


def test_a_view_that_is_dropped_meanwhile(yard: Yard) -> None:
    with yard.table.hold("scan") as held:
        yard.rebuild("reads")
        assert held.reached.wait(20)
        yard.cut()
    yard.kill()
    yard.control.drop_view("reads")
    sink = yard.sinks["reads"]
    assert isinstance(sink, MemorySink)
    for number in (1, 2):
        sink._drop("reads", number)
    begin(yard)
    assert yard.rebuilt("reads").kind == "fill"
    yard.rebuild("reads")
    yard.wait_ended("reads")
    assert yard.rows("reads") == expected(yard, "reads")


# A control store that is lost


@pytest.mark.parametrize("times", [0, 1])
def test_rows_that_a_lost_control_store_left_are_not_taken_for_its_own(yard: Yard, times: int) -> None:
    """Its numbers began again: what it writes would be older than what stands, or what stands be taken for complete."""
    for _ in range(times):
        yard.rebuild(*BOTH)
        for view in BOTH:
            yard.wait_ended(view)
    yard.stop()
    yard.control.close()
    for suffix in ("", "-wal", "-shm"):
        (yard.folder / f"control.db{suffix}").unlink(missing_ok=True)
    yard.table.put(item(1, "meanwhile"))
    yard.table.delete(item(2, ""))
    yard.control = ControlStore(yard.declaration.control)
    yard.start()
    for view in BOTH:
        yard.wait_state(view, "refused")
        assert f"holds generation {1 + times} of it, which this control store did not make" in yard.record(view).reason
    yard.rebuild(*BOTH)
    for view in BOTH:
        assert yard.wait_ended(view).generation == 2 + times
        until(lambda view=view: yard.rows(view) == expected(yard, view), f"{view} to be right")  # type: ignore[misc]  # a default is not inferred
        yard.wait_state(view, "following")
