"""Ctrl-C, whenever it comes: the exit code, no stack trace, and a terminal as it was. `tests.soak.interrupts` sweeps
over all commands and moments; here are the moments that were once wrong. And colours and widths of a terminal."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from dynaview.views.control.records import Checkpoint, Counts, Part, Progress
from dynaview.views.control.store import ControlStore
from dynaview.views.states import ViewState
from tests.support.terminal import terminal, wrong

DYNAVIEW = str(Path(sys.executable).with_name("dynaview"))

DECLARED = """
control: sqlite:///control.db
sources: {shop: {table: shop, region: eu-west-1, endpoint: "http://127.0.0.1:1"}}
sinks: {cache: {redis: "redis://127.0.0.1:1"}}
views:
  cards: {source: shop, sink: cache, type: hash, key: "c:{pk}", fields: {pk: pk}}
"""

AT_IMPORT = """
import os, signal, sys

class Pressed:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get("PRESSED_AT"):
            del os.environ["PRESSED_AT"]
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Pressed())
"""
"""Presses Ctrl-C as a module begins to be imported."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dynaview.yaml").write_text(DECLARED)
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(AT_IMPORT)
    (tmp_path / "items.jsonl").write_text('{"pk": "1"}\n')
    return tmp_path


def pressed(folder: Path, module: str) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder / "hook"), "PRESSED_AT": module}


@pytest.mark.parametrize(
    "module", ["click", "click.termui", "dynaview.views.cli.examples", "dynaview.views.cli.status"]
)
def test_ctrl_c_while_modules_are_loaded_ends_a_command_with_130(folder: Path, module: str) -> None:
    with terminal([DYNAVIEW, "status"], pressed(folder, module), folder) as running:
        ended = running.ended()
    assert wrong(ended) == "", ended


@pytest.mark.parametrize("module", ["click", "dynaview.views.cli.run", "dynaview.sinks.redis.client"])
def test_ctrl_c_before_several_workers_are_started_starts_none(folder: Path, module: str) -> None:
    """It was forgotten when the process went on as their parent, which then ran for ever."""
    with terminal([DYNAVIEW, "run", "--workers", "2"], pressed(folder, module), folder) as running:
        ended = running.ended()
    assert wrong(ended, 0) == "", ended
    assert "following" not in ended.shown


def test_ctrl_c_leaves_no_half_line_of_a_watch(folder: Path) -> None:
    words = [DYNAVIEW, "preview", "cards", "--items", "items.jsonl", "--watch"]
    with terminal(words, os.environ, folder) as running:
        assert running.watch(30, until="watching"), running.shown
        running.press(b"\x03")
        ended = running.ended()
    assert wrong(ended) == "", ended


@pytest.mark.parametrize("words", [["local", "status"], ["status"], ["preview", "cards", "--items", "items.jsonl"]])
def test_no_color_is_obeyed(folder: Path, words: list[str]) -> None:
    with terminal([DYNAVIEW, *words], {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color"}, folder) as running:
        shown = running.ended().shown
    assert shown.strip()
    colours = re.findall(r"\x1b\[([0-9;]*)m", shown)
    assert not [code for code in colours if re.search(r"(^|;)(3[0-8]|4[0-8]|9\d|10\d)(;|$)", code)], shown


def test_the_table_of_a_status_fits_80_columns(folder: Path) -> None:
    control = ControlStore(f"sqlite:///{folder}/control.db")
    for name in ("cards", "a_view_with_quite_a_long_name_for_a_table"):
        control.add_view(name, "shop", "cache", "f", "arn")
        control.commit(name, Progress({"s": Part(Checkpoint(1, 1.0), Counts(10**9, 10**9))}), time.time())
        control.states.set(name, ViewState.FOLLOWING)
    control.close()
    with terminal([DYNAVIEW, "status"], os.environ, folder, columns=80) as running:
        lines = running.ended().shown.replace("\r\n", "\n").splitlines()
    table = [line for line in lines if line.startswith(("VIEW", "cards", "a_view"))]
    assert len(table) == 3, lines
    assert max(map(len, table)) <= 80
    assert any("left out" in line for line in lines)
