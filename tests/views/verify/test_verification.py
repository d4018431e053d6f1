"""Verifying a view in memory: what is found, what is explained, and that a busy table yields no false alarm."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.attributes import Image
from dynaview.projections.changes import SCANNED, Change
from dynaview.projections.compiler.compiler import owner
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey, RowValues, Rule, Write
from dynaview.sinks.canonical import listed
from dynaview.sinks.port import APPLIED, CanonicalRows, ConditionalWrite, SinkRefused, SinkUnavailable, Stored, Target
from dynaview.sources.errors import AccessDenied, Throttled
from dynaview.sources.port import Key
from dynaview.views.budget import Capacity
from dynaview.views.control.records import DeadLetterFilter
from dynaview.views.retry import Retrier
from dynaview.views.states import ViewState
from dynaview.views.verify import changed_since as recent
from dynaview.views.verify import mismatches as suspects
from dynaview.views.verify import view_check as check
from dynaview.views.verify.findings import Finding, Report, VerifyError
from dynaview.views.verify.hold import holding
from dynaview.views.verify.verifier import Limits, Verification
from dynaview.views.verify.view_check import CONFLICT, Subject
from tests.support.house import House, until
from tests.support.scripted import ScriptedTable
from tests.support.simple import SHAPE, SimpleBound, layout


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    if made.pipelines:
        made.stop()
    assert not made.crashed.is_set()


class Moving(SimpleBound):
    """Rows keyed by an attribute that changes, so that each carries its owner; an item may ask for several."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        item = SHAPE.unpack(image)
        if "bad" in item:
            raise ProjectionError("field value: bad is bad")
        if "hidden" in item:
            return []
        return [(str(at), (item.get("value"),)) for at in item["at"]]  # type: ignore[union-attr]  # a list

    def writes(self, change: Change[Any], version: int) -> list[Write]:
        by = owner(change.body.key)
        return [replace_owner(write, by) for write in super().writes(change, version)]

    def inserts(self, image: Image) -> list[Write]:
        by = owner({name: image[name] for name in ("pk", "sk")})
        return [Write(key, values, SCANNED, by, Rule.ABSENT) for key, values in self.rows(image)]


def replace_owner(write: Write, by: str) -> Write:
    return Write(write.key, write.values, write.version, by, write.rule)


def item(number: int, value: object = None, **more: object) -> dict[str, Any]:
    found = {"pk": f"p{number}", "sk": "s", "value": number if value is None else value}
    return {**found, **more}


def row(number: int) -> str:
    return f"p{number}/s"


def filled(house: House, count: int = 10) -> None:
    for number in range(count):
        house.table.put(item(number))
    house.start()
    house.wait_equal()
    settled(house)


def settled(house: House) -> None:
    """Nothing more is to come: neither from the fill nor from the stream."""
    until(lambda: bool(house.control.view("one") and house.control.view("one").filled), "the fill")  # type: ignore[union-attr]
    house.wait_counted()


def by_hand(target: Target, key: RowKey, values: tuple[Any, ...] | None, by: str = "") -> None:
    """What somebody does past dynaview: the row's version stays."""
    (seen,) = target.read([key])
    write = Write(key, values, 0, by or (seen.owner if seen else ""))
    assert target.write_if_unchanged([ConditionalWrite(write, seen)]) == [APPLIED]


def held(house: House) -> dict[RowKey, Any]:
    """What the store holds, to be taken away without a trace."""
    return house.sink._find(layout("one"), 1).held


def subject(
    house: House,
    patience: Retrier,
    target: Target | None = None,
    found: Callable[[Sequence[Finding]], None] = lambda findings: None,
    hold: Callable[[float], None] | None = None,
) -> Subject:
    record = house.control.view("one")
    assert record is not None
    hold = hold or holding(house.control, record, patience)
    return Subject("one", house.bound, target or house.targets["one"], hold, house.control.dead_letters, found)


def verification(house: House, limits: Limits | None = None, **about: Any) -> Verification:
    patience = Retrier(seconds=20)
    return Verification(house.table, [subject(house, patience, **about)], SHAPE, patience=patience, limits=limits)


