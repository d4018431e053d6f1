"""Rebuilds and rollbacks: every phase, and whatever may come between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.rows import Write
from dynaview.sinks.memory import MemorySink, MemoryTarget
from dynaview.sinks.port import Outcome, Room, SinkRefused, SinkUnavailable, Target
from dynaview.views.budget import Capacity
from dynaview.views.control.store import ControlStore
from dynaview.views.rebuilds.store import Options
from dynaview.views.workers.crew import Crew
from tests.support.house import until
from tests.support.yard import CARDS, READS, Yard, hurry

BOTH = ("cards", "reads")


def item(number: int, value: str) -> dict[str, str]:
    return {"pk": f"p{number}", "sk": "s", "value": value}


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    hurry(monkeypatch)
    made = Yard(tmp_path)
    made.table.scan_page = 5
    for number in range(20):
        made.table.put(item(number, "first"))
    begin(made)
    yield made
    made.close()


def begin(yard: Yard, *views: str) -> None:
    yard.start()
    for view in views or BOTH:
        yard.wait_state(view, "following")


def follows(yard: Yard, number: int, value: str, *views: str) -> None:
    """A change comes to the views."""
    yard.table.put(item(number, value))
    for view in views or BOTH:
        key: Any = f"card:p{number}:s" if view == "cards" else (f"p{number}", "s")
        until(lambda view=view, key=key: yard.rows(view).get(key, {}).get("value") == value, f"{view} to follow")  # type: ignore[misc]


def expected(yard: Yard, view: str) -> dict[Any, Any]:
    """What the table asks of a view, as the first declarations have it."""
    if view == "cards":
        return {f"card:{each['pk']}:{each['sk']}": {"value": each["value"]} for each in yard.table.items()}
    return {(each["pk"], each["sk"]): dict(each) for each in yard.table.items()}


def traces(yard: Yard, view: str, generation: int) -> list[str]:
    """What is left of a generation that was given up."""
    left = [f"generation {each.generation}" for each in yard.control.generations(view) if each.generation == generation]
    left += [f"letter {each.id}" for each in yard.control.letters.find() if each.letter.generation == generation]
    left += [f"segment of {yard.rebuilt(view).job}"] * len(yard.control.rebuilds.segments(yard.rebuilt(view).job))
    sink = yard.sinks["reads"]
    assert isinstance(sink, MemorySink)
    left += [f"rows of {place}" for place in sink._made if place == (view, generation)]
    return left


@contextmanager
def paused(yard: Yard, phase: str, views: int = 1) -> Iterator[threading.Event]:
    """Rebuilds wait as they record a phase, until the block ends. What is yielded is set when so many have come."""
    reached, go_on, come = threading.Event(), threading.Event(), [0]

    def heard(moment: str, what: str) -> None:
        if (moment, what) == ("after", phase):
            come[0] += 1
            if come[0] >= views:
                reached.set()
            assert go_on.wait(30)

    yard.on_record(heard)
    try:
        yield reached
    finally:
        go_on.set()


class Held:
    """A sink's targets, whose calls go through `act` first."""

    def __init__(self, sink: Any, act: Callable[[str, Target], None]) -> None:
        self._sink, self._act = sink, act
        self._open = sink.open
        sink.open = self.open

    def open(self, layout: Any, generation: int) -> Any:
        target, act = self._open(layout, generation), self._act
        for name in ("write", "mend", "publish", "prepare", "finish", "drop"):
            setattr(target, name, _through(getattr(target, name), lambda name=name: act(name, target)))  # type: ignore[misc]
        return target

    def heal(self) -> None:
        del self._sink.open


def _through(call: Callable[..., Any], before: Callable[[], None]) -> Callable[..., Any]:
    def called(*arguments: Any, **values: Any) -> Any:
        before()
        return call(*arguments, **values)

    return called


