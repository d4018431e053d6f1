"""A watermark that somebody waits for: idle shards are looked at more often meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.store import ControlStore
from dynaview.views.waiting import Moment, Pace, TimedOut, wait_for
from tests.support.follower_harness import QUICK
from tests.support.worker_harness import CARDS, WorkerHarness


def test_idle_shards_are_looked_at_more_often_while_somebody_waits(tmp_path: Path) -> None:
    harness = WorkerHarness(tmp_path, CARDS)
    harness.settings.follower = replace(QUICK, poll_cap=3.0, tip_pages=20)  # a minute for a proof, otherwise
    harness.start()
    harness.wait_state("cards", "following")
    harness.table.put({"pk": "p", "sk": "s", "value": 1})
    standing = wait_for(harness.control, "cards", Moment.now(), timeout=30)
    assert standing.waited < 20
    assert harness.rows("cards") == {"card:p:s": {"value": 1}}
    harness.close()


def test_the_latest_moment_that_is_waited_for_is_known(tmp_path: Path) -> None:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.add_view("one", "shop", "memory", "f", "arn")
    time = [100.0]

    def pause(seconds: float) -> None:
        time[0] += seconds

    for moment in (50.0, 70.0, 60.0):
        with pytest.raises(TimedOut):
            wait_for(control, "one", Moment(moment), timeout=1, pace=Pace(lambda: time[0], lambda: time[0], pause))
    record = control.view("one")
    assert record is not None
    assert record.awaited == 70.0
    control.close()


def test_it_is_waited_for_where_the_control_store_takes_nothing(tmp_path: Path) -> None:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.add_view("one", "shop", "memory", "f", "arn")

    def refuse(view: str, moment: float) -> None:
        raise ControlUnavailable("scripted: read-only")

    control.set_awaited = refuse  # type: ignore[method-assign]  # a right that is missing
    notices: list[str] = []
    with pytest.raises(TimedOut) as raised:
        wait_for(control, "one", Moment(50.0), timeout=0.05, notice=notices.append)
    assert not any("read-only" in text for text in [str(raised.value), *notices])
    control.close()
