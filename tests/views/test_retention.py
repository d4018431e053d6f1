"""The log warns of views that will soon have a gap."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dynaview.views.control.records import ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.retention import EVERY, RetentionWatch
from dynaview.views.states import ViewState

HOUR = 3600.0


@pytest.fixture
def record(tmp_path: Path) -> ViewRecord:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.add_view("one", "shop", "cache", "f", "arn")
    control.states.pause("one", "disks")
    found = control.view("one")
    control.close()
    assert found is not None
    return replace(found, watermark=1000.0)


def test_it_is_said_once_an_hour(record: ViewRecord) -> None:
    now = [1000.0 + 19 * HOUR]
    watch = RetentionWatch(lambda: now[0])
    assert watch.line(record) is None
    now[0] += 2 * HOUR
    assert watch.line(record) == (
        "in 3.0 h changes since 1970-01-01T00:16:40Z are lost to it: DynamoDB keeps them for 24 hours; it is paused: "
        "disks; dynaview resume one lets it go on"
    )
    assert watch.line(record) is None
    now[0] += EVERY
    assert (watch.line(record) or "").startswith("in 2.0 h")


def test_it_is_not_said_of_a_view_that_has_a_gap_or_nothing_to_lose(record: ViewRecord) -> None:
    watch = RetentionWatch(lambda: 1000.0 + 30 * HOUR)
    assert watch.line(replace(record, state=ViewState.GAP)) is None
    assert watch.line(replace(record, watermark=None)) is None
    assert (watch.line(record) or "").startswith("changes since 1970-01-01T00:16:40Z may be lost to it")
