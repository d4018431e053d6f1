"""Whether health says what is wrong with a view, and nothing where nothing is."""

from __future__ import annotations

from typing import Any

import pytest

from dynaview.views.http.health import Limits, health
from dynaview.views.http.snapshot import Snapshot
from dynaview.views.states import ViewState

NOW = 1_800_000_000.0


def view(**changed: Any) -> dict[str, Any]:
    usual = {"state": "following", "reason": "", "lag": 0.5, "since": NOW - 3600, "watermark": NOW - 0.5}
    return {"view": "card", **usual, "retention_left": 86000.0, **changed}


def reason(**changed: Any) -> str:
    (found,) = health(Snapshot(NOW, [view(**changed)]), Limits(lag=60, unknown=120)).views
    assert found.ok == (not found.reason)
    return found.reason


def test_a_view_at_the_tip_of_its_stream_is_well() -> None:
    assert reason() == ""
    assert health(Snapshot(NOW, [view()]), Limits()).ok


def test_a_view_to_which_changes_will_be_lost_says_so_first() -> None:
    told = reason(state="paused", reason="disks", watermark=NOW - 21 * 3600, retention_left=3 * 3600.0)
    assert (
        told
        == "in 3.0 h changes since 2027-01-14T11:00:00Z are lost to it: DynamoDB keeps them for 24 hours; paused: disks"
    )


def test_a_view_that_is_too_far_behind_says_how_far() -> None:
    assert reason(lag=61.0) == "61 s behind its stream (more than 60 s)"
    assert reason(lag=60.0) == ""


def test_a_lag_that_is_unknown_for_long_is_bad_health() -> None:
    assert reason(lag=None, since=NOW - 100) == ""
    assert "not been known for 121 s" in reason(lag=None, since=NOW - 121)


@pytest.mark.parametrize("state", [state for state in ViewState if not state.well])
def test_a_state_that_is_not_well_is_told_with_its_reason(state: ViewState) -> None:
    told = reason(state=state.value, reason="the disk is full")
    if state is ViewState.STARTING:
        assert told == ""
    elif state is ViewState.STOPPED:
        assert told == "no worker keeps it: start dynaview run"
    else:
        assert told == f"{state}: the disk is full"


def test_a_declared_view_that_was_never_started_is_not_well() -> None:
    found = health(Snapshot(NOW, [view()], ["lines"]), Limits())
    assert not found.ok
    assert [each.view for each in found.views if not each.ok] == ["lines"]


def test_nothing_is_well_while_the_control_store_is_away() -> None:
    found = health(Snapshot(NOW, [view()], error="it does not answer"), Limits())
    assert not found.ok
    assert found.error == "it does not answer"
