"""A generation that is loaded without its indexes, and finished while writes go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from dynaview.projections.rows import Index, Layout, Write
from dynaview.sinks.port import APPLIED, Rejected, RejectedKind, SinkRefused, SinkUnavailable
from tests.sinks.postgres.database import Database, fresh, until, waiting

INDEXES = (Index(("city",)), Index(("city", "total"), unique=True))


def put(key: str, city: str = "Basel", total: int | None = None, version: int = 1) -> Write:
    return Write((key,), (key, city, total), version)


def indexes(database: Database, layout: Layout, generation: int = 1) -> dict[str, tuple[bool, bool, int]]:
    """By its columns, the declared indexes that stand: valid, marked as ours, and which one it is."""
    rows = database.admin.execute(
        "SELECT pg_get_indexdef(indexrelid), indisvalid, obj_description(indexrelid, 'pg_class') IS NOT NULL, "
        "indexrelid::int FROM pg_index WHERE indrelid = to_regclass(%s)",
        (f"{layout.view}__g{generation}",),
    ).fetchall()
    declared = [(text.partition(" USING ")[2], *rest) for text, *rest in rows if "_deleted IS NULL" in text]
    return {text[text.index("(") + 1 : text.index(")")]: (valid, mark, oid) for text, valid, mark, oid in declared}


def are_made(database: Database, layout: Layout) -> bool:
    made = indexes(database, layout)
    return set(made) == {"city", "city, total"} and all(valid and mark for valid, mark, _ in made.values())


@contextmanager
def held(database: Database, table: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A writer who does not come to an end, for whom the making of an index waits."""
    with psycopg.connect(database.url) as connection:
        connection.execute(f"INSERT INTO {table} (id, city, _version) VALUES ('held', 'Celle', 1)")  # noqa: S608 - ours
        yield connection
        connection.commit()


def test_a_bulk_load_has_no_indexes_until_it_is_finished(database: Database) -> None:
    target = database.sink().open(database.layout(indexes=INDEXES), 1)
    target.prepare(bulk=True)
    target.prepare(bulk=True)
    assert indexes(database, target.layout) == {}
    assert target.write([put(f"{number}", total=number) for number in range(500)]) == [APPLIED] * 500
    assert target.count() == len(list(target.rows())) == 500
    target.finish()
    made = indexes(database, target.layout)
    assert are_made(database, target.layout)
    query = "SELECT count(*) FROM pg_stats WHERE tablename = %s AND attname = 'city'"
    assert database.admin.execute(query, (f"{target.layout.view}__g1",)).fetchone() == (1,), "not analyzed"
    target.finish()
    target.prepare()
    target.prepare(bulk=True)
    assert indexes(database, target.layout) == made
    assert isinstance(target.write([put("other", total=7)])[0], Rejected)


def test_an_ordinary_start_finishes_what_a_bulk_load_left_out(database: Database) -> None:
    target = database.sink().open(database.layout(indexes=INDEXES), 1)
    target.prepare(bulk=True)
    target.write([put("a")])
    database.open(target.layout)
    assert are_made(database, target.layout)
    assert target.count() == 1


def test_writes_and_reads_go_on_while_indexes_are_made(database: Database) -> None:
    layout = database.layout(indexes=INDEXES)
    target, other = database.sink().open(layout, 1), database.sink({"timeout": 5}).open(layout, 1)
    target.prepare(bulk=True)
    target.write([put("a")])
    table = f"{layout.view}__g1"
    with ThreadPoolExecutor(2) as pool, held(database, table):
        finishing = pool.submit(target.finish)
        until(lambda: waiting(database, table) == 1)
        # Whoever made the index in a transaction would now hold these up.
        assert other.write([put("a", "Bern", version=2), put("b", "Bonn")]) == [APPLIED] * 2
        assert other.count() == 2
        # Another worker starts meanwhile: the indexes are being made, so it leaves them alone.
        pool.submit(database.sink().open(layout, 1).prepare).result(timeout=20)
        other.publish()
        assert len(database.rows("SELECT * FROM {}", layout.view)) == 2
        assert not finishing.done()
    finishing.result(timeout=20)
    assert are_made(database, layout)
    database.run("SET enable_seqscan = off")
    try:
        cities = database.rows("SELECT city FROM {} WHERE city > '' ORDER BY city", layout.view)
    finally:
        database.run("RESET enable_seqscan")
    assert cities == [("Bern",), ("Bonn",), ("Celle",)]


