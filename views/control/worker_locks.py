"""The files beside an SQLite control store by which its workers show that they live: each locks one of its own."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path


def lock_of(database: Path, worker: str) -> Path:
    """The file that a worker locks as long as it lives."""
    return database.with_name(database.name + ".workers") / hashlib.sha256(worker.encode()).hexdigest()[:24]


def is_locked(path: Path) -> bool:
    """Whether somebody does."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