def test_a_rebuild_replaces_what_was_damaged(yard: Yard) -> None:
    good = {view: yard.rows(view) for view in BOTH}
    assert all(len(rows) == 20 for rows in good.values())
    damage(yard)
    assert all(yard.rows(view) != good[view] for view in BOTH)
    yard.rebuild(*BOTH)
    for view, kind in (("cards", "in place"), ("reads", "beside")):
        found = yard.wait_ended(view)
        assert (found.kind, found.items, found.generation) == (kind, 20, 2)
        assert yard.record(view).generation == 2
        assert yard.rows(view) == good[view]
        yard.wait_state(view, "following")
    assert yard.rebuilt("cards").job == yard.rebuilt("reads").job
    assert yard.table.counts()["scan"] <= 5 + 5 + 5 + 60  # two first fills, one scan for both, two samples
    follows(yard, 3, "second")
    until(lambda: yard.rows("reads", 1)["p3", "s"]["value"] == "second", "the kept generation to follow")


def damage(yard: Yard) -> None:
    """Edit rows by hand: one is changed, one removed, one added."""
    for view in BOTH:
        sink = yard.sinks["cache" if view == "cards" else "reads"]
        assert isinstance(sink, MemorySink)
        held = next(rows for place, rows in sink._made.items() if place[0] == view).held
        first, second, *_ = held
        held[first].content = b'{"value": "edited"}'
        held["card:nobody:s" if view == "cards" else ("nobody", "s")] = held.pop(second)


# Cancelling

PHASES = ("starting", "scanning", "finishing", "waiting", "checking", "sweeping", "swapping")


@pytest.mark.parametrize("phase", [each for each in PHASES if each != "sweeping"])
def test_cancelled_beside_nothing_is_left(yard: Yard, phase: str) -> None:
    before = yard.rows("reads")
    name = "begin" if phase == "starting" else phase
    with paused(yard, name) as reached:
        yard.rebuild("reads")
        assert reached.wait(20)
        assert yard.control.rebuilds.answer("reads", "cancel")
    yard.wait_ended("reads", "cancelled")
    assert not traces(yard, "reads", 2)
    assert yard.record("reads").write_order == (1,)
    assert yard.sinks["reads"].published(yard.declaration.views["reads"].layout) == 1
    assert yard.rows("reads") == before
    follows(yard, 2, "later", "reads")
    yard.wait_state("reads", "following")
    yard.rebuild("reads")
    assert yard.wait_ended("reads").generation == 3
    assert yard.rows("reads") == expected(yard, "reads")


@pytest.mark.parametrize("phase", [each for each in PHASES if each != "finishing"])
def test_cancelled_in_place_it_goes_on_as_the_next_generation(yard: Yard, phase: str) -> None:
    name = "begin" if phase == "starting" else phase
    with paused(yard, name) as reached:
        yard.rebuild("cards")
        assert reached.wait(20)
        assert yard.control.rebuilds.answer("cards", "cancel")
    assert "rows that were not reached stay as they were" in yard.wait_ended("cards", "cancelled").reason
    record = yard.record("cards")
    assert (record.generation, record.write_order) == (2, (2,))
    assert yard.rows("cards") == expected(yard, "cards")
    follows(yard, 2, "later", "cards")
    yard.wait_state("cards", "following")
    yard.rebuild("cards")
    assert yard.wait_ended("cards").generation == 3
    assert yard.rows("cards") == expected(yard, "cards")


def test_cancelled_while_the_store_is_away(yard: Yard) -> None:
    down = threading.Event()

    def act(name: str, target: Target) -> None:
        if target.generation == 2 and name == "write":
            down.set()
            raise SinkUnavailable("scripted")

    held = Held(yard.sinks["reads"], act)
    yard.rebuild("reads")
    assert down.wait(20)
    yard.control.rebuilds.answer("reads", "cancel")
    yard.wait_ended("reads", "cancelled")
    held.heal()
    assert not traces(yard, "reads", 2)
    follows(yard, 1, "later")


def test_of_two_views_that_share_a_scan_one_is_cancelled(yard: Yard) -> None:
    with yard.table.hold("scan") as held:
        yard.rebuild(*BOTH)
        assert held.reached.wait(20)
        yard.control.rebuilds.answer("reads", "cancel")
    yard.wait_ended("reads", "cancelled")
    assert yard.wait_ended("cards").items == 20
    assert yard.record("cards").generation == 2
    assert yard.record("reads").generation == 1
    follows(yard, 1, "later")


# Failing


