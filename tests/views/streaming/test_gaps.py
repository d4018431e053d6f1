"""Gaps: each way of losing stream data is loud, final, and says from when to when and what fixes it (law 4)."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import SinkRefused
from dynaview.sources.errors import Throttled
from dynaview.views.cli import cli, run, signals
from dynaview.views.control.records import ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.daemon.table_worker import TableWorker, WorkerSettings
from dynaview.views.declarations.load import load
from dynaview.views.kept_table import KeptTable
from dynaview.views.states import ViewState
from dynaview.views.streaming.pipeline import PipelineSettings
from dynaview.views.threads import Threads
from tests.support.faults import FaultyTarget
from tests.support.follower_harness import QUICK, FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.until import until

DECLARATION = """
control: sqlite:///{control}
sources:
  shop: {{table: shop}}
  other: {{table: other}}
sinks:
  cache: {{redis: "redis://localhost:1"}}
views:
  one:
    source: shop
    match: {{pk: "{{p}}", sk: "{{s}}"}}
    sink: cache
    key: "one:{{p}}/{{s}}"
    fields: {{value: value}}
  two:
    source: shop
    match: {{pk: "{{p}}", sk: "{{s}}"}}
    sink: cache
    key: "two:{{p}}/{{s}}"
    on_gap: {two}
    fields: {{value: value}}
  far:
    source: other
    match: {{pk: "{{p}}", sk: "{{s}}"}}
    sink: cache
    key: "far:{{p}}/{{s}}"
    fields: {{value: value}}