def test_two_workers_finish_at_once(database: Database) -> None:
    layout = database.layout(indexes=INDEXES)
    targets = [database.sink().open(layout, 1) for _ in range(4)]
    targets[0].prepare(bulk=True)
    targets[0].write([put(f"{number}", total=number) for number in range(200)])
    table = f"{layout.view}__g1"
    with ThreadPoolExecutor(4) as pool:
        with held(database, table):
            finishing = [pool.submit(target.finish) for target in targets]
            until(lambda: waiting(database, table) == 1)
            assert not any(one.done() for one in finishing)
        for one in finishing:
            one.result(timeout=30)
    assert are_made(database, layout)
    assert targets[3].count() == 201


@pytest.mark.parametrize("again", ["finish", "prepare"])
def test_an_index_that_a_crash_left_half_made_is_made_anew(database: Database, again: str) -> None:
    layout = database.layout(indexes=INDEXES)
    target = database.sink().open(layout, 1)
    target.prepare(bulk=True)
    target.write([put("a")])
    table = f"{layout.view}__g1"
    with ThreadPoolExecutor(1) as pool, held(database, table):
        finishing = pool.submit(target.finish)
        until(lambda: waiting(database, table) == 1)
        database.admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s",
            (f"%{table}%",),
        )
        with pytest.raises(SinkUnavailable):
            finishing.result(timeout=20)
    ((valid, _, left),) = indexes(database, layout).values()
    assert not valid
    getattr(database.sink().open(layout, 1), again)()
    assert are_made(database, layout)
    assert left not in [oid for *_, oid in indexes(database, layout).values()]


def test_an_index_that_was_made_but_not_marked_is_kept(database: Database) -> None:
    target = database.open(database.layout(indexes=INDEXES))
    made = indexes(database, target.layout)
    (name,) = database.admin.execute("SELECT relname FROM pg_class WHERE oid = %s", (made["city"][2],)).fetchone() or (
        "",
    )
    database.run("COMMENT ON INDEX {} IS NULL", name)
    assert not are_made(database, target.layout)
    target.finish()
    assert indexes(database, target.layout) == made


def test_rows_that_a_unique_index_does_not_allow(database: Database) -> None:
    layout = database.layout(indexes=INDEXES)
    target = database.sink().open(layout, 1)
    target.prepare(bulk=True)
    target.write(
        [put("b", "Basel", 42), put("a", "Basel", 42), put("c", "Basel", 43), put("d"), put("e"), put("z", "", 42)]
    )
    with pytest.raises(SinkRefused) as refused:
        target.prepare()
    message = str(refused.value)
    assert f"view {layout.view}: the unique index on city, total cannot be made" in message
    assert "42" not in message.replace(layout.view, "")
    query = message[message.index("SELECT") :]
    assert [(city, int(total), count) for city, total, count in database.rows(query)] == [("Basel", 42, 2)]
    for _ in range(2):
        (named,) = target.finish()
        assert named.row == target.read([("b",)])[0]
        assert named.refused.kind is RejectedKind.UNIQUE
        assert "42" not in named.refused.reason
        assert set(indexes(database, layout)) == {"city"}, "what is left of it would refuse writes"
        assert target.count() == 6
    assert target.finish([named]) == []
    assert are_made(database, layout)
    assert {row.key for row in target.rows()} == {("a",), ("c",), ("d",), ("e",), ("z",)}
    assert target.write([put("a", "Basel", 1, 2)]) == [APPLIED]
    (shown,) = target.read([("b",)])
    assert shown == named.row, "the value is free: it is shown as it was"


def test_a_row_that_changes_while_its_letter_is_kept_is_not_taken_out(database: Database) -> None:
    target = database.sink().open(database.layout(indexes=INDEXES), 1)
    target.prepare(bulk=True)
    target.write([put("a", "Basel", 42), put("b", "Basel", 42)])
    named = target.finish()
    target.write([put("b", "Basel", 43, 2)])
    assert target.finish(named) == []
    assert target.count() == 2


def test_rows_that_an_index_cannot_hold(database: Database) -> None:
    target = database.sink().open(database.layout(indexes=[Index(("city",))]), 1)
    target.prepare(bulk=True)
    long = "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(9000))
    assert (
        target.write([put(f"{number:05}", long if number in (7, 2500) else "") for number in range(3000)])
        == [APPLIED] * 3000
    )
    for _ in range(2):
        named = target.finish()
        assert [one.row.key for one in named] == [("00007",), ("02500",)]
        for one in named:
            assert one.refused.kind is RejectedKind.CONTENT
            assert one.refused.reason == "column city: a value that is too long for an index or a row (SQLSTATE 54000)"
            assert one.row.content["city"] == long
        assert indexes(database, target.layout) == {}
    assert target.finish(named) == []
    assert target.count() == 2998
    assert [valid for valid, *_ in indexes(database, target.layout).values()] == [True]
    assert isinstance(target.write([put("00007", long, version=2)])[0], Rejected)
    (tombstone,) = target.read([("00007",)])
    assert tombstone is not None
    assert (tombstone.version, tombstone.content) == (1, None)