def whole(house: House, **about: Any) -> Report:
    (report,) = verification(house, **about).whole()
    assert report.error == ""
    return report


def found(report: Report) -> set[tuple[str, RowKey]]:
    return {(finding.kind, finding.key) for finding in report.listed}


# What is found


def test_a_view_in_step_has_no_differences(house: House) -> None:
    filled(house, 250)
    report = whole(house)
    assert (report.drift, report.stale, report.changing, report.dead_lettered) == (0, 0, 0, 0)
    assert (report.items, report.rows, report.units) == (250, 250, 250.0)
    assert house.targets["one"].count() == 250


def test_what_was_changed_by_hand_is_found_exactly(house: House) -> None:
    filled(house)
    house.table.delete(item(9))
    house.wait_equal()
    target = house.targets["one"]
    by_hand(target, row(1), None)
    by_hand(target, row(2), ("x",))
    by_hand(target, "orphan", (5,))
    held(house).pop(row(3))  # as DEL does: not even a tombstone
    held(house).pop(row(9))  # a tombstone that is gone is no difference
    report = whole(house)
    expected = {("missing", row(1)), ("different", row(2)), ("extra", "orphan"), ("missing", row(3))}
    assert found(report) == expected
    assert (report.missing, report.different, report.extra, report.drift) == (2, 1, 1, 4)
    by_key = {finding.key: finding for finding in report.listed}
    assert by_key[row(2)].fields == ("value",)
    assert by_key[row(1)].seen is not None
    assert by_key[row(3)].seen is None
    assert (by_key["orphan"].item, by_key["orphan"].write.values) == (None, None)
    plain = by_key[row(2)].plain()
    assert plain["seen"]["version"].isdigit()
    assert "x" not in str(plain.values())  # no row values unless asked for
    assert by_key[row(2)].plain(values=True)["stored"] == {"value": "x"}


def test_numbers_that_python_hashes_alike_are_told_apart(house: House) -> None:
    house.table.put(item(1, -1))
    house.table.put(item(2, 0))
    house.start()
    settled(house)
    by_hand(house.targets["one"], row(1), (-2,))
    by_hand(house.targets["one"], row(2), (2**61 - 1,))
    assert found(whole(house)) == {("different", row(1)), ("different", row(2))}


def test_all_that_differs_is_counted_and_heard_and_some_is_listed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "MOST", 7)
    monkeypatch.setattr(check, "READ", 5)
    filled(house, 230)
    held(house).clear()
    for number in range(30):
        by_hand(house.targets["one"], f"orphan {number}", (number,))
    heard: list[Finding] = []
    report = whole(house, limits=Limits(listed=3, segments=3), found=heard.extend)
    assert (report.missing, report.extra, len(report.listed)) == (230, 30, 3)
    assert len({finding.key for finding in heard}) == len(heard) == 260


# What is not


def test_a_change_on_its_way_is_waited_for(house: House) -> None:
    """Without the hold, or without the second look, these would be false alarms."""
    filled(house)
    target = house.targets["one"]
    reports: list[Report] = []
    with target.held():
        house.table.put(item(1, "new"))
        house.table.delete(item(2))
        house.table.put(item(20))
        house.table.put(item(3, hidden=True))
        reached = threading.Event()
        record = house.control.view("one")
        assert record is not None
        hold = holding(house.control, record, Retrier(seconds=20))

        def held(at: float) -> None:
            reached.set()
            hold(at)

        work = threading.Thread(target=lambda: reports.append(whole(house, hold=held)))
        work.start()
        assert reached.wait(20)
        assert not reports
    work.join(20)
    (report,) = reports
    assert report.drift == 0, report
    assert report.stale == 2
    house.wait_equal()


def test_a_delete_on_its_way_leaves_no_orphan(house: House) -> None:
    """No row is suspect before the end of the scan, so only the hold at the end stands against the alarm."""
    filled(house)
    reports: list[Report] = []
    asked = threading.Event()
    record = house.control.view("one")
    assert record is not None
    wait = holding(house.control, record, Retrier(seconds=20))

    def hold(at: float) -> None:
        asked.set()
        wait(at)

    with house.targets["one"].held():
        house.table.delete(item(2))
        work = threading.Thread(target=lambda: reports.append(whole(house, hold=hold)))
        work.start()
        waited = asked.wait(20)
    work.join(20)
    assert waited
    assert [report.drift for report in reports] == [0]
    house.wait_equal()