def test_too_many_dead_letters_fail_it(yard: Yard) -> None:
    bad = READS.replace("value: {from: value, type: text}", "value: {from: value, type: integer}")
    yard.stop()
    yard.declare(CARDS + bad + "    dead_letters: {limit: 3}\n")
    begin(yard)
    yard.rebuild("reads")
    assert "more than 3 dead letters" in yard.wait_ended("reads", "failed").reason
    assert not traces(yard, "reads", 2)
    assert yard.rows("reads", 1) == expected(yard, "reads")


def test_a_share_of_a_capacity_that_there_is_not_is_refused(yard: Yard) -> None:
    yard.rebuild("reads", options=Options(capacity=Capacity(share=0.25)))
    assert "on demand" in yard.wait_ended("reads", "failed").reason
    assert not traces(yard, "reads", 2)


@pytest.mark.parametrize("call", ["prepare", "write", "finish", "publish"])
def test_a_store_that_refuses_fails_it(yard: Yard, call: str) -> None:
    def act(name: str, target: Target) -> None:
        if target.generation == 2 and name == call:
            raise SinkRefused("scripted: no right to do so")

    held = Held(yard.sinks["reads"], act)
    yard.rebuild("reads")
    assert "no right to do so" in yard.wait_ended("reads", "failed").reason
    held.heal()
    assert not traces(yard, "reads", 2)
    assert yard.rows("reads") == expected(yard, "reads")
    follows(yard, 1, "later")


@pytest.mark.parametrize("view", BOTH)
def test_a_gap_that_comes_meanwhile_stays(yard: Yard, view: str) -> None:
    with yard.table.hold("scan") as held:
        yard.rebuild(view)
        assert held.reached.wait(20)
        yard.table.disable_stream()
        yard.wait_state(view, "gap")
    yard.table.enable_stream("NEW_AND_OLD_IMAGES")
    yard.wait_ended(view, "failed")
    yard.restart()
    yard.wait_state(view, "gap")
    yard.rebuild(view)
    yard.wait_ended(view)
    assert yard.record(view).stream_count == 1
    assert yard.rows(view) == expected(yard, view)
    follows(yard, 1, "later", view)


# Asking


def test_a_view_that_shrinks_asks(yard: Yard) -> None:
    yard.table.disable_stream()
    for number in range(15):
        yard.table.delete(item(number, ""))
    yard.table.enable_stream("NEW_AND_OLD_IMAGES")
    yard.wait_state("reads", "gap")
    yard.rebuild(*BOTH)
    for view in BOTH:
        until(lambda view=view: yard.rebuilt(view).answer == "?", "the question")  # type: ignore[misc]
        assert "shrink from 20 to 5" in yard.rebuilt(view).reason
    assert len(yard.rows("reads")) == len(yard.rows("cards")) == 20
    yard.restart()
    yard.control.rebuilds.answer("reads", "yes")
    yard.control.rebuilds.answer("cards", "cancel")
    yard.wait_ended("reads")
    yard.wait_ended("cards", "cancelled")
    assert yard.rows("reads") == expected(yard, "reads")
    yard.wait_state("cards", "gap")  # as it was


def test_a_job_that_asks_holds_up_no_other(yard: Yard) -> None:
    room(yard, Room(100, 50))
    yard.rebuild("reads")
    until(lambda: yard.rebuilt("reads").answer == "?", "the question")
    assert "free" in yard.rebuilt("reads").reason
    yard.rebuild("cards")
    yard.wait_ended("cards")
    yard.control.rebuilds.answer("reads", "yes")
    yard.wait_ended("reads")


def room(yard: Yard, found: Room) -> None:
    sink: Any = yard.sinks["reads"]
    sink.room = lambda layout, generation: found


def test_told_yes_it_does_not_ask(yard: Yard) -> None:
    room(yard, Room(100, 50))
    yard.rebuild("reads", options=Options(yes=True))
    yard.wait_ended("reads")


def test_a_sample_that_differs_asks(yard: Yard) -> None:
    with paused(yard, "finishing") as reached:
        yard.rebuild("reads")
        assert reached.wait(20)
        sink = yard.sinks["reads"]
        assert isinstance(sink, MemorySink)
        rows = sink._made["reads", 2].held
        rows["p1", "s"].content = b'{"value": "edited"}'
        del rows["p2", "s"]
    until(lambda: yard.rebuilt("reads").answer == "?", "the question")
    assert "(1 missing, 1 different)" in yard.rebuilt("reads").reason
    yard.control.rebuilds.answer("reads", "cancel")
    yard.wait_ended("reads", "cancelled")


