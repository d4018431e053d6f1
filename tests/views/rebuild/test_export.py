"""Rebuilds from exports: what the stream tells since meets what is older, and nothing goes back or comes back."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dynaview.sinks.memory import MemorySink
from dynaview.sources.errors import Throttled
from dynaview.sources.port import ExportStatus
from dynaview.views.control.records import Options, Rebuild
from dynaview.views.rebuild import catch_up as history
from dynaview.views.rebuild import exports as exported
from dynaview.views.rebuild.context import RebuildSettings
from dynaview.views.streaming.offsets import Delivery
from dynaview.views.streaming.shard_reader import ShardReader
from tests.support.exports import TABLE_ARN, data_file
from tests.support.filling import QUICK_REBUILDS
from tests.support.poller import Poller
from tests.support.scripted import ScriptedTable
from tests.support.snapshots import Exporter, Snapshot, snapshot
from tests.support.until import until
from tests.support.worker_harness import CARDS, READS, WorkerHarness

VIEWS = ("cards", "reads")
HOUR = 3600.0
PHASES = (Phase.explicit, Phase.generate)
"""Without shrinking: an example takes a second."""

SEATS = """
  seats:
    source: shop
    sink: {sink}
    {place}
    match: {{pk: "{{pk}}", sk: s}}
    fields: {{seat: seat, value: value}}