def test_a_row_made_after_the_listing_is_no_orphan(house: House) -> None:
    """With the table read before the store's listing, it would be one."""
    filled(house)
    target = Listing(house.targets["one"])

    def later() -> None:
        house.table.put(item(77))
        house.wait_equal()

    target.after = later
    report = whole(house, target=target)
    assert report.drift == 0, report
    assert report.items == 11


def test_a_row_that_goes_after_the_listing_is_not_missed_nor_extra(house: House) -> None:
    filled(house)
    target = Listing(house.targets["one"])

    def later() -> None:
        house.table.delete(item(1))
        house.table.put(item(2, "new"))
        house.table.delete(item(3))
        house.table.put(item(3, "again"))
        house.wait_equal()

    target.after = later
    assert whole(house, target=target).drift == 0


def test_an_item_that_moves_there_and_back_during_the_scan_leaves_no_orphan(house: House) -> None:
    """Its row is listed, its item is scanned while elsewhere, and its row stands again at the end."""
    house.bound = Moving()
    house.table.put(item(1, at=["a"]))
    house.start()
    settled(house)
    target = Listing(house.targets["one"])

    def away() -> None:
        house.table.put(item(1, at=["b"]))

    def back(at: float) -> None:
        house.table.put(item(1, at=["a"]))
        until(lambda: set(house.rows("one")) == {"a"}, "the row")
        record = house.control.view("one")
        assert record is not None
        holding(house.control, record, Retrier(seconds=20))(at)

    target.after = away
    assert whole(house, target=target, hold=back).drift == 0


def test_a_row_that_changes_at_every_look_is_told_as_a_number(house: House) -> None:
    filled(house)
    target = Listing(house.targets["one"])
    values = iter(range(1000, 2000))
    record = house.control.view("one")
    assert record is not None
    wait = holding(house.control, record, Retrier(seconds=20))

    def change() -> None:
        house.table.put(item(1, next(values)))
        house.wait_equal()

    def hold(at: float) -> None:
        wait(at)
        change()

    target.after = change
    target.before_read = once(change)
    report = whole(house, target=target, hold=hold)
    assert (report.drift, report.changing, report.stale) == (0, 1, 0)


def test_a_value_that_goes_to_and_fro_is_no_difference(house: House) -> None:
    """At both looks at the table it is one, at both looks at the row the other: only a look at the item between the
    two looks at the row tells."""
    filled(house)
    target = Listing(house.targets["one"])
    record = house.control.view("one")
    assert record is not None
    wait = holding(house.control, record, Retrier(seconds=20))

    def wrote(value: str) -> None:
        house.table.put(item(1, value))
        house.wait_equal()

    target.after = lambda: wrote("A")
    target.before_read = once(lambda: wrote("B"))

    def hold(at: float) -> None:
        wait(at)
        wrote("A")
        wrote("B")

    assert whole(house, target=target, hold=hold).drift == 0


