"""Rebuilds from exports: what the stream tells since meets what is older, and nothing goes back or comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynaview.sinks.memory import MemorySink
from dynaview.sources.errors import Throttled
from dynaview.views.rebuild import catch_up as history
from dynaview.views.streaming.offsets import Delivery
from dynaview.views.streaming.shard_reader import ShardReader
from tests.support.first_fill import QUICK_REBUILDS
from tests.support.reader_oracle import Poller
from tests.support.scripted import ScriptedTable
from tests.support.snapshots import Snapshot
from tests.support.until import until
from tests.support.worker_harness import READS
from tests.views.rebuild.exported import HOUR, SEATS_BESIDE, SEATS_IN_PLACE, VIEWS, Life, failed, started


def test_what_the_stream_tells_since_the_export_is_in_the_view_and_the_table_is_not_read(life: Life) -> None:
    life.put("p1")
    taken = life.snapshot()
    life.put("p2")
    life.delete("p3")
    life.put("new")
    life.delete("p4")
    life.put("p4")
    life.caught_up()
    scans = life.harness.table.counts()["scan"]
    life.ask(life.exporter.full(taken))
    life.put("p5")
    for view, kind in (("cards", "in place"), ("reads", "beside")):
        found = life.harness.wait_ended(view)
        assert (found.kind, found.items, found.of_items, found.units) == (kind, 20, 20, 0.0)
    life.check()
    assert life.harness.table.counts()["scan"] == scans
    life.put("p2")
    life.check()


def test_nothing_of_the_history_is_counted(life: Life) -> None:
    taken = life.snapshot()
    life.put("p2")
    life.caught_up()
    before = {view: life.harness.record(view).counts for view in VIEWS}
    life.ask(life.exporter.full(taken))
    for view in VIEWS:
        life.harness.wait_ended(view)
        assert life.harness.record(view).counts == before[view]


def test_rows_lost_in_redis_come_back_as_they_are_and_never_as_they_were(life: Life) -> None:
    taken = life.snapshot()
    life.put("p1")
    life.put("p1")
    life.delete("p2")
    life.put("p3", seat="other")
    life.caught_up()
    with Poller(life.harness, "cards", lost=True) as poller:
        sink = life.harness.sinks["cache"]
        assert isinstance(sink, MemorySink)
        rows = life.harness.target("cards")
        sink._find(rows.layout, 1).held.clear()
        life.harness.table.page = 1
        life.ask(life.exporter.full(taken), views=["cards"])
        life.harness.wait_ended("cards")
    assert poller.wrong == []
    life.harness.wait_rows("cards", life.expected("cards"))


def test_incremental_exports_close_the_hole_behind_an_old_full_one(life: Life) -> None:
    first = life.snapshot()
    life.put("p1")
    life.delete("p2")
    life.put("new")
    life.put("soon gone")
    second = life.snapshot()
    life.delete("soon gone")
    life.put("p2")
    life.delete("p3")
    life.delete("new")
    third = life.snapshot()
    life.put("p4")
    life.delete("p5")
    life.caught_up()
    # As if the first two were of days ago: nothing in the stream tells of them.
    life.harness.table.trim(life.harness.table.leaves[0], 20 + 4 + 4)
    places = [
        life.exporter.full(Snapshot(third.at - 50 * HOUR, first.items)),
        life.exporter.incremental(
            Snapshot(third.at - 50 * HOUR, first.items), Snapshot(third.at - 30 * HOUR, second.items)
        ),
        life.exporter.incremental(Snapshot(third.at - 30 * HOUR, second.items), third),
    ]
    with Poller(life.harness, *VIEWS) as poller:
        life.ask(*reversed(places))
        for view in VIEWS:
            assert life.harness.wait_ended(view).of_items == 20 + 4 + 4
    assert poller.wrong == []
    life.check()


@pytest.mark.parametrize("views", [SEATS_BESIDE, SEATS_IN_PLACE])
def test_a_row_that_moved_to_another_item_since_is_no_dead_letter(tmp_path: Path, views: str) -> None:
    life = started(tmp_path / "x", views)
    try:
        first = life.snapshot()
        life.delete("p1")
        life.put("p2", seat="s1")
        second = life.snapshot()
        life.delete("p3")
        life.put("p4", seat="s3")
        life.delete("p2")
        life.put("p5", seat="s1")
        life.caught_up(["seats"])
        life.ask(life.exporter.full(first), life.exporter.incremental(first, second), views=["seats"])
        life.harness.wait_ended("seats")
        life.check_seats()
    finally:
        life.harness.close()


@pytest.mark.parametrize("told", ["by the stream", "by an incremental export"])
@pytest.mark.parametrize("views", [SEATS_BESIDE, SEATS_IN_PLACE])
def test_many_rows_that_moved_do_not_pass_for_a_wrong_declaration(tmp_path: Path, views: str, told: str) -> None:
    life = started(tmp_path / "x", views + "    dead_letters: {limit: 2, within: 600}\n")
    try:
        taken = life.snapshot()
        for number in range(10):  # each takes the seat of the next one
            life.delete(f"p{number + 1}")
            life.put(f"p{number}", seat=f"s{number + 1}")
        life.caught_up(["seats"])
        places = [life.exporter.full(taken)]
        if told == "by an incremental export":
            after = life.snapshot()
            places.append(life.exporter.incremental(taken, after))
            life.harness.table.trim(life.harness.table.leaves[0], 20 + 20 - 1)
        life.ask(*places, views=["seats"])
        life.harness.wait_ended("seats")
        life.check_seats()
    finally:
        life.harness.close()


class Between:
    """Lets something happen once the history has read a change, before it writes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, event: str, key: str, act: Callable[[], None]) -> None:
        self.met = False

        between = self

        class Reader(ShardReader):
            def read(self) -> Delivery:
                found = super().read()
                met = any(each.event == event and key == each.body.key["pk"].S for each in found.changes)
                if met and not between.met:
                    between.met = True
                    act()
                return found

        monkeypatch.setattr(history, "ShardReader", Reader)