def test_asked_for_twice_it_is_one(yard: Yard) -> None:
    with yard.table.hold("scan") as held:
        yard.rebuild("reads")
        assert held.reached.wait(20)
        job = yard.rebuilt("reads").job
        yard.rebuild("reads", "cards")
        assert yard.rebuilt("reads").job == job
    assert yard.wait_ended("reads").generation == 2
    yard.wait_ended("cards")
    assert yard.record("reads").generation == 2


# Keeping, and going back


def test_back_and_forth(yard: Yard) -> None:
    layout = yard.declaration.views["reads"].layout
    yard.rebuild("reads")
    yard.wait_ended("reads")
    for number, generation in enumerate((1, 2, 1)):
        follows(yard, number, f"before {generation}", "reads")
        yard.rebuild("reads", kind="rollback")
        yard.wait_ended("reads")
        assert yard.sinks["reads"].published(layout) == yard.record("reads").generation == generation
        assert yard.record("reads").write_order[0] == generation
        assert yard.rows("reads") == expected(yard, "reads")
    follows(yard, 5, "later", "reads")
    until(lambda: yard.rows("reads", 2) == expected(yard, "reads"), "the other one to be written")


def test_a_rollback_is_cancelled(yard: Yard) -> None:
    yard.rebuild("reads")
    yard.wait_ended("reads")
    with paused(yard, "waiting") as reached:
        yard.rebuild("reads", kind="rollback")
        assert reached.wait(20)
        yard.control.rebuilds.answer("reads", "cancel")
    yard.wait_ended("reads", "cancelled")
    assert yard.record("reads").write_order == (2, 1)
    assert yard.record("reads").generation == 2
    follows(yard, 5, "later")


@pytest.mark.parametrize("view", BOTH)
def test_nothing_to_go_back_to(yard: Yard, view: str) -> None:
    yard.rebuild(view, kind="rollback")
    assert "no generation before" in yard.wait_ended(view, "failed").reason
    assert yard.record(view).generation == 1
    yard.rebuild(view, options=Options(keep=0.0))
    yard.wait_ended(view)
    until(lambda: len(yard.control.generations(view)) == 1, "the generation before to be dropped")
    until(lambda: yard.record(view).write_order == (2,), "it to be written no more")
    assert yard.rows(view) == expected(yard, view)
    if view == "reads":
        assert not traces(yard, view, 1)
    yard.rebuild(view, kind="rollback")
    yard.wait_ended(view, "failed")
    follows(yard, 1, "later")


def test_one_that_was_not_written_is_not_gone_back_to(yard: Yard) -> None:
    yard.table.disable_stream()
    yard.table.put(item(0, "unseen"))
    yard.table.enable_stream("NEW_AND_OLD_IMAGES")
    yard.wait_state("reads", "gap")
    yard.rebuild("reads")
    yard.wait_ended("reads")
    yard.rebuild("reads", kind="rollback")
    assert "was not written any more" in yard.wait_ended("reads", "failed").reason
    assert yard.rows("reads") == expected(yard, "reads")


def test_a_kept_one_that_was_removed_by_hand_stops_nothing(yard: Yard) -> None:
    yard.rebuild("reads")
    yard.wait_ended("reads")
    sink = yard.sinks["reads"]
    assert isinstance(sink, MemorySink)
    sink._drop("reads", 1)
    follows(yard, 5, "later")
    until(lambda: len(yard.control.generations("reads")) == 1, "it to be forgotten")
    yard.wait_state("reads", "following")
    yard.rebuild("reads", kind="rollback")
    yard.wait_ended("reads", "failed")


# Declarations that change

OTHERS = {
    "fields": (READS.replace("    fields: {", "    fields: {more: {from: value, type: text}, "), "beside"),
    "key": (READS.replace("key: [pk, sk]", "key: [sk, pk]"), "beside"),
    "table": (READS.replace("table: reads", "table: other"), "beside"),
    "family": (CARDS.replace("card:", "face:"), "beside"),
    "hash": (CARDS.replace("fields: {", "fields: {more: value, "), "in place"),
}


