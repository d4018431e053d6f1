"""Dead letters: kept, chosen, replayed under the guard, discarded; law 8 holds all along."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.changes import Change
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import Write
from dynaview.sources.errors import BadPage
from dynaview.sources.port import Broken
from dynaview.views.control.records import Counts, DeadLetterFilter, Part, Progress
from dynaview.views.control.tables import generations
from dynaview.views.dead_letters import unreadable_letter
from dynaview.views.replay import Mode, Replay
from tests.support.house import House, until
from tests.support.letters import NoMore, Rejecting, Repaired, Twofold, Worse, bad, follow, good, replay, tally
from tests.support.simple import SHAPE, SimpleBound


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    if made.pipelines:
        made.stop()  # a second time does nothing; after a failure it ends the threads
    assert not made.crashed.is_set()


def test_what_can_be_applied_now_is_applied_and_counted_so(house: House) -> None:
    follow(house, bad(1, "one"), good(2, "two"), bad(3, "three"))
    assert tally(house) == (3, 1, 0, 0, 2)
    assert replay(house, Repaired()) == ["applied", "applied"]
    assert house.rows("one") == {"p1/s": {"value": "one"}, "p2/s": {"value": "two"}, "p3/s": {"value": "three"}}
    assert tally(house) == (3, 3, 0, 0, 0)
    assert house.control.dead_letters.find() == []
    house.stop()


def test_what_is_rejected_again_is_kept_with_its_new_reason(house: House) -> None:
    follow(house, bad(1))
    before = house.control.dead_letters.find()[0]
    assert replay(house, Worse()) == ["rejected"]
    (after,) = house.control.dead_letters.find()
    assert after.letter.reason == "field value: worse than before" != before.letter.reason
    assert (after.id, after.created, after.letter.change) == (before.id, before.created, before.letter.change)
    assert tally(house) == (1, 0, 0, 0, 1)
    house.stop()


def test_a_newer_row_stays(house: House) -> None:
    follow(house, bad(1, "old"), good(1, "new"))
    assert replay(house, Repaired()) == ["stale"]
    assert house.rows("one") == {"p1/s": {"value": "new"}}
    assert tally(house) == (2, 1, 1, 0, 0)
    house.stop()


def test_the_guard_decides_where_the_item_is_the_same_again(house: House) -> None:
    """The item has come back to the letter's state, by a change that the view has applied already."""
    follow(house, good(1, "first"))
    bound = house.pipelines["one"].outputs[0].bound = Worse()
    house.table.put(good(1, "again"))
    house.wait_counted()
    assert bound is house.pipelines["one"].outputs[0].bound
    house.pipelines["one"].outputs[0].bound = SimpleBound()
    house.table.put(good(1, "other"))
    house.table.put(good(1, "again"))
    house.wait_counted()
    assert replay(house, SimpleBound()) == ["stale"]
    (stored,) = house.targets["one"].rows()
    assert stored.version == house.control.checkpoints("one")["shard-0"].sequence
    house.stop()


def test_a_deleted_row_stays_deleted_after_its_tombstone_is_gone(house: House) -> None:
    follow(house, bad(1, "old"))
    house.table.delete(bad(1))
    house.wait_counted()
    house.targets["one"].purge(timedelta(0))
    assert replay(house, Repaired()) == ["stale"]
    assert house.rows("one") == {}
    house.stop()


@pytest.mark.parametrize("event", ["upsert", "delete"])
def test_a_row_that_a_later_scan_put_in_stays(house: House, event: str) -> None:
    """A rebuild's rows stand at version 0, below any letter's."""
    follow(house, good(1, "first"))
    house.pipelines["one"].outputs[0].bound = Refusing()
    if event == "upsert":
        house.table.put(good(1, "old"))
    else:
        house.table.delete(good(1, "first"))
    house.wait_counted()
    house.pipelines["one"].outputs[0].bound = SimpleBound()
    house.table.put(good(1, "new"))
    house.wait_counted()
    target = house.sink.open(house.targets["one"].layout, 2)
    target.prepare()
    target.write(SimpleBound().inserts(SHAPE.pack(good(1, "new"))))
    assert replay(house, SimpleBound(), target=target) == ["stale"]
    assert [(stored.content, stored.version) for stored in target.rows()] == [({"value": "new"}, 0)]
    house.stop()


def test_what_is_no_longer_the_views_is_unmatched(house: House) -> None:
    follow(house, bad(1))
    assert replay(house, NoMore()) == ["unmatched"]
    assert tally(house) == (1, 0, 0, 1, 0)
    house.stop()


