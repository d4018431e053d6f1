"""Finding every process that descends from a test, whatever became of those between."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_VARIABLE = "DYNAVIEW_TEST_MARK"


class Mark:
    """A mark in the environment that children inherit, by which they are found even when they have been orphaned."""

    def __init__(self) -> None:
        self._mark = f"{_VARIABLE}={secrets.token_hex(8)}"
        name, _, value = self._mark.partition("=")
        self.environment = {**os.environ, name: value}

    def processes(self) -> dict[int, str]:
        """The command lines of all living processes that carry the mark, by process id."""
        return dict(_linux(self._mark) if sys.platform == "linux" else _elsewhere(self._mark))

    def wait_until_gone(self, seconds: float = 60) -> dict[int, str]:
        """What is still there after so long: empty when all is well."""
        wait_for(lambda: not self.processes(), seconds)
        return self.processes()


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the block, however that ends: else a failure would wait for it for ever."""
    with subprocess.Popen(command, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Whether the condition came true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _linux(mark: str) -> list[tuple[int, str]]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if command:  # empty: a zombie, dead already
                    found.append((int(folder.name), command))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def _elsewhere(mark: str) -> list[tuple[int, str]]:
    listing = subprocess.run(["ps", "-Aww", "-E", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    lines = (line.strip().partition(" ") for line in listing.stdout.splitlines() if mark in line)
    return [(int(pid), command) for pid, _, command in lines]