@pytest.mark.parametrize("change", OTHERS)
def test_the_view_is_written_as_before_until_the_swap(yard: Yard, change: str) -> None:
    text, kind = OTHERS[change]
    view = "cards" if "cards:" in text else "reads"
    yard.stop()
    yard.declare(text + (READS if view == "cards" else CARDS))
    begin(yard)
    assert "declared before" in yard.record(view).reason
    yard.table.put(item(1, "as before"))
    old: Any = "card:p1:s" if view == "cards" else ("p1", "s")
    until(lambda: yard.rows(view, 1)[old]["value"] == "as before", "the old rows to follow")
    with yard.table.hold("scan") as held:
        yard.rebuild(view)
        assert held.reached.wait(20)
        yard.table.put(item(2, "meanwhile"))
        if kind == "beside":
            second: Any = "card:p2:s" if view == "cards" else ("p2", "s")
            until(lambda: old_rows(yard, view)[second]["value"] == "meanwhile", "the old rows to follow")
    found = yard.wait_ended(view)
    assert found.kind == kind
    rows = yard.rows(view)
    assert len([row for row in rows.values() if row["value"] in ("as before", "meanwhile", "first")]) == 20 + (
        20 if change == "family" else 0  # memory keeps both under one roof
    )
    if "more" in text:
        assert all(row["more"] == row["value"] for row in rows.values())
    assert yard.record(view).reason == ""


def old_rows(yard: Yard, view: str) -> dict[Any, Any]:
    return yard.rows(view, 1)


@pytest.mark.parametrize(("on_change", "state"), [("rebuild", "following"), ("ask", "following"), ("stop", "changed")])
def test_what_follows_a_change(yard: Yard, on_change: str, state: str) -> None:
    yard.stop()
    yard.declare(CARDS + OTHERS["fields"][0] + f"    on_change: {on_change}\n")
    yard.start()
    yard.wait_state("reads", state)
    if on_change == "rebuild":
        until(lambda: yard.record("reads").generation == 2, "the rebuild that it asks for")
        assert yard.rebuilt("reads").options.asked_by == "on_change"
    else:
        yard.wait_state("cards", "following")
        assert yard.control.rebuilds.get("reads") is None
        yard.rebuild("reads")
        yard.wait_ended("reads")
    assert all(row["more"] == "first" for row in yard.rows("reads").values())
    yard.wait_state("reads", "following")
    yard.rebuild("reads", kind="rollback")
    yard.wait_ended("reads")
    yard.restart()
    yard.wait_state("reads", "following")
    assert yard.record("reads").generation == 1  # nobody builds at once what was rolled back


def test_changed_once_more_meanwhile(yard: Yard) -> None:
    with yard.table.hold("scan") as held:
        yard.rebuild(*BOTH)
        assert held.reached.wait(20)
        yard.cut()
    yard.kill()
    yard.declare(CARDS.replace("fields: {", "fields: {more: value, ") + OTHERS["fields"][0])
    yard.start()
    for view in BOTH:
        assert "was changed meanwhile" in yard.wait_ended(view, "failed").reason
    assert not traces(yard, "reads", 2)
    yard.rebuild(*BOTH)
    for view in BOTH:
        yard.wait_ended(view)
        assert all(row["more"] == row["value"] for row in yard.rows(view).values())


def test_another_type_under_the_same_keys_is_refused(yard: Yard) -> None:
    yard.stop()
    yard.declare(CARDS.replace("type: hash", "type: string") + READS)
    begin(yard)
    yard.rebuild("cards")
    assert "another type" in yard.wait_ended("cards", "failed").reason
    assert yard.record("cards").generation == 1
    follows(yard, 1, "later")


# Gaps, and what is gone


def switch(yard: Yard) -> None:
    yard.table.disable_stream()
    yard.table.put(item(0, "unseen"))
    yard.table.delete(item(1, ""))
    yard.table.enable_stream("NEW_AND_OLD_IMAGES")


def make_anew(yard: Yard) -> None:
    yard.table.recreate()
    yard.table.put(item(0, "of the new table"))


def trim(yard: Yard) -> None:
    yard.stop()
    yard.table.put(item(0, "unseen"))
    yard.table.delete(item(1, ""))
    yard.table.trim("shard-0")
    yard.start()


