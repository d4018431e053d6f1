"""First fills: the rebuild of a view's first generation, by one scan for all new views of a table."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynaview.sinks.port import SinkUnavailable, Target
from dynaview.views.control.records import Options, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.status import all_status, under_way
from tests.support.first_fill import QUICK_REBUILDS
from tests.support.rebuilding import BOTH, Held, expected, follows, item, paused, stays
from tests.support.until import until
from tests.support.worker_harness import CARDS, READS, WorkerHarness

FIVE = "".join(READS.replace("  reads:", f"  v{n}:", 1).replace("table: reads", f"table: v{n}") for n in range(5))
NAMES = tuple(f"v{n}" for n in range(5))


@pytest.fixture
def new(tmp_path: Path) -> Iterator[WorkerHarness]:
    """Twenty items that views have never been filled from."""
    made = WorkerHarness(tmp_path)
    made.table.scan_page = 5
    for number in range(20):
        made.table.put(item(number, "first"))
    yield made
    made.close()


def scans(harness: WorkerHarness) -> int:
    return harness.table.counts()["scan"]


def wait_filled(harness: WorkerHarness, *views: str) -> None:
    for view in views or BOTH:
        until(lambda view=view: bool((found := harness.control.view(view)) and found.filled), f"{view} to be filled")  # type: ignore[misc]  # a default is not inferred


def test_a_fill_that_ends_while_the_scheduler_looks_is_not_begun_again(
    new: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scheduler's look at the views is as old as a look can be: of before the fill's end, and used behind it."""
    across: list[str] = []
    looks: list[int] = []

    def views(control: ControlStore) -> list[ViewRecord]:
        seen = read(control)
        if threading.current_thread().name.startswith("rebuilds"):
            fill = control.rebuilds.get("cards")
            if fill is not None and not fill.ended:
                until(lambda: control.rebuilds.get("cards").ended, "the fill to end")  # type: ignore[union-attr]
                across.append(fill.job)
            looks.append(1)
        return seen

    read = ControlStore.views
    monkeypatch.setattr(ControlStore, "views", views)
    new.declare(CARDS)
    new.start()
    until(lambda: bool(across), "a look at the views across the fill's end")
    before = len(looks)
    until(lambda: len(looks) > before + 2, "two looks more")
    assert new.rebuilt("cards").job == across[0]
    assert scans(new) == 5


def test_new_views_of_a_table_share_one_scan_within_the_read_budget(new: WorkerHarness) -> None:
    new.declare(FIVE)
    new.table.read_units = 20  # of which half may be taken, five a page
    new.start()
    wait_filled(new, *NAMES)
    assert scans(new) == 5  # the last page may be empty
    assert len({new.rebuilt(view).job for view in NAMES}) == 1
    calls = [call for call in new.table.calls if call.operation == "scan"]
    assert len(calls) == 5
    for view in NAMES:
        found = new.wait_ended(view)
        assert (found.kind, found.items, found.matched, found.units) == ("fill", 20, 20, 20.0)
        assert found.scan_began is not None
        assert found.scan_end is not None
        assert found.scan_end - found.scan_began > 0.9  # twenty units at ten a second, of which ten are there at once
        assert new.rows(view) == expected(new, "reads")


def test_how_far_it_is_shows(new: WorkerHarness) -> None:
    with new.table.hold("scan") as held:
        new.start()
        assert held.reached.wait(20)
        with paused(new, "save_page") as reached:
            held.released.set()
            assert reached.wait(20)
            for told in all_status(new.control):
                assert (told["state"], told["filled"]) == ("filling", False)
                assert told["scan"] == {"read": 5, "matched": 5}
                assert under_way(told["rebuild"]).startswith("first fill: scanning, 5 of about 20 items, 5 matched")
    wait_filled(new)
    assert [told["scan"] for told in all_status(new.control)] == [{"read": 20, "matched": 20}] * 2


def test_items_that_match_nothing_are_told(new: WorkerHarness) -> None:
    new.declare(READS.replace("    key: [pk, sk]\n", "    key: [pk, sk]\n    where: nowhere == 'such'\n"))
    new.start()
    wait_filled(new, "reads")
    (told,) = all_status(new.control)
    assert told["scan"] == {"read": 20, "matched": 0}