"""
SEATS_BESIDE = SEATS.format(sink="reads", place="table: seats\n    key: seat")
SEATS_IN_PLACE = SEATS.format(sink="cache", place='type: hash\n    key: "seat:{seat}"')


class Life:
    """A table whose values only grow."""

    def __init__(self, harness: WorkerHarness) -> None:
        self.harness = harness
        self.exporter = Exporter(harness.folder / "exports", harness.table)
        self._last = 0

    def put(self, key: str, **more: Any) -> None:
        self._last += 1
        self.harness.table.put({"pk": key, "sk": "s", "value": str(self._last)} | more)

    def delete(self, key: str) -> None:
        self.harness.table.delete({"pk": key, "sk": "s"})

    def snapshot(self) -> Snapshot:
        return snapshot(self.harness.table)

    def expected(self, view: str) -> dict[Any, Any]:
        if view == "cards":
            return {f"card:{item['pk']}:s": {"value": item["value"]} for item in self.harness.table.items()}
        rows = [{name: item[name] for name in ("pk", "sk", "value")} for item in self.harness.table.items()]
        return {(row["pk"], row["sk"]): row for row in rows}

    def ask(self, *exports: str, views: Sequence[str] = VIEWS, yes: bool = False) -> None:
        self.harness.rebuild(*views, options=Options(exports=exports, yes=yes, segments=2))

    def caught_up(self, views: Sequence[str] = VIEWS) -> None:
        """Wait until the views show all that was written by now."""
        now = time.time()
        for view in views:
            until(lambda view=view: (self.harness.record(view).watermark or 0.0) > now, f"{view} to catch up")  # type: ignore[misc]

    def check(self, *, generation: int = 2) -> None:
        for view in VIEWS:
            assert self.harness.record(view).generation == generation
            self.harness.wait_rows(view, self.expected(view))
        assert self.harness.control.dead_letters.find() == []

    def check_seats(self) -> None:
        """Every seat shows who sits there."""
        seats = {item["seat"]: item["value"] for item in self.harness.table.items() if "seat" in item}

        def shown() -> dict[Any, Any]:
            return {row["seat"]: row["value"] for row in self.harness.rows("seats").values()}

        until(lambda: shown() == seats, f"the seats to be {seats}, not {shown()}")
        assert self.harness.control.dead_letters.find() == []


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    made = started(tmp_path)
    yield made
    made.harness.close()


def started(
    folder: Path,
    views: str = CARDS + READS,
    table: ScriptedTable | None = None,
    rebuild: RebuildSettings = QUICK_REBUILDS,
) -> Life:
    folder.mkdir(exist_ok=True)
    life = Life(WorkerHarness(folder, views, table))
    life.harness.settings.rebuild = rebuild
    for number in range(20):
        life.put(f"p{number}", seat=f"s{number}")
    life.harness.start()
    for view in life.harness.declaration.views:
        life.harness.wait_state(view, "following")
    return life


def failed(life: Life, view: str, *words: str) -> Rebuild:
    """The rebuild failed for the reason in words, and what readers see is as it was."""
    found = life.harness.wait_ended(view, "failed")
    for word in words:
        assert word in found.reason, found.reason
    assert life.harness.record(view).generation == 1
    life.harness.wait_rows(view, life.expected(view))
    return found


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


# What is refused before anything is begun


def test_an_export_of_another_table_is_refused(life: Life) -> None:
    other = TABLE_ARN.replace("shop", "stock")
    life.ask(life.exporter.full(life.snapshot(), tableArn=other), views=["reads"])
    assert failed(life, "reads", "is an export of", "stock", "not of").generation == 0


def test_an_export_of_the_table_before_it_was_made_anew_is_refused(life: Life) -> None:
    life.ask(life.exporter.full(life.snapshot(), tableId="table-before"), views=["reads"])
    assert failed(life, "reads", "earlier table").generation == 0


@pytest.mark.parametrize("hours", [23.1, 400])
def test_an_export_older_than_the_stream_reaches_back_is_refused(life: Life, hours: float) -> None:
    taken = life.snapshot()
    life.ask(life.exporter.full(Snapshot(taken.at - hours * HOUR, taken.items)))
    for view in VIEWS:
        assert failed(life, view, "reaches back", "incremental export", "--from-export").generation == 0


def test_an_export_from_before_the_stream_was_switched_on_is_refused(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = life.snapshot()
    monkeypatch.setattr(exported, "stream_made", lambda arn: taken.at + 1)
    life.ask(life.exporter.full(taken), views=["reads"])
    assert failed(life, "reads", "switched on").generation == 0


def test_an_export_of_the_future_is_refused(life: Life) -> None:
    taken = life.snapshot()
    life.ask(life.exporter.full(Snapshot(taken.at + HOUR, taken.items)), views=["reads"])
    assert failed(life, "reads", "has not come yet").generation == 0


def test_exports_with_a_hole_between_them_are_refused(life: Life) -> None:
    taken = life.snapshot()
    old = Snapshot(taken.at - 40 * HOUR, taken.items)
    late = Snapshot(taken.at - 30 * HOUR, taken.items)
    life.ask(life.exporter.full(old), life.exporter.incremental(late, taken), views=["reads"])
    assert failed(life, "reads", "after the end of").generation == 0


def test_an_incremental_export_alone_is_refused(life: Life) -> None:
    taken = life.snapshot()
    life.ask(life.exporter.incremental(Snapshot(taken.at - HOUR, {}), taken), views=["reads"])
    assert failed(life, "reads", "the full export").generation == 0


def test_an_incremental_export_that_cannot_tell_what_rows_to_remove_is_refused(tmp_path: Path) -> None:
    life = started(tmp_path / "x", SEATS_BESIDE)
    try:
        taken = life.snapshot()
        before = Snapshot(taken.at - HOUR, taken.items)
        life.ask(
            life.exporter.full(before), life.exporter.incremental(before, taken, view="NEW_IMAGE"), views=["seats"]
        )
        found = life.harness.wait_ended("seats", "failed")
        assert "NEW_AND_OLD_IMAGES" in found.reason
        assert found.generation == 0
    finally:
        life.harness.close()


def test_a_folder_without_an_export_is_refused(life: Life, tmp_path: Path) -> None:
    life.ask(str(tmp_path / "nothing"), views=["reads"])
    assert failed(life, "reads", "no DynamoDB export").generation == 0


def test_an_export_that_aws_says_is_filtered_is_refused(life: Life) -> None:
    place = life.exporter.full(life.snapshot())
    for arn in life.harness.table.exports:
        life.harness.table.exports[arn] = ExportStatus("COMPLETED", filtered=True)
    life.ask(place, views=["reads"])
    assert failed(life, "reads", "filtered").generation == 0


def test_an_export_that_aws_does_not_know_asks(life: Life) -> None:
    place = life.exporter.full(life.snapshot())
    life.harness.table.exports.clear()
    life.ask(place, views=["reads"])
    until(lambda: life.harness.rebuilt("reads").answer == "?", "it to ask")
    found = life.harness.rebuilt("reads")
    assert "AWS does not know the export" in found.reason
    assert found.generation == 0
    life.harness.control.rebuilds.answer("reads", "yes")
    life.harness.wait_ended("reads")
    life.harness.wait_rows("reads", life.expected("reads"))


def cut(place: str) -> None:
    file = data_file(Path(place), 2)
    file.write_bytes(file.read_bytes()[:-9])


def test_an_export_cut_short_is_refused_in_place_before_a_row_is_touched(life: Life) -> None:
    place = life.exporter.full(life.snapshot())
    cut(place)
    life.ask(place, views=["cards"])
    assert failed(life, "cards", "cut short").generation == 0
    assert {row.generation for row in life.harness.target("cards").rows()} == {1}


def test_an_export_cut_short_ends_a_rebuild_beside_and_leaves_what_readers_see(life: Life) -> None:
    place = life.exporter.full(life.snapshot())
    cut(place)
    life.ask(place, views=["reads"])
    failed(life, "reads", "cut short")
    life.put("p7")
    life.harness.wait_rows("reads", life.expected("reads"))
    assert life.harness.sinks["reads"].published(life.harness.declaration.views["reads"].layout) == 1


# On the way


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


@settings(
    max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_rebuilt_from_exports_at_any_moment_views_show_the_table_and_never_an_older_row(data: st.DataObject) -> None:
    key = st.sampled_from([f"p{number}" for number in range(8)])
    step = st.tuples(st.sampled_from(["put", "put", "delete", "roll", "restart"]), key)
    early, middle, late, during = (data.draw(st.lists(step, max_size=12)) for _ in range(4))
    page, chain, restarts = data.draw(st.integers(1, 30)), data.draw(st.booleans()), data.draw(st.integers(0, 2))
    with tempfile.TemporaryDirectory() as folder:
        life = started(Path(folder))
        harness = life.harness

        def live(steps: Sequence[tuple[str, str]]) -> None:
            for what, name in steps:
                if what == "put":
                    life.put(name)
                elif what == "delete":
                    life.delete(name)
                elif what == "roll":
                    harness.table.roll(harness.table.leaves[-1])

        try:
            live(early)
            first = life.snapshot()
            live(middle)
            second = life.snapshot()
            live(late)
            places = [life.exporter.full(first)]
            if chain:
                places.append(life.exporter.incremental(first, second))
            harness.table.page = page
            with Poller(harness, *VIEWS) as poller:
                life.ask(*places)
                live(during)
                for _ in range(restarts):
                    phases = {harness.rebuilt(view).phase for view in VIEWS}
                    harness.restart()
                    until(lambda before=phases: {harness.rebuilt(view).phase for view in VIEWS} != before, "a step")  # type: ignore[misc]
                for view in VIEWS:
                    harness.wait_ended(view)
                life.check()
            assert poller.wrong == []
            assert poller.rounds > 2
        finally:
            harness.close()


@pytest.mark.parametrize("views", [SEATS_BESIDE, SEATS_IN_PLACE])
@settings(max_examples=4, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_rows_that_move_between_items_all_the_time_are_where_they_belong(data: st.DataObject, views: str) -> None:
    move = st.tuples(st.integers(0, 5), st.integers(0, 3))
    early, middle, late, during = (data.draw(st.lists(move, max_size=15)) for _ in range(4))
    page, chain, damaged = data.draw(st.integers(1, 30)), data.draw(st.booleans()), data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        life = started(Path(folder), views)
        seated: dict[int, int] = {number: number for number in range(20)}

        def live(moves: Sequence[tuple[int, int]]) -> None:
            for who, seat in moves:
                for other in [other for other, held in seated.items() if held == seat and other != who]:
                    life.delete(f"p{other}")
                    del seated[other]
                life.put(f"p{who}", seat=f"s{seat}")
                seated[who] = seat

        try:
            live(early)
            first = life.snapshot()
            live(middle)
            second = life.snapshot()
            live(late)
            places = [life.exporter.full(first)]
            if chain:
                places.append(life.exporter.incremental(first, second))
            life.harness.table.page = page
            life.caught_up(["seats"])
            if damaged:
                sink = life.harness.sinks["cache" if views == SEATS_IN_PLACE else "reads"]
                assert isinstance(sink, MemorySink)
                sink._find(life.harness.target("seats").layout, 1).held.clear()
            with Poller(life.harness, "seats", lost=damaged) as poller:
                life.ask(*places, views=["seats"], yes=True)
                live(during)
                life.harness.wait_ended("seats")
                life.check_seats()
            assert poller.wrong == []
        finally:
            life.harness.close()