@pytest.mark.parametrize("lose", [switch, make_anew, trim])
def test_a_gap_asks_for_a_rebuild(yard: Yard, lose: Callable[[Yard], None]) -> None:
    yard.stop()
    yard.declare(
        (CARDS + READS).replace("    source: shop\n", "    source: shop\n    on_gap: rebuild\n    shrink: 1.0\n")
    )
    begin(yard)
    lose(yard)
    for view in BOTH:
        until(lambda view=view: yard.record(view).generation == 2, f"{view} to be rebuilt")  # type: ignore[misc]
        assert yard.wait_ended(view).options.asked_by == "on_gap"
        assert yard.rows(view) == expected(yard, view)
        assert yard.record(view).stream_count == (0 if lose is trim else 1)
        yard.wait_state(view, "following")
    follows(yard, 0, "later")
    follows(yard, 7, "later")


@pytest.mark.parametrize("view", BOTH)
@pytest.mark.parametrize("kill", [False, True])
def test_a_gap_and_a_cancel_is_a_gap(yard: Yard, view: str, kill: bool) -> None:
    switch(yard)
    yard.wait_state(view, "gap")
    reason = yard.record(view).reason
    with yard.table.hold("scan") as held:
        yard.rebuild(view)
        assert held.reached.wait(20)
        if kill:
            yard.cut()
        yard.control.rebuilds.answer(view, "cancel")
    if kill:
        yard.kill()
        yard.start()
    yard.wait_ended(view, "cancelled")
    yard.wait_state(view, "gap")
    assert yard.record(view).reason == reason
    yard.restart()
    yard.rebuild(view)
    yard.wait_ended(view)
    assert yard.rows(view) == expected(yard, view)


@pytest.mark.parametrize("view", BOTH)
@pytest.mark.parametrize("cancel", [False, True])
def test_begun_before_the_first_fill_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str, cancel: bool
) -> None:
    hurry(monkeypatch)
    yard = Yard(tmp_path)
    yard.table.scan_page = 5
    for number in range(20):
        yard.table.put(item(number, "first"))
    with yard.table.hold("scan") as held:
        yard.start()
        assert held.reached.wait(20)
        yard.wait_state(view, "filling")
        yard.rebuild(view)
        until(lambda: yard.rebuilt(view).phase != "requested", "it to begin")
        if cancel:
            yard.control.rebuilds.answer(view, "cancel")
    yard.wait_ended(view, "cancelled" if cancel else "done")
    until(lambda: yard.record(view).filled, "the fill, or what takes its place")
    until(lambda: yard.rows(view) == expected(yard, view), "the view to be whole")
    follows(yard, 1, "later", view)
    yard.wait_state(view, "following")
    yard.close()


def test_what_was_removed_by_hand_comes_back(yard: Yard) -> None:
    sink = yard.sinks["reads"]
    assert isinstance(sink, MemorySink)
    sink._drop("reads", 1)
    yard.table.put(item(1, "meanwhile"))
    yard.wait_state("reads", "refused")
    yard.rebuild("reads")
    yard.wait_ended("reads")
    assert yard.rows("reads") == expected(yard, "reads")
    yard.wait_state("reads", "following")
    follows(yard, 1, "later")


def test_a_next_one_that_is_removed_by_hand_is_not_made_anew_empty(yard: Yard) -> None:
    sink = yard.sinks["reads"]
    assert isinstance(sink, MemorySink)
    with paused(yard, "finishing") as reached:
        yard.rebuild("reads")
        assert reached.wait(20)
        yard.cut()
    yard.kill()
    sink._drop("reads", 2)
    yard.start()
    assert "gone" in yard.wait_ended("reads", "failed").reason
    follows(yard, 1, "later")
    assert yard.rows("reads") == expected(yard, "reads")


# What a swap waits for


def lanes(thread: threading.Thread) -> bool:
    return thread.name.startswith("view-")


