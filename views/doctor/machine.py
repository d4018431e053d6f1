"""This machine: memory, and the disk that the control store is on."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from dynaview.views.doctor.findings import Finding

LEAST_DISK = 1024**3
"""Bytes that have to be free for the control store: dead letters hold whole changes."""

LEAST_MEMORY = 400 * 1024**2
"""Bytes of memory that a worker may come to need."""

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> Iterator[Finding]:
    """What memory is left, of the machine's and of the container's; nothing where neither tells."""
    left = [each for each in (_available(meminfo), _left_of(cgroup)) if each is not None]
    if left:
        free = min(left)
        what = f"{_size(free)} of memory are free"
        if free < LEAST_MEMORY:
            do = f"a worker may need {_size(LEAST_MEMORY)}: give it more, or run fewer of them"
            yield Finding("machine", "memory", what, False, do)
        else:
            yield Finding("machine", "memory", what)


def disk(file: Path, least: int = LEAST_DISK) -> Finding:
    """What is free where a file is, or is to be; `least` are the bytes that have to be."""
    folder = next((each for each in file.absolute().parents if each.is_dir()), Path("/"))
    free = shutil.disk_usage(folder).free
    what = f"{_size(free)} are free in {folder}"
    if not os.access(folder, os.W_OK):
        do = "let dynaview write to the folder, or name another control store with control:"
        return Finding("machine", "disk", f"{folder} may not be written to", False, do)
    if free < least:
        return Finding("machine", "disk", what, False, f"the control store may need {_size(least)}: free some")
    return Finding("machine", "disk", what)


def _available(meminfo: Path) -> int | None:
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(), flags=re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _left_of(cgroup: Path) -> int | None:
    try:
        limit, used = ((cgroup / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    return max(0, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else None


def _size(count: int) -> str:
    return f"{count / 1024**3:,.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:,.0f} MiB"
