"""Readers' SQL view moved from one generation to another: what they see meanwhile, and what is kept."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dynaview.projections.rows import Field, Layout, PostgresOptions, Write
from dynaview.sinks.port import APPLIED, STALE, SinkRefused, SinkUnavailable
from dynaview.sinks.postgres.limits import LIMITS, Limits
from dynaview.sinks.postgres.target import PostgresTarget
from tests.sinks.postgres.database import FIELDS, Database, fresh, until, waiting

OTHER = (FIELDS[0], Field("city", "text"), Field("total", "text"), Field("more", "text"))
"""Of another type is `total`, which CREATE OR REPLACE VIEW cannot do."""


@pytest.fixture
def above(database: Database) -> Iterator[list[str]]:
    """Names of what a test builds on a view, dropped at its end, the first with all the others."""
    names = [fresh("above") for _ in range(4)]
    yield names
    for name in names:
        database.run("DROP VIEW IF EXISTS {} CASCADE", name)


def put(key: str, version: int = 1) -> Write:
    return Write((key,), (key, "Basel", version), version)


def pair(
    database: Database, fields: tuple[Field, ...] = OTHER, schema: str = "public", limits: Limits = LIMITS
) -> tuple[PostgresTarget, PostgresTarget]:
    """A generation that readers see, and one of other columns."""
    old = database.open(database.layout(schema=schema))
    old.publish()
    assert isinstance(old.layout.options, PostgresOptions)
    layout = Layout(old.layout.view, ("id",), fields, old.layout.options)
    new = database.open(layout, 2, limits)
    old.write([Write(("a",), ("a", "Basel", 1), 1)])
    new.write([Write(("a",), ("a", "Bern", 2) if fields is FIELDS else ("a", "Bern", "one", "more"), 1)])
    return old, new


# What readers see


def batch(target: PostgresTarget, keys: list[str], version: int) -> list[Write]:
    """A row for each key with the version as its total, which comes last."""
    middle = ("Basel",) * (len(target.layout.fields or ()) - 2)
    return [Write((key,), (key, *middle, version), version) for key in keys]


@pytest.mark.parametrize("fields", [FIELDS, (FIELDS[0], FIELDS[2])], ids=["the same columns", "others"])
def test_readers_never_see_neither_nor_both_nor_an_older_row(database: Database, fields: tuple[Field, ...]) -> None:
    keys = [f"{number:02}" for number in range(30)]
    first = database.open()
    second = database.open(Layout(first.layout.view, ("id",), fields, first.layout.options), 2)
    done, turn = threading.Event(), threading.Semaphore(0)
    order = [first, second]

    def write() -> int:
        """As the pipeline does: both, the one that readers are about to see first."""
        version = 1
        while not done.is_set():
            version += 1
            for target in tuple(order):
                assert target.write(batch(target, keys, version)) == [APPLIED] * len(keys)
            turn.release()
        return version

    def read() -> int:
        newest, reads = dict.fromkeys(keys, 0), 0
        statement = f"SELECT id, total::int FROM {first.layout.view}"  # noqa: S608 - our own name
        with psycopg.connect(database.url, autocommit=True) as connection:
            while not done.is_set():
                rows = connection.execute(statement).fetchall()
                assert sorted(key for key, _ in rows) == keys
                assert all(total >= newest[key] for key, total in rows), "a row went back"
                newest, reads = dict(rows), reads + 1
        return reads

    for target in order:
        target.write(batch(target, keys, 1))
    first.publish()
    with ThreadPoolExecutor(4) as pool:
        doing = [pool.submit(what) for what in (write, read, read)]
        for one in doing:
            one.add_done_callback(lambda _: done.set())
        try:
            for number in range(30):
                order.reverse()
                target = (second, first)[number % 2]
                assert order[0] is target
                # The batch that was under way may still be in the other order.
                while turn.acquire(blocking=False):
                    pass
                for _ in range(2):
                    assert turn.acquire(timeout=20)
                target.publish()
        finally:
            done.set()
        assert all(one.result(timeout=20) > 0 for one in doing)


def test_other_readers_get_through_while_one_holds_the_view(database: Database) -> None:
    old, new = pair(database, FIELDS, limits=Limits(lock_wait=0.2, lock_pause=0.05, lock_attempts=100))
    view = old.layout.view
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database.url, autocommit=True) as other:
        with database.admin.transaction():
            database.rows("SELECT * FROM {}", view)
            publishing = pool.submit(new.publish)
            until(lambda: waiting(database, view) > 0)
            # A reader who comes now queues behind the swap, and is let through when that gives up for a while.
            other.execute("SET statement_timeout = '5s'")
            assert other.execute(f"SELECT city FROM {view}").fetchall() == [("Basel",)]  # noqa: S608 - our own name
            assert not publishing.done()
        publishing.result(timeout=30)
        assert other.execute(f"SELECT city FROM {view}").fetchall() == [("Bern",)]  # noqa: S608 - our own name


def test_the_generation_that_is_published_is_told(database: Database) -> None:
    sink = database.sink()
    old = database.open()
    assert sink.published(old.layout) is None
    old.publish()
    assert sink.published(old.layout) == 1
    new = database.open(old.layout, 12)
    assert sink.published(old.layout) == 1
    new.publish()
    new.publish()
    assert sink.published(old.layout) == 12
    assert sink.room(old.layout, 12) is None
    assert sink.published(Layout("another", ("id",), FIELDS, PostgresOptions(old.layout.view))) is None
    old.publish()
    assert sink.published(old.layout) == 1
    new.drop()
    assert sink.published(old.layout) == 1
    old.drop()
    assert sink.published(old.layout) is None
    database.run("CREATE TABLE {} (mine integer)", old.layout.view)
    assert sink.published(old.layout) is None


def test_a_generation_of_another_shape_is_not_published(database: Database) -> None:
    old, new = pair(database)
    strange = database.sink().open(old.layout, 2)
    with pytest.raises(SinkRefused, match="fill the view anew"):
        strange.publish()
    assert database.sink().published(old.layout) == 1
    assert new.write([Write(("a",), None, 1)]) == [STALE]


# What is kept


@pytest.mark.parametrize("fields", [FIELDS, OTHER], ids=["replaced", "made anew"])
def test_options_owner_comments_and_grants_are_kept(database: Database, fields: tuple[Field, ...]) -> None:
    with database.role() as owner, database.role() as reader:
        schema = fresh("s")
        database.run("CREATE SCHEMA {} AUTHORIZATION {}", schema, owner)
        database.run("GRANT USAGE ON SCHEMA {} TO {}", schema, reader)
        old, new = pair(database, fields, schema)
        at = (schema, old.layout.view)
        database.run("ALTER VIEW {}.{} SET (security_barrier = true)", *at)
        database.run("COMMENT ON COLUMN {}.{}.city IS 'where it''s from'", *at)
        database.run("GRANT SELECT (id, city) ON {}.{} TO {}", *at, reader)
        database.run("GRANT SELECT ON {}.{} TO {}", schema, f"{old.layout.view}__g1", owner)
        database.run("ALTER VIEW {}.{} OWNER TO {}", *at, owner)
        # Whoever makes anything from here on lets everybody in.
        database.run("ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT ALL ON TABLES TO PUBLIC", schema)

        def about() -> tuple[Any, ...] | None:
            return database.admin.execute(
                "SELECT relowner::regrole::text, reloptions, coalesce(relacl, acldefault('r', relowner))::text, "
                "attacl::text, col_description(attrelid, attnum) FROM pg_class c "
                "JOIN pg_attribute a ON attrelid = c.oid AND attname = 'city' WHERE relname = %s",
                (old.layout.view,),
            ).fetchone()

        before = about()
        assert before is not None
        assert before[:2] == (owner, ["security_barrier=true"])
        assert reader in before[3]
        new.publish()
        assert about() == before
        with psycopg.connect(database.url_with(user=reader, password=reader)) as connection:
            query = sql.SQL("SELECT city FROM {}").format(sql.Identifier(*at))
            assert connection.execute(query).fetchall() == [("Bern",)]
        database.run("DROP SCHEMA {} CASCADE", schema)


def test_who_may_write_to_the_table_may_write_to_the_next(database: Database) -> None:
    old = database.open()
    old.publish()
    with database.role() as worker:
        database.run("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}", f"{old.layout.view}__g1", worker)
        database.open(old.layout, 2)
        target = database.sink(user=worker, password=worker).open(old.layout, 2)
        assert target.write([put("a")]) == [APPLIED]


def test_what_others_built_on_the_view_is_built_again(database: Database, above: list[str]) -> None:
    old, new = pair(database)
    view = old.layout.view
    base, upper, joined, _ = above
    with database.role() as owner, database.role() as reader:
        database.run("GRANT CREATE ON SCHEMA public TO {}", owner)
        database.run("CREATE VIEW {} WITH (security_barrier) AS SELECT *, total AS sum FROM {}", base, view)
        database.run("CREATE VIEW {} AS SELECT count(*) AS n, max(city) AS last FROM {}", upper, base)
        database.run("CREATE VIEW {} AS SELECT b.id FROM {} b JOIN {} v USING (id), {} u", joined, base, view, upper)
        database.run("COMMENT ON VIEW {} IS 'a report'", upper)
        database.run("COMMENT ON COLUMN {}.n IS 'how many'", upper)
        database.run("GRANT SELECT ON {} TO {}", view, owner)
        database.run("ALTER VIEW {} OWNER TO {}", base, owner)
        database.run("GRANT SELECT ON {} TO {} WITH GRANT OPTION", base, reader)

        def about() -> list[tuple[Any, ...]]:
            return database.admin.execute(
                "SELECT relname, relowner::regrole::text, reloptions, "
                "coalesce(relacl, acldefault('r', relowner))::text, obj_description(oid, 'pg_class'), "
                "col_description(oid, 1) FROM pg_class WHERE relname = ANY (%s) ORDER BY 1",
                (above,),
            ).fetchall()

        before = about()
        assert len(before) == 3
        new.publish()
        assert about() == before
        assert database.rows("SELECT * FROM {}", base) == [("a", "Bern", "one", "one")]
        assert database.rows("SELECT * FROM {}", upper) == [(1, "Bern")]
        assert database.rows("SELECT * FROM {}", joined) == [("a",)]
        with psycopg.connect(database.url_with(user=reader, password=reader)) as connection:
            assert connection.execute(f"SELECT sum FROM {base}").fetchall() == [("one",)]  # noqa: S608 - our own name
        old.publish()
        assert about() == before
        assert database.rows("SELECT * FROM {}", upper) == [(1, "Basel")]
        database.run("DROP VIEW {} CASCADE", base)


@pytest.mark.parametrize(
    ("builds", "named"),
    [
        ("CREATE VIEW {1} AS SELECT total + 1 AS next FROM {0}", "{1} shows {0} and cannot stand"),
        (
            "CREATE VIEW {1} AS SELECT id FROM {0}; CREATE VIEW {2} AS SELECT sum(total) FROM {0}",
            "{2} shows {0} and cannot stand",
        ),
        ("CREATE MATERIALIZED VIEW {1} AS SELECT id FROM {0}", "materialized view {1}"),
        (
            "CREATE VIEW {1} AS SELECT id FROM {0}; CREATE MATERIALIZED VIEW {2} AS SELECT id FROM {1}",
            "materialized view {2}",
        ),
        ("CREATE RULE mine AS ON INSERT TO {0} DO INSTEAD NOTHING", "rule mine on view {0}"),
        ("CREATE VIEW {1} AS SELECT id FROM {0}; ALTER VIEW {1} ALTER id SET DEFAULT 'x'", "default value for column"),
        ("CREATE FUNCTION {3}() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM {0}; END", "function {3}()"),
        ("CREATE FUNCTION {3}({0}) RETURNS integer LANGUAGE sql AS 'SELECT 1'", "function {3}({0})"),
    ],
)
def test_what_cannot_be_built_again_stands_in_the_way_and_is_named(
    database: Database, above: list[str], builds: str, named: str
) -> None:
    old, new = pair(database)
    names = [old.layout.view, *above]
    try:
        for statement in builds.split("; ") if "ATOMIC" not in builds else [builds]:
            database.admin.execute(statement.format(*names).encode())
        definitions = "SELECT oid::int, relname FROM pg_class WHERE relname LIKE 'above%' ORDER BY 1"
        before = database.rows(definitions)
        with pytest.raises(SinkRefused) as refused:
            new.publish()
        message = str(refused.value).replace("public.", "")
        assert named.format(*names) in message
        assert "drop it and try again, and make" in message
        assert database.rows(definitions) == before
        assert database.rows("SELECT * FROM {}", old.layout.view) == [("a", "Basel", 1)]
    finally:
        database.run("DROP VIEW {} CASCADE", old.layout.view)


def test_a_view_of_another_role_stands_in_the_way_and_is_named(database: Database, above: list[str]) -> None:
    with database.role() as role:
        schema = fresh("s")
        database.run("CREATE SCHEMA {} AUTHORIZATION {}", schema, role)
        sink = database.sink(user=role, password=role)
        layout = database.layout(schema=schema)
        old = sink.open(layout, 1)
        new = sink.open(Layout(layout.view, ("id",), OTHER, layout.options), 2)
        old.prepare()
        old.publish()
        new.prepare()
        database.run("CREATE VIEW {}.{} AS SELECT id FROM {}.{}", schema, above[0], schema, layout.view)
        with pytest.raises(SinkRefused, match=f"{schema}.{above[0]} shows .* belongs to role postgres: drop it"):
            new.publish()
        database.run("ALTER VIEW {}.{} OWNER TO {}", schema, above[0], role)
        new.publish()
        assert sink.published(layout) == 2
        database.run("DROP SCHEMA {} CASCADE", schema)


def test_rights_that_publishing_needs(database: Database) -> None:
    old = database.open()
    old.publish()
    view = old.layout.view
    with database.role() as role:
        sink = database.sink(user=role, password=role)
        database.run("GRANT CREATE ON SCHEMA public TO {}", role)
        new = sink.open(old.layout, 2)
        new.prepare()
        new.write([put("a")])
        with pytest.raises(SinkRefused) as refused:
            new.publish()
        assert f'ALTER VIEW "public"."{view}" OWNER TO "{role}"' in str(refused.value)
        assert f'GRANT USAGE, CREATE ON SCHEMA "public" TO "{role}"' in str(refused.value)
        with database.role() as owner:
            # A group that owns the SQL view: it sees the table of the one who made it.
            database.run("GRANT CREATE ON SCHEMA public TO {}", owner)
            database.run("GRANT {} TO {}", owner, role)
            database.run("ALTER VIEW {} OWNER TO {}", view, owner)
            new.publish()
            with psycopg.connect(database.url_with(user=owner, password=owner)) as connection:
                assert connection.execute(f"SELECT id FROM {view}").fetchall() == [("a",)]  # noqa: S608 - our own name
            database.run("DROP VIEW {}", view)


def test_a_store_that_goes_away_during_a_swap_has_changed_nothing(database: Database, above: list[str]) -> None:
    old, new = pair(database)
    view = old.layout.view
    database.run("CREATE VIEW {} AS SELECT id FROM {}", above[0], view)
    with ThreadPoolExecutor(1) as pool, database.admin.transaction():
        database.rows("SELECT * FROM {}", view)
        publishing = pool.submit(new.publish)
        until(lambda: waiting(database, view) > 0)
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
        database.admin.execute(kill, (f"%{view}%",))
        with pytest.raises(SinkUnavailable):
            publishing.result(timeout=20)
    assert database.rows("SELECT * FROM {}", above[0]) == [("a",)]
    assert database.sink().published(old.layout) == 1
    new.publish()
    assert database.rows("SELECT * FROM {}", view) == [("a", "Bern", "one", "more")]
