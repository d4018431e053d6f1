"""The README's own view and the tutorial, word for word: every file and every line of shell, in an empty folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import Mark

from .conftest import Clone

FILE = re.compile(r"`([\w.]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def section(clone: Clone, title: str) -> str:
    """The text below a heading of the README, up to the next one."""
    return (clone.root / "README.md").read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.fixture
def mark() -> Mark:
    return Mark()


def played(text: str, folder: Path, mark: Mark, seconds: int) -> str:
    """What the shell of a text prints, and that it leaves nothing behind."""
    files = FILE.findall(text)
    assert {name for name, _ in files} == {"dynaview.yaml", "items.jsonl"}
    for name, content in files:
        (folder / name).write_text(content)
    own = {name: value for name, value in mark.environment.items() if not name.startswith(("AWS_", "DYNAVIEW_TEST_U"))}
    said = folder.with_name(f"{folder.name}.said")
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    try:
        # Into a file: who waits for the end of a pipe waits for the daemon too, which a line that fails leaves behind.
        with said.open("w") as output:
            done = subprocess.run(
                ["bash", "-eu"],
                input="\n".join(SHELL.findall(text)),
                cwd=folder,
                env=own,
                stdout=output,
                stderr=output,
                text=True,
                timeout=seconds,
                check=False,
            )
        assert done.returncode == 0, said.read_text()
    finally:
        for process, command in mark.processes().items():
            if " run" in command:
                os.kill(process, signal.SIGKILL)
        subprocess.run(["dynaview", "local", "down"], cwd=folder, env=own, capture_output=True, check=False)
    assert mark.wait_until_gone(30) == {}
    left = {path.name for path in folder.iterdir()} - {name for name, _ in files}
    assert {name for name in left if not name.startswith("dynaview.")} == set()  # its log and its control store stay
    return said.read_text()


def test_the_quickstart_ends_with_its_rows(clone: Clone, tmp_path: Path, mark: Mark) -> None:
    said = played(section(clone, "Your own view"), tmp_path, mark, 200)
    assert '"city":"London"' in said, said
    assert "b'tier': b'platinum'" in said, said
    assert "ok: 2 views" in said


@pytest.mark.timeout(600)
def test_the_tutorial_ends_as_it_says(clone: Clone, tmp_path: Path, mark: Mark) -> None:
    said = played((clone.root / "docs" / "tutorial.md").read_text(), tmp_path, mark, 560)
    assert "loans: 4 items, 2 rows, 2 unmatched" in said, said
    assert "bob 3 Walden 0.25" in said, said
    assert "projection" in said, said  # the dead letter
    assert "found" in said, said  # what was written by hand
    assert "reader: right" in said, said
    assert "Traceback" not in said


def test_what_the_install_line_asks_for_is_there(clone: Clone) -> None:
    (line,) = SHELL.findall(section(clone, "Install"))
    assert line.startswith('pip install "./dynaview[local]"')
    assert "local" in clone.project["project"]["optional-dependencies"]
