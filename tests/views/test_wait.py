"""Waiting for a view (read-your-writes), and what a watermark may promise."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dynaview.projections.attributes import attribute
from dynaview.projections.changes import STREAM_SPAN, Body, Change
from dynaview.projections.rows import Field, Layout, OpenSearchOptions, PostgresOptions, RedisOptions, Write
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import SinkRefused, SinkUnavailable, Target
from dynaview.views.cli import cli
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import Checkpoint, Part, Progress
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from dynaview.views.declarations.row_keys import row_key
from dynaview.views.states import ViewState
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.offsets import Delivery
from dynaview.views.streaming.pipeline import PipelineContext, PipelinePlan, PipelineSettings, ViewPipeline
from dynaview.views.streaming.shard_discovery import ShardDiscovery
from dynaview.views.waiting import Hopeless, Moment, Pace, RowVersion, TimedOut, wait_for
from tests.support.filling import set_filled
from tests.support.follower_harness import FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.shards import tree
from tests.support.simple import SHAPE, SimpleBound, layout
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


def made(options: Any, key: tuple[str, ...] = (), **types: str) -> Layout:
    return Layout("one", key, tuple(Field(name, type_) for name, type_ in types.items()), options)


READS = PostgresOptions("reads")


@pytest.mark.parametrize(
    ("kept", "written", "key"),
    [
        (made(OpenSearchOptions("i", {}, {})), "a,b", "a,b"),
        (made(OpenSearchOptions("i", {}, {})), '["a"]', '["a"]'),
        (made(RedisOptions("hash")), "c:1", "c:1"),
        (made(RedisOptions("string")), "c:1", "c:1"),
        (made(RedisOptions("set")), '["c:1", "m,2"]', ("c:1", "m,2")),
        (made(RedisOptions("sorted_set")), '["c:1", "m"]', ("c:1", "m")),
        (made(READS, ("a",), a="text"), "x,y", ("x,y",)),
        (made(READS, ("a",), a="text"), '["x"]', ("x",)),
        (made(READS, ("a",), a="bigint"), "42", (42,)),
        (made(READS, ("a", "b"), a="text", b="integer"), "o-1,2", ("o-1", 2)),
        (made(READS, ("a", "b"), b="decimal", a="text"), '["o,1", 1.50]', ("o,1", Decimal("1.50"))),
        (made(READS, ("a",), a="timestamp"), "2026-01-01T00:00:00Z", (datetime(2026, 1, 1, tzinfo=UTC),)),
    ],
)
def test_row_keys_as_people_write_them(kept: Layout, written: str, key: Any) -> None:
    read = row_key(kept, written)
    assert read == key
    assert [type(part) for part in read] == [type(part) for part in key]


@pytest.mark.parametrize(
    ("kept", "written", "problem"),
    [
        (made(OpenSearchOptions("i", {}, {})), "", "never empty"),
        (made(RedisOptions("set")), "c:1", "a key and its member: write it as a JSON array"),
        (made(RedisOptions("set")), '["c:1"]', "a key and its member"),
        (made(RedisOptions("set")), '["c:1", 5]', "a key and its member"),
        (made(READS, ("a", "b"), a="text", b="text"), "x", "is a, b, 1 values were given"),
        (made(READS, ("a", "b"), a="text", b="text"), "x,y,z", "3 values"),
        (made(READS, ("a",), a="integer"), "x", "a: "),
        (made(READS, ("a",), a="any"), "[null]", "never null"),
    ],
)
def test_row_keys_that_are_none(kept: Layout, written: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        row_key(kept, written)


# What a watermark promises


class Half:
    """A pipeline without readers: tests offer and look by hand."""

    def __init__(self, folder: Path, checkpoints: dict[str, Checkpoint] | None = None) -> None:
        self.control = ControlStore(f"sqlite:///{folder / 'control.db'}")
        record = self.control.add_view("one", "shop", "memory", "f", "arn")
        if checkpoints:
            self.control.commit("one", Progress({shard: Part(at) for shard, at in checkpoints.items()}), None)
        target = MemorySink("memory").open(layout("one"), 1)
        target.prepare()
        output = GenerationWriter("one", SimpleBound(), target)
        plan = PipelinePlan(record, [output], self.control.checkpoints("one"))
        self.pipeline = ViewPipeline(plan, PipelineContext(self.control, PipelineSettings(commit_every=0.0)))

    def apply(self, shard: str, start: int, *records: tuple[int, int], end: bool = False) -> None:
        """Take and commit records (position, creation time)."""
        changes = []
        for position, at in records:
            item = {"pk": "p", "sk": str(position)}
            key = {name: attribute(value) for name, value in item.items()}
            body: Body[Any] = Body(sequence=str(position), key=key, time=at, new=SHAPE.pack(item), old=None)
            changes.append(Change("INSERT", body, None))
        positions = [position for position, _ in records]
        last = positions[-1] if positions else start
        assert self.pipeline.inbox.offer(Delivery(shard, start, last, changes, positions, (), end))
        self.pipeline._apply(self.pipeline.inbox.take(1000, 0.05))
        self.pipeline._commit()


@pytest.fixture
def half(tmp_path: Path) -> Iterator[Half]:
    made = Half(tmp_path)
    yield made
    made.control.close()


def test_a_record_proves_what_is_before_its_second(half: Half) -> None:
    """Of ten records of one second five may have been read."""
    half.pipeline.inbox.track("a", None)
    assert half.pipeline.inbox.watermark() is None
    half.apply("a", -1, (1, 100), (2, 105))
    mark = half.pipeline.inbox.watermark()
    assert mark is not None
    assert 104.9 < mark < 105
    half.pipeline.inbox.tip("a", 2, 105.4)
    assert half.pipeline.inbox.watermark() == 105.4
    half.pipeline.inbox.tip("a", 2, 104.2)  # a tip that is older than what was read adds nothing
    assert half.pipeline.inbox.watermark() == mark


def test_a_tip_beyond_what_is_applied_proves_nothing(half: Half) -> None:
    half.pipeline.inbox.track("a", None)
    half.pipeline.inbox.tip("a", 3, 200.0)
    assert half.pipeline.inbox.watermark() is None
    half.apply("a", -1, (2, 105))
    assert (half.pipeline.inbox.watermark() or 0) < 105
    half.apply("a", 2, (3, 106))
    assert (half.pipeline.inbox.watermark() or 0) < 106  # another reader's look at what the view had not taken
    assert half.pipeline.inbox.offer(Delivery("a", 3, 4, [], []))
    half.pipeline.inbox.tip("a", 4, 300.0)
    assert (half.pipeline.inbox.watermark() or 0) < 106
    half.apply("a", 4)
    assert half.pipeline.inbox.watermark() == 300.0


def test_the_watermark_is_the_lowest_of_all_leaves(half: Half) -> None:
    for shard in "abc":
        half.pipeline.inbox.track(shard, None)
    half.apply("a", -1, (1, 300))
    half.apply("b", -1, (2, 200))
    assert half.pipeline.inbox.watermark() is None
    half.apply("c", -1, (3, 400))
    assert 199 < (half.pipeline.inbox.watermark() or 0) < 200


def test_a_finished_shard_whose_child_is_not_listed_yet_holds_the_watermark(half: Half) -> None:
    half.pipeline.inbox.track("a", None)
    half.pipeline.inbox.track("b", None)
    half.apply("a", -1, (1, 100), end=True)
    half.apply("b", -1, (2, 200))
    half.pipeline.inbox.tip("b", 2, 250.0)
    assert (half.pipeline.inbox.watermark() or 0) < 100  # a's child may hold changes from 100 on
    half.pipeline.inbox.track("c", "a")
    half.apply("c", -1, (3, 150))
    assert (half.pipeline.inbox.watermark() or 0) < 100  # and so may another child of it
    half.pipeline.inbox.cover(["a"])
    assert 149 < (half.pipeline.inbox.watermark() or 0) < 150


def test_a_stream_without_an_open_shard_stands_at_its_lowest_end(half: Half) -> None:
    half.pipeline.inbox.track("a", None)
    half.pipeline.inbox.track("b", None)
    half.apply("a", -1, (1, 100), end=True)
    half.apply("b", -1, (2, 200), end=True)
    assert (half.pipeline.inbox.watermark() or 0) < 100


def test_a_tip_of_a_shard_that_has_a_child_proves_nothing(half: Half) -> None:
    """DynamoDB lists open parents beside their children: what is written goes to the child."""
    half.pipeline.inbox.track("a", None)
    half.apply("a", -1, (1, 100))
    half.pipeline.inbox.track("b", "a")
    half.pipeline.inbox.tip("a", 1, 300.0)
    half.apply("a", 1)
    assert (half.control.view("one").watermark or 0) < 100  # type: ignore[union-attr]  # it is there
    half.apply("a", 1, end=True)
    half.pipeline.inbox.cover(["a"])
    half.pipeline.inbox.tip("b", -1, 310.0)
    half.apply("b", -1)
    assert half.pipeline.inbox.watermark() == 310.0


def test_a_shard_that_rolls_does_not_take_back_what_was_said(half: Half) -> None:
    half.pipeline.inbox.track("a", None)
    half.apply("a", -1, (1, 100))
    half.pipeline.inbox.tip("a", 1, 300.0)
    half.apply("a", 1)
    half.pipeline.inbox.track("b", "a")
    half.apply("a", 1, end=True)
    record = half.control.view("one")
    assert record is not None
    assert record.watermark == 300.0
    half.pipeline.inbox.cover(["a"])
    half.apply("b", -1, (5, 310))
    assert 309 < (half.pipeline.inbox.watermark() or 0) < 310


def test_a_listing_that_is_half_tracked_makes_no_watermark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = Half(tmp_path, {"a": Checkpoint(1, 500.0), "b": Checkpoint(2, 100.0)})
    seen: list[float | None] = []
    looks: list[threading.Thread] = []
    track = half.pipeline.inbox.track

    def tracked(shard: str, parent: str | None) -> None:
        track(shard, parent)
        looks.append(threading.Thread(target=lambda: seen.append(half.pipeline.inbox.watermark())))
        looks[-1].start()
        looks[-1].join(0.1)  # it has to wait; without that it is through by now

    monkeypatch.setattr(half.pipeline.inbox, "track", tracked)
    stream = ScriptedTable().stream(ScriptedTable().arn, SHAPE)
    ShardDiscovery(stream, [half.pipeline]).take(tree("a b"), None, 0.0)
    for look in looks:
        look.join(10)
    assert len(seen) == 2
    assert all(mark is not None and mark < 100 for mark in seen)
    half.control.close()


def test_a_pipeline_that_is_ended_at_its_gap_says_it(half: Half) -> None:
    half.pipeline.fail(ViewState.GAP, "lost")
    half.pipeline.end()
    half.pipeline.run()
    record = half.control.view("one")
    assert record is not None
    assert (record.state, record.reason) == ("gap", "lost")


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


# The command

DECLARATION = """
control: sqlite:///{control}
sources: {{shop: {{table: shop}}}}
sinks: {{cache: {{redis: "redis://localhost:1"}}}}
views:
  one: {{source: shop, match: {{pk: "{{p}}"}}, sink: cache, key: "one:{{p}}", fields: {{value: value}}}}
  tags: {{source: shop, match: {{pk: "{{p}}"}}, sink: cache, type: set, key: "tags", member: "{{p}}"}}