def test_killed_it_goes_on_where_it_was(new: WorkerHarness) -> None:
    pages = [0]

    def heard(when: str, what: str) -> None:
        pages[0] += (when, what) == ("after", "save_page")
        if pages[0] == 2:
            new.cut()

    with new.table.hold("scan") as held:
        new.start()
        assert held.reached.wait(20)
        new.on_record(heard)
    until(lambda: pages[0] >= 2, "two pages")
    new.kill()
    before = scans(new)
    new.start()
    wait_filled(new)
    assert scans(new) - before <= 3
    for view in BOTH:
        assert new.rebuilt(view).items == 20
        assert new.rows(view) == expected(new, view)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "what", ["request_together", "starting", "scanning", "save_segment", "finishing", "filled", "done"]
)
def test_killed_around_a_record_it_is_whole_in_the_end(new: WorkerHarness, what: str, moment: str) -> None:
    cut = threading.Event()

    def heard(when: str, recorded: str) -> None:
        if (when, recorded) == (moment, what):
            new.cut()
            cut.set()

    with new.table.hold("describe") as held:  # nothing is asked for before it answers
        new.start()
        assert held.reached.wait(20)
        new.on_record(heard)
    assert cut.wait(20)
    new.kill()
    new.table.put(item(1, "meanwhile"))
    new.table.delete(item(2, ""))
    new.start()
    wait_filled(new)
    for view in BOTH:
        until(lambda view=view: new.rows(view) == expected(new, view), f"{view} to be right")  # type: ignore[misc]
        new.wait_ended(view)
        new.wait_state(view, "following")
    until(
        lambda: all(new.control.rebuilds.segments(new.rebuilt(view).job) == [] for view in BOTH),
        "the positions of the scan to be forgotten",
    )
    follows(new, 1, "later")


def test_a_view_that_comes_later_has_a_scan_of_its_own(new: WorkerHarness) -> None:
    new.declare(CARDS)
    new.start()
    wait_filled(new, "cards")
    before = scans(new)
    new.stop()
    new.declare(CARDS + READS)
    new.start()
    wait_filled(new, "reads")
    assert scans(new) - before == 5
    assert new.rows("reads") == expected(new, "reads")


def test_dropped_while_it_is_filled_nothing_is_remembered(new: WorkerHarness) -> None:
    with new.table.hold("scan") as held:
        new.start()
        assert held.reached.wait(20)
        new.cut()
    new.kill()
    job = new.rebuilt("reads").job
    assert new.control.rebuilds.segments(job)
    for view in BOTH:
        new.control.drop_view(view)
    assert new.control.rebuilds.all() == []
    assert new.control.rebuilds.segments(job) == []
    for sink in new.sinks.values():
        for view in BOTH:
            sink._drop(view, 1)  # type: ignore[attr-defined]  # memory's own
    new.start()
    wait_filled(new)


def test_a_view_that_is_new_and_one_that_has_changed_share_a_scan(new: WorkerHarness) -> None:
    new.declare(CARDS)
    new.start()
    wait_filled(new, "cards")
    new.stop()
    before = scans(new)
    changed = CARDS.replace("fields: {", "fields: {more: value, ") + "    on_change: rebuild\n"
    new.declare(changed + READS)
    new.start()
    wait_filled(new, "reads")
    found = new.wait_ended("cards")
    assert (found.kind, new.rebuilt("reads").kind) == ("in place", "fill")
    assert found.job == new.rebuilt("reads").job
    samples = 20 * 5
    assert scans(new) - before <= 5 + samples


def test_killed_as_they_are_asked_for_either_all_share_a_scan_or_none_is_asked_for(new: WorkerHarness) -> None:
    new.declare(CARDS)
    new.start()
    wait_filled(new, "cards")
    new.wait_ended("cards")
    new.stop()
    new.declare(CARDS.replace("fields: {", "fields: {more: value, ") + "    on_change: rebuild\n" + READS)
    cut = threading.Event()

    def heard(when: str, what: str) -> None:
        if when == "after" and what.startswith("request"):
            new.cut()
            cut.set()

    with new.table.hold("describe") as held:  # nothing is asked for before it answers
        new.start()
        assert held.reached.wait(20)
        new.on_record(heard)
    assert cut.wait(20)
    new.kill()
    assert {new.rebuilt(view).phase for view in BOTH} == {"requested"}
    assert new.rebuilt("cards").job == new.rebuilt("reads").job


