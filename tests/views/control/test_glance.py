"""The look that status takes at an SQLite control store, against what its stores answer themselves."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dynaview.views.control.glance import SCHEMA, glance
from dynaview.views.control.migrations import newest
from dynaview.views.control.records import (
    Checkpoint,
    Counts,
    DeadLetter,
    Options,
    Part,
    Progress,
    VerificationResult,
)
from dynaview.views.control.store import ControlStore
from dynaview.views.states import ViewState
from dynaview.views.status import standing_in, status_of

FILE = "control store #1.db"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / FILE}"


def _lived_in(url: str) -> ControlStore:
    """A control store in which something stands in every table that is looked at."""
    control = ControlStore(url)
    control.add_view("one", "shop", "cache", "f1", "arn", "{}")
    control.add_view("two", "shop", "cache", "f2", "arn", "{}")
    control.add_view("three", "other", "reads", "f3")
    letter = DeadLetter("one", '{"pk":{"S":"a"}}', "a", 7, "shard-0", 1.0, "projection", "scripted", b"{}")
    part = Part(Checkpoint(7, 1.5), Counts(read=3, applied=2, dead_lettered=1), [letter])
    control.commit("one", Progress({"shard-0": part}), 1.5)
    control.states.set("one", ViewState.FOLLOWING)
    control.states.set("two", ViewState.GAP, "lost")
    control.claim("two", 1)
    control.states.pause("one", "maintenance")
    control.verifications.save(VerificationResult(view="one", begun=2.0, seconds=1.0, rows=5, missing=1))
    control.rebuilds.request(["one", "two"], "shop", {"one": "f1", "two": "f9"}, Options(asked_by="test"))
    for worker, group, source in (("a", "g", "shop"), ("b", "g", "shop"), ("c", "h", "other")):
        control.leases.enlist(worker, group, source, "host", 1, 60)
        control.leases.join(worker)
    control.leases.enlist("late", "g", "shop", "host", 2, -1)
    for view, group, half in (("one", "g", 0), ("two", "g", 1), ("three", "h", 0)):
        assert control.leases.take_ownership(view, group, half)
    control.leases.acquire("a", "g", ["shard-0", "shard-1", "shard-1#1", "job: fill one"])
    return control


def test_a_glance_sees_what_the_control_store_answers(url: str) -> None:
    control = _lived_in(url)
    try:
        seen = glance(url)
        assert seen is not None
        assert seen == standing_in(control)
        assert {name: len(members) for name, members in seen.workers.items()} == {"one": 2, "two": 2, "three": 1}
        assert seen.letters == {"one": 1}
        assert [view["state"] for view in status_of(seen)] == ["paused", "starting", "gap"]
    finally:
        control.close()
    after = glance(url)  # who has ended is not there, though nobody has removed its row
    assert after is not None
    assert not any(after.workers.values())


def test_a_letter_of_a_generation_that_nobody_sees_any_more_is_not_counted(url: str, tmp_path: Path) -> None:
    control = _lived_in(url)
    control.close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE dynaview_generations SET generation = 2 WHERE view = 'one'")
    seen, control = glance(url), ControlStore(url)
    assert seen is not None
    assert seen == standing_in(control)
    assert seen.letters == {}
    control.close()


def test_what_is_no_control_store_of_this_dynaview_is_left_to_the_control_store(url: str, tmp_path: Path) -> None:
    assert newest() == SCHEMA
    assert glance(url) is None
    assert not (tmp_path / FILE).exists()
    (tmp_path / FILE).write_text("no database")
    assert glance(url) is None
    (tmp_path / FILE).unlink()
    ControlStore(url).close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE dynaview_control SET schema_version = schema_version + 1")
    assert glance(url) is None
    assert glance("postgresql://host/name") is None
    assert glance(f"{url}?timeout=1") is None
    assert glance(f"{url}%20") is None