@pytest.mark.parametrize("moving", [False, True])
def test_a_busy_table_yields_no_false_alarm(tmp_path: Path, moving: bool) -> None:
    house = House(tmp_path)
    house.bound = Moving() if moving else SimpleBound()
    chance, stop = random.Random(7), threading.Event()
    count, rounds = 150, 6

    def change() -> None:
        number = chance.randrange(count)
        # Items that share a place would be dead letters, so each has places of its own.
        at = [f"{number}-{place}" for place in chance.sample(range(3), chance.randrange(3))]
        asked = item(number, chance.randrange(3), at=at)
        match chance.randrange(10):
            case 0 | 1 | 2:
                house.table.delete(asked)
            case 3:
                house.table.put({**asked, "hidden": True})
            case 4:
                house.table.split(chance.choice(house.table.leaves), 1)
            case _:
                house.table.put(asked)

    def write() -> None:
        while not stop.wait(0.001):
            change()

    for _ in range(300):
        change()
    house.start()
    until(lambda: bool(house.control.view("one") and house.control.view("one").filled), "the fill")  # type: ignore[union-attr]
    work = threading.Thread(target=write)
    record = house.control.view("one")
    assert record is not None
    wait = holding(house.control, record, Retrier(seconds=20))
    held_for: list[float] = []

    def hold(at: float) -> None:
        held_for.append(at)
        wait(at)

    work.start()
    try:
        reports = [whole(house, limits=Limits(segments=1 + turn % 3), hold=hold) for turn in range(rounds)]
        while len(held_for) < 3:  # so many times there were suspects
            reports.append(whole(house, hold=hold))
            assert len(reports) < 100
    finally:
        stop.set()
        work.join()
        house.stop()
    assert not any(report.drift for report in reports), reports


# What dead letters explain


def test_items_of_which_no_row_can_be_made_ask_for_none(house: House) -> None:
    filled(house)
    house.table.put(item(1, bad=True))  # its row has gone with it
    house.table.put(item(20, bad=True))  # it never had one
    until(lambda: house.control.dead_letters.count()[0] == 2, "the letters")
    report = whole(house)
    assert (report.drift, report.dead_lettered, report.listed) == (0, 2, [])
    house.control.dead_letters.discard(DeadLetterFilter(view="one"))
    by_hand(house.targets["one"], "orphan", (1,))
    assert found(whole(house)) == {("extra", "orphan")}


@pytest.mark.parametrize("kept", [True, False])
def test_a_row_that_such_an_item_left_is_extra_whether_or_not_its_letter_is_kept(house: House, kept: bool) -> None:
    """As it was left before dead letters took the rows of their items."""
    filled(house)
    house.table.put(item(1, bad=True))
    house.wait_counted()
    by_hand(house.targets["one"], row(1), (1,))
    if not kept:
        house.control.dead_letters.discard(DeadLetterFilter(view="one"))
    report = whole(house)
    assert (report.drift, found(report)) == (1, {("extra", row(1))})
    (report,) = verification(house).sample(1.0)
    assert found(report) == {("extra", row(1))}
    assert report.listed[0].write.values is None


def test_a_letter_explains_that_the_row_of_its_very_state_is_missing(house: House) -> None:
    class Down(SimpleBound):
        def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
            raise ProjectionError("down")

    filled(house)
    writer = house.pipelines["one"].outputs[0]
    working, writer.bound = writer.bound, Down()
    house.table.put(item(1, "while it was down"))
    house.wait_counted()
    writer.bound = working
    report = whole(house)
    assert (report.drift, found(report)) == (0, {("dead-lettered", row(1))})
    house.table.put(item(1, "later"))
    house.wait_counted()
    assert whole(house).drift == 0
    assert house.control.dead_letters.count()[0] == 1  # overtaken, so it explains nothing
    held(house).pop(row(1))
    assert found(whole(house)) == {("missing", row(1))}


def test_an_overtaken_letter_does_not_explain_the_same_content_of_a_newer_version(house: House) -> None:
    filled(house)
    house.table.put(item(1, bad=True))
    house.wait_counted()
    (letter,) = [kept.letter for kept in house.control.dead_letters.find()]
    house.table.put(item(1, "as it is"))
    house.wait_counted()
    house.control.dead_letters.discard(DeadLetterFilter(view="one"))
    body = {"SequenceNumber": str(letter.version), "Keys": {"pk": {"S": "p1"}, "sk": {"S": "s"}}}
    image = {"pk": {"S": "p1"}, "sk": {"S": "s"}, "value": {"S": "as it is"}}
    change = json.dumps({"eventName": "MODIFY", "dynamodb": {**body, "NewImage": image, "OldImage": image}})
    house.control.dead_letters.keep([replace(letter, change=change.encode())])
    by_hand(house.targets["one"], row(1), None)
    assert found(whole(house)) == {("missing", row(1))}
    held(house).pop(row(1))  # nothing is left to tell
    assert found(whole(house)) == {("dead-lettered", row(1))}


