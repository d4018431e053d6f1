"""The control store through a pooler of transactions: nothing of a session is relied on, and nothing is left in one."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from dynaview.views.control.errors import ControlError
from dynaview.views.control.store import ControlStore
from tests.support.until import until

SESSIONS = 6


@pytest.fixture
def pooled(pooler_url: str) -> str:
    """A database of its own behind the pooler."""
    name = f"pooled_{uuid.uuid4().hex}"
    with psycopg.connect(pooler_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return sa.make_url(pooler_url).set(database=name).render_as_string(hide_password=False)


def settings(url: str) -> set[tuple[str, str]]:
    """What is set in the sessions behind the pooler, which it takes in turn."""
    found: set[tuple[str, str]] = set()
    names = ["search_path", "idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout"]
    with psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        for _ in range(4 * SESSIONS):
            rows = connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [names])
            found |= {(str(name), str(setting)) for name, setting in rows}
    return found


def test_many_threads_share_few_sessions_and_leave_nothing_in_them(pooled: str) -> None:
    before = settings(pooled)
    store, other = ControlStore(pooled), ControlStore(pooled)
    try:

        def work(number: int) -> None:
            for turn in range(12):
                store.add_view(f"view-{number}-{turn}", "shop", "sink", "f")
                other.views()

        with ThreadPoolExecutor(SESSIONS) as pool:
            list(pool.map(work, range(SESSIONS)))
        assert len(store.views()) == 12 * SESSIONS
        assert settings(pooled) == before
    finally:
        store.close()
        other.close()


def test_each_transaction_looks_for_names_where_nobody_else_puts_any(pooled: str) -> None:
    store = ControlStore(pooled)
    try:
        for _ in range(2 * SESSIONS):
            for take in (store._database.read, store._database.write):
                with take() as connection:
                    shown = connection.exec_driver_sql(
                        "SELECT current_setting('search_path'), current_setting('idle_in_transaction_session_timeout')"
                    ).one()
                assert tuple(shown) == ("pg_catalog, pg_temp", "10s")
    finally:
        store.close()


def test_a_worker_needs_no_open_transaction_where_the_pooler_has_few_sessions(
    pooled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = ControlStore(f"{pooled}&pooler=true"), ControlStore(pooled)
    try:
        first, second = store.leases.name("host/one"), other.leases.name("host/two")
        assert (first, second) == ("host/one~", "host/two")
        store.leases.enlist(first, "g", "shop", "host", 1, 60.0)
        with psycopg.connect(pooled, autocommit=True) as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL "
                "AND pid <> pg_backend_pid()"
            ).fetchone()
        assert row == (0,)
        other.leases.enlist(second, "g", "shop", "host", 2, 3600.0)
        # Whoever gives signs does not take one for dead that gives none, nor the other way round.
        assert [worker.id for worker in other.leases.living("g", but=second)] == [first, second]
        assert [worker.id for worker in store.leases.living("g", but=first)] == [first, second]
        assert store.leases.renew(first, 60.0)
        store.close()
        clock = other._database.clock
        monkeypatch.setattr(other._database, "clock", lambda: clock() + 61.0)
        assert [worker.id for worker in other.leases.living("g", but=second)] == [second]
    finally:
        store.close()
        other.close()


def test_what_is_said_of_a_pooler_is_checked() -> None:
    with pytest.raises(ControlError, match="pooler= is true or false"):
        ControlStore("postgresql://host/name?pooler=maybe")


def test_a_process_that_is_gone_is_known_at_once(pooled: str) -> None:
    store, other = ControlStore(pooled), ControlStore(pooled)
    try:
        store.leases.enlist("one", "g", "shop", "host", 1, 60.0)
        other.leases.enlist("two", "g", "shop", "host", 2, 60.0)
        assert [worker.id for worker in other.leases.living("g", but="two")] == ["one", "two"]
        store.close()
        until(lambda: [worker.id for worker in other.leases.living("g", but="two")] == ["two"], "the sign to end")
    finally:
        other.close()
