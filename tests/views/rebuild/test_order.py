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
from tests.support.worker_harness import CARDS, READS, WorkerHarness

# What a swap waits for


def test_no_swap_before_the_watermark_has_passed_the_scan(harness: WorkerHarness) -> None:
    layout, late, held_up = harness.declaration.views["reads"].layout, threading.Event(), threading.Event()

    def act(name: str, target: Target) -> None:
        if name == "write" and pipelines(threading.current_thread()) and late.is_set():
            held_up.set()
            until(lambda: not late.is_set(), "the pipeline to be let go")

    held = Held(harness.sinks["reads"], act)
    with harness.table.hold("scan") as scan:
        harness.rebuild("reads")
        assert scan.reached.wait(20)
        late.set()
        harness.table.put(item(1, "second"))
        assert held_up.wait(20)
        harness.table.put(item(1, "third"))  # which is scanned, and then would go back to the second
    until(lambda: harness.rows("reads", 2).get(("p1", "s"), {}).get("value") == "third", "the scan")
    until(lambda: harness.rebuilt("reads").phase == "waiting", "the scan's end")
    stays(lambda: harness.rebuilt("reads").phase == "waiting" and harness.sinks["reads"].published(layout) == 1)
    late.clear()
    harness.wait_ended("reads")
    held.heal()
    assert harness.rows("reads")["p1", "s"]["value"] == "third"


def test_a_page_in_place_is_held_until_the_watermark_has_passed_the_look(harness: WorkerHarness) -> None:
    late, held_up = threading.Event(), threading.Event()
    with harness.table.hold("scan") as scan:
        harness.rebuild("cards")
        assert scan.reached.wait(20)

        sink: Any = harness.sinks["cache"]
        through = MemoryTarget.write

        def write(target: MemoryTarget, writes: Sequence[Write]) -> list[Outcome]:
            if pipelines(threading.current_thread()) and late.is_set():
                held_up.set()
                until(lambda: not late.is_set(), "the pipeline to be let go")
            return through(target, writes)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemoryTarget, "write", write)
            late.set()
            harness.table.put(item(1, "second"))
            assert held_up.wait(20)
            scan.released.set()
            until(lambda: harness.rebuilt("cards").phase == "scanning", "the scan")
            stays(lambda: all(held.generation == 1 for held in sink._made["cards", 0].held.values()))
            late.clear()
            harness.wait_ended("cards")
    assert harness.rows("cards") == expected(harness, "cards")


def test_what_readers_are_to_see_is_written_first(harness: WorkerHarness) -> None:
    layout, order = harness.declaration.views["reads"].layout, list[int]()
    through = MemoryTarget.write

    def noted(target: MemoryTarget, writes: Sequence[Write]) -> list[Outcome]:
        if target.layout.view == "reads" and pipelines(threading.current_thread()):
            order.append(target.generation)
        return through(target, writes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryTarget, "write", noted)
        with paused(harness, "swapping") as reached:
            harness.rebuild("reads")
            assert reached.wait(20)
            order.clear()
            harness.table.put(item(1, "second"))
            until(lambda: len(order) == 2, "both generations to be written")
            assert order == [2, 1]
        harness.wait_ended("reads")
        with paused(harness, "swapping") as reached:
            harness.rebuild("reads", kind="rollback")
            assert reached.wait(20)
            assert harness.sinks["reads"].published(layout) == 2
            order.clear()
            harness.table.put(item(1, "third"))
            until(lambda: len(order) == 2, "both generations to be written")
            assert order == [1, 2]
        harness.wait_ended("reads")


