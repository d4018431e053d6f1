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


OLD = 'case "$*" in *"< (3, 11)"*) exit 1;; esac'


def test_an_old_python_is_named_with_the_remedy(bare: Path) -> None:
    done = make(bare, "test", f"PYTHON={python(bare, 'python3.9', OLD)} ./missing")
    assert done.returncode != 0
    assert "dynaview needs Python 3.11 or newer" in done.stderr
    assert "make PYTHON=/path/to/python3.12 test" in done.stderr
    assert not (bare / ".venv").exists()


def test_the_first_python_that_is_new_enough_is_taken(bare: Path) -> None:
    new = python(bare, "new", 'case "$*" in --version) echo Python 3.12.1;; *venv*) echo made >&2; exit 1;; esac')
    done = make(bare, "lint", f"PYTHON={python(bare, 'old', OLD)} {new}")
    assert "Creating .venv with Python 3.12.1" in done.stdout
    assert "made" in done.stderr


def test_a_python_without_venv_is_named_with_the_remedy(bare: Path) -> None:
    half = python(bare, "half", 'case "$*" in *venv*) mkdir .venv; exit 1;; esac')
    done = make(bare, "test", f"PYTHON={half}")
    assert done.returncode != 0
    assert "./half could not make a virtual environment" in done.stderr
    assert "apt-get install python3-venv" in done.stderr
    assert not (bare / ".venv").exists(), "half an environment must not be taken for a whole one the next time"


def test_uv_comes_from_the_lock_and_a_registry_out_of_reach_is_named(bare: Path) -> None:
    """What is downloaded is said before, and it is uv alone, cut out of the lock: the rest comes with the lock."""
    inner = r"printf '#!/bin/sh\necho $@; exit 1\n' > .venv/bin/python"
    refusing = f"mkdir -p .venv/bin; {inner}; chmod +x .venv/bin/python"
    offline = python(bare, "offline", f'case "$*" in *venv*) {refusing};; esac')
    done = make(bare, "test", f"PYTHON={offline}")
    assert done.returncode != 0
    assert "fetching uv from PyPI (about" in done.stdout
    assert "--require-hashes --requirement .venv/uv.txt" in done.stdout
    assert "uv could not be fetched from PyPI: is the network there?" in done.stderr
    asked = (bare / ".venv" / "uv.txt").read_text().splitlines()
    assert asked[0].startswith("uv==")
    assert all(line.strip().startswith(("--hash=sha256:", "#")) for line in asked[1:])


def test_everything_else_comes_from_the_lock_with_its_hashes(bare: Path) -> None:
    """An environment that has its uv already: a stand-in that says what it is asked for and gets no answer."""
    for name in ("pyproject.toml", ".venv/.uv"):
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        (bare / name).touch()
    (bare / ".venv" / "bin").mkdir()
    python(bare, ".venv/bin/uv", 'echo "uv $@"; exit 1')
    done = make(bare, "test")
    assert done.returncode != 0
    assert "uv pip sync --python .venv/bin/python --require-hashes requirements.txt" in done.stdout
    assert "The dependencies could not be fetched from PyPI: is the network there?" in done.stderr
