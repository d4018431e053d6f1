"""Health by ``dynaview status --check``."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from dynaview.projections.declaration import DeclarationError
from dynaview.views.cli import cli
from dynaview.views.control.store import ControlStore
from dynaview.views.states import ViewState

DECLARATION = """
control: sqlite:///{folder}/control.db
sources: {{shop: {{table: shop}}}}
sinks: {{cache: {{redis: "redis://localhost:1"}}}}
views: {{one: {{source: shop, sink: cache, key: "one:{{pk}}", match: {{pk: "{{pk}}"}}, fields: {{pk: pk}}}}}}
"""


@pytest.mark.parametrize(("since", "watermark", "healthy"), [(10, None, True), (600, None, False), (600, 5, True)])
def test_a_lag_that_is_unknown_for_long_is_bad_health(
    tmp_path: Path, since: int, watermark: int | None, healthy: bool
) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(folder=tmp_path))
    control = ControlStore(f"sqlite:///{tmp_path}/control.db")
    control.add_view("one", "shop", "cache", "f", "arn")
    control.states.set("one", ViewState.FOLLOWING)
    control.close()
    with sqlite3.connect(tmp_path / "control.db") as database:
        at = None if watermark is None else time.time() - watermark
        database.execute("UPDATE dynaview_views SET since = ?, watermark = ?", (time.time() - since, at))
    done = CliRunner().invoke(cli, ["status", "-f", str(file), "--check"])
    assert done.exit_code == (0 if healthy else 1), done.output
    assert ("has not been known for" in done.output) is not healthy


def test_mistakes_of_a_bad_deploy_do_not_hide_what_the_views_are_doing(tmp_path: Path) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(folder=tmp_path).replace("fields:", "feilds:"))
    refused = CliRunner().invoke(cli, ["status", "-f", str(file)], standalone_mode=False)
    assert isinstance(
        refused.exception, DeclarationError
    )  # nothing was ever started: it is the declaration that counts
    control = ControlStore(f"sqlite:///{tmp_path}/control.db")
    control.add_view("one", "shop", "cache", "f", "arn")
    control.states.set("one", ViewState.GAP, "changes are lost")
    control.close()
    done = CliRunner().invoke(cli, ["status", "-f", str(file)])
    assert done.exit_code == 0, done.output
    assert "one: changes are lost" in done.output


@pytest.mark.parametrize("more", ["\npython: [./none.py]", "\nviwes: {}", "\ncontrol: sqlite:///twice.db"])
def test_what_only_a_whole_reading_tells_is_read_in_whole(tmp_path: Path, more: str) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_text(DECLARATION.format(folder=tmp_path) + more)
    ControlStore(f"sqlite:///{tmp_path}/control.db").close()
    done = CliRunner().invoke(cli, ["status", "-f", str(file)], standalone_mode=False)
    assert isinstance(done.exception, DeclarationError)
