"""Conditional writes where others hold, change or remove the same rows at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from dynaview.projections.rows import Field, Index, Write
from dynaview.sinks.port import APPLIED, STALE, ConditionalWrite, Rejected, Stored
from dynaview.sinks.postgres.target import PostgresTarget
from tests.sinks.postgres.database import FIELDS, Database, until, waiting


def put(key: str, city: str | None = "Basel", version: int = 1, owner: str = "") -> Write:
    return Write((key,), (key, city, None), version, owner)


def seen(target: PostgresTarget, key: str) -> Stored | None:
    (found,) = target.read([(key,)])
    return found


@pytest.mark.parametrize(
    ("meanwhile", "outcome"),
    [
        ("UPDATE {} SET _version = 2", STALE),
        ("UPDATE {} SET _owner = 'item2'", STALE),
        ("UPDATE {} SET _deleted = now()", STALE),
        ("DELETE FROM {}", STALE),
        ("SELECT FROM {} FOR UPDATE", APPLIED),
    ],
)
def test_who_holds_the_row_is_waited_for_and_looked_at_again(
    database: Database, meanwhile: str, outcome: object
) -> None:
    target = database.open()
    target.write([put("a", owner="item1")])
    conditional = ConditionalWrite(put("a", "Bern", owner="item1"), seen(target, "a"))
    table = f"{target.layout.view}__g1"
    with ThreadPoolExecutor(1) as pool:
        with database.admin.transaction():
            database.run(meanwhile, table)
            writing = pool.submit(target.write_if_unchanged, [conditional])
            until(lambda: waiting(database, table) == 1)
        assert writing.result(timeout=20) == [outcome]
    found = seen(target, "a")
    city = "Bern" if outcome is APPLIED else "Basel"
    assert found is None or found.content is None or found.content["city"] == city


def test_a_row_that_comes_while_nothing_was_seen(database: Database) -> None:
    target = database.open()
    table = f"{target.layout.view}__g1"
    with ThreadPoolExecutor(1) as pool:
        with database.admin.transaction():
            database.run("INSERT INTO {} (id, city, _version) VALUES ('a', 'Bern', 3)", table)
            writing = pool.submit(
                target.write_if_unchanged, [ConditionalWrite(put("a"), None), ConditionalWrite(put("b"), None)]
            )
            until(lambda: waiting(database, table) == 1)
        assert writing.result(timeout=20) == [STALE, APPLIED]
    found = seen(target, "a")
    assert found is not None
    assert (found.version, found.content["city"]) == (3, "Bern")


@pytest.mark.parametrize("live", [True, False])
def test_a_row_that_is_gone_is_not_brought_back(database: Database, live: bool) -> None:
    target = database.open()
    target.write([put("a") if live else Write(("a",), None, 1)])
    before = seen(target, "a")
    database.run("DELETE FROM {}", f"{target.layout.view}__g1")
    assert target.write_if_unchanged([ConditionalWrite(put("a"), before), ConditionalWrite(put("b"), None)]) == [
        STALE,
        APPLIED,
    ]
    assert seen(target, "a") is None


def test_writers_and_repairers_of_the_same_rows_do_not_deadlock(database: Database) -> None:
    target = database.open()
    keys = [f"{number:02}" for number in range(40)]
    target.write([put(key) for key in keys])

    def write(pipeline: int) -> None:
        for version in range(2, 30):
            target.write([put(key, "Bern", version) for key in (keys if pipeline else reversed(keys))])

    def write_if_unchanged(pipeline: int) -> None:
        for _ in range(28):
            rows = target.read([(key,) for key in keys])
            conditional_writes = [ConditionalWrite(put(key, "Bonn"), row) for key, row in zip(keys, rows, strict=True)]
            target.write_if_unchanged(conditional_writes if pipeline else conditional_writes[::-1])

    with ThreadPoolExecutor(4) as pool:
        doing: list[Callable[[int], None]] = [write, write_if_unchanged, write, write_if_unchanged]
        for one in [pool.submit(what, pipeline // 2) for pipeline, what in enumerate(doing)]:
            one.result(timeout=60)
    assert {row.version for row in target.rows()} == {29}


def test_a_conditional_write_that_a_unique_index_refuses_fails_no_neighbour(database: Database) -> None:
    target = database.open(database.layout(indexes=[Index(("city",), unique=True)]))
    target.write([put("a", "Basel"), put("b", "Bern"), put("c", "Bonn")])
    looks = {key: seen(target, key) for key in "abc"}
    outcomes = target.write_if_unchanged(
        [ConditionalWrite(put("b", "Basel"), looks["b"]), ConditionalWrite(put("c", "Celle"), looks["c"])]
    )
    (rejected, applied) = outcomes
    assert isinstance(rejected, Rejected)
    assert "city" in rejected.reason
    assert "Basel" not in rejected.reason
    assert applied is APPLIED
    # It waits, and rows of one batch may hand values on to each other.
    looks["b"] = seen(target, "b")
    assert (
        target.write_if_unchanged(
            [ConditionalWrite(put("a", "Bern"), looks["a"]), ConditionalWrite(put("b", "Ulm"), looks["b"])]
        )
        == [APPLIED] * 2
    )
    assert sorted(row.content["city"] for row in target.rows()) == ["Bern", "Celle", "Ulm"]


def test_all_types_and_strange_names(database: Database) -> None:
    fields = (Field('i"d %s', "integer"), Field("a b%", "text[]"), Field("json", "json"), Field("u", "text", "uuid"))
    layout = database.layout(fields, key=['i"d %s'])
    target = database.open(layout)
    first = Write((1,), (1, ["a", None], {"n": [1]}, "00000000-0000-0000-0000-000000000001"), 0)
    assert (
        target.write_if_unchanged([ConditionalWrite(first, None), ConditionalWrite(Write((2,), None, 0), None)])
        == [APPLIED] * 2
    )
    one, two = target.read([(1,), (2,)])
    assert one is not None
    assert one.content == target.content(first)
    second = Write((1,), (1, None, [None], None), 0)
    again = Write((2,), (2, [], None, None), 0)
    assert target.write_if_unchanged([ConditionalWrite(again, two), ConditionalWrite(second, one)]) == [APPLIED] * 2
    assert [row and row.content for row in target.read([(1,), (2,)])] == [target.content(second), target.content(again)]


def test_a_row_key_twice_in_a_batch_is_refused(database: Database) -> None:
    target = database.open()
    with pytest.raises(ValueError, match="twice"):
        target.write_if_unchanged([ConditionalWrite(put("a"), None), ConditionalWrite(put("a"), None)])


def test_what_a_column_cannot_hold_is_named(database: Database) -> None:
    target = database.open()
    bad = Write(("b",), ("b", 5, None), 0)
    rejected, applied = target.write_if_unchanged([ConditionalWrite(bad, None), ConditionalWrite(put("a"), None)])
    assert isinstance(rejected, Rejected)
    assert "column city (text)" in rejected.reason
    assert applied is APPLIED
    assert [field.name for field in FIELDS] == ["id", "city", "total"]
