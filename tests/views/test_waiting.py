"""Waiting for a view: read-your-writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.changes import STREAM_SPAN
from dynaview.projections.rows import Write
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import SinkRefused, SinkUnavailable, Target
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.store import ControlStore
from dynaview.views.states import ViewState
from dynaview.views.waiting import Hopeless, Moment, Pace, RowVersion, TimedOut, wait_for
from tests.support.follower_harness import FollowerHarness
from tests.support.simple import layout
from tests.support.until import until

START = 1_700_000_000.0


class Clock:
    """Virtual time: a pause lets it pass, and plays what is scripted for then."""

    def __init__(self) -> None:
        self.at = START
        self.pauses: list[float] = []
        self.script: list[tuple[float, Any]] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.at += seconds
        while self.script and self.script[0][0] <= self.at - START:
            self.script.pop(0)[1]()

    @property
    def pace(self) -> Pace:
        return Pace(lambda: self.at, lambda: self.at, self.pause)


class Book(ControlStore):
    """A control store with one view whose record tests write as they like."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"sqlite:///{folder / 'control.db'}")
        self.add_view("one", "shop", "memory", "f", "arn")
        self.changed: dict[str, Any] = {"seen": START + 3600, "state": ViewState.FOLLOWING, "filled": True}
        self.away = 0

    def view(self, name: str) -> Any:
        if self.away:
            self.away -= 1
            raise ControlUnavailable("the control store does not answer")
        record = super().view(name)
        return None if record is None else dataclasses.replace(record, **self.changed)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    made = Book(tmp_path)
    yield made
    made.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait(book: Book, clock: Clock, goal: Any = None, timeout: float = 10, **more: Any) -> Any:
    return wait_for(book, "one", goal or Moment(START), timeout=timeout, pace=clock.pace, **more)


def test_it_waits_until_the_watermark_is_past_the_moment(book: Book, clock: Clock) -> None:
    book.changed["watermark"] = START - 5
    clock.script = [
        (1.0, lambda: book.changed.update(watermark=START)),  # up to it is not past it
        (2.0, lambda: book.changed.update(watermark=START + 0.001)),
    ]
    standing = wait(book, clock)
    assert 2.0 <= standing.waited <= 2.5
    assert standing.watermark == START + 0.001
    assert standing.running


def test_it_looks_often_at_first_and_then_less_so(book: Book, clock: Clock) -> None:
    with pytest.raises(TimedOut):
        wait(book, clock, timeout=10)
    assert clock.pauses[0] <= 0.05
    assert clock.pauses[:-1] == sorted(clock.pauses[:-1])
    assert max(clock.pauses) == 0.5
    assert sum(clock.pauses) == pytest.approx(10)


def test_a_view_that_is_not_filled_does_not_show_what_was_before_the_stream(book: Book, clock: Clock) -> None:
    book.changed.update(watermark=START + 5, filled=False, state=ViewState.FILLING)
    with pytest.raises(TimedOut, match="its state is filling"):
        wait(book, clock)
    book.changed["filled"] = True
    assert wait(book, clock).waited == 0


def test_a_time_out_says_how_far_the_view_was(book: Book, clock: Clock) -> None:
    book.changed.update(watermark=START - 60, state=ViewState.RETRYING, reason="the store is full")
    with pytest.raises(TimedOut) as caught:
        wait(book, clock, timeout=2)
    text = str(caught.value)
    assert "2023-11-14T22:12:20Z (62.0 s behind)" in text
    assert "retrying: the store is full" in text
    standing = caught.value.standing
    assert (standing.watermark, standing.lag, standing.state) == (START - 60, 62.0, "retrying")
    assert clock.at == START + 2


@pytest.mark.parametrize("state", [state for state in ViewState if state.lasts])
@pytest.mark.parametrize("running", [True, False])
def test_a_state_that_lasts_fails_at_once_with_its_reason(
    book: Book, clock: Clock, state: ViewState, running: bool
) -> None:
    book.changed.update(state=state, reason="do this", seen=START if running else START - 3600)
    with pytest.raises(Hopeless, match=f"{state}: do this"):
        wait(book, clock)
    assert clock.pauses == []


def test_a_view_that_gets_a_gap_meanwhile_fails_then(book: Book, clock: Clock) -> None:
    clock.script = [(1.0, lambda: book.changed.update(state=ViewState.GAP, reason="lost"))]
    with pytest.raises(Hopeless):
        wait(book, clock)
    assert clock.at < START + 2


def test_a_gap_does_not_take_back_what_was_proven_before_it(book: Book, clock: Clock) -> None:
    book.changed.update(watermark=START + 1, state=ViewState.GAP)
    assert wait(book, clock).state == "gap"


def test_a_daemon_that_does_not_run_is_told_once_and_waited_for(book: Book, clock: Clock) -> None:
    book.changed.update(watermark=START - 60, seen=START - 30)
    clock.script = [(3.0, lambda: book.changed.update(watermark=START + 1, seen=START + 3))]
    told: list[str] = []
    wait(book, clock, notice=told.append)
    assert len(told) == 1
    assert "stopped" in told[0]
    assert "start dynaview run" in told[0]


