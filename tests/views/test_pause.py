"""A view that is paused: nothing is done for it, in any worker, and the others of its table go on without it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynaview.views.control import tables
from dynaview.views.control.store import ControlStore
from dynaview.views.states import ViewState
from dynaview.views.status import all_status, endangered
from tests.support.cluster import cluster
from tests.support.commands import told
from tests.support.rebuilding import Held, begin, expected, follows, item, paused, stays
from tests.support.until import until
from tests.support.worker_harness import CARDS, READS, WorkerHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    made = WorkerHarness(tmp_path)
    for number in range(20):
        made.table.put(item(number, "first"))
    begin(made)
    yield made
    made.close()


def pause(harness: WorkerHarness, view: str, reason: str = "") -> None:
    """Pause a view, until its workers have let go of it."""
    assert harness.control.states.pause(view, reason)
    until(lambda: not harness.control.not_adopted(view), f"workers to let go of {view}")


def test_a_paused_view_stands_while_others_of_its_table_go_on_and_catches_up(harness: WorkerHarness) -> None:
    pause(harness, "cards", "disks are swapped")
    writes = list[str]()
    Held(harness.sinks["cache"], lambda name, target: writes.append(name))
    before, checkpoints = harness.rows("cards"), harness.control.checkpoints("cards")
    for number in range(300):
        harness.table.put(item(number % 40, str(number)))
        if number % 100 == 50:
            harness.table.split(harness.table.leaves[0], 2)
    harness.wait_rows("reads", expected(harness, "reads"))
    record = harness.record("cards")
    assert (record.state, record.reason) == (
        ViewState.PAUSED,
        "disks are swapped; dynaview resume cards lets it go on",
    )
    assert (harness.rows("cards"), harness.control.checkpoints("cards"), writes) == (before, checkpoints, [])
    assert all(pipeline.name != "cards" for pipeline in harness.worker._pipelines.all())  # type: ignore[union-attr]
    assert harness.control.states.resume("cards")
    harness.wait_rows("cards", expected(harness, "cards"))
    for view in ("cards", "reads"):
        until(lambda view=view: harness.record(view).counts.read == harness.table.made, f"{view} to count all")  # type: ignore[misc]
    follows(harness, 7, "later")
    harness.wait_state("cards", "following")


def test_a_pause_outlasts_a_restart_and_is_shown_where_nothing_runs(harness: WorkerHarness) -> None:
    pause(harness, "cards")
    harness.restart()
    follows(harness, 1, "while it is paused", "reads")
    assert harness.record("cards").state is ViewState.PAUSED
    harness.stop()
    shown = {view["view"]: view["state"] for view in all_status(harness.control)}
    assert shown["cards"] == "paused"
    assert not harness.control.states.pause("cards", "twice")
    assert harness.record("cards").reason.startswith("twice; ")
    assert harness.control.states.resume("cards")
    assert not harness.control.states.resume("cards")
    harness.start()
    harness.wait_rows("cards", expected(harness, "cards"))


def test_a_view_that_is_paused_alone_keeps_nothing_of_its_stream_in_memory(tmp_path: Path) -> None:
    made = WorkerHarness(tmp_path, CARDS)
    try:
        begin(made, "cards")
        pause(made, "cards")
        for number in range(1000):
            made.table.put(item(number % 40, str(number)))
        made.table.split(made.table.leaves[0], 2)
        reads = made.table.counts()["read"]
        stays(lambda: made.table.counts()["read"] <= reads + 4)  # nobody reads for nobody
        made.control.states.resume("cards")
        made.wait_rows("cards", expected(made, "cards"))
    finally:
        made.close()


def test_what_was_trimmed_during_a_pause_is_a_gap(harness: WorkerHarness) -> None:
    pause(harness, "cards")
    follows(harness, 1, "lost", "reads")
    until(lambda: (harness.record("reads").watermark or 0) > time.time() - 5, "reads to be at the tip")
    harness.table.trim(harness.table.leaves[0])
    assert harness.record("cards").state is ViewState.PAUSED
    harness.control.states.resume("cards")
    harness.wait_state("cards", "gap")
    follows(harness, 2, "still", "reads")


def test_a_gap_is_shown_also_while_its_view_is_paused_and_after_it(harness: WorkerHarness) -> None:
    harness.control.states.set("cards", ViewState.GAP, "lost")
    pause(harness, "cards")
    assert harness.record("cards").state is ViewState.GAP
    said = told("status", "-f", harness.folder / "dynaview.yaml").out
    assert "cards: it is paused too: dynaview resume cards" in said
    harness.control.states.resume("cards")
    until(lambda: not harness.control.not_adopted("cards"), "the worker to look again")
    assert harness.record("cards").state is ViewState.GAP


def test_a_first_fill_waits_and_goes_on_where_it_was_while_the_others_are_filled(tmp_path: Path) -> None:
    made = WorkerHarness(tmp_path)
    made.table.scan_page = 5
    for number in range(40):
        made.table.put(item(number, "first"))
    try:
        with made.table.hold("scan") as held:
            made.start()
            assert held.reached.wait(20)
            with paused(made, "save_page") as reached:
                held.released.set()
                assert reached.wait(20)
                assert made.control.states.pause("cards", "")
                stays(lambda: bool(made.control.not_adopted("cards")), 0.3)  # a page of it may be on its way
        until(lambda: made.record("reads").filled, "reads to be filled")
        until(lambda: not made.control.not_adopted("cards"), "the fill to let go of cards")
        fill = made.rebuilt("cards")
        assert (made.record("cards").filled, fill.ended) == (False, False)
        assert fill.items < 40
        rows = made.rows("cards")
        stays(lambda: made.rows("cards") == rows)
        made.control.states.resume("cards")
        until(lambda: made.record("cards").filled, "cards to be filled")
        assert made.rows("cards") == expected(made, "cards")
        assert made.wait_ended("cards").items == 40  # each page was counted once
    finally:
        made.close()


@pytest.mark.parametrize("view", ["cards", "reads"])
@pytest.mark.parametrize("phase", ["starting", "scanning", "waiting", "checking", "swapping"])
def test_a_rebuild_waits_in_whatever_phase_it_is_and_ends_after_the_pause(
    harness: WorkerHarness, view: str, phase: str
) -> None:
    harness.table.scan_page = 5
    with paused(harness, phase if phase != "starting" else "begin") as reached:
        harness.rebuild(view)
        assert reached.wait(20)
        assert harness.control.states.pause(view, "")
        follows(harness, 3, "meanwhile", *{"cards", "reads"} - {view})
    until(lambda: not harness.control.not_adopted(view), "everything to let go of it")
    if not harness.rebuilt(view).ended:  # a swap that was under way is done
        stays(lambda: harness.record(view).state is ViewState.PAUSED and not harness.rebuilt(view).ended, 0.2)
    harness.control.states.resume(view)
    harness.wait_ended(view)
    harness.wait_state(view, "following")
    assert harness.record(view).generation == 2
    harness.wait_rows(view, expected(harness, view))


def test_a_rebuild_that_is_cancelled_during_a_pause_is_taken_back_after_it(harness: WorkerHarness) -> None:
    with paused(harness, "scanning") as reached:
        harness.rebuild("reads")
        assert reached.wait(20)
        harness.control.states.pause("reads", "")
        assert harness.control.rebuilds.answer("reads", "cancel")
    until(lambda: not harness.control.not_adopted("reads"), "everything to let go of it")
    assert not harness.rebuilt("reads").ended
    harness.control.states.resume("reads")
    harness.wait_ended("reads", "cancelled")
    follows(harness, 4, "after it")


def test_every_worker_lets_go_of_a_paused_view_and_takes_it_up_again(tmp_path: Path) -> None:
    with cluster(tmp_path) as made:
        made.table.split("shard-0", 4)
        made.join()
        crashing = made.join()
        made.wait_shared([2, 2])
        for number in range(200):
            made.put(number % 40, number)
        made.wait_done()
        made.control.states.pause("one", "")
        until(lambda: not made.control.not_adopted("one"), "both to let go")
        counted = made.counted("one")
        for number in range(200, 400):
            made.put(number % 40, number)
            if number % 50 == 0:
                made.table.split(made.table.leaves[number % 3], 2)
        made.crash(crashing)
        made.join()
        until(lambda: made.counted("two") == made.table.made, "the other view to have all")
        assert made.counted("one") == counted
        made.control.states.resume("one")
        made.wait_done()


def test_a_worker_whose_store_hangs_has_not_let_go(harness: WorkerHarness) -> None:
    hold, held = threading.Event(), threading.Event()

    def hang(name: str, target: object) -> None:
        if name == "write":
            held.set()
            assert hold.wait(30)

    made = Held(harness.sinks["cache"], hang)
    harness.settings.patience = 0.05
    harness.restart()
    harness.table.put(item(1, "hangs"))
    assert held.wait(20)
    asked = told("pause", "cards", "-f", harness.folder / "dynaview.yaml", "--timeout", "0.3")
    assert asked.code == 1
    assert "cards: paused, and not yet let go by" in asked.err
    made.heal()
    hold.set()
    assert told("pause", "cards", "-f", harness.folder / "dynaview.yaml").code == 0


def test_the_commands(harness: WorkerHarness) -> None:
    file = harness.folder / "dynaview.yaml"
    done = told("pause", "cards", "reads", "-f", file, "--reason", "maintenance")
    assert (done.code, done.err) == (0, "")
    assert "cards: paused; dynaview resume cards lets it go on, within 24 hours" in done.out
    again = told("pause", "cards", "-f", file)
    assert (again.code, "was paused already" in again.err) == (0, True)
    status = told("status", "-f", file)
    assert "paused" in status.out
    assert "cards: maintenance; dynaview resume cards lets it go on" in status.out
    assert told("status", "--check", "-f", file).code == 1
    waited = told("wait", "cards", "-f", file)
    assert (waited.code, "dynaview resume cards" in waited.err) == (1, True)
    refused = told("rebuild", "cards", "-f", file)
    assert (refused.code, "cards is paused: dynaview resume cards first" in refused.err) == (2, True)
    assert "dynaview resume reads" in told("verify", "reads", "-f", file).err
    for words in (["pause", "cart"], ["resume", "cart"], ["pause", "cards", "--reason", "a\nb"]):
        assert told(*words, "-f", file).code == 2
    assert told("resume", "cards", "reads", "-f", file).code == 0
    assert "was not paused" in told("resume", "cards", "-f", file).err
    for view in ("cards", "reads"):
        harness.wait_state(view, "following")


def test_a_view_that_was_never_started_cannot_be_paused(tmp_path: Path) -> None:
    made = WorkerHarness(tmp_path, READS)
    try:
        made.start()
        made.declare(READS + CARDS)
        asked = told("pause", "cards", "-f", made.folder / "dynaview.yaml")
        assert (asked.code, "never started" in asked.err) == (2, True)
    finally:
        made.close()


def test_it_is_warned_hours_before_changes_are_lost(tmp_path: Path) -> None:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    try:
        control.add_view("one", "shop", "cache", "f", "arn")
        control.states.pause("one", "")
        for hours, said in ((19.0, None), (21.0, "in 3.0 h changes since"), (25.0, "changes since")):
            with control._database.write() as connection:
                connection.execute(tables.views.update().values(watermark=time.time() - hours * 3600))
            (view,) = all_status(control)
            warning = endangered(view)
            assert (warning is None) == (said is None), warning
            assert warning is None or warning.startswith(said or ""), warning
            assert abs(view["retention_left"] - max(0.0, (24 - hours) * 3600)) < 60
    finally:
        control.close()