def test_a_row_that_the_pipeline_could_not_write_beside_an_older_one_is_written_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = started(tmp_path / "x", SEATS_BESIDE)

    def take_seat() -> None:
        life.put("p2", seat="s50")
        until(lambda: len(life.harness.control.dead_letters.find()) == 1, "the pipeline to be refused")

    try:
        taken = life.snapshot()
        life.put("p1", seat="s50")
        life.delete("p1")
        life.caught_up(["seats"])
        life.harness.table.page = 1
        between = Between(monkeypatch, "REMOVE", "p1", take_seat)
        life.ask(life.exporter.full(taken), views=["seats"])
        life.harness.wait_ended("seats")
        assert between.met
        life.check_seats()
    finally:
        life.harness.close()


@pytest.mark.parametrize("views", [SEATS_BESIDE, SEATS_IN_PLACE])
def test_an_older_row_does_not_come_back_over_the_tombstone_of_another_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: str
) -> None:
    life = started(tmp_path / "x", views)

    def move_on() -> None:
        life.delete("p1")
        life.caught_up(["seats"])
        life.put("p2", seat="s50")
        life.caught_up(["seats"])  # else the pipeline does both at once, and the tombstone stays the first item's
        life.delete("p2")
        life.caught_up(["seats"])

    try:
        taken = life.snapshot()
        life.put("p1", seat="s50")
        life.caught_up(["seats"])
        life.harness.table.page = 1
        between = Between(monkeypatch, "MODIFY", "p1", move_on)
        life.ask(life.exporter.full(taken), views=["seats"])
        life.harness.wait_ended("seats")
        assert between.met
        life.check_seats()
    finally:
        life.harness.close()


def test_in_place_no_older_row_shows_over_the_tombstone_of_another_item_even_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = started(tmp_path / "x", SEATS_IN_PLACE)
    seen: list[Any] = []
    try:
        taken = life.snapshot()
        life.put("p3", seat="s51")
        life.caught_up(["seats"])
        life.delete("p3")
        life.put("p4", seat="s51")
        life.caught_up(["seats"])
        life.delete("p4")
        life.caught_up(["seats"])
        life.harness.table.page = 1
        between = Between(monkeypatch, "REMOVE", "p3", lambda: seen.extend(life.harness.rows("seats")))
        life.ask(life.exporter.full(taken), views=["seats"])
        life.harness.wait_ended("seats")
        assert between.met
        assert "seat:s5" in seen
        assert "seat:s51" not in seen
        life.check_seats()
    finally:
        life.harness.close()


def test_a_throttled_history_slows_down_and_goes_on(life: Life) -> None:
    taken = life.snapshot()
    life.put("p1")
    life.delete("p2")
    life.caught_up()
    with life.harness.table.hold("exported") as held:
        life.ask(life.exporter.full(taken))
        assert held.reached.wait(20)
        life.harness.table.fail("open", Throttled, times=3)
        life.harness.table.fail("shards", Throttled, times=2)
    for view in VIEWS:
        life.harness.wait_ended(view)
    life.check()


def test_a_history_that_the_stream_no_longer_holds_ends_the_rebuild(tmp_path: Path) -> None:
    # As if it had waited for two hours.
    life = started(tmp_path / "x", rebuild=replace(QUICK_REBUILDS, catch_up_spare=3 * HOUR))
    with closing(life.harness):
        taken = life.snapshot()
        life.put("p1")
        life.caught_up()
        life.ask(life.exporter.full(Snapshot(taken.at - 22 * HOUR, taken.items)), views=["reads"])
        failed(life, "reads", "no longer holds", "24 hours")


def test_the_history_leaves_the_readers_of_open_shards_their_turns(tmp_path: Path) -> None:
    life = started(tmp_path / "x", rebuild=replace(QUICK_REBUILDS, catch_up_every=0.3))
    with closing(life.harness):
        life.harness.table.page = 5
        began = time.monotonic()
        life.ask(life.exporter.full(life.snapshot()), views=["reads"])
        life.harness.wait_ended("reads")
        assert time.monotonic() - began > 3 * 0.3  # four pages of twenty records


def test_shards_are_read_parents_first_and_those_from_before_the_export_not_at_all(tmp_path: Path) -> None:
    table = ScriptedTable(clock=lambda: time.time() - 1000)
    life = started(tmp_path / "x", READS, table)
    try:
        shard = table.leaves[0]
        child, other = table.split(shard)
        table.advance(1000)
        taken = life.snapshot()
        for number in range(20):
            life.put(f"p{number}")
        grandchild = table.roll(child)
        for number in range(20):
            if number % 3:
                life.delete(f"p{number}")
            else:
                life.put(f"p{number}")
        life.harness.wait_rows("reads", life.expected("reads"))
        began = len(table.calls)
        life.ask(life.exporter.full(taken), views=["reads"])
        life.harness.wait_ended("reads")
        life.harness.wait_rows("reads", life.expected("reads"))
        calls = list(table.calls)[began:]
        opened = [call.shard for call in calls if call.operation == "open" and call.after is None]
        assert sorted(map(str, opened)) == sorted([child, other, grandchild])
        assert opened.index(child) < opened.index(grandchild)
    finally:
        life.harness.close()