def test_a_view_that_was_never_started_says_so(book: Book, clock: Clock) -> None:
    book.drop_view("one")
    with pytest.raises(TimedOut, match="never started: start dynaview run"):
        wait(book, clock, timeout=1)


def test_a_control_store_that_is_away_for_a_moment_is_waited_for(book: Book, clock: Clock) -> None:
    book.changed["watermark"] = START + 1
    book.away = 3
    told: list[str] = []
    assert wait(book, clock, notice=told.append).waited > 0
    assert told == ["the control store does not answer"]
    book.away = 1000
    with pytest.raises(TimedOut, match="does not answer"):
        wait(book, clock, timeout=1)


# Rows


class Rows:
    """A view's rows, by generation."""

    def __init__(self) -> None:
        self.sink = MemorySink("memory")
        self.error: Exception | None = None

    def open(self, generation: int) -> Target:
        if self.error is not None:
            raise self.error
        target = self.sink.open(layout("one"), generation)
        target.prepare()
        return target

    def write(self, version: int, values: tuple[Any, ...] | None = ("v",), generation: int = 1) -> None:
        self.open(generation).write([Write("k", values, version)])

    def goal(self, version: int) -> RowVersion:
        return RowVersion(self.open, "k", version)


@pytest.fixture
def rows() -> Rows:
    return Rows()


def test_it_waits_until_a_row_holds_the_version(book: Book, clock: Clock, rows: Rows) -> None:
    rows.write(10**20)
    clock.script = [
        (1.0, lambda: rows.write(10**20 + 6)),
        (2.0, lambda: rows.write(10**20 + 9)),
    ]
    book.changed["filled"] = False  # the row itself is the proof
    assert 2.0 <= wait(book, clock, rows.goal(10**20 + 7)).waited <= 2.5


def test_a_tombstone_counts_and_a_scanned_row_does_not(book: Book, clock: Clock, rows: Rows) -> None:
    rows.write(0)
    with pytest.raises(TimedOut, match="version 7 of row 'k'"):
        wait(book, clock, rows.goal(7), timeout=1)
    rows.write(7, None)
    assert wait(book, clock, rows.goal(7)).waited == 0


def test_a_sequence_number_is_of_the_stream_that_the_view_follows_now(book: Book, clock: Clock, rows: Rows) -> None:
    book.changed["stream_count"] = 1
    rows.write(999)
    with pytest.raises(TimedOut):
        wait(book, clock, rows.goal(7), timeout=1)
    rows.write(STREAM_SPAN + 7)
    wait(book, clock, rows.goal(7))
    wait(book, clock, rows.goal(STREAM_SPAN + 7))
    with pytest.raises(TimedOut):
        wait(book, clock, rows.goal(STREAM_SPAN + 8), timeout=1)


def test_the_generation_that_readers_see_is_asked(book: Book, clock: Clock, rows: Rows) -> None:
    rows.write(5, generation=1)

    def swap() -> None:
        rows.write(7, generation=2)
        book.changed["generation"] = 2

    clock.script = [(1.0, swap)]
    assert wait(book, clock, rows.goal(7)).waited >= 1


def test_a_store_that_is_away_is_waited_for_and_one_that_refuses_is_not(book: Book, clock: Clock, rows: Rows) -> None:
    rows.write(7)
    rows.error = SinkUnavailable("the store is away")
    with pytest.raises(TimedOut, match="the store is away; its state is following"):
        wait(book, clock, rows.goal(7), timeout=1)
    clock.script = [(0.5, lambda: setattr(rows, "error", None))]
    clock.at = START
    wait(book, clock, rows.goal(7))
    rows.error = SinkRefused("grant SELECT")
    with pytest.raises(SinkRefused):
        wait(book, clock, rows.goal(7))
    book.changed["state"] = ViewState.STARTING  # its table is not made yet
    with pytest.raises(TimedOut):
        wait(book, clock, rows.goal(7), timeout=1)


def test_what_is_waited_for_is_there(tmp_path: Path) -> None:
    """Writers on a table that splits while stores fail: whatever `wait_for` says is shown is shown."""
    harness = FollowerHarness(tmp_path)
    harness.start()
    until(lambda: harness.state("one") == "following", "a start")
    table, target = harness.table, harness.targets["one"]
    for turn in range(25):
        number = turn % 7
        if turn % 5 == 2:
            table.split(table.leaves[turn % len(table.leaves)], 1 + turn % 2, listed=turn % 2 == 0)
        sequence = table.put({"pk": f"p{number}", "sk": "s", "value": turn})
        assert sequence is not None
        table.reveal()
        target.faults = ["refuse", "lose"] if turn % 8 == 3 else []
        if turn % 2:
            wait_for(harness.control, "one", Moment.now(), timeout=20)
        else:
            goal = RowVersion(lambda generation: target, f"p{number}/s", int(sequence))
            wait_for(harness.control, "one", goal, timeout=20)
        assert harness.rows("one")[f"p{number}/s"] == {"value": turn}
    harness.stop()
