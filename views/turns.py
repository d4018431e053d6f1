"""Whose turn it is to keep a view: one process at a time for each view of a control store.

Two processes on one view would do its rows no harm (the guard decides), but would count every change twice. So a
process takes a lock before it begins, and a second one waits: a standby that goes on where the first one ended. The
lock is held by the operating system or the database, which let go of it when the process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import threading
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from dynaview.views.database import Database

KEEPALIVE = ("tcp_keepalives_idle = 10", "tcp_keepalives_interval = 5", "tcp_keepalives_count = 3")
"""Postgres notices within 25 s that the machine of a process is gone."""


class Turns:
    """The views that this process may keep. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._connection: sa.Connection | None = None

    def take(self, view: str) -> bool:
        """Take the turn for a view; False while another process has it. Raises `ControlUnavailable`."""
        with self._lock:
            if self._database.file is not None:
                return self._take_file(self._database.file, view)
            return self._take_advisory(view)

    def close(self) -> None:
        """Let go of all turns."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None
            self._give_back()

    def _take_file(self, database: Path, view: str) -> bool:
        """SQLite: a byte of a file beside the database, locked until the process ends."""
        if self._file is None:
            self._file = database.with_name(database.name + ".turns").open("ab")
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _number(view) % 2**31)
        except (BlockingIOError, PermissionError):  # POSIX allows both for a lock that is held
            return False
        return True

    def _take_advisory(self, view: str) -> bool:
        """Postgres: an advisory lock of a transaction that stays open, so that poolers of transactions keep it too. It
        holds no snapshot and no row, hence nothing that vacuum waits for."""
        with self._database.translated():
            try:
                if self._connection is None:
                    self._connection = self._database.connect()
                    for setting in KEEPALIVE:
                        self._connection.exec_driver_sql(f"SET LOCAL {setting}")
                query = sa.select(sa.func.pg_try_advisory_xact_lock(_number(view)))
                return bool(self._connection.execute(query).scalar())
            except sa.exc.DBAPIError:
                self._give_back()
                raise

    def _give_back(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _number(view: str) -> int:
    """A view as a lock's number: 63 bits of its name's hash."""
    return int.from_bytes(hashlib.sha256(f"dynaview view {view}".encode()).digest()[:8]) >> 1
