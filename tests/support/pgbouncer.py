"""A real PgBouncer in transaction mode before a PostgreSQL: each transaction of a client may get another session.

    with pgbouncer(postgres_url) as url:
        ...

Sessions are taken in turn, so that what is left in one shows in another client's next transaction.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import psycopg

_PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin")


class NoPgBouncer(Exception):
    """It cannot be had here."""


def binary() -> str:
    """Where it is. Raises `NoPgBouncer`."""
    named = os.environ.get("DYNAVIEW_TEST_PGBOUNCER", "pgbouncer")
    found = shutil.which(named) or shutil.which(named, path=os.pathsep.join(_PLACES))
    if found is None:
        raise NoPgBouncer("there is no pgbouncer (apt-get install pgbouncer)")
    return found


@contextmanager
def pgbouncer(server: str, sessions: int = 20) -> Iterator[str]:
    """A URL that leads to the same server and database through it. Raises `NoPgBouncer`."""
    program = binary()
    with tempfile.TemporaryDirectory(prefix="dynaview-pgbouncer-") as made:
        yield from _running(program, server, Path(made), sessions)


def _running(program: str, server: str, folder: Path, sessions: int) -> Iterator[str]:
    parts = urlsplit(server)
    query = parse_qs(parts.query)
    host = query.get("host", [parts.hostname or "127.0.0.1"])[0]
    port = query.get("port", [str(parts.port or 5432)])[0]
    user = parts.username or "postgres"
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = free.getsockname()[1]
    folder.chmod(0o755)
    log, config = folder / "pgbouncer.log", folder / "pgbouncer.ini"
    lines = [
        "[databases]",
        f"* = host={host} port={port} user={user}" + (f" password={parts.password}" if parts.password else ""),
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {listen}",
        "unix_socket_dir =",
        "auth_type = any",
        "pool_mode = transaction",
        f"default_pool_size = {sessions}",
        "server_round_robin = 1",
        "max_client_conn = 500",
    ]
    if os.getuid() == 0:  # it refuses to run as root; whoever owns a socket's folder may look into it
        owner = Path(host).stat().st_uid if host.startswith("/") else 0
        name = pwd.getpwuid(owner or pwd.getpwnam("nobody").pw_uid).pw_name
        lines.append(f"user = {name}")
    config.write_text("\n".join([*lines, ""]))
    with log.open("wb") as told:
        process = subprocess.Popen([program, str(config)], stdout=subprocess.DEVNULL, stderr=told)
    url = f"postgresql://{quote(user)}@127.0.0.1:{listen}{parts.path}?sslmode=disable"
    try:
        _wait(process, url, log)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.Error as error:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text() if log.exists() else ""
                raise AssertionError(f"PgBouncer does not let us in: {said[-500:]}") from error
            time.sleep(0.02)
        else:
            return
