"""What one view meets is its own (law 7): errors nobody expected, outages, and the end of the daemon."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.changes import Body, Change
from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, Outcome
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import Checkpoint, Counts, DeadLetter, Options, Part, Progress, Segment
from dynaview.views.control.store import ControlStore
from dynaview.views.dead_letters import key_text
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.states import ViewState
from dynaview.views.status import view_status
from dynaview.views.streaming.batch import Batch
from tests.support.follower_harness import QUICK, FollowerHarness
from tests.support.simple import SimpleBound
from tests.support.until import until
from tests.views.streaming.test_gaps import TwoViews


@pytest.fixture
def two(tmp_path: Path) -> Iterator[FollowerHarness]:
    made = FollowerHarness(tmp_path, names=("one", "two"))
    yield made
    assert not made.crashed.is_set()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TwoViews]:
    made = TwoViews(tmp_path)
    yield made
    assert not made.crashed.is_set()
    made.control.close()


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[FollowerHarness]:
    made = FollowerHarness(tmp_path)
    yield made
    assert not made.crashed.is_set()


def put(harness: FollowerHarness, number: int, value: object) -> None:
    harness.table.put({"pk": f"p{number}", "sk": "s", "value": value})


def test_a_fault_of_a_sink_stops_its_view_alone_and_the_next_start_goes_on(two: FollowerHarness) -> None:
    target = two.targets["one"]
    write, poisoned = target.inner.write, True

    def fail(writes: Sequence[Write]) -> list[Outcome]:
        if poisoned and any(each.key == "p3/s" for each in writes):
            raise KeyError("secret value")
        return write(writes)

    target.inner.write = fail  # type: ignore[method-assign]  # a fault that no port promises
    two.start()
    for number in range(6):
        put(two, number, number)
        two.wait_counted("two")
    until(lambda: two.state("one") == "failed", "the fault to show")
    record = two.control.view("one")
    assert record is not None
    assert "KeyError" in record.reason
    assert "secret" not in record.reason
    two.wait_equal("two")
    assert not two.crashed.is_set()
    two.stop()
    poisoned = False
    two.start()
    two.wait_equal()
    two.wait_counted()
    counts = two.counts("one")
    assert counts.read == counts.applied + counts.stale
    two.stop()


def test_a_fault_of_a_projection_stops_its_view_alone(two: FollowerHarness) -> None:
    class Poisoned(SimpleBound):
        def writes(self, change: Change[Any], version: int) -> list[Write]:
            raise RuntimeError("nobody expected this")

    two.start()
    two.pipelines["one"].outputs[0].bound = Poisoned()
    for number in range(6):
        put(two, number, number)
    two.wait_counted("two")
    until(lambda: two.state("one") == "failed", "the fault to show")
    two.stop()
    two.start()
    two.wait_equal()
    two.wait_counted()
    two.stop()


def test_a_fault_of_a_fill_stops_its_view_alone(two: FollowerHarness) -> None:
    class Poisoned(SimpleBound):
        def inserts(self, image: Any) -> list[Write]:
            raise RuntimeError("nobody expected this")

    put(two, 1, 1)
    two.filled_by["one"] = Poisoned()
    two.start()
    until(lambda: two.state("one") == "failed", "the fault to show")
    until(lambda: two.state("two") == "following", "the other view to be filled")
    two.stop()
    two.filled_by.clear()
    two.start()
    until(lambda: two.state("one") == "following", "the next start to fill it")
    two.wait_equal()
    two.stop()


def test_a_view_that_cannot_be_opened_holds_up_no_other(site: TwoViews, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = site.sink.open

    def fail(layout: Any, generation: int) -> Any:
        if layout.view == "one":
            raise TypeError("nobody expected this")
        return opened(layout, generation)

    monkeypatch.setattr(site.sink, "open", fail)
    site.start()
    site.put(1, 1)
    until(lambda: "two" in site.sink.by_view and bool(site.control.view("two")), "the other view to begin")
    until(lambda: site.record("two").counts.read == 1, "the other view to follow")
    assert site.rows("two") == {"p1/s"}
    assert site.record("one").state == "failed"
    site.stop()


def test_a_control_store_that_goes_away_while_views_begin_starts_them_once(
    site: TwoViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pipelines of one view would count every change twice."""
    checkpoints, failures = site.control.checkpoints, [1, 2]

    def fail(view: str) -> dict[str, Checkpoint]:
        if view == "two" and failures:
            failures.pop()
            raise ControlUnavailable("scripted")
        return checkpoints(view)

    monkeypatch.setattr(site.control, "checkpoints", fail)
    site.start()
    for number in range(20):
        site.put(number, number)
    site.wait_following()
    until(lambda: site.record("two").counts.read >= 20, "the changes to be counted")
    site.stop()
    assert not failures
    assert site.record("one").counts.read == site.record("two").counts.read == 20


