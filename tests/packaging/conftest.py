"""The clone as the packaging tests see it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOMS = ("projections", "sinks", "sources", "local", "views")


@dataclass(frozen=True, slots=True)
class Clone:
    """A checkout of the project at `root`."""

    root: Path

    @property
    def project(self) -> dict[str, Any]:
        """pyproject.toml as read."""
        return tomllib.loads((self.root / "pyproject.toml").read_text())

    def files(self, room: str) -> Iterator[Path]:
        """Every file of a room that belongs to the product, relative to the root."""
        for path in sorted((self.root / room).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(self.root)


@pytest.fixture(scope="session")
def clone() -> Clone:
    """The checkout that these tests are part of."""
    return Clone(Path(__file__).parents[2])


@pytest.fixture(scope="session")
def rooms() -> tuple[str, ...]:
    """The five folders that are the five packages."""
    return ROOMS


@pytest.fixture(scope="session")
def tools(clone: Clone) -> Path:
    """The folder of the tools that have an environment of their own. Where they cannot be fetched, tests with them are
    skipped, with the reason; with ``DYNAVIEW_REQUIRE_SERVERS=1`` they fail."""
    folder = clone.root / ".venv" / "tools" / "bin"
    command = ["make", str(folder.relative_to(clone.root) / ".ready")]
    done = subprocess.run(command, cwd=clone.root, capture_output=True, text=True, timeout=200, check=False)
    if done.returncode:
        if os.environ.get("DYNAVIEW_REQUIRE_SERVERS") == "1":
            pytest.fail(f"needs the tools of requirements-tools.txt: {done.stderr}", pytrace=False)
        pytest.skip(f"needs the tools of requirements-tools.txt: {done.stderr.splitlines()[-1]}")
    return folder


def run(*command: str | Path, cwd: Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a validator; `given` is its standard input."""
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, input=given, capture_output=True, text=True, timeout=120, check=False)


def validator(name: str) -> str:
    """A validator of this machine, or one that ``.ci/validators`` has brought; without it the test is skipped and says
    so."""
    found = shutil.which(name) or shutil.which(name, path=Path(__file__).parents[2] / ".venv" / "validators" / "bin")
    if found is None:
        pytest.skip(f"needs {name}: .ci/validators brings it where it can be had")
    return found