def test_a_delete_is_replayed(house: House) -> None:
    follow(house, good(1, "old"))
    house.pipelines["one"].outputs[0].bound = Refusing()
    house.table.delete(good(1, "old"))
    house.wait_counted()
    assert house.rows("one") != {}
    assert replay(house, SimpleBound()) == ["applied"]
    assert house.rows("one") == {}
    assert tally(house) == (2, 2, 0, 0, 0)
    house.stop()


class Refusing(SimpleBound):
    def writes(self, change: Change[Any], version: int) -> list[Write]:
        raise ProjectionError("refused")


def test_a_scanned_item_is_replayed_and_in_no_count(house: House) -> None:
    house.table.put(bad(1, "scanned"))
    house.table.trim("shard-0")
    house.start()
    until(lambda: len(house.control.dead_letters.find()) == 1, "the letter of the scan")
    assert replay(house, Worse()) == ["rejected"]
    assert replay(house, Repaired()) == ["applied"]
    assert [(stored.key, stored.version) for stored in house.targets["one"].rows()] == [("p1/s", 0)]
    assert tally(house) == (0, 0, 0, 0, 0)
    house.stop()


def test_of_an_item_only_the_newest_letter_is_kept(house: House) -> None:
    """Overtaken letters explain nothing: a change of the same item has taken their place, or a scanned state of it."""
    house.table.put(bad(1, "scanned"))
    house.table.trim("shard-0")
    house.start()
    until(lambda: len(house.control.dead_letters.find()) == 1, "the letter of the scan")
    for number in range(4):
        house.table.put(bad(1, number))
    house.table.put(bad(2))
    until(lambda: house.counts("one").read == 5, "all but the trimmed record to be counted")
    kept = [kept.letter for kept in house.control.dead_letters.find()]
    assert [letter.item_key for letter in kept] == [
        '{"pk":{"S":"p1"},"sk":{"S":"s"}}',
        '{"pk":{"S":"p2"},"sk":{"S":"s"}}',
    ]
    assert b'{"N":"3"}' in kept[0].change
    assert tally(house) == (5, 0, 3, 0, 2)
    house.control.dead_letters.keep([dataclasses.replace(kept[0], version=0, shard="scan", counted=False)])
    assert [each.letter for each in house.control.dead_letters.find()] == kept
    house.stop()


def raw_record(sequence: int, value: dict[str, Any]) -> bytes:
    image = {"pk": {"S": "p1"}, "sk": {"S": "s"}, "value": value}
    body = {"SequenceNumber": str(sequence), "Keys": {"pk": {"S": "p1"}, "sk": {"S": "s"}}, "NewImage": image}
    return json.dumps({"eventName": "INSERT", "dynamodb": {**body, "StreamViewType": "NEW_IMAGE"}}).encode()


def test_unreadable_records_are_read_again(house: House) -> None:
    follow(house)
    house.table.disable_stream()
    house.table.put(good(1, "seen"))
    # Neither gives its number, so both stand at the version of the record before them.
    for value in ({"S": "seen"}, {"Q": "a type that DynamoDB does not have"}):
        letter = unreadable_letter("one", Broken(0, raw_record(77, value), "odd"), "shard-0", 50)
        house.control.commit("one", Progress({"shard-0": Part(None, Counts(read=1, dead_lettered=1), [letter])}), None)
    assert len(house.control.dead_letters.find()) == 2
    # The second one tells its item all the same, and that item is right by now.
    assert sorted(replay(house, SimpleBound())) == ["applied", "stale"]
    assert house.control.dead_letters.find() == []
    assert [(stored.content, stored.version) for stored in house.targets["one"].rows()] == [({"value": "seen"}, 77)]
    assert tally(house) == (2, 1, 1, 0, 0)
    house.stop()


def test_what_does_not_even_tell_its_item_is_kept(house: House) -> None:
    follow(house)
    letter = unreadable_letter("one", Broken(0, b'{"dynamodb":{"Keys":7}}', "odd"), "shard-0", 50)
    house.control.commit("one", Progress({"shard-0": Part(None, Counts(read=1, dead_lettered=1), [letter])}), None)
    assert replay(house, SimpleBound()) == ["rejected"]
    (left,) = house.control.dead_letters.find()
    assert left.letter.kind == "unreadable"
    assert "cannot be read" in left.letter.reason
    assert tally(house) == (1, 0, 0, 0, 1)
    house.stop()


