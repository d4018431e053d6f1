"""``dynaview wait``: its exit codes and what it says."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dynaview.projections.rows import Write
from dynaview.sinks.memory import MemorySink
from dynaview.views.cli import cli
from dynaview.views.control.records import Progress
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from dynaview.views.states import ViewState
from tests.support.first_fill import set_filled

DECLARATION = """
control: sqlite:///{control}
sources: {{shop: {{table: shop}}}}
sinks: {{cache: {{redis: "redis://localhost:1"}}}}
views:
  one: {{source: shop, match: {{pk: "{{p}}"}}, sink: cache, key: "one:{{p}}", fields: {{value: value}}}}
  tags: {{source: shop, match: {{pk: "{{p}}"}}, sink: cache, type: set, key: "tags", member: "{{p}}"}}
"""


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(control=tmp_path / "control.db"))
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.add_view("one", "shop", "cache", "f", "arn")
    set_filled(control, "one")
    control.states.set("one", ViewState.FOLLOWING)
    control.commit("one", Progress(), time.time() - 60)
    control.close()
    return file


def asked(file: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["wait", "-f", str(file), *words])


def test_the_command_ends_with_0_when_the_view_shows_it(declared: Path) -> None:
    done = asked(declared, "one", "--until", str(time.time() - 90))
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("one shows what was written up to 20")
    at = datetime.fromtimestamp(time.time() - 90, UTC)
    assert asked(declared, "one", "--until", at.isoformat()).exit_code == 0
    assert asked(declared, "one", "--until", at.replace(tzinfo=None).isoformat()).exit_code == 0


def test_the_command_ends_with_1_when_time_is_up_and_says_how_far_it_was(declared: Path) -> None:
    done = asked(declared, "one", "--timeout", "0.1")
    assert done.exit_code == 1
    assert " s behind)" in done.stderr
    assert "following" in done.stderr
    assert asked(declared, "one", "--until", str(time.time() - 30), "--timeout", "0").exit_code == 1


def test_the_command_fails_at_once_at_a_gap(declared: Path, tmp_path: Path) -> None:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.states.set("one", ViewState.GAP, "lost; dynaview drop one")
    control.close()
    begun = time.monotonic()
    done = asked(declared, "one", "--timeout", "60")
    assert (done.exit_code, time.monotonic() - begun < 10) == (1, True)
    assert "gap: lost; dynaview drop one" in done.stderr


def test_the_command_waits_for_a_row(declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = MemorySink("cache")
    monkeypatch.setattr("dynaview.views.waiting.connect", lambda declaration: sink)
    target = sink.open(load([declared], {}).views["one"].layout, 1)
    target.prepare()
    target.write([Write("one:a", ("v",), 10**21)])
    assert asked(declared, "one", "--key", "one:a", "--version", f"0{10**21}").exit_code == 0
    done = asked(declared, "one", "--key", "one:a", "--version", str(10**21 + 1), "--timeout", "0.1")
    assert done.exit_code == 1
    assert "row 'one:a'" in done.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["none"], "no view is called none; there are one, tags"),
        (["one", "--until", "soon"], "give ISO 8601"),
        (["one", "--until", "nan"], "not a time"),
        (["one", "--key", "a"], "belong together"),
        (["one", "--version", "5"], "belong together"),
        (["one", "--key", "a", "--version", "-5"], "digits only"),
        (["one", "--key", "a", "--version", "5", "--until", "5"], "not for both"),
        (["tags", "--key", "a", "--version", "5"], "JSON array"),
        (["one", "--timeout", "-1"], "--timeout"),
    ],
)
def test_the_command_ends_with_2_when_asked_in_a_wrong_way(declared: Path, words: list[str], problem: str) -> None:
    done = asked(declared, *words)
    assert done.exit_code == 2, done.output
    assert problem in done.stderr