def test_a_fill_that_was_planned_in_part_is_planned_to_the_end(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path)
    for number in range(40):
        put(harness, number, number)
    harness.table.trim("shard-0")
    control = ControlStore(harness.url)
    mark = fingerprint(harness.declaration.views["one"], "shop")
    control.add_view("one", "shop", "memory", mark, harness.table.arn)
    (fill,) = control.rebuilds.request(["one"], "shop", {"one": mark}, Options(), "fill")
    control.rebuilds.save_segment(fill.job, Segment(0, 4))  # then it crashed
    control.close()
    harness.start()
    harness.wait_equal()
    until(lambda: harness.state("one") == "following", "the fill to be complete")
    harness.stop()


def test_a_view_whose_store_is_away_for_long_still_runs(site: TwoViews) -> None:
    site.start(alive_every=0.01)
    site.put(1, 1)
    site.wait_following()
    site.sink.by_view["one"].down = True
    site.put(2, 2)
    until(lambda: site.record().state == "retrying", "the outage to show")
    later = time.time() + 0.1
    until(lambda: site.record().seen > later, "a sign of life")
    assert view_status(site.record(), now=site.record().seen + 5)["state"] == "retrying"
    site.stop()


def test_an_end_does_not_wait_for_a_store_that_hangs(site: TwoViews) -> None:
    site.start(patience=0.2)
    site.put(1, 1)
    site.wait_following()
    with site.sink.by_view["one"].held():
        site.put(2, 2)
        assert site.sink.by_view["one"].entered.wait(10)
        begun = time.monotonic()
        site.stop()
        assert time.monotonic() - begun < 5
        assert site.record("two").counts.read == 2


def test_a_shard_that_one_view_has_done_and_forgotten_is_still_anothers(two: FollowerHarness) -> None:
    two.settings = replace(QUICK, page=20)
    two.start()
    until(lambda: all(two.state(name) == "following" for name in two.names), "a start")
    with two.targets["two"].held():
        for number in range(200):
            put(two, number, number)
        two.wait_counted("one")
        child = two.table.roll("shard-0")
        put(two, 1, "child")
        two.wait_counted("one")
        grandchild = two.table.roll(child)
        put(two, 1, "grandchild")
        two.wait_counted("one")
        two.table.expire("shard-0")
        two.table.expire(child)
        until(lambda: "shard-0" not in two.control.checkpoints("one"), "the one view to forget the shard")
    until(lambda: two.state("two") == "gap", "the gap of the other")
    put(two, 1, "goes on")
    two.wait_equal("one")
    assert grandchild in two.control.checkpoints("one")
    two.stop()


def test_a_commit_whose_answer_is_lost_counts_once(harness: FollowerHarness) -> None:
    harness.start()
    commit, lost = harness.control.commit, [0]

    def lose(view: str, progress: Progress, watermark: float | None) -> None:
        commit(view, progress, watermark)
        if any(part.counts.read for part in progress.parts.values()) and lost[0] < 3:
            lost[0] += 1
            raise ControlUnavailable("scripted: answer lost")

    harness.control.commit = lose  # type: ignore[method-assign]  # a connection that is cut after COMMIT
    for number in range(3):
        put(harness, number, number)
        until(lambda number=number: lost[0] > number, "a commit")  # type: ignore[misc]  # a default is not inferred
    put(harness, 1, "last")
    harness.wait_equal()
    harness.stop()
    record = ControlStore(harness.url).view("one")
    assert record is not None
    assert record.counts.read == record.counts.applied + record.counts.stale == harness.table.made