def test_a_row_that_a_letter_did_not_bring_is_explained_until_the_letter_is_gone(house: House) -> None:
    house.bound = Moving()
    house.table.put(item(1, at=["a"]))
    house.start()
    settled(house)
    house.table.put(item(2, at=["a", "b"]))  # two items on one row key: a dead letter
    until(lambda: house.control.dead_letters.count()[0] == 1, "the letter")
    report = whole(house)
    assert (report.drift, found(report)) == (0, {("dead-lettered", "a")})
    house.control.dead_letters.discard(DeadLetterFilter(view="one"))
    report = whole(house)
    assert found(report) == {("owner", "a")}
    assert report.listed[0].stuck == CONFLICT


# Owners


def test_a_row_of_an_owner_that_does_not_ask_for_it_is_found(house: House) -> None:
    house.bound = Moving()
    house.table.put(item(1, at=["a", "b"]))
    house.start()
    settled(house)
    by_hand(house.targets["one"], "a", (1,), by="0123456789abcdef")
    report = whole(house)
    assert found(report) == {("owner", "a")}
    finding = report.listed[0]
    assert finding.stuck == ""
    assert finding.seen is not None
    assert finding.seen.owner == "0123456789abcdef"
    assert finding.write.owner == owner(SHAPE.pack({"pk": "p1", "sk": "s"}))


def test_without_all_of_the_table_a_wrong_owner_is_told_but_not_to_be_mended(house: House) -> None:
    house.bound = Moving()
    house.table.put(item(1, at=["a"]))
    house.start()
    settled(house)
    by_hand(house.targets["one"], "a", (1,), by="0123456789abcdef")
    (report,) = verification(house).sample(1.0)
    assert found(report) == {("owner", "a")}
    assert "whole verification" in report.listed[0].stuck


# Parts of a view


def test_a_sample_costs_its_share_and_finds_no_orphans(house: House) -> None:
    filled(house, 400)
    target = house.targets["one"]
    held(house).clear()
    by_hand(target, "orphan", (1,))
    (report,) = verification(house).sample(0.25, random.Random(1))
    assert 40 <= report.units <= 160
    assert report.items == report.rows == report.missing == report.units
    assert report.extra == 0
    assert "only found by verifying the whole view" in report.notes[0]


def keys(*numbers: int) -> list[Key]:
    return [{"pk": SHAPE.pack(item(number))["pk"], "sk": SHAPE.pack(item(number))["sk"]} for number in numbers]


def test_single_items_are_read_and_nothing_else(house: House) -> None:
    filled(house)
    by_hand(house.targets["one"], row(1), ("x",))
    by_hand(house.targets["one"], row(2), ("x",))
    by_hand(house.targets["one"], row(50), ("x",))
    before = house.table.counts()["scan"]
    (report,) = verification(house).items(keys(1, 3))
    assert report.error == ""
    assert found(report) == {("different", row(1))}
    rows = [("one", key, Write(row(number), None, 0)) for number, key in zip((2, 50), keys(2, 50), strict=True)]
    (report,) = verification(house).items(keys(2, 50), rows)
    assert found(report) == {("different", row(2)), ("extra", row(50))}
    assert house.table.counts()["scan"] == before


def test_what_has_changed_of_late_is_taken_from_the_stream(tmp_path: Path) -> None:
    table = ScriptedTable(clock=__import__("time").time)
    house = House(tmp_path, table)
    filled(house)
    long_ago = table.now
    table.advance(100)
    since = table.now
    for number in (3, 4, 5):
        table.put(item(number, "late"))
    table.delete(item(6))
    house.wait_equal()
    table.split(table.leaves[0])
    target = house.targets["one"]
    for number in (1, 3, 6):
        by_hand(target, row(number), ("x",))
    no_wait = lambda at: None  # noqa: E731 - the table's clock is not the watermark's
    (report,) = verification(house, hold=no_wait).since(since)
    assert found(report) == {("different", row(3)), ("extra", row(6))}
    (report,) = verification(house, hold=no_wait).since(long_ago - 100)
    assert found(report) == {("different", row(1)), ("different", row(3)), ("extra", row(6))}
    house.stop()


