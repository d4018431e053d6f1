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
from tests.support.follower_harness import FollowerHarness
from tests.support.letters import NoMore, Rejecting, Repaired, Twofold, Worse, bad, follow, good, replay, tally
from tests.support.simple import SHAPE, SimpleBound
from tests.support.until import until


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[FollowerHarness]:
    made = FollowerHarness(tmp_path)
    yield made
    if made.pipelines:
        made.stop()  # a second time does nothing; after a failure it ends the threads
    assert not made.crashed.is_set()


def test_what_can_be_applied_now_is_applied_and_counted_so(harness: FollowerHarness) -> None:
    follow(harness, bad(1, "one"), good(2, "two"), bad(3, "three"))
    assert tally(harness) == (3, 1, 0, 0, 2)
    assert replay(harness, Repaired()) == ["applied", "applied"]
    assert harness.rows("one") == {"p1/s": {"value": "one"}, "p2/s": {"value": "two"}, "p3/s": {"value": "three"}}
    assert tally(harness) == (3, 3, 0, 0, 0)
    assert harness.control.dead_letters.find() == []
    harness.stop()


def test_what_is_rejected_again_is_kept_with_its_new_reason(harness: FollowerHarness) -> None:
    follow(harness, bad(1))
    before = harness.control.dead_letters.find()[0]
    assert replay(harness, Worse()) == ["rejected"]
    (after,) = harness.control.dead_letters.find()
    assert after.letter.reason == "field value: worse than before" != before.letter.reason
    assert (after.id, after.created, after.letter.change) == (before.id, before.created, before.letter.change)
    assert tally(harness) == (1, 0, 0, 0, 1)
    harness.stop()


def test_a_newer_row_stays(harness: FollowerHarness) -> None:
    follow(harness, bad(1, "old"), good(1, "new"))
    assert replay(harness, Repaired()) == ["stale"]
    assert harness.rows("one") == {"p1/s": {"value": "new"}}
    assert tally(harness) == (2, 1, 1, 0, 0)
    harness.stop()


def test_the_guard_decides_where_the_item_is_the_same_again(harness: FollowerHarness) -> None:
    """The item has come back to the letter's state, by a change that the view has applied already."""
    follow(harness, good(1, "first"))
    bound = harness.pipelines["one"].outputs[0].bound = Worse()
    harness.table.put(good(1, "again"))
    harness.wait_counted()
    assert bound is harness.pipelines["one"].outputs[0].bound
    harness.pipelines["one"].outputs[0].bound = SimpleBound()
    harness.table.put(good(1, "other"))
    harness.table.put(good(1, "again"))
    harness.wait_counted()
    assert replay(harness, SimpleBound()) == ["stale"]
    (stored,) = harness.targets["one"].rows()
    assert stored.version == harness.control.checkpoints("one")["shard-0"].sequence
    harness.stop()


def test_a_deleted_row_stays_deleted_after_its_tombstone_is_gone(harness: FollowerHarness) -> None:
    follow(harness, bad(1, "old"))
    harness.table.delete(bad(1))
    harness.wait_counted()
    harness.targets["one"].purge(timedelta(0))
    assert replay(harness, Repaired()) == ["stale"]
    assert harness.rows("one") == {}
    harness.stop()


@pytest.mark.parametrize("event", ["upsert", "delete"])
def test_a_row_that_a_later_scan_put_in_stays(harness: FollowerHarness, event: str) -> None:
    """A rebuild's rows stand at version 0, below any letter's."""
    follow(harness, good(1, "first"))
    harness.pipelines["one"].outputs[0].bound = Refusing()
    if event == "upsert":
        harness.table.put(good(1, "old"))
    else:
        harness.table.delete(good(1, "first"))
    harness.wait_counted()
    harness.pipelines["one"].outputs[0].bound = SimpleBound()
    harness.table.put(good(1, "new"))
    harness.wait_counted()
    target = harness.sink.open(harness.targets["one"].layout, 2)
    target.prepare()
    target.write(SimpleBound().inserts(SHAPE.pack(good(1, "new"))))
    assert replay(harness, SimpleBound(), target=target) == ["stale"]
    assert [(stored.content, stored.version) for stored in target.rows()] == [({"value": "new"}, 0)]
    harness.stop()


def test_what_is_no_longer_the_views_is_unmatched(harness: FollowerHarness) -> None:
    follow(harness, bad(1))
    assert replay(harness, NoMore()) == ["unmatched"]
    assert tally(harness) == (1, 0, 0, 1, 0)
    harness.stop()