def test_cancelled_it_waits_for_the_next_start(new: WorkerHarness) -> None:
    with new.table.hold("scan") as held:
        new.start()
        assert held.reached.wait(20)
        assert new.control.rebuilds.answer("reads", "cancel")
        new.wait_ended("reads", "cancelled")  # heard though the table does not answer
    wait_filled(new, "cards")
    assert not new.record("reads").filled
    told = next(told for told in all_status(new.control) if told["view"] == "reads")
    assert "first fill was cancelled" in under_way(told["rebuild"])
    before = new.rebuilt("reads").job
    stays(lambda: new.rebuilt("reads").job == before)
    new.restart()
    wait_filled(new, "reads")
    assert new.rows("reads") == expected(new, "reads")


@pytest.mark.parametrize("call", ["prepare", "write"])
def test_a_store_that_is_away_holds_up_its_own_views_only(new: WorkerHarness, call: str) -> None:
    new.declare(CARDS + READS + READS.replace("reads:", "more:").replace("table: reads", "table: more"))
    down = threading.Event()
    down.set()

    def act(name: str, target: Target) -> None:
        if (
            name == call
            and down.is_set()
            and (call == "prepare" or threading.current_thread().name.startswith("scan-"))
        ):
            raise SinkUnavailable("scripted")

    held = Held(new.sinks["reads"], act)
    new.settings.rebuild = replace(QUICK_REBUILDS, stalled_after=0.3)
    new.start()
    wait_filled(new, "cards")
    assert not new.record("reads").filled
    assert new.rebuilt("cards").job != new.rebuilt("reads").job == new.rebuilt("more").job
    down.clear()
    wait_filled(new, "reads", "more")
    held.heal()
    for view in (*BOTH, "more"):
        assert new.rows(view) == expected(new, "cards" if view == "cards" else "reads")
        assert new.rebuilt(view).items == 20


def test_a_view_that_is_changed_before_it_was_filled_is_filled_as_it_is_now(new: WorkerHarness) -> None:
    with new.table.hold("scan") as held:
        new.start()
        assert held.reached.wait(20)
        new.cut()
    new.kill()
    new.declare(CARDS + READS.replace("fields: {", "fields: {more: {from: value, type: text}, "))
    new.start()
    wait_filled(new)
    until(lambda: new.rows("reads").get(("p1", "s"), {}).get("more") == "first", "the rows as they are declared now")
    new.wait_state("reads", "following")
    follows(new, 1, "later")


def test_rows_that_a_store_refuses_after_the_load_are_dead_letters(new: WorkerHarness) -> None:
    new.start()
    wait_filled(new)
    sink: Any = new.sinks["reads"]
    sink.refuses_late = lambda row: "too long for an index" if row.key == ("p3", "s") else None
    new.rebuild("reads", options=Options(yes=True))
    found = new.wait_ended("reads")
    assert found.letters == 1
    (letter,) = [kept.letter for kept in new.control.dead_letters.find()]
    assert (letter.generation, letter.reason, letter.row_key) == (2, "too long for an index", '["p3","s"]')
    wanted = expected(new, "reads")
    del wanted["p3", "s"]
    assert new.rows("reads") == wanted
    new.wait_state("reads", "following")
    follows(new, 1, "later", "reads")


def test_a_view_that_was_never_begun_takes_the_new_declaration(new: WorkerHarness) -> None:
    good = new.declaration
    new.declare(CARDS + READS.replace("table: reads", "table: typo"))
    source = new.declaration.sources["shop"]
    for view in new.declaration.views.values():
        mark = fingerprint(view, "another table")  # a worker that waits for it
        new.control.add_view(view.name, view.source, view.sink, mark, declaration=encode(view))
    new.declare(CARDS + READS)
    new.start()
    wait_filled(new)
    for name, view in good.views.items():
        record = new.record(name)
        assert (record.generation, record.fingerprint) == (1, fingerprint(view, source.table))
        assert new.rows(name) == expected(new, name)
