"""Files and folders that only their owner can read: rows of the user's tables go through them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Literal

from dynaview.local.errors import LocalServerError


def folder(path: Path) -> Path:
    """Make the folder, or close one of an earlier run to others. Raises `LocalServerError`."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.stat().st_mode & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise LocalServerError(
            f"the directory {path} cannot be written ({error.strerror}): choose another with --dir"
        ) from error
    return path


def opened(path: Path, mode: Literal["w", "a"]) -> IO[str]:
    """The file, open for writing; new or old, it is its owner's alone."""
    how = os.O_TRUNC if mode == "w" else os.O_APPEND
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    os.fchmod(descriptor, 0o600)
    return os.fdopen(descriptor, mode)