"""


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(control=tmp_path / "control.db"))
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.add_view("one", "shop", "cache", "f", "arn")
    set_filled(control, "one")
    control.states.set("one", ViewState.FOLLOWING)
    control.commit("one", Progress(), time.time() - 60)
    control.close()
    return file


def asked(file: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["wait", "-f", str(file), *words])


def test_the_command_ends_with_0_when_the_view_shows_it(declared: Path) -> None:
    done = asked(declared, "one", "--until", str(time.time() - 90))
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("one shows what was written up to 20")
    at = datetime.fromtimestamp(time.time() - 90, UTC)
    assert asked(declared, "one", "--until", at.isoformat()).exit_code == 0
    assert asked(declared, "one", "--until", at.replace(tzinfo=None).isoformat()).exit_code == 0


def test_the_command_ends_with_1_when_time_is_up_and_says_how_far_it_was(declared: Path) -> None:
    done = asked(declared, "one", "--timeout", "0.1")
    assert done.exit_code == 1
    assert " s behind)" in done.stderr
    assert "following" in done.stderr
    assert asked(declared, "one", "--until", str(time.time() - 30), "--timeout", "0").exit_code == 1


def test_the_command_fails_at_once_at_a_gap(declared: Path, tmp_path: Path) -> None:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.states.set("one", ViewState.GAP, "lost; dynaview drop one")
    control.close()
    begun = time.monotonic()
    done = asked(declared, "one", "--timeout", "60")
    assert (done.exit_code, time.monotonic() - begun < 10) == (1, True)
    assert "gap: lost; dynaview drop one" in done.stderr


def test_the_command_waits_for_a_row(declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = MemorySink("cache")
    monkeypatch.setattr("dynaview.views.waiting.connect", lambda declaration: sink)
    target = sink.open(load([declared], {}).views["one"].layout, 1)
    target.prepare()
    target.write([Write("one:a", ("v",), 10**21)])
    assert asked(declared, "one", "--key", "one:a", "--version", f"0{10**21}").exit_code == 0
    done = asked(declared, "one", "--key", "one:a", "--version", str(10**21 + 1), "--timeout", "0.1")
    assert done.exit_code == 1
    assert "row 'one:a'" in done.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["none"], "no view is called none; there are one, tags"),
        (["one", "--until", "soon"], "give ISO 8601"),
        (["one", "--until", "nan"], "not a time"),
        (["one", "--key", "a"], "belong together"),
        (["one", "--version", "5"], "belong together"),
        (["one", "--key", "a", "--version", "-5"], "digits only"),
        (["one", "--key", "a", "--version", "5", "--until", "5"], "not for both"),
        (["tags", "--key", "a", "--version", "5"], "JSON array"),
        (["one", "--timeout", "-1"], "--timeout"),
    ],
)
def test_the_command_ends_with_2_when_asked_in_a_wrong_way(declared: Path, words: list[str], problem: str) -> None:
    done = asked(declared, *words)
    assert done.exit_code == 2, done.output
    assert problem in done.stderr