def test_no_swap_before_the_watermark_has_passed_the_scan(yard: Yard) -> None:
    layout, late, held_up = yard.declaration.views["reads"].layout, threading.Event(), threading.Event()

    def act(name: str, target: Target) -> None:
        if name == "write" and lanes(threading.current_thread()) and late.is_set():
            held_up.set()
            until(lambda: not late.is_set(), "the lane to be let go")

    held = Held(yard.sinks["reads"], act)
    with yard.table.hold("scan") as scan:
        yard.rebuild("reads")
        assert scan.reached.wait(20)
        late.set()
        yard.table.put(item(1, "second"))
        assert held_up.wait(20)
        yard.table.put(item(1, "third"))  # which is scanned, and then would go back to the second
    until(lambda: yard.rows("reads", 2).get(("p1", "s"), {}).get("value") == "third", "the scan")
    until(lambda: yard.rebuilt("reads").phase == "waiting", "the scan's end")
    stays(lambda: yard.rebuilt("reads").phase == "waiting" and yard.sinks["reads"].published(layout) == 1)
    late.clear()
    yard.wait_ended("reads")
    held.heal()
    assert yard.rows("reads")["p1", "s"]["value"] == "third"


def stays(condition: Callable[[], bool], seconds: float = 0.4) -> None:
    """It is so for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition()


def test_a_page_in_place_is_held_until_the_watermark_has_passed_the_look(yard: Yard) -> None:
    late, held_up = threading.Event(), threading.Event()
    with yard.table.hold("scan") as scan:
        yard.rebuild("cards")
        assert scan.reached.wait(20)

        sink: Any = yard.sinks["cache"]
        through = MemoryTarget.write

        def write(target: MemoryTarget, writes: Sequence[Write]) -> list[Outcome]:
            if lanes(threading.current_thread()) and late.is_set():
                held_up.set()
                until(lambda: not late.is_set(), "the lane to be let go")
            return through(target, writes)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemoryTarget, "write", write)
            late.set()
            yard.table.put(item(1, "second"))
            assert held_up.wait(20)
            scan.released.set()
            until(lambda: yard.rebuilt("cards").phase == "scanning", "the scan")
            stays(lambda: all(held.generation == 1 for held in sink._made["cards", 0].held.values()))
            late.clear()
            yard.wait_ended("cards")
    assert yard.rows("cards") == expected(yard, "cards")


def test_what_readers_are_to_see_is_written_first(yard: Yard) -> None:
    layout, order = yard.declaration.views["reads"].layout, list[int]()
    through = MemoryTarget.write

    def noted(target: MemoryTarget, writes: Sequence[Write]) -> list[Outcome]:
        if target.layout.view == "reads" and lanes(threading.current_thread()):
            order.append(target.generation)
        return through(target, writes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryTarget, "write", noted)
        with paused(yard, "swapping") as reached:
            yard.rebuild("reads")
            assert reached.wait(20)
            order.clear()
            yard.table.put(item(1, "second"))
            until(lambda: len(order) == 2, "both generations to be written")
            assert order == [2, 1]
        yard.wait_ended("reads")
        with paused(yard, "swapping") as reached:
            yard.rebuild("reads", kind="rollback")
            assert reached.wait(20)
            assert yard.sinks["reads"].published(layout) == 2
            order.clear()
            yard.table.put(item(1, "third"))
            until(lambda: len(order) == 2, "both generations to be written")
            assert order == [1, 2]
        yard.wait_ended("reads")


@pytest.mark.parametrize("kind", ["beside", "rollback"])
def test_every_worker_is_waited_for(yard: Yard, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "rollback":
        yard.rebuild("reads")
        yard.wait_ended("reads")
    sharing = Crew.sharing
    monkeypatch.setattr(Crew, "sharing", lambda crew, view: [*sharing(crew, view), "another"])
    yard.control.take_step("reads", "another", yard.record("reads").step)
    yard.restart()
    yard.wait_state("reads", "following")
    before = yard.table.counts()["scan"]
    yard.rebuild("reads", kind=kind)
    until(lambda: yard.rebuilt("reads").phase == "starting", "it to begin")
    stays(lambda: yard.rebuilt("reads").phase == "starting" and yard.table.counts()["scan"] == before)
    yard.control.take_step("reads", "another", yard.record("reads").step)
    yard.wait_ended("reads")


# Processes that end


@pytest.mark.parametrize("view", BOTH)
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "what", ["begin", "update", "scanning", "save_segment", "finishing", "checking", "swapping", "swapped", "done"]
)
def test_killed_around_a_record(yard: Yard, what: str, moment: str, view: str) -> None:
    cut = threading.Event()

    def heard(when: str, recorded: str) -> None:
        if (when, recorded) == (moment, what):
            yard.cut()
            cut.set()

    yard.on_record(heard)
    yard.rebuild(view)
    until(lambda: cut.is_set() or yard.rebuilt(view).ended, "the moment")
    yard.kill()
    yard.table.put(item(1, "meanwhile"))
    yard.table.delete(item(2, ""))
    yard.start()
    yard.wait_ended(view)
    assert yard.record(view).generation in (2, 3)  # above what was prepared and never begun
    until(lambda: yard.rows(view) == expected(yard, view), "the view to be right")
    follows(yard, 1, "later", view)
    yard.wait_state(view, "following")


def test_between_the_swap_and_its_record_readers_are_not_sent_back(yard: Yard) -> None:
    layout = yard.declaration.views["reads"].layout
    seen: list[int | None] = []

    def heard(when: str, recorded: str) -> None:
        if (when, recorded) == ("before", "swapped"):
            yard.cut()

    yard.on_record(heard)
    yard.rebuild("reads")
    until(lambda: yard.sinks["reads"].published(layout) == 2, "the swap")
    yard.kill()
    held = Held(yard.sinks["reads"], lambda name, target: seen.append(target.generation) if name == "publish" else None)
    yard.control.rebuilds.answer("reads", "cancel")  # too late
    yard.start()
    yard.wait_ended("reads")
    held.heal()
    assert 1 not in seen
    assert yard.record("reads").generation == 2
    follows(yard, 1, "later")


def test_a_view_that_is_declared_no_more_goes_on_by_itself_later(yard: Yard) -> None:
    calls = [0]

    def heard(when: str, recorded: str) -> None:
        calls[0] += (when, recorded) == ("after", "save_segment")
        if calls[0] == 3:
            yard.cut()

    yard.on_record(heard)
    yard.rebuild(*BOTH)
    until(lambda: calls[0] >= 3, "half of the scan")
    yard.kill()
    yard.declare(CARDS)
    begin(yard, "cards")
    yard.wait_ended("cards")
    assert not yard.rebuilt("reads").ended
    yard.stop()
    yard.declare(CARDS + READS)
    yard.start()
    yard.wait_ended("reads")
    for view in BOTH:
        assert yard.rows(view) == expected(yard, view)


def test_a_view_that_is_dropped_meanwhile(yard: Yard) -> None:
    with yard.table.hold("scan") as held:
        yard.rebuild("reads")
        assert held.reached.wait(20)
        yard.cut()
    yard.kill()
    yard.control.drop_view("reads")
    sink = yard.sinks["reads"]
    assert isinstance(sink, MemorySink)
    for number in (1, 2):
        sink._drop("reads", number)
    begin(yard)
    assert yard.control.rebuilds.get("reads") is None
    yard.rebuild("reads")
    yard.wait_ended("reads")
    assert yard.rows("reads") == expected(yard, "reads")


# A control store that is lost


@pytest.mark.parametrize("times", [0, 1])
def test_rows_that_a_lost_control_store_left_are_not_taken_for_its_own(yard: Yard, times: int) -> None:
    """Its numbers began again: what it writes would be older than what stands, or what stands be taken for complete."""
    for _ in range(times):
        yard.rebuild(*BOTH)
        for view in BOTH:
            yard.wait_ended(view)
    yard.stop()
    yard.control.close()
    for suffix in ("", "-wal", "-shm"):
        (yard.folder / f"control.db{suffix}").unlink(missing_ok=True)
    yard.table.put(item(1, "meanwhile"))
    yard.table.delete(item(2, ""))
    yard.control = ControlStore(yard.declaration.control)
    yard.start()
    for view in BOTH:
        yard.wait_state(view, "refused")
        assert f"holds generation {1 + times} of it, which this control store did not make" in yard.record(view).reason
    yard.rebuild(*BOTH)
    for view in BOTH:
        assert yard.wait_ended(view).generation == 2 + times
        until(lambda view=view: yard.rows(view) == expected(yard, view), f"{view} to be right")  # type: ignore[misc]  # a default is not inferred
        yard.wait_state(view, "following")
