"""Values of unique indexes, handed round: what is right in the end is applied, only what is held twice is refused."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynaview.projections.changes import SCANNED
from dynaview.projections.rows import Field, Index, Rule, Write
from dynaview.sinks.port import APPLIED, STALE, ConditionalWrite, Rejected, RejectedKind, SinkUnavailable
from dynaview.sinks.postgres.target import PostgresTarget
from tests.sinks.postgres.database import Database, fresh, until

FIELDS = (Field("id", "text"), Field("lane", "integer"))


def lanes(database: Database, *indexes: Index) -> PostgresTarget:
    layout = database.layout(FIELDS, indexes=indexes or (Index(("lane",), unique=True),), name=fresh("lanes 100%"))
    target = database.open(layout)
    target.publish()
    return target


def put(name: str, lane: int | None, version: int, owner: str = "", rule: Rule = Rule.NEWER) -> Write:
    return Write((name,), (name, lane), version, owner, rule)


def shown(database: Database, target: PostgresTarget) -> dict[str, int]:
    """What readers see."""
    return dict(database.rows("SELECT id, lane FROM {}", target.layout.view))


def waits(outcome: object) -> bool:
    return isinstance(outcome, Rejected) and outcome.kind is RejectedKind.UNIQUE


def test_rows_of_a_batch_swap_a_value(database: Database) -> None:
    target = lanes(database)
    target.write([put("ann", 1, 1), put("bea", 2, 1)])
    assert target.write([put("ann", 2, 2), put("bea", 1, 2)]) == [APPLIED] * 2
    assert shown(database, target) == {"ann": 2, "bea": 1}


@pytest.mark.parametrize("size", [3, 50])
def test_a_whole_ring_moves_on(database: Database, size: int) -> None:
    target = lanes(database)
    target.write([put(f"{number}", number, 1) for number in range(size)])
    moved = [put(f"{number}", (number + 1) % size, 2) for number in range(size)]
    assert target.write([*moved, put("other", 1000, 2)]) == [APPLIED] * (size + 1)
    assert shown(database, target) == {f"{number}": (number + 1) % size for number in range(size)} | {"other": 1000}


def test_a_swap_that_two_batches_cut_in_two(database: Database) -> None:
    target = lanes(database)
    target.write([put("ann", 1, 1), put("bea", 2, 1)])
    (clash,) = target.write([put("ann", 2, 2)])
    assert waits(clash)
    assert isinstance(clash, Rejected)
    assert clash.reason.startswith("column lane: another row has the same values in a unique index")
    assert shown(database, target) == {"bea": 2}, "the row that ann had is none that she has"
    assert target.count() == 1
    assert [row.key for row in target.rows()] == [("bea",)]
    (seen,) = target.read([("ann",)])
    assert seen is not None
    assert (seen.version, seen.content) == (2, None)
    assert target.write([put("bea", 1, 2)]) == [APPLIED]
    assert shown(database, target) == {"ann": 2, "bea": 1}
    (seen,) = target.read([("ann",)])
    assert seen is not None
    assert seen.content == {"id": "ann", "lane": 2}


def test_what_is_held_twice_waits_for_as_long(database: Database) -> None:
    target = lanes(database)
    target.write([put("ann", 1, 1)])
    for _ in range(2):
        (clash,) = target.write([put("bea", 1, 5)])
        assert waits(clash), "a batch that is sent again gets the same answer"
    assert target.write([put("bea", 7, 4)]) == [STALE]
    assert target.write([Write(("bea",), None, 5)]) == [STALE], "a delete under its own version leaves it waiting"
    assert target.purge(timedelta(0)) == 0
    assert target.write([Write(("ann",), None, 2)]) == [APPLIED]
    assert shown(database, target) == {"bea": 1}
    assert target.write([put("ann", 1, 3)]) != [APPLIED]
    assert target.write([Write(("ann",), None, 4)]) == [APPLIED], "what waits can be deleted"
    assert target.write([put("bea", 2, 6)]) == [APPLIED]
    assert shown(database, target) == {"bea": 2}


def test_one_that_clashes_with_a_stranger_keeps_nobody_of_its_batch_back(database: Database) -> None:
    target = lanes(database)
    target.write([put("ann", 1, 1), put("bea", 2, 1), put("zoe", 9, 1)])
    clash, *others = target.write([put("ann", 9, 2), put("bea", 1, 2), put("cid", 2, 2)])
    assert waits(clash)
    assert others == [APPLIED] * 2
    assert shown(database, target) == {"bea": 1, "cid": 2, "zoe": 9}


def test_of_two_that_want_one_value_the_lowest_key_has_it(database: Database) -> None:
    target = lanes(database)
    outcomes = target.write([put("cid", 1, 1), put("ann", 1, 1), put("bea", 1, 1), put("dan", None, 1)])
    assert outcomes[1] is outcomes[3] is APPLIED
    assert waits(outcomes[0])
    assert waits(outcomes[2])
    assert target.write([put("ann", None, 2)]) == [APPLIED]
    assert shown(database, target) == {"ann": None, "bea": 1, "dan": None}


def test_two_indexes_at_once(database: Database) -> None:
    fields = (Field("id", "text"), Field("lane", "integer"), Field("cap", "text"))
    indexes = (Index(("lane",), unique=True), Index(("cap", "lane"), unique=True), Index(("cap",), unique=True))
    target = database.open(database.layout(fields, indexes=indexes))

    def row(name: str, lane: int, cap: str, version: int) -> Write:
        return Write((name,), (name, lane, cap), version)

    target.write([row("ann", 1, "red", 1), row("bea", 2, "blue", 1)])
    assert target.write([row("ann", 2, "blue", 2), row("bea", 1, "red", 2)]) == [APPLIED] * 2
    one, other = target.write([row("cid", 3, "red", 1), row("dan", 3, "green", 1)])
    assert waits(one)
    assert other is APPLIED
    assert target.write([row("bea", 5, "white", 3)]) == [APPLIED]
    assert target.read([("cid",)])[0].content is None, "dan has its lane now"  # type: ignore[union-attr]


def test_a_scan_inserts_where_nothing_stands(database: Database) -> None:
    target = lanes(database)
    target.write([put("ann", 1, 7), put("bea", 2, 7)])
    scanned = [put("ann", 2, SCANNED, rule=Rule.ABSENT), put("cid", 2, SCANNED, rule=Rule.ABSENT)]
    for _ in range(2):
        stale, clash = target.write(scanned)
        assert stale is STALE
        assert waits(clash), "a letter that is replayed is no other"
    assert target.write([put("bea", 3, 8)]) == [APPLIED]
    assert shown(database, target) == {"ann": 1, "bea": 3, "cid": 2}
    assert target.write(scanned) == [STALE] * 2


def test_conditional_writes_swap_and_wait_too(database: Database) -> None:
    target = lanes(database)
    target.write([put("ann", 1, 1), put("bea", 2, 1)])
    ann, bea = target.read([("ann",), ("bea",)])
    assert (
        target.write_if_unchanged([ConditionalWrite(put("ann", 2, 0), ann), ConditionalWrite(put("bea", 1, 0), bea)])
        == [APPLIED] * 2
    )
    assert shown(database, target) == {"ann": 2, "bea": 1}
    ann, bea, cid = target.read([("ann",), ("bea",), ("cid",)])
    clash, new = target.write_if_unchanged(
        [ConditionalWrite(put("ann", 1, 0), ann), ConditionalWrite(put("cid", 3, 0), cid)]
    )
    assert waits(clash)
    assert new is APPLIED
    assert target.write_if_unchanged([ConditionalWrite(put("bea", 2, 0), bea)]) == [APPLIED]
    assert shown(database, target) == {"ann": 1, "bea": 2, "cid": 3}


def test_another_item_may_take_over_what_waits(database: Database) -> None:
    target = lanes(database)
    target.write([put("ann", 1, 9, owner="a")])
    assert waits(target.write([put("bea", 1, 9, owner="b")])[0])
    assert target.write([put("bea", 2, 3, owner="c")]) == [APPLIED]
    assert target.write([Write(("ann",), None, 10, "a")]) == [APPLIED]
    assert shown(database, target) == {"bea": 2}


def test_a_bad_row_in_a_ring(database: Database) -> None:
    target = lanes(database)
    target.write([put(f"{number}", number, 1) for number in range(8)])
    moved = [put(f"{number}", (number + 1) % 8, 2) for number in range(8)]
    bad = Write(("bad\0",), ("bad\0", 99), 2)
    outcomes = target.write([*moved[:4], bad, *moved[4:]])
    assert isinstance(outcomes.pop(4), Rejected)
    assert outcomes == [APPLIED] * 8


def test_a_value_that_another_transaction_is_about_to_free(database: Database) -> None:
    """Whoever comes second waits for the first, and both rows are shown."""
    target = lanes(database)
    target.write([put("ann", 1, 1), put("zoe", 9, 1)])
    table = f"{target.layout.view}__g1"
    with ThreadPoolExecutor(1) as pool:
        with database.admin.transaction():
            database.run("UPDATE {} SET lane = 5, _version = 2 WHERE id = 'ann'", table)
            writing = pool.submit(target.write, [put("bea", 1, 2), put("cid", 9, 2)])
            until(lambda: waiting_for_lock(database))
        applied, clash = writing.result(timeout=20)
    assert applied is APPLIED
    assert waits(clash)
    assert shown(database, target) == {"ann": 5, "bea": 1, "zoe": 9}


def waiting_for_lock(database: Database) -> bool:
    database.admin.execute("SELECT pg_stat_clear_snapshot()")
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%lanes 100%%'"
    return database.admin.execute(query, ()).fetchone() is not None


def write_until_done(target: PostgresTarget, batch: Sequence[Write]) -> None:
    for _ in range(50):
        try:
            target.write(batch)
        except SinkUnavailable:  # a deadlock, or a value that others keep taking: send the whole batch again
            continue
        return
    raise AssertionError("the store never takes the batch")


def test_writers_of_four_shards_hand_values_round(database: Database) -> None:
    target = lanes(database)
    size, rounds = 12, 6
    target.write([put(f"{number}", number, 1) for number in range(size)])
    barrier = threading.Barrier(4)

    def shard(which: int) -> None:
        for version in range(2, rounds):
            barrier.wait(timeout=60)
            mine = range(which, size, 4)
            write_until_done(target, [put(f"{number}", (number + version) % size, version) for number in mine])

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(shard, which) for which in range(4)]:
            done.result(timeout=120)
    assert shown(database, target) == {f"{number}": (number + rounds - 1) % size for number in range(size)}


CHANGES = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([None, 1, 2, 3, 4])), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, sizes=st.lists(st.integers(1, 5), min_size=20, max_size=20), again=st.booleans())
def test_any_history_ends_with_all_that_the_table_holds_once(
    database: Database, changes: list[tuple[str, int | None]], sizes: list[int], again: bool
) -> None:
    target = lanes(database)
    last: dict[str, int | None] = {}
    batch: dict[Any, Write] = {}
    batches: list[list[Write]] = []
    for version, (name, lane) in enumerate(changes, 1):
        batch[name] = put(name, lane, version) if lane is not None else Write((name,), None, version)
        last[name] = lane
        if len(batch) >= sizes[version - 1]:
            batches.append([*batch.values()])
            batch = {}
    batches.append([*batch.values()])
    for one in batches:
        outcomes = target.write(one)
        if again and one:
            for before, after in zip(outcomes, target.write(one), strict=True):
                assert after == (STALE if before is APPLIED else before)
    found = shown(database, target)
    held: dict[int, list[str]] = {}
    for name, lane in last.items():
        if lane is not None:
            held.setdefault(lane, []).append(name)
    assert set(found.values()) == set(held), "each value is shown once"
    assert all(found[name] == last[name] for name in found)
    database.run("DROP TABLE {} CASCADE", f"{target.layout.view}__g1")