def test_what_is_trimmed_before_the_first_start_has_read_it_is_no_gap(harness: FollowerHarness) -> None:
    """The oldest records go at any moment, under an iterator that was just opened on them too; the scan has them."""
    for number in range(5):
        put(harness, number, number)
    with harness.table.hold("read") as read:
        harness.start()
        assert read.reached.wait(10)
        harness.table.trim("shard-0", 3)
    harness.wait_equal()
    until(lambda: harness.state("one") == "following", "the view to follow")
    until(lambda: harness.counts("one").read == 2, "what was left to be followed")
    harness.stop()


def test_a_shard_that_was_never_begun_is_a_gap_once_the_stream_no_longer_reaches_back(
    harness: FollowerHarness, tmp_path: Path
) -> None:
    """It would be opened at its oldest record, where a loss does not show."""
    harness.start()
    put(harness, 1, 1)
    harness.wait_counted()
    until(lambda: harness.state("one") == "following", "the first fill to end")
    harness.table.close("shard-0")
    until(lambda: harness.control.checkpoints("one")["shard-0"].finished, "the end of the shard")
    until(lambda: harness.state("one") == "following", "the fill to be complete")
    harness.stop()
    harness.table.reveal()
    child = harness.table.leaves[0]
    for number in range(2, 5):
        put(harness, number, number)
    harness.table.trim(child, 1)
    control = ControlStore(harness.url)
    long_ago = time.time() - 25 * 3600
    last = control.checkpoints("one")["shard-0"].sequence
    control.commit("one", Progress({"shard-0": Part(Checkpoint(last, long_ago, True))}), None)
    control.close()
    with sqlite3.connect(tmp_path / "control.db") as database:  # nothing else takes a watermark back
        database.execute("UPDATE dynaview_views SET watermark = ?", (long_ago,))
    harness.pipeline_settings.beat = 0.001
    harness.start()
    until(lambda: harness.state("one") == "gap", "a gap")
    assert "p3/s" not in harness.rows("one")
    harness.stop()


def test_a_shard_whose_parent_was_never_seen_is_a_gap_to_a_view_that_followed_before(harness: FollowerHarness) -> None:
    harness.start()
    put(harness, 1, 1)
    harness.wait_counted()
    until(lambda: harness.state("one") == "following", "the first fill to end")
    with harness.table.hold("shards"), harness.table.hold("children"):
        child = harness.table.roll("shard-0")
        until(lambda: harness.control.checkpoints("one")["shard-0"].finished, "the end of the shard")
        put(harness, 2, 2)
        harness.table.roll(child)
        put(harness, 3, 3)
        harness.table.expire("shard-0")
        harness.table.expire(child)
    until(lambda: harness.state("one") == "gap", "a gap")
    assert "p3/s" not in harness.rows("one")
    harness.stop()


def test_a_listing_without_shards_leaves_a_view_its_checkpoints(harness: FollowerHarness) -> None:
    """Without any, it would look new at the next start, and what it has missed would not show."""
    harness.start()
    put(harness, 1, 1)
    harness.wait_counted()
    harness.table.close("shard-0")
    until(lambda: harness.control.checkpoints("one")["shard-0"].finished, "the end of the shard")
    harness.stop()
    harness.table.arrange = lambda listing: []
    harness.start()
    listed = harness.table.counts()["shards"]
    until(lambda: harness.table.counts()["shards"] > listed + 3, "some listings")
    harness.stop()
    assert "shard-0" in ControlStore(harness.url).checkpoints("one")


def test_a_stream_that_no_view_can_take_is_not_read(harness: FollowerHarness) -> None:
    harness.start()
    put(harness, 1, 1)
    harness.wait_counted()
    harness.pipelines["one"].fail(ViewState.GAP, "scripted")
    until(lambda: harness.state("one") == "gap", "the gap to show")
    cursor = harness.follower._discovery.cursors["shard-0"]
    until(lambda: cursor.refused > 1, "the front to rest")
    before = harness.table.counts()["read"]
    refused = cursor.refused
    until(lambda: cursor.refused > refused + 3, "the front to go on resting")
    assert harness.table.counts()["read"] == before
    harness.stop()