def test_a_change_with_several_rows_is_one_change(house: House) -> None:
    house.bound = Twofold()
    inner: Any = house.targets["one"]
    refusing: Any = Rejecting(inner, "p1/s/a", "p1/s/b")
    house.targets["one"] = refusing
    follow(house, good(1, "x"))
    assert [kept.letter.row_key for kept in house.control.dead_letters.find()] == ["p1/s/a", "p1/s/b"]
    assert tally(house) == (1, 0, 0, 0, 1)
    refusing.keys = ("p1/s/b",)
    assert replay(house, Twofold(), DeadLetterFilter(key="p1/s/a")) == ["rejected"]
    assert [kept.letter.row_key for kept in house.control.dead_letters.find()] == ["p1/s/b"]
    assert tally(house) == (1, 0, 0, 0, 1)
    refusing.keys = ()
    assert replay(house, Twofold()) == ["applied"]
    assert tally(house) == (1, 1, 0, 0, 0)
    assert house.rows("one").keys() == {"p1/s/a", "p1/s/b"}
    house.targets["one"] = inner
    house.stop()


def test_two_replays_at_once_count_once(house: House) -> None:
    follow(house, bad(1, "one"))
    letters = house.control.dead_letters.find()
    first, second = (
        Replay(house.control.dead_letters, Repaired(), SHAPE, house.table, house.targets["one"]) for _ in range(2)
    )
    assert [each.result for each in first.run(letters)] == ["applied"]
    assert [each.result for each in second.run(letters)] == ["gone"]
    assert [each.result for each in Replay(
        house.control.dead_letters, Worse(), SHAPE, house.table, house.targets["one"]
    ).run(letters)] == ["gone"]  # fmt: skip
    assert tally(house) == (1, 1, 0, 0, 0)
    house.stop()


# What settles by itself


def settle(house: House, bound: SimpleBound, mode: Mode = "settle") -> list[str]:
    run = Replay(house.control.dead_letters, bound, SHAPE, house.table, house.targets["one"])
    return [replayed.result for replayed in run.run(house.control.dead_letters.find(), mode)]


def test_a_prune_writes_nothing_and_keeps_what_the_view_lacks(house: House) -> None:
    follow(house, bad(1, "lacking"), bad(2, "right again"), good(2, "right"), bad(3), bad(4))
    house.table.delete(bad(3))
    house.wait_counted()
    assert settle(house, Repaired(), "prune") == ["needed", "stale", "stale", "needed"]
    assert settle(house, SimpleBound(), "prune") == ["needed", "needed"]
    assert house.rows("one") == {"p2/s": {"value": "right"}}
    assert tally(house) == (6, 2, 2, 0, 2)
    house.stop()


def test_what_settles_by_itself_shows_no_state_before_its_turn(house: House) -> None:
    """The view is behind: a change after the letter's is in the table, and not yet in the view."""
    follow(house, bad(1, "kept"))
    with house.targets["one"].held():
        house.table.put(good(1, "later"))
        assert house.targets["one"].entered.wait(10)
        assert settle(house, Repaired()) == ["needed"]
        assert house.rows("one") == {}
    house.wait_equal()
    house.wait_counted()
    assert settle(house, Repaired()) == ["stale"]
    house.table.put(bad(2, "as it is"))
    house.wait_counted()
    assert settle(house, Repaired()) == ["applied"]
    assert house.rows("one").keys() == {"p1/s", "p2/s"}
    house.stop()


def test_one_item_that_cannot_be_read_keeps_no_other_letter(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(house, *(bad(number, number) for number in range(7)))
    get = house.table.get

    def broken(keys: Sequence[Any], shape: Any) -> Any:
        if any(key["pk"].S == "p3" for key in keys):
            raise BadPage("an item that cannot be read")
        return get(keys, shape)

    monkeypatch.setattr(house.table, "get", broken)
    assert sorted(replay(house, Repaired())) == ["applied"] * 6 + ["rejected"]
    house.stop()


def test_letters_of_a_generation_that_readers_see_no_more_are_shown_to_nobody(house: House) -> None:
    follow(house, bad(1))
    box = house.control.dead_letters
    (kept,) = box.find()
    with house.control._database.write() as connection:
        connection.execute(generations.update().values(generation=2))
    assert (box.find(), box.count(), box.by_view()) == ([], (0, 0), {})
    assert box.find(DeadLetterFilter(ids=[kept.id])) == [kept]
    box.keep([dataclasses.replace(kept.letter, generation=2)])
    assert [each.letter.generation for each in box.find()] == [2]
    house.stop()
