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


def test_warnings_are_told_and_stop_nothing(folder: Path) -> None:
    text = (ROOT / "examples" / "shop.yaml").read_text()
    Path("dynaview.yaml").write_text(text.replace("where: status != 'DRAFT'", "where: status != null", 1))
    done = dynaview("validate", **ENVIRON)
    assert (done.returncode, done.stdout.split(": ")[0]) == (0, "ok")
    assert done.stdout.endswith("; 1 warning\n")
    assert "where: warning: null is the attribute of that name" in done.stderr


def test_no_code_of_a_declaration_runs_where_it_is_not_trusted(folder: Path) -> None:
    Path("views.py").write_text("open('ran', 'w')\n")
    Path("dynaview.yaml").write_text(
        "sources: {shop: {table: shop}}\n"
        'sinks: {cache: {redis: "redis://127.0.0.1:1"}}\n'
        "python: [./views.py]\n"
        "views:\n"
        '  one: {source: shop, sink: cache, match: {pk: "{id}"}, key: "a:{id}", python: "./views.py:rows"}\n'
    )
    done = dynaview("validate", "--no-python", **ENVIRON)
    assert (done.returncode, done.stdout) == (0, "ok: 1 view\n")
    assert done.stderr == "not imported: ./views.py, ./views.py:rows\n"
    assert not Path("ran").exists()
    assert dynaview("validate", **ENVIRON).returncode == 2
    assert Path("ran").exists()


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("builtins:print", "but of Python"),
        ("os:system", "but of Python"),
        ("json.encoder:JSONEncoder", "but of Python"),
        ("dynaview.views.cli:main", "but of dynaview"),
        ("click:echo", "but an installed one"),
    ],
)
def test_functions_of_others_are_refused(folder: Path, name: str, whose: str) -> None:
    Path("dynaview.yaml").write_text(
        "sources: {shop: {table: shop}}\n"
        'sinks: {cache: {redis: "redis://127.0.0.1:1"}}\n'
        "views:\n"
        f'  one: {{source: shop, sink: cache, match: {{pk: "{{id}}"}}, key: "a:{{id}}", python: "{name}"}}\n'
    )
    done = dynaview("validate", **ENVIRON)
    assert done.returncode == 2
    assert f"is not a module of your project {whose}: name a module of your project" in done.stderr
