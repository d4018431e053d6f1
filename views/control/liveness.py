"""Signs of life: locks that the operating system or the database lets go of when their process dies, however it dies.

Beside an SQLite file every worker locks a file of its own (`flock`, which also tells workers of one process apart). In
Postgres it holds an advisory lock of a transaction that stays open, so that poolers of transactions keep it too; the
transaction holds no snapshot and no row, hence nothing that vacuum waits for. Where a pooler's sessions are too few for
that (``pooler=true`` in the store's URL), a worker gives no sign.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from dynaview.views.control.database import Database
from dynaview.views.control.worker_locks import is_locked, lock_of

SETTINGS = (
    "tcp_keepalives_idle = 10",  # Postgres notices within 25 s that the machine of a process is gone
    "tcp_keepalives_interval = 5",
    "tcp_keepalives_count = 3",
    "idle_in_transaction_session_timeout = 0",
)


UNSIGNED = "~"
"""How the name of a worker ends that gives no sign."""


class Liveness:
    """The signs that workers of this process give, and a look at those of others. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._files: dict[str, IO[bytes]] = {}
        self._given: set[str] = set()
        self._shown: set[str] = set()
        """Those of `_given` that the connection shows."""
        self._connection: sa.Connection | None = None

    def name(self, worker: str) -> str:
        """Of a worker that gives no sign the name says so: its registration alone tells whether it lives."""
        return f"{worker}{UNSIGNED}" if self._database.pooled else worker

    def give(self, worker: str) -> None:
        """Show from now on that a worker lives; again, where the sign was lost. Raises `ControlUnavailable`."""
        if worker.endswith(UNSIGNED):
            return
        with self._lock:
            if self._database.file is not None:
                self._give_file(self._database.file, worker)
            else:
                self._given.add(worker)
                self._give_advisory()

    def take_back(self, worker: str) -> None:
        """A worker has ended. (In Postgres its lock stays until all have: nobody asks for it any more.)"""
        with self._lock:
            self._given.discard(worker)
            if (held := self._files.pop(worker, None)) is not None:
                held.close()

    def lost(self, workers: Sequence[str]) -> set[str]:
        """Those of these workers that do not live any more. Raises `ControlUnavailable`."""
        workers = [worker for worker in workers if not worker.endswith(UNSIGNED)]
        if not workers:
            return set()
        if self._database.file is not None:
            file = self._database.file
            return {worker for worker in workers if not is_locked(lock_of(file, worker))}
        tries = [sa.func.pg_try_advisory_xact_lock(_number(worker)).label(f"w{n}") for n, worker in enumerate(workers)]
        with self._database.read() as connection:
            row = connection.execute(sa.select(*tries)).one()
        return {worker for worker, free in zip(workers, row, strict=True) if free}

    def forget(self, workers: Sequence[str]) -> None:
        """Remove what dead workers left."""
        if self._database.file is not None:
            for worker in workers:
                lock_of(self._database.file, worker).unlink(missing_ok=True)

    def close(self) -> None:
        """End all signs."""
        with self._lock:
            for held in self._files.values():
                held.close()
            self._files.clear()
            self._given.clear()
            self._give_back()

    def _give_file(self, database: Path, worker: str) -> None:
        path, held = lock_of(database, worker), self._files.get(worker)
        if held is not None:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(held.fileno()).st_ino:
                    return
            held.close()  # somebody has removed the file
        path.parent.mkdir(mode=0o700, exist_ok=True)
        self._files[worker] = opened = open(path, "ab", opener=_private)  # noqa: SIM115 - an opener; held open
        # Whoever looks holds it for a moment, and only looks at workers whose row is there.
        fcntl.flock(opened, fcntl.LOCK_EX)

    def _give_advisory(self) -> None:
        with self._database.translated():
            try:
                if self._connection is not None:
                    self._connection.exec_driver_sql("SELECT 1")
                    missing = self._given - self._shown
                else:
                    self._connection = self._database.connect()
                    for setting in SETTINGS:
                        self._connection.exec_driver_sql(f"SET LOCAL {setting}")
                    self._shown.clear()
                    missing = self._given
                for worker in sorted(missing):  # an old session of ours may still hold it: then another look follows
                    if self._connection.execute(sa.select(sa.func.pg_try_advisory_xact_lock(_number(worker)))).scalar():
                        self._shown.add(worker)
            except sa.exc.DBAPIError:
                self._give_back()
                raise

    def _give_back(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _number(worker: str) -> int:
    """A worker as a lock's number: 63 bits of its name's hash."""
    return int.from_bytes(hashlib.sha256(f"dynaview worker {worker}".encode()).digest()[:8]) >> 1
