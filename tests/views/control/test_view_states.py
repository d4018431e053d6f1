"""The states of views: who may set which, and what stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dynaview.views.control.errors import LeaseLost
from dynaview.views.control.records import Fence
from dynaview.views.control.store import ControlStore
from dynaview.views.states import ViewState

FENCE = Fence("g", "worker", {})


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlStore]:
    made = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    made.add_view("one", "shop", "cache", "f")
    made.leases.enlist("worker", "g", "shop", "host", 1, 60)
    assert made.leases.take_ownership("one", "g")
    yield made
    made.close()


def state(control: ControlStore) -> tuple[ViewState, str]:
    record = control.view("one")
    assert record is not None
    return record.state, record.reason


def test_what_one_worker_says_of_the_end_holds_for_all(control: ControlStore) -> None:
    control.states.report("one", ViewState.GAP, "lost", 0, FENCE)
    control.states.report("one", ViewState.FOLLOWING, "", 0, FENCE)
    assert state(control) == (ViewState.GAP, "lost")
    control.states.set("one", ViewState.STARTING)
    control.states.report("one", ViewState.FOLLOWING, "", 0, FENCE)
    assert state(control) == (ViewState.FOLLOWING, "")


@pytest.mark.parametrize("late", [ViewState.RETRYING, ViewState.GAP, ViewState.FAILED])
def test_what_was_seen_before_a_rebuild_began_is_not_said_after_it(control: ControlStore, late: ViewState) -> None:
    """A worker that meets the old gap once more would end the rebuild that fixes it."""
    record = control.view("one")
    assert record is not None
    assert control.rebuilds.write_in(record, [1])
    control.states.set("one", ViewState.REBUILDING)
    control.states.report("one", late, "of the past", record.revision, FENCE)
    assert state(control) == (ViewState.REBUILDING, "")
    control.states.report("one", late, "of today", record.revision + 1, FENCE)
    assert state(control) == (late, "of today")


def test_the_end_is_said_only_by_a_worker_that_is_not_taken_for_dead(control: ControlStore) -> None:
    with pytest.raises(LeaseLost):
        control.states.report("one", ViewState.GAP, "lost", 0, Fence("g", "another", {}))
    assert state(control) == (ViewState.STARTING, "")


def test_since_moves_only_with_the_state(control: ControlStore) -> None:
    control.states.set("one", ViewState.RETRYING, "full")
    first = control.view("one")
    control.states.set("one", ViewState.RETRYING, "still full")
    second = control.view("one")
    assert first is not None
    assert second is not None
    assert (first.since, second.reason) == (second.since, "still full")
    assert second.seen >= first.seen


@pytest.mark.parametrize("each", list(ViewState))
def test_every_state_says_who_sets_it_and_what_ends_it(each: ViewState) -> None:
    assert each.set_by
    assert each.ended_by
    assert not (each.well and each.lasts)
