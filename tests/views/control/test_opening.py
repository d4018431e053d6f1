"""Where a control store is, who may read it, who makes it, and what becomes of an earlier one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dynaview.views.control import migrations, tables
from dynaview.views.control.database import Database
from dynaview.views.control.errors import ControlError, ControlMissing
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from tests.support.commands import told

DECLARATION = """
{control}
sources: {{shop: {{table: shop, region: eu-west-1, endpoint: "http://127.0.0.1:1"}}}}
sinks: {{cache: {{redis: "redis://127.0.0.1:1"}}}}
views:
  cards: {{source: shop, sink: cache, type: hash, key: "c:{{pk}}", fields: {{pk: pk}}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "dynaview.yaml"
    made.write_text(DECLARATION.format(control=""))
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Where it is


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("", "{folder}/dynaview.db"),
        ("control: sqlite:///dynaview.db", "{folder}/dynaview.db"),
        ("control: sqlite:///state/of it.db", "{folder}/state/of it.db"),
        ("control: sqlite:////var/lib/dynaview.db", "/var/lib/dynaview.db"),
        ('control: "${CONTROL:-sqlite:///other.db}"', "{folder}/other.db"),
    ],
)
def test_a_relative_path_is_beside_the_declaration_however_it_is_written(
    file: Path, written: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    file.write_text(DECLARATION.format(control=written))
    assert load([file], {}).control == f"sqlite:///{place.format(folder=file.parent)}"


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ("postgresql://host:port/name", "host and port can't be read"),
        ("postgresql://host:99999/name", "host and port can't be read"),
        ("postgresql://host/name?colour=red", 'invalid connection option "colour"'),
        ("sqlite:///dynaview.yaml/control.db", "dynaview.yaml is in its way"),
        ("sqlite:///.", "is in its way"),
        ("sqlite:///:memory:", "name a file"),
        ("sqlite://", "name a file"),
        ("mysql://host/name", "not a URL of SQLite or PostgreSQL"),
    ],
)
def test_validate_sees_what_needs_no_server(file: Path, control: str, said: str) -> None:
    file.write_text(DECLARATION.format(control=f'control: "{control}"'))
    done = told("validate", "-f", file)
    assert (done.code, said in done.err) == (2, True), done


# Who may read it


@pytest.fixture
def everybody() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("everybody")
def test_the_store_is_its_owners_alone_with_all_that_lies_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    control = ControlStore(f"sqlite:///{folder}/control.db")
    control.add_view("one", "shop", "cache", "f")
    control.leases.enlist("worker", "g", "shop", "host", 1, 60)
    names = {path.name for path in folder.iterdir()}
    assert names == {"control.db", "control.db-wal", "control.db-shm", "control.db.workers"}
    assert mode(folder) == mode(folder / "control.db.workers") == 0o700
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {mode(path) for path in files} == {0o600}
    control.close()


def test_a_folder_that_was_there_keeps_its_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ControlStore(f"sqlite:///{tmp_path}/control.db").close()
    assert mode(tmp_path) == 0o755


# Who makes it


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["status"], 0, "cards: never started; dynaview run starts it"),
        (["status", "--check"], 1, "never started"),
        (["status", "--json"], 0, "[]"),
        (["plan"], 0, "cards: new"),
        (["verify"], 2, ""),
        (["dead-letters", "list"], 1, ""),
        (["wait", "cards", "--timeout", "0"], 1, ""),
        (["rebuild", "cards", "--cancel"], 1, ""),
        (["drop", "cards", "--yes"], 1, ""),
    ],
)
def test_commands_that_read_make_none_and_say_where_they_looked(
    file: Path, words: list[str], code: int, said: str
) -> None:
    done = told(*words, "-f", file)
    assert (done.code, said in done.out) == (code, True), done
    assert f"there is no control store sqlite:///{file.parent}/dynaview.db yet: dynaview run makes it" in done.err
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_place_where_nothing_can_be_made_is_named_with_the_remedy() -> None:
    with pytest.raises(ControlError, match=r"cannot be made.*write into /proc/none.*name another place with control:"):
        ControlStore("sqlite:////proc/none/control.db")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "control.db"
    other.write_text("a letter to a friend, longer than the head of a database" * 3)
    with pytest.raises(ControlError, match="cannot be used: file is not a database"):
        ControlStore(f"sqlite:///{other}")
    assert other.read_text().startswith("a letter")


# What becomes of an earlier one


def at_schema(url: str, number: int) -> None:
    ControlStore(url).close()
    with sa.create_engine(url).begin() as connection:
        connection.execute(tables.about.update().values(schema_version=number))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/control.db"


def test_one_that_no_migration_begins_at_is_refused_with_the_remedy(url: str) -> None:
    at_schema(url, migrations.BASELINE - 1)
    with pytest.raises(ControlError, match=r"by an earlier dynaview.*name another store with control:, and fill"):
        ControlStore(url)


def test_one_of_a_newer_dynaview_is_not_touched(url: str) -> None:
    at_schema(url, 99)
    with pytest.raises(ControlError, match="by a newer dynaview"):
        ControlStore(url)


def test_migrations_run_once_each_in_order_when_a_daemon_opens_it(url: str) -> None:
    at_schema(url, migrations.BASELINE)
    ran: list[int] = []

    def migration(number: int, connection: sa.Connection) -> None:
        ran.append(number)
        connection.exec_driver_sql(f"CREATE TABLE made_by_{number} (id INTEGER)")

    numbers = [migrations.BASELINE + 2, migrations.BASELINE + 1]
    made = {number: lambda connection, number=number: migration(number, connection) for number in numbers}
    with pytest.raises(ControlError, match="the next dynaview run brings it up to date"):
        Database(url, create=False, migrations=made)
    assert ran == []
    for _ in range(2):
        Database(url, migrations=made).close()
    assert ran == sorted(numbers)
    Database(url, create=False, migrations=made).close()


def test_a_migration_that_fails_leaves_the_store_as_it_was(url: str) -> None:
    at_schema(url, migrations.BASELINE)
    number = migrations.BASELINE + 1

    def half(connection: sa.Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE half (id INTEGER)")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Database(url, migrations={number: half})
    engine = sa.create_engine(url)
    assert not sa.inspect(engine).has_table("half")
    with engine.connect() as connection:
        assert connection.execute(sa.select(tables.about.c.schema_version)).scalar() == migrations.BASELINE


def test_what_is_missing_is_told_from_what_cannot_be_used(url: str) -> None:
    with pytest.raises(ControlMissing):
        ControlStore(url, create=False)
    ControlStore(url).close()
    ControlStore(url, create=False).close()