@pytest.mark.parametrize("kind", ["beside", "rollback"])
def test_every_worker_is_waited_for(harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "rollback":
        harness.rebuild("reads")
        harness.wait_ended("reads")
    sharing = LeaseStore.sharing
    monkeypatch.setattr(LeaseStore, "sharing", lambda crew, view: [*sharing(crew, view), "another"])
    harness.control.adopt("reads", "another", harness.record("reads").revision)
    harness.restart()
    harness.wait_state("reads", "following")
    before = harness.table.counts()["scan"]
    harness.rebuild("reads", kind=kind)
    until(lambda: harness.rebuilt("reads").phase == "starting", "it to begin")
    stays(lambda: harness.rebuilt("reads").phase == "starting" and harness.table.counts()["scan"] == before)
    harness.control.adopt("reads", "another", harness.record("reads").revision)
    harness.wait_ended("reads")


# Processes that end


@pytest.mark.parametrize("view", BOTH)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "what", ["begin", "update", "scanning", "save_page", "finishing", "checking", "swapping", "swapped", "done"]
)
def test_killed_around_a_record(harness: WorkerHarness, what: str, moment: str, view: str) -> None:
    cut = threading.Event()

    def heard(when: str, recorded: str) -> None:
        if (when, recorded) == (moment, what):
            harness.cut()
            cut.set()

    harness.on_record(heard)
    harness.rebuild(view)
    until(lambda: cut.is_set() or harness.rebuilt(view).ended, "the moment")
    harness.kill()
    harness.table.put(item(1, "meanwhile"))
    harness.table.delete(item(2, ""))
    harness.start()
    harness.wait_ended(view)
    assert harness.record(view).generation in (2, 3)  # above what was prepared and never begun
    until(lambda: harness.rows(view) == expected(harness, view), "the view to be right")
    follows(harness, 1, "later", view)
    harness.wait_state(view, "following")


def test_between_the_swap_and_its_record_readers_are_not_sent_back(harness: WorkerHarness) -> None:
    layout = harness.declaration.views["reads"].layout
    seen: list[int | None] = []

    def heard(when: str, recorded: str) -> None:
        if (when, recorded) == ("before", "swapped"):
            harness.cut()

    harness.on_record(heard)
    harness.rebuild("reads")
    until(lambda: harness.sinks["reads"].published(layout) == 2, "the swap")
    harness.kill()
    held = Held(
        harness.sinks["reads"], lambda name, target: seen.append(target.generation) if name == "publish" else None
    )
    harness.control.rebuilds.answer("reads", "cancel")  # too late
    harness.start()
    harness.wait_ended("reads")
    held.heal()
    assert 1 not in seen
    assert harness.record("reads").generation == 2
    follows(harness, 1, "later")


def test_a_view_that_is_declared_no_more_goes_on_by_itself_later(harness: WorkerHarness) -> None:
    calls = [0]

    def heard(when: str, recorded: str) -> None:
        calls[0] += (when, recorded) == ("after", "save_page")
        if calls[0] == 3:
            harness.cut()

    harness.on_record(heard)
    harness.rebuild(*BOTH)
    until(lambda: calls[0] >= 3, "half of the scan")
    harness.kill()
    harness.declare(CARDS)
    begin(harness, "cards")
    harness.wait_ended("cards")
    assert not harness.rebuilt("reads").ended
    harness.stop()
    harness.declare(CARDS + READS)
    harness.start()
    harness.wait_ended("reads")
    for view in BOTH:
        assert harness.rows(view) == expected(harness, view)


def test_a_view_that_is_dropped_meanwhile(harness: WorkerHarness) -> None:
    with harness.table.hold("scan") as held:
        harness.rebuild("reads")
        assert held.reached.wait(20)
        harness.cut()
    harness.kill()
    harness.control.drop_view("reads")
    sink = harness.sinks["reads"]
    assert isinstance(sink, MemorySink)
    for number in (1, 2):
        sink._drop("reads", number)
    begin(harness)
    assert harness.rebuilt("reads").kind == "fill"
    harness.rebuild("reads")
    harness.wait_ended("reads")
    assert harness.rows("reads") == expected(harness, "reads")


# A control store that is lost


@pytest.mark.parametrize("times", [0, 1])
def test_rows_that_a_lost_control_store_left_are_not_taken_for_its_own(harness: WorkerHarness, times: int) -> None:
    """Its numbers began again: what it writes would be older than what stands, or what stands be taken for complete."""
    for _ in range(times):
        harness.rebuild(*BOTH)
        for view in BOTH:
            harness.wait_ended(view)
    harness.stop()
    harness.control.close()
    for suffix in ("", "-wal", "-shm"):
        (harness.folder / f"control.db{suffix}").unlink(missing_ok=True)
    harness.table.put(item(1, "meanwhile"))
    harness.table.delete(item(2, ""))
    harness.control = ControlStore(harness.declaration.control)
    harness.start()
    for view in BOTH:
        harness.wait_state(view, "refused")
        assert (
            f"holds generation {1 + times} of it, which this control store did not make" in harness.record(view).reason
        )
    harness.rebuild(*BOTH)
    for view in BOTH:
        assert harness.wait_ended(view).generation == 2 + times
        until(lambda view=view: harness.rows(view) == expected(harness, view), f"{view} to be right")  # type: ignore[misc]  # a default is not inferred
        harness.wait_state(view, "following")