def test_limits_of_the_role_do_not_end_the_making_of_an_index(database: Database) -> None:
    with database.role() as role:
        schema = fresh("s")
        database.run("CREATE SCHEMA {} AUTHORIZATION {}", schema, role)
        for limit in ("statement_timeout", "lock_timeout"):
            database.run(f"ALTER ROLE {{}} SET {limit} = '300ms'", role)
        layout = database.layout(indexes=INDEXES, schema=schema)
        target = database.sink(user=role, password=role).open(layout, 1)
        target.prepare(bulk=True)
        with ThreadPoolExecutor(1) as pool:
            with held(database, f"{schema}.{layout.view}__g1"):
                finishing = pool.submit(target.finish)
                until(lambda: waited(database, layout.view) > 0.6)
            finishing.result(timeout=20)
        for connection in target._connections._idle:
            assert connection.execute("SHOW statement_timeout").fetchone() == ("300ms",)
        database.run("DROP SCHEMA {} CASCADE", schema)


def test_behind_a_pooler_no_limit_is_taken_off_for_a_session(database: Database) -> None:
    with database.role() as role:
        schema = fresh("s")
        database.run("CREATE SCHEMA {} AUTHORIZATION {}", schema, role)
        database.run("ALTER ROLE {} SET statement_timeout = '30s'", role)
        layout = database.layout(indexes=INDEXES, schema=schema)
        target = database.sink({"pooler": True}, user=role, password=role).open(layout, 1)
        target.prepare(bulk=True)
        with pytest.raises(
            SinkRefused, match=f"than statement_timeout allows.*ALTER ROLE {role} SET statement_timeout"
        ):
            target.finish()
        database.run("ALTER ROLE {} SET statement_timeout = 0", role)
        again = database.sink({"pooler": True}, user=role, password=role).open(layout, 1)
        assert again.finish() == []
        database.run("DROP SCHEMA {} CASCADE", schema)


def waited(database: Database, view: str) -> float:
    """For how many seconds somebody has been waiting for a lock on something of the view."""
    database.admin.execute("SELECT pg_stat_clear_snapshot()")
    rows = database.admin.execute(
        "SELECT extract(epoch FROM clock_timestamp() - query_start) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND query LIKE %s",
        (f"%{view}%",),
    ).fetchall()
    return float(rows[0][0]) if rows else 0.0


def test_finishing_what_is_not_there(database: Database) -> None:
    target = database.sink().open(database.layout(), 1)
    with pytest.raises(SinkRefused, match="is not there: prepare it first"):
        target.finish()
    database.run("CREATE TABLE {} (mine integer)", f"{target.layout.view}__g1")
    with pytest.raises(SinkRefused, match="did not make"):
        target.finish()


def test_missing_rights_are_named(database: Database) -> None:
    layout = database.layout(indexes=INDEXES)
    database.sink().open(layout, 1).prepare(bulk=True)
    with database.role() as role:
        target = database.sink(user=role, password=role).open(layout, 1)
        with pytest.raises(SinkRefused) as refused:
            target.finish()
        assert f'ALTER TABLE "public"."{layout.view}__g1" OWNER TO "{role}"' in str(refused.value)
        assert f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{role}"' in str(refused.value)
        database.run("GRANT USAGE, CREATE ON SCHEMA public TO {}", role)
        database.run("ALTER TABLE {} OWNER TO {}", f"{layout.view}__g1", role)
        target.finish()
        assert are_made(database, layout)
        database.run("DROP TABLE {}", f"{layout.view}__g1")


def test_a_load_goes_on_under_the_eyes_of_many_who_prepare(database: Database) -> None:
    layout = database.layout(indexes=INDEXES)
    targets = [database.sink().open(layout, 1) for _ in range(4)]
    barrier = threading.Barrier(4)

    def start(pipeline: int) -> None:
        barrier.wait(timeout=20)
        targets[pipeline].prepare(bulk=pipeline % 2 == 0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert targets[0].write([put("a")]) == [APPLIED]
    targets[1].finish()
    assert are_made(database, layout)
