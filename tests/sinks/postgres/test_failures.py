"""A store that fails: what heals by itself is SinkUnavailable, what needs somebody is SinkRefused with the remedy."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import psycopg
import pytest

from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, STALE, SinkError, SinkRefused, SinkUnavailable
from dynaview.sinks.postgres import PostgresSink
from dynaview.sinks.postgres.errors import ContentError, translated, unconnected
from dynaview.sinks.postgres.limits import LIMITS, Limits
from dynaview.sinks.postgres.target import PostgresTarget
from tests.sinks.postgres import silent
from tests.sinks.postgres.database import Database, fresh, until, waiting

PASSWORD = "hunter2secret"


def put(key: str, version: int = 1) -> Write:
    return Write((key,), (key, "Basel", None), version)


def held_up(database: Database, target: PostgresTarget, meanwhile: Callable[[str], None]) -> None:
    """Let a batch wait in the middle of its statement, for a row that somebody else holds."""
    table = f"{target.layout.view}__g1"
    batch = [put(f"{number:03}", 2) for number in range(100)]
    with ThreadPoolExecutor(1) as pool, database.admin.transaction():
        database.rows("SELECT FROM {} WHERE id = '050' FOR UPDATE", table)
        writing = pool.submit(target.write, batch)
        until(lambda: waiting(database, table) == 1)
        meanwhile(table)
        with pytest.raises(SinkUnavailable):
            writing.result(timeout=30)
    assert [row.version for row in target.rows()] == [1] * 100
    assert target.write(batch) == [APPLIED] * 100
    assert target.write(batch) == [STALE] * 100


def filled(database: Database, **options: Any) -> PostgresTarget:
    target = database.sink(options).open(database.layout(), 1)
    target.prepare()
    target.write([put(f"{number:03}") for number in range(100)])
    return target


def test_a_connection_killed_in_the_middle_of_a_batch(database: Database) -> None:
    def kill(table: str) -> None:
        database.admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s",
            (f"%{table}%",),
        )

    held_up(database, filled(database), kill)


def test_a_statement_that_takes_longer_than_the_time_out(database: Database) -> None:
    held_up(database, filled(database, timeout=0.3), lambda table: None)


def test_idle_connections_that_were_closed_fail_one_batch_at_most(database: Database) -> None:
    target = filled(database)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: target.write([put(f"{number}", 5)]), range(20)))
    database.admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'dynaview' AND state = 'idle' AND query = 'COMMIT'"
    )
    with pytest.raises(SinkUnavailable):
        target.write([put("a", 6)])
    for number in range(5):
        assert target.write([put(f"b{number}")]) == [APPLIED]


def test_a_role_that_may_only_read_for_now(database: Database) -> None:
    with database.role() as role:
        schema = fresh("s")
        database.run("CREATE SCHEMA {} AUTHORIZATION {}", schema, role)
        layout = database.layout(schema=schema)
        database.sink(user=role, password=role).open(layout, 1).prepare()
        database.run("ALTER ROLE {} SET default_transaction_read_only = on", role)
        target = database.sink(user=role, password=role).open(layout, 1)
        with pytest.raises(SinkUnavailable, match="read-only"):
            target.write([put("a")])
        assert target.count() == 0
        with pytest.raises(SinkUnavailable, match="read-only"):
            database.sink(user=role, password=role).open(layout, 2).prepare()
        database.run("ALTER ROLE {} RESET default_transaction_read_only", role)
        assert database.sink(user=role, password=role).open(layout, 1).write([put("a")]) == [APPLIED]
        database.run("DROP SCHEMA {} CASCADE", schema)


def test_too_many_connections(database: Database) -> None:
    with database.role() as role:
        database.run("ALTER ROLE {} CONNECTION LIMIT 1", role)
        with psycopg.connect(database.url_with(user=role, password=role)):
            sink = database.sink(user=role, password=role)
            with pytest.raises(SinkUnavailable):
                sink.check()
        until(
            lambda: not database.admin.execute("SELECT 1 FROM pg_stat_activity WHERE usename = %s", (role,)).fetchall()
        )
        assert sink.check().startswith("PostgreSQL ")


def test_a_database_or_role_that_does_not_exist(database: Database) -> None:
    with pytest.raises(SinkRefused, match="database does not exist"):
        database.sink(dbname=fresh("d")).check()
    with pytest.raises(SinkRefused, match="user or the password"):
        database.sink(user=fresh("nobody")).check()


def fake(port: int, limits: Limits = LIMITS, **options: Any) -> PostgresSink:
    url = f"postgres://user:{PASSWORD}@127.0.0.1:{port}/shop?sslmode=disable"
    return PostgresSink("reads", url, options, limits)


@pytest.mark.parametrize(
    ("state", "message", "expected"),
    [
        ("28P01", 'password authentication failed for user "user"', SinkRefused),
        ("28000", 'no pg_hba.conf entry for host "::1", user "user", database "shop", no encryption', SinkRefused),
        ("3D000", 'database "shop" does not exist', SinkRefused),
        ("57P03", "the database system is starting up", SinkUnavailable),
        ("57P03", "the database system is shutting down", SinkUnavailable),
        ("53300", "sorry, too many clients already", SinkUnavailable),
        ("XX000", "words that nobody has heard before", SinkUnavailable),
    ],
)
def test_refused_connections(state: str, message: str, expected: type[SinkError]) -> None:
    with silent.server(state, message) as port:
        sink = fake(port)
        with pytest.raises(expected) as raised:
            sink.check()
    assert type(raised.value) is expected
    assert PASSWORD not in str(raised.value)
    assert f"127.0.0.1:{port}" in str(raised.value)


def test_a_server_that_falls_silent() -> None:
    with silent.server() as port:
        sink = fake(port, Limits(grace=0.2), timeout=0.2)
        began = monotonic()
        with pytest.raises(SinkUnavailable):
            sink.check()
        assert monotonic() - began < 10
        sink.close()


def test_nothing_listens() -> None:
    with pytest.raises(SinkUnavailable, match="connection is refused"):
        fake(9).check()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{PASSWORD}@127.0.0.1:9/shop",
        f"postgresql+psycopg://user:x@{PASSWORD}@127.0.0.1:9/shop",
        f"postgres://user:x/{PASSWORD}@127.0.0.1:9/shop",
        f"postgres://user:x:{PASSWORD}@127.0.0.1:9/shop",
        f"postgres://user@127.0.0.1:9/shop?password={PASSWORD}&nonsense=1",
        f"postgres://user@127.0.0.1:{PASSWORD}/shop",
        f"mysql://user:{PASSWORD}@127.0.0.1/shop",
    ],
)
def test_passwords_are_never_shown(url: str) -> None:
    with pytest.raises((ValueError, SinkError)) as raised:
        PostgresSink("reads", url, {"timeout": 2}).check()
    # As a log would show it, with whatever it came from.
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))
    assert PASSWORD not in repr(raised.value)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (None, SinkUnavailable),
        ("08006", SinkUnavailable),
        ("25006", SinkUnavailable),
        ("40001", SinkUnavailable),
        ("40P01", SinkUnavailable),
        ("53100", SinkUnavailable),
        ("53200", SinkUnavailable),
        ("53300", SinkUnavailable),
        ("55P03", SinkUnavailable),
        ("57014", SinkUnavailable),
        ("57P01", SinkUnavailable),
        ("58030", SinkUnavailable),
        ("XX000", SinkUnavailable),
        ("28P01", SinkRefused),
        ("3D000", SinkRefused),
        ("42501", SinkRefused),
        ("42P01", SinkRefused),
        ("42703", SinkRefused),
        ("42601", SinkRefused),
        ("22003", ContentError),
        ("23505", ContentError),
        ("54000", ContentError),
    ],
)
def test_what_each_sqlstate_means(state: str | None, expected: type[Exception]) -> None:
    error = psycopg.Error(f"value {PASSWORD}")
    error.sqlstate = state
    made = translated(error, "db:5432", "GRANT THIS")
    assert isinstance(made, expected)
    assert PASSWORD not in str(made)
    assert ("GRANT THIS" in str(made)) == (state == "42501")


def test_what_nobody_knows_of_a_connection_is_waited_for() -> None:
    assert isinstance(unconnected(psycopg.OperationalError("Wörter"), "db:5432"), SinkUnavailable)


def test_check_and_close(database: Database) -> None:
    sink = database.sink()
    name, version = sink.check().split()
    assert name == "PostgreSQL"
    assert version[0].isdigit()
    sink.close()
    # Closed is not broken: what still runs may finish.
    assert sink.check()
