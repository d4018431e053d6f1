"""Running something again whenever a file is saved."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

SUFFIXES = frozenset({".yaml", ".yml", ".py", ".json", ".jsonl", ".gz"})
"""What is looked at beside the files that were named: what they may speak of."""

LOOK = 0.2
"""Seconds between two looks."""

State: TypeAlias = "dict[Path, tuple[int, int]]"


def watched(files: Iterable[Path]) -> list[Path]:
    """The files themselves and what lies beside them: modules that they import, items, expected rows."""
    found: dict[Path, None] = {}
    for file in files:
        folder = file if file.is_dir() else file.parent
        beside = sorted(each for each in folder.glob("*") if each.suffix in SUFFIXES)
        found.update(dict.fromkeys([file, *beside]))
    return list(found)


def state_of(files: Iterable[Path]) -> State:
    """When each of the files that are there was written, and how long it is."""
    found: State = {}
    for file in watched(files):
        try:
            stat = file.stat()
        except OSError:  # gone between two looks, as while an editor saves it
            continue
        found[file] = (stat.st_mtime_ns, stat.st_size)
    return found


def watch(files: Sequence[Path], run: Callable[[], object], pause: Callable[[float], bool] | None = None) -> None:
    """Call `run` now, and again after each change of the files, until `pause` (which waits) answers True."""
    pause = pause or threading.Event().wait
    seen = state_of(files)
    run()
    while not pause(LOOK):
        now = state_of(files)
        if now != seen:
            seen = now
            run()
