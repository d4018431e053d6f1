"""What make says on a machine where something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import Clone


@pytest.fixture
def bare(clone: Clone, tmp_path: Path) -> Path:
    """A clone without an environment, in a folder with a blank in its name."""
    folder = tmp_path / "a clone"
    folder.mkdir()
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(clone.root / name, folder)
    for room in ("projections", "sinks", "sources", "local", "views"):
        (folder / room).mkdir()
    return folder


def python(folder: Path, name: str, script: str) -> str:
    """A stand-in for a Python of some machine."""
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return f"./{name}"


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make there, as if from a shell (this test may itself run below a make)."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_old_python_is_named_with_the_remedy(bare: Path) -> None:
    done = make(bare, "test", f"PYTHON={python(bare, 'python3.9', 'exit 1')} ./missing")
    assert done.returncode != 0
    assert "dynaview needs Python 3.11 or newer" in done.stderr
    assert "make PYTHON=/path/to/python3.12 test" in done.stderr
    assert not (bare / ".venv").exists()


def test_the_first_python_that_is_new_enough_is_taken(bare: Path) -> None:
    old = python(bare, "old", "exit 1")
    new = python(bare, "new", 'case "$*" in --version) echo Python 3.12.1;; *venv*) echo made >&2; exit 1;; esac')
    done = make(bare, "lint", f"PYTHON={old} {new}")
    assert "Creating .venv with Python 3.12.1" in done.stdout
    assert "made" in done.stderr


def test_a_python_without_venv_is_named_with_the_remedy(bare: Path) -> None:
    half = python(bare, "half", 'case "$*" in *venv*) mkdir .venv; exit 1;; esac')
    done = make(bare, "test", f"PYTHON={half}")
    assert done.returncode != 0
    assert (
        "./half could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" in done.stderr
    )
    assert not (bare / ".venv").exists(), "half an environment must not be taken for a whole one the next time"


def test_a_registry_out_of_reach_is_named(bare: Path) -> None:
    """The stand-in makes an environment whose pip gets no answer. What is downloaded is said before, and it is uv
    alone, cut out of the lock with its hashes: all the rest comes with the locked installation."""
    refusing = "mkdir -p .venv/bin; echo exit 1 > .venv/bin/python; chmod +x .venv/bin/python"
    offline = python(bare, "offline", f'case "$*" in *venv*) {refusing};; esac')
    done = make(bare, "test", f"PYTHON={offline}")
    assert done.returncode != 0
    assert "fetching uv from PyPI (about" in done.stdout
    assert "uv could not be fetched from PyPI: is the network there?" in done.stderr
    asked = (bare / ".venv" / "uv.txt").read_text().splitlines()
    assert asked[0].startswith("uv==")
    assert all(line.strip().startswith(("--hash=sha256:", "#")) for line in asked[1:])
