"""The guard where Postgres alone could go wrong: concurrent transactions, tombstones and their purge."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from dynaview.projections.rows import Rule, Write
from dynaview.sinks.port import APPLIED, STALE, Outcome, Rejected
from dynaview.sinks.postgres.limits import Limits
from tests.sinks.postgres.database import Database, until, waiting


def put(key: str, version: int, city: str = "", owner: str = "", rule: Rule = Rule.NEWER) -> Write:
    return Write((key,), (key, city, None), version, owner, rule)


@pytest.mark.parametrize(
    ("first", "second", "expected", "version"),
    [
        (put("k", 7), put("k", 6), STALE, 7),
        (put("k", 7), put("k", 8), APPLIED, 8),
        (Write(("k",), None, 7), put("k", 6), STALE, 7),
        (Write(("k",), None, 7), put("k", 8), APPLIED, 8),
        (put("k", 7), put("k", 0, rule=Rule.ABSENT), STALE, 7),
        (Write(("k",), None, 7), put("k", 0, rule=Rule.ABSENT), STALE, 7),
        (put("k", 7, owner="b"), put("k", 8, owner="c"), Rejected, 7),
        (Write(("k",), None, 7, "a"), put("k", 2, owner="c"), APPLIED, 2),
        (put("k", 7, owner="a"), Write(("k",), None, 9, "c"), STALE, 7),
    ],
)
@pytest.mark.parametrize("standing", [False, True])
def test_a_write_that_waited_for_another_decides_by_what_that_one_left(
    database: Database, first: Write, second: Write, expected: object, version: int, standing: bool
) -> None:
    target = database.open()
    table = f"{target.layout.view}__g1"
    if standing:
        target.write([put("k", 1, owner=first.owner)])
    with ThreadPoolExecutor(1) as pool:
        # A transaction of the same shape, held open before its commit.
        with database.admin.transaction():
            deleted = "now()" if first.values is None else "NULL"
            database.admin.execute(
                f'INSERT INTO "{table}" (id, _version, _owner, _deleted) VALUES (%s, %s, %s, {deleted}) '  # noqa: S608 - a name of the test's own
                "ON CONFLICT (id) DO UPDATE SET _version = excluded._version, _deleted = excluded._deleted",
                ("k", first.version, first.owner),
            )
            outcome = pool.submit(target.write, [second])
            until(lambda: waiting(database, table) == 1)
        (found,) = outcome.result()
    assert found is expected or (expected is Rejected and isinstance(found, Rejected))
    (stored,) = target.read([("k",)])
    assert stored is not None
    assert stored.version == version


def test_two_writers_of_the_same_rows_in_opposite_orders(database: Database) -> None:
    target = database.open()
    keys = [f"{number:03}" for number in range(200)]

    def pipeline(number: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for version in range(1, 26):
            batch = [put(key, version * 4 + number) for key in keys]
            outcomes += target.write(batch if number % 2 else batch[::-1])
        return outcomes

    with ThreadPoolExecutor(4) as pool:
        pipelines = list(pool.map(pipeline, range(4)))
    assert all(outcome in (APPLIED, STALE) for outcomes in pipelines for outcome in outcomes)
    assert {row.version for row in target.rows()} == {25 * 4 + 3}
    assert target.count() == 200


def test_purge_takes_old_tombstones_only_in_pieces(database: Database) -> None:
    target = database.open(limits=Limits(purge_rows=10))
    target.write([put(f"live {number}", 1) for number in range(5)])
    target.write([Write((f"gone {number}",), None, 1) for number in range(25)])
    target.write([Write((f"young {number}",), None, 1) for number in range(5)])
    database.run(
        "UPDATE {} SET _deleted = now() - interval '26 hours' WHERE id LIKE 'gone%'", f"{target.layout.view}__g1"
    )
    assert target.purge(timedelta(hours=25)) == 25
    assert target.purge(timedelta(hours=25)) == 0
    assert target.count() == 5
    assert target.write([put("gone 1", 1), put("young 1", 1)]) == [APPLIED, STALE]


def test_a_tombstone_keeps_its_key_alone_and_the_time_of_the_delete(database: Database) -> None:
    target = database.open()
    table = f"{target.layout.view}__g1"
    target.write([put("k", 1, "Basel", "item1")])
    target.write([Write(("k",), None, 2, "item1")])
    columns = "SELECT id, city, _version, _owner, _deleted <= now(), _deleted > now() - interval '1 minute' FROM {}"
    assert database.rows(columns, table) == [("k", None, 2, "item1", True, True)]
    target.publish()
    assert database.rows("SELECT * FROM {}", target.layout.view) == []
    target.write([put("k", 3, "Bern", "item1")])
    assert database.rows("SELECT * FROM {}", target.layout.view) == [("k", "Bern", None)]


def test_rows_are_read_in_pages(database: Database) -> None:
    target = database.open(limits=Limits(page_rows=7))
    names = {f"{number}" for number in range(21)}
    target.write([put(name, 1) for name in names] + [Write(("gone",), None, 1)])
    seen = [row.key[0] for row in target.rows()]
    assert len(seen) == 21
    assert set(seen) == names
    # Nothing stays open while the caller thinks.
    listing = target.rows()
    next(listing)
    target.drop()