"""

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
FROM_TO = re.compile(rf"changes from ({TIME}) .*?to ({TIME}|whenever it is switched on again) may be missing; ")


class Targets(MemorySink):
    """A sink in memory whose targets can be made to fail, by view."""

    def __init__(self) -> None:
        super().__init__("cache")
        self.by_view: dict[str, FaultyTarget] = {}

    def open(self, layout: Any, generation: int) -> Any:
        return self.by_view.setdefault(layout.view, FaultyTarget(super().open(layout, generation)))


class TwoViews:
    """Two views of one table, kept by a `Worker`."""

    def __init__(self, folder: Path, two: str = "stop") -> None:
        self.file = folder / "dynaview.yaml"
        self.file.write_text(DECLARATION.format(control=folder / "control.db", two=two))
        self.declaration = load([self.file], {})
        self.table = ScriptedTable(clock=time.time)
        self.sink = Targets()
        self.control = ControlStore(self.declaration.control)
        self.threads = Threads()
        self.crashed = self.threads.crashed
        self.failures: list[tuple[str, str]] = []
        self.worker: TableWorker | None = None

    def start(
        self,
        *,
        enable_stream: bool = False,
        pipeline: PipelineSettings | None = None,
        alive_every: float = 5.0,
        patience: float = 20.0,
    ) -> None:
        settings = WorkerSettings(
            pipeline or PipelineSettings(commit_every=0.0, beat=0.01),
            QUICK,
            enable_stream,
            watch_every=0.02,
            drain_every=0.01,
            alive_every=alive_every,
            patience=patience,
        )
        views = {name: self.declaration.views[name] for name in ("one", "two")}
        kept = KeptTable(self.declaration.sources["shop"], views, self.table, {"cache": self.sink}, self.control)
        self.worker = TableWorker(kept, settings, self.threads, self)
        self.worker.start()

    def view_ended(self, view: str, state: ViewState, reason: str) -> None:
        self.failures.append((view, state))

    def stop(self) -> None:
        assert self.worker is not None
        self.worker.stop()
        assert not self.crashed.is_set()

    def put(self, number: int, value: object) -> None:
        self.table.put({"pk": f"p{number}", "sk": "s", "value": value})

    def record(self, view: str = "one") -> ViewRecord:
        record = self.control.view(view)
        assert record is not None
        return record

    def rows(self, view: str = "one") -> set[Any]:
        """The rows of a view; none before its pipeline has prepared it."""
        if view not in self.sink.by_view:
            return set()
        try:
            return {str(row.key).partition(":")[2] for row in self.sink.by_view[view].rows()}
        except SinkRefused:
            return set()

    def wait_following(self) -> None:
        def following() -> bool:
            return {r.name for r in self.control.views() if r.state == "following" and r.watermark} == {"one", "two"}

        until(following, "both views to follow")

    def wait_gap(self, *views: str) -> None:
        for view in views or ("one", "two"):
            self._wait_gap(view)

    def _wait_gap(self, view: str) -> None:
        until(lambda: self.record(view).state == "gap", f"a gap of {view}")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[TwoViews]:
    made = TwoViews(tmp_path)
    made.start()
    made.put(1, 1)
    made.wait_following()
    until(lambda: made.rows() == made.rows("two") == {"p1/s"}, "the first row")
    yield made
    assert not made.crashed.is_set()
    made.control.close()


def trim(site: TwoViews) -> None:
    site.put(2, 2)
    site.table.trim("shard-0")


def vanish(site: TwoViews) -> None:
    child = site.table.roll("shard-0")
    site.put(2, 2)
    site.table.roll(child)
    site.table.expire("shard-0")
    site.table.expire(child)


def lose_a_child(site: TwoViews) -> None:
    """The shard after the one that the view has finished came, closed and expired meanwhile."""
    until(lambda: site.control.checkpoints("one")["shard-0"].finished, "the end of the shard")
    site.table.reveal()
    child = site.table.leaves[0]
    site.put(2, 2)
    site.table.roll(child)
    site.table.expire("shard-0")
    site.table.expire(child)


def switch_off(site: TwoViews) -> None:
    site.table.disable_stream()
    site.put(2, 2)


def switch_off_and_on(site: TwoViews) -> None:
    switch_off(site)
    site.table.enable_stream("NEW_AND_OLD_IMAGES")


def make_anew(site: TwoViews) -> None:
    site.table.recreate()


LOSSES = [trim, vanish, switch_off, switch_off_and_on, make_anew]


def check_reason(record: ViewRecord) -> None:
    found = FROM_TO.search(record.reason)
    assert found is not None, record.reason
    assert abs(time.time() - _epoch(found[1])) < 60
    rebuilds = "a rebuild begins by itself" in record.reason or f"dynaview rebuild {record.name}" in record.reason
    assert rebuilds, record.reason


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("lose", [*LOSSES, lose_a_child])
def test_what_is_lost_while_the_daemon_is_away_is_a_gap_that_lasts(
    site: TwoViews, lose: Callable[[TwoViews], None]
) -> None:
    if lose is lose_a_child:
        site.table.close("shard-0")
        until(lambda: site.control.checkpoints("one")["shard-0"].finished, "the end of the shard")
    site.stop()
    lose(site)
    if lose is not switch_off:
        site.put(3, 3)
    before = site.record().watermark
    site.start()
    site.wait_gap()
    reason = site.record().reason
    check_reason(site.record())
    site.put(4, 4)
    site.stop()
    site.failures.clear()
    site.start()  # once more: what was lost does not come back by looking again
    until(lambda: {view for view, state in site.failures if state == "gap"} == {"one", "two"}, "the gap to be told")
    site.put(5, 5)
    site.stop()
    assert site.record().state == "gap"
    assert site.record().reason == reason
    assert site.rows() == {"p1/s"}
    assert site.record().watermark == before


@pytest.mark.parametrize("lose", [switch_off, switch_off_and_on, make_anew])
def test_a_stream_that_ends_while_it_is_followed_is_a_gap(site: TwoViews, lose: Callable[[TwoViews], None]) -> None:
    lose(site)
    site.wait_gap()
    check_reason(site.record())
    site.put(3, 3)
    watermark = site.record().watermark
    until(lambda: site.failures.count(("one", "gap")) == 1, "the gap to be told once")
    site.stop()
    assert site.rows() == {"p1/s"}
    assert site.record().watermark == watermark


def test_records_that_are_trimmed_while_a_view_is_stalled_are_its_gap_alone(site: TwoViews) -> None:
    site.stop()
    site.start(pipeline=PipelineSettings(buffer=1, batch=1, commit_every=0.0, beat=0.01))
    site.wait_following()
    with site.sink.by_view["one"].held():
        for number in range(2, 8):
            site.put(number, number)
            until(lambda number=number: f"p{number}/s" in site.rows("two"), "the other view to go on")  # type: ignore[misc]  # a default is not inferred
        site.table.trim("shard-0")
        site.put(9, 9)
        until(lambda: "p9/s" in site.rows("two"), "the other view to go on")
    site.wait_gap("one")
    check_reason(site.record())
    site.put(10, 10)
    until(lambda: "p10/s" in site.rows("two"), "the other view to go on")
    assert site.record("two").state == "following"
    assert "p9/s" not in site.rows()
    site.stop()


def test_the_rest_of_a_stream_that_was_switched_off_is_read_before_the_gap(site: TwoViews) -> None:
    """Each view takes what the old stream still holds, however long its store is away; only then it has a gap."""
    slow = site.sink.by_view["one"]
    slow.down = True
    with site.table.hold("read") as hold:
        assert hold.reached.wait(10)
        site.table.split("shard-0")
        for number in range(2, 30):
            site.put(number, number)
        site.table.disable_stream()
        site.put(99, 99)  # in no stream
        looks = site.table.counts()["shards"]
        until(lambda: site.table.counts()["shards"] > looks + 5, "the daemon to notice")
        site.table.fail("shards", Throttled, times=2)
        assert site.failures == []
    site.wait_gap("two")
    expected = {f"p{number}/s" for number in range(1, 30)}
    assert site.rows("two") == expected
    assert site.record("one").state == "retrying"
    slow.down = False
    site.wait_gap("one")
    assert site.rows("one") == expected
    assert site.record("one").counts.read == site.table.made
    site.stop()


def test_an_old_stream_that_is_gone_does_not_hold_up_its_gap(site: TwoViews) -> None:
    arn = site.table.arn
    site.table.disable_stream()
    site.table.forget_stream(arn)
    site.wait_gap()
    check_reason(site.record())
    site.stop()


def test_a_gap_asks_for_the_rebuild_that_is_declared(tmp_path: Path) -> None:
    site = TwoViews(tmp_path, two="rebuild")
    site.start()
    site.put(1, 1)
    site.wait_following()
    site.table.recreate()
    site.wait_gap()
    site.stop()
    assert "by itself" not in site.record("one").reason
    assert "a rebuild begins by itself, as on_gap asks" in site.record("two").reason
    check_reason(site.record("two"))
    site.control.close()


def test_a_stream_that_is_off_is_waited_for_by_views_that_never_followed_one(tmp_path: Path) -> None:
    site = TwoViews(tmp_path)
    site.table.disable_stream()
    site.start()
    until(lambda: [r.state for r in site.control.views()] == ["waiting", "waiting"], "both views to wait")
    site.table.enable_stream("NEW_AND_OLD_IMAGES")
    site.wait_following()
    site.stop()
    site.control.close()


def test_switching_the_stream_on_again_by_option_hides_no_gap(site: TwoViews) -> None:
    site.stop()
    switch_off(site)
    site.start(enable_stream=True)
    site.wait_gap()
    site.stop()
    assert "has another stream now" in site.record().reason


def test_a_gap_outlives_a_table_that_is_missing(site: TwoViews) -> None:
    site.stop()
    make_anew(site)
    site.start()
    site.wait_gap()
    site.stop()
    site.table.drop()
    described = site.table.counts()["describe"]
    site.start()
    until(lambda: site.table.counts()["describe"] > described, "a look at the table")
    site.stop()
    assert site.record().state == "gap"


def test_a_view_that_was_away_for_longer_than_streams_reach_back_has_a_gap(tmp_path: Path) -> None:
    """Nothing was read of its shard yet, so no position would show the loss."""
    site = TwoViews(tmp_path)
    site.start()
    site.wait_following()
    site.stop()
    with closing(sqlite3.connect(tmp_path / "control.db")) as connection, connection:
        connection.execute("UPDATE dynaview_views SET seen = seen - 25 * 3600, watermark = watermark - 25 * 3600")
    for _ in range(2):
        site.failures.clear()
        site.start()
        until(lambda: len(site.failures) >= 2, "the gap to be told")
        site.stop()
        assert site.record().state == "gap"
    found = FROM_TO.search(site.record().reason)
    assert found is not None
    assert _epoch(found[1]) < _epoch(found[2]) < time.time() - 23 * 3600
    site.control.close()


@pytest.mark.parametrize("lost", ["the shard that was followed", "the one after it"])
def test_a_crash_before_a_gap_was_found_does_not_hide_it(tmp_path: Path, lost: str) -> None:
    """What is listed is remembered at once, so the checkpoints of later shards stand beside those of the lost ones."""
    harness = FollowerHarness(tmp_path)
    harness.start()
    harness.table.put({"pk": "p1", "sk": "s", "value": 1})
    harness.wait_counted()
    if lost == "the one after it":
        harness.table.close("shard-0")
        until(lambda: harness.control.checkpoints("one")["shard-0"].finished, "the end of the shard")
    harness.stop()
    harness.table.reveal()
    child = harness.table.leaves[0] if lost == "the one after it" else harness.table.roll("shard-0")
    grandchild = harness.table.roll(child)
    harness.table.expire("shard-0")
    harness.table.expire(child)
    for shard in ("shard-0", child):
        harness.table.fail("open", Throttled, times=10_000, shard=shard)
    harness.start()
    until(lambda: grandchild in harness.control.checkpoints("one"), "a checkpoint")
    harness.crash()
    harness.table.heal()
    for _ in range(2):
        harness.start()
        until(lambda: harness.state("one") == "gap", "a gap")
        harness.stop()


# dynaview run --fail-on-gap


def daemon(site: TwoViews, *, fail_on_gap: bool, other: ScriptedTable) -> Daemon:
    tables = {"shop": site.table, "other": other}
    settings = WorkerSettings(PipelineSettings(commit_every=0.0, beat=0.01), QUICK, watch_every=0.02, drain_every=0.01)
    return Daemon(
        site.declaration,
        settings,
        lambda source: tables[source.table],
        fail_on_gap=fail_on_gap,
        open_sink=lambda declared: site.sink,
    )


@pytest.mark.parametrize("fail_on_gap", [False, True])
def test_a_gap_ends_the_daemon_only_when_asked_to(site: TwoViews, fail_on_gap: bool) -> None:
    site.stop()
    other = ScriptedTable(name="other", clock=time.time)
    running = daemon(site, fail_on_gap=fail_on_gap, other=other)
    running.start()
    site.table.recreate()
    if fail_on_gap:
        assert running.wait(20)
        assert running.gaps
        running.stop()
        assert all(site.record(view).state == "gap" for view in running.gaps)
        return
    site.wait_gap()
    other.put({"pk": "p7", "sk": "s", "value": 7})
    until(lambda: site.rows("far") == {"p7/s"}, "the other table's view to go on")
    assert not running.wait(0.05)
    assert set(running.gaps) == {"one", "two"}
    running.stop()


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--fail-on-gap"], 3)])
def test_the_exit_code_and_the_last_line_tell_a_gap(
    site: TwoViews,
    options: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    site.stop()
    make_anew(site)
    other = ScriptedTable(name="other", clock=time.time)
    made: list[Daemon] = []

    def end_after_gap() -> None:
        site.wait_gap()
        made[0].end()

    def make(*_args: object, fail_on_gap: bool, **_more: object) -> Daemon:
        made.append(daemon(site, fail_on_gap=fail_on_gap, other=other))
        if not fail_on_gap:  # nothing else ends it
            threading.Thread(target=end_after_gap).start()
        return made[0]

    monkeypatch.setattr(run, "Daemon", make)
    monkeypatch.setattr(signals, "install", threading.Event)  # they are this process's own
    done = CliRunner().invoke(cli, ["run", "-f", str(site.file), *options])
    assert done.exit_code == code, done.output
    last = caplog.records[-1].getMessage()
    if code:
        assert last.startswith("ended because of a gap: view ")
        assert "dynaview rebuild" in last
    else:
        assert not last.startswith("ended")


def test_a_view_that_the_streams_images_cannot_serve_is_refused_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Law 7: the other views of the table go on, and so does the daemon."""
    site = TwoViews(tmp_path)
    site.table = ScriptedTable(clock=time.time, view_type="NEW_IMAGE")
    text = site.file.read_text()
    site.file.write_text(text.replace('"two:{p}/{s}"', '"two:{value}"'))  # the row before is known by the old image
    site.declaration = load([site.file], {})
    site.put(1, "seen")
    site.start()
    until(lambda: site.control.view("two") is not None and site.record("two").state is ViewState.REFUSED, "the refusal")
    until(lambda: site.record("one").filled, "the other one to be filled")
    site.put(2, "later")
    until(lambda: site.record("one").counts.applied >= 1, "the other one to follow")
    assert "NEW_AND_OLD_IMAGES" in site.record("two").reason
    site.stop()
