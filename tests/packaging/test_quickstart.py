"""The README's own view, word for word: every file and every line of its shell, in an empty folder."""

from __future__ import annotations

import os
import re
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


def test_the_quickstart_ends_with_its_rows(clone: Clone, tmp_path: Path, mark: Mark) -> None:
    text = section(clone, "Your own view")
    files = FILE.findall(text)
    assert [name for name, _ in files] == ["dynaview.yaml", "items.jsonl"]
    for name, content in files:
        (tmp_path / name).write_text(content)
    own = {name: value for name, value in mark.environment.items() if not name.startswith(("AWS_", "DYNAVIEW_TEST_U"))}
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    try:
        done = subprocess.run(
            ["bash", "-eu"],
            input="\n".join(SHELL.findall(text)),
            cwd=tmp_path,
            env=own,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        said = f"{done.stdout}{done.stderr}"
        assert done.returncode == 0, said
        assert '"city":"London"' in done.stdout, said
        assert "b'tier': b'platinum'" in done.stdout, said
        assert "ok: 2 views" in done.stdout
    finally:
        subprocess.run(["dynaview", "local", "down"], cwd=tmp_path, env=own, capture_output=True, check=False)
    assert mark.wait_until_gone(30) == {}
    left = {path.name for path in tmp_path.iterdir()} - {name for name, _ in files}
    assert {name for name in left if not name.startswith("dynaview.")} == set()  # its log and its control store stay


def test_what_the_install_line_asks_for_is_there(clone: Clone) -> None:
    (line,) = SHELL.findall(section(clone, "Install"))
    assert line.startswith('pip install "./dynaview[local]"')
    assert "local" in clone.project["project"]["optional-dependencies"]
