"""``dynaview drop``: not under a running daemon, and leaving nothing behind."""

from __future__ import annotations

import threading
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner

from dynaview.views.cli import cli
from dynaview.views.control import ControlStore
from dynaview.views.worker import WorkerSettings

DECLARATION = """
sources: {{shop: {{table: shop, region: eu-west-1}}}}
sinks: {{cache: {{redis: "{url}"}}}}
control: {control}
views:
  cards: {{source: shop, sink: cache, key: "{prefix}:{{id}}", fields: {{id: id}}}}
"""


@pytest.fixture
def started(tmp_path: Path, redis_url: str) -> tuple[Path, ControlStore]:
    """A declaration and the control store of its view, which has just given a sign of life."""
    file, url = tmp_path / "dynaview.yaml", f"sqlite:///{tmp_path / 'control.db'}"
    file.write_text(DECLARATION.format(url=redis_url, control=url, prefix=uuid4().hex))
    control = ControlStore(url)
    control.add_view("cards", "shop", "cache", "f")
    control.set_state("cards", "retrying", "the store is away")
    return file, control


def test_a_view_that_a_daemon_follows_is_not_dropped(started: tuple[Path, ControlStore]) -> None:
    file, control = started
    ended = threading.Event()

    def live() -> None:
        while not ended.wait(0.05):
            control.set_seen(["cards"])

    daemon = threading.Thread(target=live)
    daemon.start()
    try:
        done = CliRunner().invoke(cli, ["drop", "cards", "-f", str(file), "--yes"])
    finally:
        ended.set()
        daemon.join()
    assert done.exit_code == 1
    assert "stop it first" in done.stderr
    assert control.view("cards") is not None
    control.close()


@pytest.mark.parametrize("ending", ["stopped", "killed"])
def test_a_view_whose_daemon_has_ended_is_dropped(
    ending: str, started: tuple[Path, ControlStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, control = started
    if ending == "stopped":
        control.set_state("cards", "stopped")
    monkeypatch.setattr("dynaview.views.cli.drop.WorkerSettings", lambda: WorkerSettings(alive_every=-0.5))
    done = CliRunner().invoke(cli, ["drop", "cards", "-f", str(file), "--yes"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert control.view("cards") is None
    control.close()
