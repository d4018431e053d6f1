"""What runs in a directory: a file that says it, and a lock that proves it.

The process that holds the servers keeps an exclusive lock for as long as it lives. The lock goes with the process,
however that ends, so a state file without a held lock is a leftover: of a crash, or of before the last reboot. No
process id has to be trusted.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from dynaview.local import private
from dynaview.local.errors import LocalServerError


@dataclass(frozen=True, slots=True)
class Running:
    """One server of a run."""

    name: str
    title: str
    url: str
    log: str
    pid: int
    """Of its guard."""
    alive: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """Servers that were started together."""

    pid: int
    """Of the process that holds them."""
    since: float
    """Seconds since 1970."""
    servers: tuple[Running, ...]

    @property
    def urls(self) -> dict[str, str]:
        """By server name."""
        return {server.name: server.url for server in self.servers}


class State:
    """The state of the servers in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "local"
        """Where the servers keep their files."""
        self._file = directory / "local.json"
        self._lock = directory / "local.lock"

    def acquire(self) -> IO[str] | None:
        """Take the lock: the open file that holds it, None where another process has it.

        Raises `LocalServerError` where the directory cannot be written.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = private.opened(self._lock, "a")
        except OSError as error:
            raise LocalServerError(
                f"the directory {self.directory} cannot be written ({error.strerror}): choose another with --dir"
            ) from error
        until = time.monotonic() + 1.0  # `held` takes it for a moment, too
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    lock.close()
                    return None
                time.sleep(0.02)
            else:
                return lock

    def held(self) -> bool:
        """Whether a process holds the lock at this moment."""
        try:
            with self._lock.open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def read(self) -> Run | None:
        """What was written last, whether or not it still runs; None where nothing was or it cannot be understood."""
        try:
            found = json.loads(self._file.read_text())
            return Run(found["pid"], found["since"], tuple(Running(**server) for server in found["servers"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def running(self) -> Run | None:
        """What runs now."""
        return self.read() if self.held() else None

    def write(self, run: Run) -> None:
        """Say what runs; only the holder of the lock does."""
        descriptor, name = tempfile.mkstemp(dir=self.directory, prefix=".local-")
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(run), file, indent=2)
        Path(name).replace(self._file)

    def clear(self) -> None:
        """Say that nothing runs."""
        self._file.unlink(missing_ok=True)

    def remove_files(self) -> None:
        """Remove the lock, and the directory where nothing else is in it."""
        self._lock.unlink(missing_ok=True)
        with suppress(OSError):
            self.directory.rmdir()


def as_json(run: Run | None) -> Mapping[str, object]:
    """A run (or None) as ``dynaview local status --json`` prints it."""
    if run is None:
        return {"running": False, "servers": []}
    return {"running": True, "pid": run.pid, "since": run.since, "servers": [asdict(server) for server in run.servers]}