def test_a_delete_is_replayed(harness: FollowerHarness) -> None:
    follow(harness, good(1, "old"))
    harness.pipelines["one"].outputs[0].bound = Refusing()
    harness.table.delete(good(1, "old"))
    harness.wait_counted()
    assert harness.rows("one") != {}
    assert replay(harness, SimpleBound()) == ["applied"]
    assert harness.rows("one") == {}
    assert tally(harness) == (2, 2, 0, 0, 0)
    harness.stop()


class Refusing(SimpleBound):
    def writes(self, change: Change[Any], version: int) -> list[Write]:
        raise ProjectionError("refused")


def test_a_scanned_item_is_replayed_and_in_no_count(harness: FollowerHarness) -> None:
    harness.table.put(bad(1, "scanned"))
    harness.table.trim("shard-0")
    harness.start()
    until(lambda: len(harness.control.dead_letters.find()) == 1, "the letter of the scan")
    assert replay(harness, Worse()) == ["rejected"]
    assert replay(harness, Repaired()) == ["applied"]
    assert [(stored.key, stored.version) for stored in harness.targets["one"].rows()] == [("p1/s", 0)]
    assert tally(harness) == (0, 0, 0, 0, 0)
    harness.stop()


def test_of_an_item_only_the_newest_letter_is_kept(harness: FollowerHarness) -> None:
    """Overtaken letters explain nothing: a change of the same item has taken their place, or a scanned state of it."""
    harness.table.put(bad(1, "scanned"))
    harness.table.trim("shard-0")
    harness.start()
    until(lambda: len(harness.control.dead_letters.find()) == 1, "the letter of the scan")
    for number in range(4):
        harness.table.put(bad(1, number))
    harness.table.put(bad(2))
    until(lambda: harness.counts("one").read == 5, "all but the trimmed record to be counted")
    kept = [kept.letter for kept in harness.control.dead_letters.find()]
    assert [letter.item_key for letter in kept] == [
        '{"pk":{"S":"p1"},"sk":{"S":"s"}}',
        '{"pk":{"S":"p2"},"sk":{"S":"s"}}',
    ]
    assert b'{"N":"3"}' in kept[0].change
    assert tally(harness) == (5, 0, 3, 0, 2)
    harness.control.dead_letters.keep([dataclasses.replace(kept[0], version=0, shard="scan", counted=False)])
    assert [each.letter for each in harness.control.dead_letters.find()] == kept
    harness.stop()


def raw_record(sequence: int, value: dict[str, Any]) -> bytes:
    image = {"pk": {"S": "p1"}, "sk": {"S": "s"}, "value": value}
    body = {"SequenceNumber": str(sequence), "Keys": {"pk": {"S": "p1"}, "sk": {"S": "s"}}, "NewImage": image}
    return json.dumps({"eventName": "INSERT", "dynamodb": {**body, "StreamViewType": "NEW_IMAGE"}}).encode()


def test_unreadable_records_are_read_again(harness: FollowerHarness) -> None:
    follow(harness)
    harness.table.disable_stream()
    harness.table.put(good(1, "seen"))
    # Neither gives its number, so both stand at the version of the record before them.
    for value in ({"S": "seen"}, {"Q": "a type that DynamoDB does not have"}):
        letter = unreadable_letter("one", Broken(0, raw_record(77, value), "odd"), "shard-0", 50)
        harness.control.commit(
            "one", Progress({"shard-0": Part(None, Counts(read=1, dead_lettered=1), [letter])}), None
        )
    assert len(harness.control.dead_letters.find()) == 2
    # The second one tells its item all the same, and that item is right by now.
    assert sorted(replay(harness, SimpleBound())) == ["applied", "stale"]
    assert harness.control.dead_letters.find() == []
    assert [(stored.content, stored.version) for stored in harness.targets["one"].rows()] == [({"value": "seen"}, 77)]
    assert tally(harness) == (2, 1, 1, 0, 0)
    harness.stop()


def test_what_does_not_even_tell_its_item_is_kept(harness: FollowerHarness) -> None:
    follow(harness)
    letter = unreadable_letter("one", Broken(0, b'{"dynamodb":{"Keys":7}}', "odd"), "shard-0", 50)
    harness.control.commit("one", Progress({"shard-0": Part(None, Counts(read=1, dead_lettered=1), [letter])}), None)
    assert replay(harness, SimpleBound()) == ["rejected"]
    (left,) = harness.control.dead_letters.find()
    assert left.letter.kind == "unreadable"
    assert "cannot be read" in left.letter.reason
    assert tally(harness) == (1, 0, 0, 0, 1)
    harness.stop()