def test_checkpoints_counts_and_letters_move_in_one_transaction(tmp_path: Path) -> None:
    """As if it crashed between any two of them (laws 2 and 8)."""
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.add_view("one", "shop", "memory", "f")
    with sqlite3.connect(tmp_path / "control.db") as database:
        database.execute(
            "CREATE TRIGGER cut BEFORE UPDATE OF read ON dynaview_views BEGIN SELECT RAISE(ABORT, 'scripted'); END"
        )
    letter = DeadLetter("one", "key", "", 7, "shard-0", 0.0, "projection", "scripted", b"{}")
    progress = Progress({"shard-0": Part(Checkpoint(7), Counts(read=1, dead_lettered=1), [letter])})
    with pytest.raises(Exception, match="scripted"):
        control.commit("one", progress, 1.0)
    assert control.checkpoints("one") == {}
    assert control.dead_letters.find() == []
    record = control.view("one")
    assert record is not None
    assert record.watermark is None
    control.close()


def test_a_view_that_lags_takes_no_child_before_its_parent(two: FollowerHarness) -> None:
    """The front has long been at the child; the guard would hide the order, the counts do not."""
    two.settings = replace(QUICK, page=3)
    two.pipeline_settings.buffer = two.pipeline_settings.batch = 4
    for number in range(9):
        two.table.roll(f"shard-{number}")
    two.start()  # shard-10, the child, comes before shard-9 in the order of names
    until(lambda: all(two.state(name) == "following" for name in two.names), "a start")
    until(lambda: "shard-9" in two.control.checkpoints("two"), "the shard to be followed")
    with two.targets["two"].held():
        for number in range(60):
            put(two, 1, number)
        two.table.roll("shard-9")
        for number in range(60):
            put(two, 1, f"child {number}")
            if number == 30:
                two.wait_equal("one")
    two.wait_equal()
    two.wait_counted()
    assert two.counts("two").stale == 0
    two.stop()


def test_a_shard_is_opened_again_right_behind_the_last_record(harness: FollowerHarness) -> None:
    harness.start()
    for number in range(5):
        put(harness, number, number)
        harness.wait_counted()
        harness.table.expire_iterators()
    for number in range(5):
        harness.stop()
        put(harness, number, "while away")
        harness.start()
        harness.wait_equal()
        harness.wait_counted()
    harness.stop()


def test_an_item_deleted_between_its_scan_and_its_insert_stays_deleted(harness: FollowerHarness) -> None:
    class Late(SimpleBound):
        def inserts(self, image: Any) -> list[Write]:
            writes = super().inserts(image)
            harness.table.delete({"pk": "p1", "sk": "s"})
            until(lambda: harness.counts("one").read == 1, "the delete to be followed")
            return writes

    put(harness, 1, "old")
    harness.table.trim("shard-0")
    harness.table.made = 0
    harness.bound = Late()
    harness.start()
    until(lambda: harness.state("one") == "following", "the fill to be complete")
    assert harness.rows("one") == {}
    harness.stop()


def test_of_several_writes_to_a_row_the_newest_is_sent() -> None:
    batch, sent = Batch(), list[Write]()
    change: Change[Any] = Change("MODIFY", Body("1", {}))
    for version in (5, 9, 7):
        assert batch.add("shard-0", change, [Write("row", (version,), version)])
    assert not batch.add("shard-0", change, [Write("row", None, 11, "another item")])

    def send(writes: Sequence[Write]) -> list[Outcome]:
        sent.extend(writes)
        return [APPLIED for _ in writes]

    counts, rejections = batch.settle(send)
    assert [(write.key, write.version) for write in sent] == [("row", 9)]
    assert (counts, rejections) == ({"shard-0": Counts(read=3, applied=3)}, [])


def test_a_row_key_that_is_no_utf_8_can_still_be_told() -> None:
    assert key_text("a\ud800b\0c") == "a\\ud800b\\u0000c"
