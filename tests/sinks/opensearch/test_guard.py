"""The guard on a real server where others write, forget, purge and lose answers meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from opensearchpy import OpenSearch

from dynaview.projections.changes import SCANNED
from dynaview.projections.rows import Layout, Rule, Write
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.opensearch.target import OpenSearchTarget
from dynaview.sinks.port import APPLIED, STALE, Outcome, Rejected, SinkUnavailable, Stored
from tests.sinks.opensearch.line import DROP, Answer, Line


def put(key: str, version: int, owner: str = "", rule: Rule = Rule.NEWER) -> Write:
    return Write(key, (f"{key} {version}", Decimal(version), None), version, owner, rule)


def gone(key: str, version: int, owner: str = "") -> Write:
    return Write(key, None, version, owner)


def does(target: OpenSearchTarget, write: Write) -> Outcome:
    (outcome,) = target.write([write])
    return outcome


def stands(target: OpenSearchTarget, write: Write) -> bool:
    found = target.read([write.key])
    return found == [Stored(write.key, write.version, write.owner, 1, target.content(write))]


@pytest.fixture
def ours(through: OpenSearchSink, target: OpenSearchTarget) -> OpenSearchTarget:
    """The same rows as `target` holds, seen through the faulty line."""
    made = through.open(target.layout, 1)
    made.prepare()
    return made


def at_first_bulk(line: Line, act: Callable[[], object]) -> None:
    """Let `act` happen when the next bulk request is under way: decided, but not yet done."""

    def before(method: str, path: str, body: bytes) -> Answer | None:
        if "/_bulk" in path:
            line.before = lambda *_: None
            act()
        return None

    line.before = before


def requests(line: Line) -> list[str]:
    return [path.partition("?")[0].rpartition("/")[2] for _, path, _ in line.seen]


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("theirs", [put("row", 4), gone("row", 4), put("row", 8), gone("row", 8), put("row", 6)])
def test_another_writer_comes_between(
    line: Line, ours: OpenSearchTarget, target: OpenSearchTarget, remembered: bool, theirs: Write
) -> None:
    if remembered:
        assert does(ours, put("row", 2)) is APPLIED
    at_first_bulk(line, lambda: does(target, theirs))
    mine = put("row", 6)
    assert does(ours, mine) is (APPLIED if theirs.version < 6 else STALE)
    assert stands(target, mine if theirs.version < 6 else theirs)
    # What was learned of the conflict is what the next write goes by.
    last = put("row", 9)
    assert does(ours, last) is APPLIED
    assert stands(target, last)


@pytest.mark.parametrize("theirs", [put("row", 4), gone("row", 4)])
def test_a_scan_finds_the_row_only_on_its_second_look(
    line: Line, ours: OpenSearchTarget, target: OpenSearchTarget, theirs: Write
) -> None:
    at_first_bulk(line, lambda: does(target, theirs))
    assert does(ours, put("row", SCANNED, rule=Rule.ABSENT)) is STALE
    assert stands(target, theirs)


def test_the_owner_comes_between(line: Line, ours: OpenSearchTarget, target: OpenSearchTarget) -> None:
    theirs = put("row", 1, "item1")
    at_first_bulk(line, lambda: does(target, theirs))
    assert isinstance(does(ours, put("row", 6, "item2")), Rejected)
    assert stands(target, theirs)


def test_who_owns_a_row_is_looked_up_before_a_write_is_rejected(
    ours: OpenSearchTarget, target: OpenSearchTarget
) -> None:
    assert does(ours, put("row", 5, "item1")) is APPLIED
    assert does(target, gone("row", 7, "item1")) is APPLIED
    taken = put("row", 3, "item2")
    assert does(ours, taken) is APPLIED
    assert stands(target, taken)


def test_a_delete_of_a_row_that_changed_hands(ours: OpenSearchTarget, target: OpenSearchTarget) -> None:
    assert does(ours, put("row", 5, "item1")) is APPLIED
    assert does(target, gone("row", 7, "item1")) is APPLIED
    assert does(target, put("row", 3, "item2")) is APPLIED
    deletion = gone("row", 4, "item2")
    assert does(ours, deletion) is APPLIED
    assert stands(target, deletion)


def test_a_lost_answer(line: Line, ours: OpenSearchTarget, target: OpenSearchTarget) -> None:
    assert ours.write([put("old", 1), put("gone", 1)]) == [APPLIED, APPLIED]
    batch = [put("old", 3), put("new", 3), gone("gone", 3)]
    line.after = lambda method, path, body: DROP if "/_bulk" in path else None
    with pytest.raises(SinkUnavailable):
        ours.write(batch)
    line.after = lambda *_: None
    assert ours.write(batch) == [STALE] * 3
    assert all(stands(target, write) for write in batch)
    later = [put("old", 4), put("new", 4), put("gone", 4)]
    assert ours.write(later) == [APPLIED] * 3
    assert all(stands(target, write) for write in later)


def test_a_request_that_was_never_done(line: Line, ours: OpenSearchTarget, target: OpenSearchTarget) -> None:
    line.before = lambda method, path, body: DROP if "/_bulk" in path else None
    with pytest.raises(SinkUnavailable):
        ours.write([put("row", 3)])
    line.before = lambda *_: None
    assert target.read(["row"]) == [None]
    assert ours.write([put("row", 3)]) == [APPLIED]


def test_one_busy_write_makes_the_batch_repeat_and_loses_nothing(
    line: Line, ours: OpenSearchTarget, target: OpenSearchTarget
) -> None:
    batch = [put("a", 3), put("b", 3)]
    busy = {"create": {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "busy"}}}
    done = {"create": {"status": 201, "_seq_no": 0, "_primary_term": 1}}
    assert does(target, put("a", 3)) is APPLIED
    line.before = lambda method, path, body: Answer(200, {"items": [done, busy]}) if "/_bulk" in path else None
    with pytest.raises(SinkUnavailable):
        ours.write(batch)
    line.before = lambda *_: None
    assert ours.write(batch) == [STALE, APPLIED]
    assert all(stands(target, write) for write in batch)


def test_a_winner_that_never_ends_is_waited_for_elsewhere(
    line: Line, limited: Callable[..., OpenSearchSink], target: OpenSearchTarget
) -> None:
    ours = limited(rounds=3).open(target.layout, 1)
    versions = iter(range(1, 100))

    def before(method: str, path: str, body: bytes) -> Answer | None:
        if "/_bulk" in path:
            does(target, put("row", next(versions)))
        return None

    line.before = before
    with pytest.raises(SinkUnavailable, match="other writers"):
        ours.write([put("row", 1000)])


def test_remembered_rows_are_written_without_looking(line: Line, ours: OpenSearchTarget) -> None:
    line.seen.clear()
    for version in range(1, 4):
        assert ours.write([put(f"{row}", version) for row in range(5)]) == [APPLIED] * 5
    assert ours.write([put("0", 2)]) == [STALE]
    assert requests(line) == ["_bulk"] * 3


def test_rows_that_were_looked_up_are_remembered(line: Line, ours: OpenSearchTarget, target: OpenSearchTarget) -> None:
    assert does(target, put("row", 5)) is APPLIED
    assert does(ours, put("row", 4)) is STALE
    line.seen.clear()
    assert does(ours, put("row", 3)) is STALE
    assert does(ours, put("row", 6)) is APPLIED
    assert requests(line) == ["_bulk"]


def test_rows_that_are_not_remembered_are_looked_up_first_once_most_are_there(
    line: Line, ours: OpenSearchTarget, target: OpenSearchTarget
) -> None:
    def batch(start: int, version: int) -> Sequence[Write]:
        return [put(f"{row}", version) for row in range(start, start + 250)]

    for start in (0, 250):
        target.write(batch(start, 1))
    line.seen.clear()
    assert ours.write(batch(0, 2)) == [APPLIED] * 250
    assert requests(line) == ["_bulk", "_mget", "_bulk"]
    line.seen.clear()
    assert ours.write(batch(250, 2)) == [APPLIED] * 250
    assert requests(line) == ["_mget", "_bulk"]
    line.seen.clear()
    for start in (1000, 2000, 3000):
        assert ours.write(batch(start, 2)) == [APPLIED] * 250
    assert requests(line) == ["_mget", "_bulk", "_mget", "_bulk", "_bulk"]


def test_a_row_removed_by_hand_can_be_repaired(target: OpenSearchTarget, store: OpenSearch) -> None:
    row = put("row", 5)
    assert does(target, row) is APPLIED
    store.delete(index=f"{target.layout.view}-g1", id="row")
    assert target.read(["row"]) == [None]
    assert does(target, row) is APPLIED
    assert stands(target, row)


def test_a_document_put_in_by_hand_yields_to_any_change(target: OpenSearchTarget, store: OpenSearch) -> None:
    store.index(index=f"{target.layout.view}-g1", id="row", body={"name": "by hand"})
    (found,) = target.read(["row"])
    assert found is not None
    assert found.version == -1
    assert does(target, put("row", SCANNED, rule=Rule.ABSENT)) is STALE
    change = put("row", 1)
    assert does(target, change) is APPLIED
    assert stands(target, change)


# Tombstones


def test_purge_removes_old_tombstones_only(target: OpenSearchTarget, store: OpenSearch) -> None:
    target.write([gone("old", 5), gone("young", 5), put("live", 5)])
    index = f"{target.layout.view}-g1"
    dated = store.get(index=index, id="old")["_source"]["_deleted_at"]
    store.update(index=index, id="old", body={"doc": {"_deleted_at": dated - 26 * 3600 * 1000}})
    assert target.purge(timedelta(hours=25)) == 1
    assert target.read(["old"]) == [None]
    assert stands(target, gone("young", 5))
    assert stands(target, put("live", 5))
    assert does(target, put("young", 4)) is STALE
    assert target.purge(timedelta(hours=25)) == 0


def test_purge_in_many_requests(line: Line, limited: Callable[..., OpenSearchSink], target: OpenSearchTarget) -> None:
    target.write([gone(f"{row}", 5) for row in range(35)])
    ours = limited(purge_rows=10).open(target.layout, 1)
    assert ours.purge(timedelta(0)) == 35
    assert requests(line).count("_delete_by_query") == 4
    assert ours.purge(timedelta(0)) == 0


def test_a_purged_tombstone_is_written_over(target: OpenSearchTarget) -> None:
    target.write([gone("row", 5)])
    assert target.purge(timedelta(0)) == 1
    back = put("row", 6)
    assert does(target, back) is APPLIED
    assert stands(target, back)


def test_purge_never_takes_a_row_that_just_came_back(target: OpenSearchTarget, sink: OpenSearchSink) -> None:
    rows = [f"{row}" for row in range(60)]
    other = sink.open(target.layout, 1)
    for turn in range(2):
        version = turn * 10
        target.write([gone(row, version + 1) for row in rows])
        with ThreadPoolExecutor(2) as pool:
            purged = pool.submit(target.purge, timedelta(0))
            back = [pool.submit(other.write, [put(row, version + 2)]) for row in rows]
            assert [one.result() for one in back] == [[APPLIED]] * len(rows)
            assert 0 <= purged.result() <= len(rows)
        assert all(stands(target, put(row, version + 2)) for row in rows)
        assert target.count() == len(rows)


def test_tombstones_are_dated_by_the_stores_clock(
    line: Line, through: OpenSearchSink, layout: Callable[..., Layout], store: OpenSearch
) -> None:
    now = time.time() - 30 * 24 * 3600  # as that clock shows it, which is wrong
    health = [{"epoch": f"{int(now)}"}]
    line.before = lambda method, path, body: Answer(200, health) if path.startswith("/_cat/health") else None
    target = through.open(layout(), 1)
    target.prepare()
    target.write([gone("row", 5)])
    source = store.get(index=f"{target.layout.view}-g1", id="row")["_source"]
    assert now - 60 < source["_deleted_at"] / 1000 < now + 60
    assert source == {"_v": "5", "_deleted": True, "_deleted_at": source["_deleted_at"]}