def test_a_change_with_several_rows_is_one_change(harness: FollowerHarness) -> None:
    harness.bound = Twofold()
    inner: Any = harness.targets["one"]
    refusing: Any = Rejecting(inner, "p1/s/a", "p1/s/b")
    harness.targets["one"] = refusing
    follow(harness, good(1, "x"))
    assert [kept.letter.row_key for kept in harness.control.dead_letters.find()] == ["p1/s/a", "p1/s/b"]
    assert tally(harness) == (1, 0, 0, 0, 1)
    refusing.keys = ("p1/s/b",)
    assert replay(harness, Twofold(), DeadLetterFilter(key="p1/s/a")) == ["rejected"]
    assert [kept.letter.row_key for kept in harness.control.dead_letters.find()] == ["p1/s/b"]
    assert tally(harness) == (1, 0, 0, 0, 1)
    refusing.keys = ()
    assert replay(harness, Twofold()) == ["applied"]
    assert tally(harness) == (1, 1, 0, 0, 0)
    assert harness.rows("one").keys() == {"p1/s/a", "p1/s/b"}
    harness.targets["one"] = inner
    harness.stop()


def test_two_replays_at_once_count_once(harness: FollowerHarness) -> None:
    follow(harness, bad(1, "one"))
    letters = harness.control.dead_letters.find()
    first, second = (
        Replay(harness.control.dead_letters, Repaired(), SHAPE, harness.table, harness.targets["one"]) for _ in range(2)
    )
    assert [each.result for each in first.run(letters)] == ["applied"]
    assert [each.result for each in second.run(letters)] == ["gone"]
    assert [each.result for each in Replay(
        harness.control.dead_letters, Worse(), SHAPE, harness.table, harness.targets["one"]
    ).run(letters)] == ["gone"]  # fmt: skip
    assert tally(harness) == (1, 1, 0, 0, 0)
    harness.stop()


# What settles by itself


def settle(harness: FollowerHarness, bound: SimpleBound, mode: Mode = "settle") -> list[str]:
    run = Replay(harness.control.dead_letters, bound, SHAPE, harness.table, harness.targets["one"])
    return [replayed.result for replayed in run.run(harness.control.dead_letters.find(), mode)]


def test_a_prune_writes_nothing_and_keeps_what_the_view_lacks(harness: FollowerHarness) -> None:
    follow(harness, bad(1, "lacking"), bad(2, "right again"), good(2, "right"), bad(3), bad(4))
    harness.table.delete(bad(3))
    harness.wait_counted()
    assert settle(harness, Repaired(), "prune") == ["needed", "stale", "stale", "needed"]
    assert settle(harness, SimpleBound(), "prune") == ["needed", "needed"]
    assert harness.rows("one") == {"p2/s": {"value": "right"}}
    assert tally(harness) == (6, 2, 2, 0, 2)
    harness.stop()


def test_what_settles_by_itself_shows_no_state_before_its_turn(harness: FollowerHarness) -> None:
    """The view is behind: a change after the letter's is in the table, and not yet in the view."""
    follow(harness, bad(1, "kept"))
    with harness.targets["one"].held():
        harness.table.put(good(1, "later"))
        assert harness.targets["one"].entered.wait(10)
        assert settle(harness, Repaired()) == ["needed"]
        assert harness.rows("one") == {}
    harness.wait_equal()
    harness.wait_counted()
    assert settle(harness, Repaired()) == ["stale"]
    harness.table.put(bad(2, "as it is"))
    harness.wait_counted()
    assert settle(harness, Repaired()) == ["applied"]
    assert harness.rows("one").keys() == {"p1/s", "p2/s"}
    harness.stop()


def test_one_item_that_cannot_be_read_keeps_no_other_letter(
    harness: FollowerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow(harness, *(bad(number, number) for number in range(7)))
    get = harness.table.get

    def broken(keys: Sequence[Any], shape: Any) -> Any:
        if any(key["pk"].S == "p3" for key in keys):
            raise BadPage("an item that cannot be read")
        return get(keys, shape)

    monkeypatch.setattr(harness.table, "get", broken)
    assert sorted(replay(harness, Repaired())) == ["applied"] * 6 + ["rejected"]
    harness.stop()


def test_letters_of_a_generation_that_readers_see_no_more_are_shown_to_nobody(harness: FollowerHarness) -> None:
    follow(harness, bad(1))
    box = harness.control.dead_letters
    (kept,) = box.find()
    with harness.control._database.write() as connection:
        connection.execute(generations.update().values(generation=2))
    assert (box.find(), box.count(), box.by_view()) == ([], (0, 0), {})
    assert box.find(DeadLetterFilter(ids=[kept.id])) == [kept]
    box.keep([dataclasses.replace(kept.letter, generation=2)])
    assert [each.letter.generation for each in box.find()] == [2]
    harness.stop()