def test_since_a_time_that_the_stream_does_not_reach_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(house)
    with pytest.raises(VerifyError, match="reaches back 24 hours"):
        verification(house).since(house.table.now - 25 * 3600)
    monkeypatch.setattr(recent, "REACH", 10**10)
    with pytest.raises(VerifyError, match="is on only since 2026-01-01T00:00:00Z: verify the whole view"):
        verification(house).since(1_700_000_000)
    house.table.disable_stream()
    with pytest.raises(VerifyError, match="is off"):
        verification(house).since(house.table.now - 5)


# What stands in the way


def test_throttling_and_stores_that_are_away_for_a_moment_are_waited_for(house: House) -> None:
    filled(house, 250)
    by_hand(house.targets["one"], row(1), ("x",))
    by_hand(house.targets["one"], "orphan", ("x",))
    house.table.fail("scan", Throttled, times=2, after=1)
    house.table.fail("get", Throttled, times=1)
    target = Listing(house.targets["one"])
    target.failures = ["rows", "read", "read"]
    report = whole(house, target=target)
    assert (report.items, found(report)) == (250, {("different", row(1)), ("extra", "orphan")})


def test_a_right_that_is_missing_ends_it_at_once(house: House) -> None:
    filled(house)
    house.table.fail("scan", AccessDenied("not allowed", "dynamodb:Scan", "the table"), times=1)
    with pytest.raises(AccessDenied):
        verification(house).whole()


def test_a_store_that_refuses_ends_the_verification_of_its_view_only(house: House) -> None:
    filled(house)
    by_hand(house.targets["one"], row(1), ("x",))
    patience = Retrier(seconds=20)
    target = Listing(house.targets["one"])
    target.refusing = True
    broken = replace(subject(house, patience, target), view="two")
    reports = Verification(house.table, [broken, subject(house, patience)], SHAPE, patience=patience).whole()
    assert [(report.error, report.drift) for report in reports] == [("grant everything", 0), ("", 1)]


def test_a_view_that_does_not_catch_up_is_no_result(house: House) -> None:
    filled(house)
    patience = Retrier(seconds=0.2)
    by_hand(house.targets["one"], row(1), ("x",))
    house.pipelines["one"].fail(ViewState.GAP, "lost; dynaview drop one")
    until(lambda: house.state("one") == "gap", "the gap")
    (report,) = Verification(house.table, [subject(house, patience)], SHAPE, patience=patience).whole()
    assert "gap: lost; dynaview drop one" in report.error


def test_read_units_are_kept_to(house: House) -> None:
    filled(house, 250)
    house.table.scan_page = 50
    report = whole(house, limits=Limits(capacity=Capacity(units=125)))
    assert report.units == 250
    assert report.seconds >= 0.9  # all but what one second gives is waited for


def once(act: Callable[[], object]) -> Callable[[], object]:
    """Does it the first time only."""
    left = [act]
    return lambda: left.pop()() if left else None


class Listing:
    """A target whose listing and reads can be watched and made to fail."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.layout = inner.layout
        self.generation = inner.generation
        self.content = inner.content
        self.after: Callable[[], object] = lambda: None
        """Called once, when the first listing has ended."""
        self.before_read: Callable[[], object] = lambda: None
        self.failures: list[str] = []
        self.refusing = False

    def rows(self) -> Iterator[Stored]:
        if self.refusing:
            raise SinkRefused("grant everything")
        found = list(self.inner.rows())
        yield from found[: len(found) // 2]
        if "rows" in self.failures:
            self.failures.remove("rows")
            raise SinkUnavailable("away")
        yield from found[len(found) // 2 :]
        once, self.after = self.after, lambda: None
        once()

    def canonical_rows(self) -> Iterator[CanonicalRows]:
        return listed(self.rows())

    def read(self, keys: Sequence[RowKey], contents: bool = True) -> list[Stored | None]:
        if "read" in self.failures:
            self.failures.remove("read")
            raise SinkUnavailable("away")
        self.before_read()
        found: list[Stored | None] = self.inner.read(keys)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
