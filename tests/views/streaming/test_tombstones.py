"""Old tombstones go, and only those that no change can come too late for."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from dynaview.sinks.memory import MemorySink, MemoryTarget
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.daemon.table_worker import WorkerSettings
from dynaview.views.declarations.load import load
from dynaview.views.states import ViewState
from dynaview.views.streaming.pipeline import TOMBSTONES
from tests.support.follower_harness import FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.until import until


def test_the_daemon_removes_old_tombstones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[timedelta] = []

    def purge(_target: MemoryTarget, older_than: timedelta) -> int:
        asked.append(older_than)
        return 1

    monkeypatch.setattr(MemoryTarget, "purge", purge)
    file = tmp_path / "dynaview.yaml"
    file.write_text(
        """
sources: {shop: {table: shop, region: eu-west-1}}
sinks: {cache: {redis: "redis://127.0.0.1:1"}}
views:
  one: {source: shop, sink: cache, key: "x:{pk}:{sk}", fields: {pk: pk, sk: sk}}
"""
    )
    table = ScriptedTable(clock=time.time)
    table.put({"pk": "a", "sk": "b"})
    daemon = Daemon(
        load([file], {}),
        WorkerSettings(purge_every=0.02),
        open_source=lambda _source: table,
        open_sink=lambda declared: MemorySink(declared.name),
    )
    daemon.start()
    try:
        until(lambda: bool(asked), "a purge")
    finally:
        daemon.stop()
    assert asked[0] >= timedelta(hours=25)


def test_a_tombstone_outlives_what_the_view_has_not_read(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path)
    with harness.table.hold("scan") as scan:
        harness.table.put({"pk": "p", "sk": "s", "value": 1})
        harness.start()
        pipeline = harness.pipelines["one"]
        assert scan.reached.wait(10)
        harness.wait_counted()
        assert pipeline.purgeable(time.time()) is None  # beside a fill
    until(lambda: harness.state("one") == "following" and pipeline.inbox.passed is not None, "a watermark")
    now = pipeline.inbox.passed or 0.0
    assert pipeline.purgeable(now) == TOMBSTONES
    assert pipeline.purgeable(now + 5 * TOMBSTONES) == 5 * TOMBSTONES + 3600  # the view is behind by so much
    pipeline.fail(ViewState.GAP, "scripted")
    assert pipeline.purgeable(now) is None
    harness.stop()
