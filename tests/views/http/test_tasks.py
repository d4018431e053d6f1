"""Tasks: long work beside the server, with its progress and its result in the control store."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dynaview.views.control import tables
from dynaview.views.control.records import LongTask
from dynaview.views.control.store import ControlStore
from dynaview.views.control.tasks import KEPT
from dynaview.views.http.guard import Problem
from dynaview.views.http.tasks import Running, TaskRunner, plain
from dynaview.views.retry import Stopped
from dynaview.views.verify.findings import VerifyError
from tests.support.until import until


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlStore]:
    made = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    yield made
    made.close()


@pytest.fixture
def runner(control: ControlStore) -> Iterator[TaskRunner]:
    made = TaskRunner(control.tasks, together=1, waiting=2, beat=0.01)
    yield made
    made.stop()


def found(control: ControlStore, task: LongTask) -> LongTask:
    now = control.tasks.find(task.id)
    assert now is not None
    return now


def wait_state(control: ControlStore, task: LongTask, state: str) -> LongTask:
    until(lambda: found(control, task).state == state, f"{task.kind} to be {state}: {found(control, task)}")
    return found(control, task)


def endless(running: Running) -> None:
    running.progress(3, 10)
    assert running.stop.wait(30)
    raise Stopped


def test_a_task_tells_how_far_it_is_and_what_came_of_it(control: ControlStore, runner: TaskRunner) -> None:
    gate = threading.Event()

    def work(running: Running) -> dict[str, int]:
        running.progress(5, 20)
        assert gate.wait(30)
        return {"rows": 20}

    task = runner.ask("verify", "card", work)
    assert (task.state, task.result) == ("queued", None)
    until(lambda: found(control, task).done == 5, "its progress")
    assert wait_state(control, task, "running").expected == 20
    gate.set()
    assert wait_state(control, task, "done").result == {"rows": 20}


def test_it_is_cancelled_by_whichever_process_hears_of_it(control: ControlStore, runner: TaskRunner) -> None:
    task, waiting = runner.ask("verify", "card", endless), runner.ask("repair", "card", endless)
    wait_state(control, task, "running")
    assert found(control, waiting).state == "queued"
    for each in (waiting, task):
        assert control.tasks.cancel(each.id)
    for each in (task, waiting):
        wait_state(control, each, "cancelled")
    assert not control.tasks.cancel(task.id)
    assert control.tasks.find("none") is None


def test_what_cannot_be_done_says_why_and_a_fault_shows_no_values(control: ControlStore, runner: TaskRunner) -> None:
    def refuse(_running: Running) -> None:
        raise VerifyError("card is paused")

    def fail(_running: Running) -> None:
        raise RuntimeError("a row's value")

    assert wait_state(control, runner.ask("verify", "card", refuse), "failed").error == "card is paused"
    error = wait_state(control, runner.ask("verify", "card", fail), "failed").error
    assert error.startswith("an unexpected RuntimeError")
    assert "a row's value" not in error


def test_only_so_many_wait(control: ControlStore, runner: TaskRunner) -> None:
    wait_state(control, runner.ask("verify", "card", endless), "running")
    for _ in range(2):
        runner.ask("verify", "card", endless)
    with pytest.raises(Problem, match="2 tasks wait already"):
        runner.ask("verify", "card", endless)
    assert len(control.tasks.all()) == 3


def test_the_end_of_the_server_ends_them(control: ControlStore) -> None:
    made = TaskRunner(control.tasks, together=1, beat=0.01)
    task, waiting = made.ask("verify", "card", endless), made.ask("verify", "card", endless)
    wait_state(control, task, "running")
    made.stop()
    for each in (task, waiting):
        assert wait_state(control, each, "cancelled").error == "the server has ended"
    with pytest.raises(Problem):
        made.ask("verify", "card", endless)


def test_a_task_whose_process_is_gone_is_lost(control: ControlStore) -> None:
    task = control.tasks.add("verify", "card")
    with control._database.write() as connection:
        connection.execute(tables.tasks.update().values(updated=time.time() - 60))
    assert found(control, task).state == "lost"
    assert plain(found(control, task))["error"].startswith("the process that did it is gone")


def test_the_oldest_that_have_ended_are_forgotten(control: ControlStore) -> None:
    first, open_one = control.tasks.add("verify", "card"), control.tasks.add("verify", "card")
    control.tasks.end(first.id, "done", result=[1])
    for _ in range(KEPT):
        control.tasks.end(control.tasks.add("verify", "card").id, "done")
    assert control.tasks.find(first.id) is None
    assert found(control, open_one) == replace(open_one)
