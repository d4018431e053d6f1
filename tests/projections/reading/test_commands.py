"""dynaview validate, as users run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ENVIRON = {
    "REDIS_URL": "redis://user:hunter2@127.0.0.1:1/0",
    "OPENSEARCH_URL": "http://user:hunter2@127.0.0.1:1",
    "DATABASE_URL": "postgresql://user:hunter2@127.0.0.1:1/shop",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
}


def dynaview(*arguments: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from dynaview.views.cli import main; main()", *map(str, arguments)]
    inherited = {name: value for name, value in os.environ.items() if name not in ENVIRON}
    return subprocess.run(
        command, capture_output=True, text=True, env={**inherited, **environ}, timeout=120, check=False
    )


def test_the_examples_are_right(folder: Path) -> None:
    files = [ROOT / "examples" / name for name in ("shop.yaml", "shop_views.py")]
    done = dynaview("validate", "-f", files[0], "-f", files[1], **ENVIRON)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok: 8 views\n", "")


def test_problems_end_with_code_2_and_no_trace(folder: Path) -> None:
    done = dynaview("validate", "-f", ROOT / "examples" / "shop.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "sinks.cache.redis",
        "sinks.search.opensearch",
        "sinks.reads.postgres",
    ]
    assert "the environment variable REDIS_URL is not set" in lines[0]


def test_without_a_file_it_says_where_to_begin(folder: Path) -> None:
    done = dynaview("validate")
    assert done.returncode == 2
    assert done.stderr.startswith("dynaview.yaml:1: declaration: there is no such file: write one")
    assert "Traceback" not in done.stderr


def test_servers_that_do_not_answer_are_told_one_by_one(folder: Path) -> None:
    done = dynaview("validate", "--online", "-f", ROOT / "examples" / "shop.yaml", **ENVIRON)
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "sources.shop",
        "sinks.cache",
        "sinks.search",
        "sinks.reads",
    ]
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["validate", "schema"])
def test_help(command: str) -> None:
    done = dynaview(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
