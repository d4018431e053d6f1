"""The control store when its database is in trouble: it waits, says so, and shows no values."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from dynaview.local.servers import CREDENTIALS
from dynaview.projections.attributes import Attr
from dynaview.views.control.errors import ControlError, ControlUnavailable
from dynaview.views.control.records import Part, Progress
from dynaview.views.control.store import ControlStore
from dynaview.views.dead_letters import scanned_letter
from dynaview.views.states import ViewState
from tests.support.processes import Mark
from tests.support.proxy import Proxy, address_of
from tests.support.until import until

NOWHERE = """
control: {control}
sources: {{shop: {{table: none, endpoint: "http://127.0.0.1:1"}}}}
sinks: {{cache: {{redis: "redis://127.0.0.1:1"}}}}
views:
  control_waited_for: {{source: shop, sink: cache, type: hash, key: "c:{{pk}}", fields: {{pk: pk}}}}
"""
"""Nothing answers: not the table, not the store."""

SECRET = "what-nobody-may-read"


@pytest.fixture
def database(postgres_url: str) -> Iterator[tuple[str, psycopg.Connection[tuple[object, ...]]]]:
    """A database of its own, and a connection to it."""
    name = f"control_{uuid.uuid4().hex[:12]}"
    plain = postgres_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        url = psycopg.conninfo.make_conninfo(plain, dbname=name)
        parts = psycopg.conninfo.conninfo_to_dict(url)
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                host, port = parts.get("host", ""), parts.get("port", "5432")
                user = parts.get("user", "postgres")
                yield f"postgresql://{user}@/{name}?host={host}&port={port}", connection
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


TROUBLES = {
    "read-only": (
        "ALTER DATABASE {name} SET default_transaction_read_only = on",
        "ALTER DATABASE {name} RESET default_transaction_read_only",
    ),
    "no table": ("ALTER TABLE dynaview_views RENAME TO gone", "ALTER TABLE gone RENAME TO dynaview_views"),
    "no column": (
        "ALTER TABLE dynaview_views RENAME COLUMN seen TO gone",
        "ALTER TABLE dynaview_views RENAME COLUMN gone TO seen",
    ),
}
"""What makes a Postgres refuse to write, and what ends it."""


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_an_operator_can_mend_is_waited_for(
    trouble: str, database: tuple[str, psycopg.Connection[tuple[object, ...]]]
) -> None:
    url, connection = database
    name = connection.info.dbname
    control = ControlStore(url)
    control.add_view("one", "shop", "reads", "f")

    def run(statement: str) -> None:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(statement.format(name=name).encode())
        # Sessions keep the settings they began with.
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND pid <> %s",
            (name, connection.info.backend_pid),
        )

    broken, mended = TROUBLES[trouble]
    run(broken)
    with pytest.raises(ControlUnavailable) as raised:
        control.states.set("one", ViewState.FOLLOWING, SECRET)
    assert SECRET not in str(raised.value)
    run(mended)
    control.states.set("one", ViewState.FOLLOWING)
    assert [record.state for record in control.views()] == ["following"]
    control.close()


def test_more_threads_than_connections_wait_while_the_file_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.add_view("one", "shop", "reads", "f")
    pool = control._database._engine.pool
    monkeypatch.setattr(pool, "_timeout", 0.2)
    locked = sqlite3.connect(tmp_path / "control.db", isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    waiting = threading.Barrier(16, timeout=20)
    errors: list[Exception] = []

    def write() -> None:
        waiting.wait()
        try:
            control.states.set("one", ViewState.FOLLOWING)
        except (ControlUnavailable, sa.exc.TimeoutError) as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(16)]  # one more than the pool holds
    for thread in threads:
        thread.start()
    until(lambda: bool(errors), "the one without a connection to give up")
    locked.execute("COMMIT")
    for thread in threads:
        thread.join()
    assert [type(error) for error in errors] == [ControlUnavailable]
    locked.close()
    control.close()


def test_values_are_in_no_error(tmp_path: Path) -> None:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.add_view("one", "shop", "reads", "f")
    with pytest.raises(sa.exc.IntegrityError) as raised:
        control.states.set("one", None, SECRET)  # type: ignore[arg-type] # what the database refuses
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    control.close()


def test_letters_of_the_longest_keys_are_kept(database: tuple[str, psycopg.Connection[tuple[object, ...]]]) -> None:
    """Item keys have up to 3 KB, and what cannot be stored is often a key that is too long."""
    control = ControlStore(database[0])
    record = control.add_view("one", "shop", "reads", "f")
    first, second = (f"{head}\0{''.join(chr(0x4E00 + at * 7919 % 20000) for at in range(1000))}" for head in "ab")
    letters = [scanned_letter("one", {"pk": Attr(S=key)}, {}, "too long", "content", key) for key in (first, second)]
    letters.append(scanned_letter("one", {"pk": Attr(S=first)}, {}, "too long", "content", first + "!"))
    for _ in range(2):
        control.commit(record.name, Progress({"shard-0": Part(letters=letters)}), None)
    assert control.dead_letters.by_view() == {"one": 3}
    control.close()


def test_a_daemon_that_starts_before_its_database_waits_for_it(
    tmp_path: Path, database: tuple[str, psycopg.Connection[tuple[object, ...]]]
) -> None:
    file, log = tmp_path / "dynaview.yaml", tmp_path / "log"
    mark = Mark()
    with Proxy(address_of(database[0])) as proxy:
        file.write_text(NOWHERE.format(control=proxy.url(database[0])))
        command = [sys.executable, "-m", "dynaview.views.cli", "run", "-f", str(file)]
        with proxy.refuse(), log.open("wb") as lines:
            daemon = subprocess.Popen(command, env={**mark.environment, **CREDENTIALS}, stderr=lines)
            try:
                until(lambda: proxy.connections > 3, "some attempts")
            except BaseException:
                daemon.kill()
                raise
        try:
            until(lambda: "following 1 views" in log.read_text(), "the daemon to start")
        finally:
            daemon.terminate()
            assert daemon.wait(30) == 0, log.read_text()
    assert log.read_text().count("does not answer") == 1


def test_a_file_that_is_no_database_ends_it(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_text("not a database, " * 100)
    with pytest.raises(ControlError, match=r"control\.db cannot be used: file is not a database") as raised:
        ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    assert not isinstance(raised.value, ControlUnavailable)
