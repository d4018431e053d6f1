"""``dynaview drop``: not under a running daemon, and leaving nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
import yaml
from click.testing import CliRunner, Result

from dynaview.projections.declaration import Declaration
from dynaview.projections.rows import Write
from dynaview.sinks.connect import connect
from dynaview.views.cli import cli
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.table_worker import WorkerSettings
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.load import load
from dynaview.views.states import ViewState

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
    control.states.set("cards", ViewState.RETRYING, "the store is away")
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
        control.states.set("cards", ViewState.STOPPED)
    monkeypatch.setattr("dynaview.views.cli.drop.WorkerSettings", lambda: WorkerSettings(alive_every=-0.5))
    done = CliRunner().invoke(cli, ["drop", "cards", "-f", str(file), "--yes"])
    assert (done.exit_code, done.stderr) == (0, "")
    assert control.view("cards") is None
    control.close()


# What an earlier declaration made

CARDS: dict[str, Any] = {"source": "shop", "sink": "cache", "fields": {"id": "id"}}


class Kept:
    """A declaration whose views were built, each with one row in a real Redis, and are then declared otherwise."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.redis_url = redis_url
        self.file = folder / "dynaview.yaml"
        self.url = f"sqlite:///{folder / 'control.db'}"
        self.client = redis.Redis.from_url(redis_url)

    def declare(self, views: dict[str, Any], **more: Any) -> Declaration:
        whole = {
            "sources": {"shop": {"table": "shop"}},
            "sinks": {"cache": {"redis": self.redis_url}},
            "control": self.url,
            "views": views,
            **more,
        }
        self.file.write_text(yaml.safe_dump(whole))
        return load([self.file], {})

    def build(self, views: dict[str, Any]) -> None:
        declaration = self.declare(views)
        control, sink = ControlStore(self.url), connect(declaration.sinks["cache"])
        for view in declaration.views.values():
            control.add_view(view.name, "shop", "cache", fingerprint(view, "shop"), declaration=encode(view))
            control.states.set(view.name, ViewState.STOPPED)
            target = sink.open(view.layout, 1)
            target.prepare()
            key = str(view.key).replace("{id}", "1")
            target.write([Write(key, ("1",), 1)])
        control.close()
        sink.close()

    def rows(self, prefix: str) -> list[str]:
        """The keys of rows, without what is kept beside them."""
        return sorted(key.decode() for key in self.client.scan_iter(match=f"{prefix}*"))

    def drop(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["drop", *arguments, "-f", str(self.file)])

    def views(self) -> list[str]:
        control = ControlStore(self.url)
        try:
            return [record.name for record in control.views()]
        finally:
            control.close()


@pytest.fixture
def kept(tmp_path: Path, redis_url: str) -> Iterator[Kept]:
    made = Kept(tmp_path, redis_url)
    yield made
    made.client.close()


@pytest.fixture
def prefix() -> str:
    return uuid4().hex


def test_rows_go_from_where_the_view_was_built(kept: Kept, prefix: str) -> None:
    kept.build({"cards": {**CARDS, "key": f"{prefix}:old:{{id}}"}})
    kept.client.set(f"{prefix}:new:1", "somebody else's")
    kept.declare({"cards": {**CARDS, "key": f"{prefix}:new:{{id}}"}})
    assert kept.rows(prefix) == [f"{prefix}:new:1", f"{prefix}:old:1"]
    done = kept.drop("cards", "--yes")
    assert (done.exit_code, done.output) == (0, "cards is dropped; dynaview run fills it anew\n")
    assert kept.rows(prefix) == [f"{prefix}:new:1"]
    assert kept.views() == []


def test_a_view_that_is_no_longer_declared_is_dropped_when_asked(kept: Kept, prefix: str) -> None:
    others = {"others": {**CARDS, "key": f"{prefix}:o:{{id}}"}}
    kept.build({"cards": {**CARDS, "key": f"{prefix}:c:{{id}}"}, **others})
    kept.declare(others)
    asked = CliRunner().invoke(cli, ["drop", "cards", "-f", str(kept.file)], input="n\n")
    assert asked.exit_code == 1
    assert "Remove every row of cards from cache (redis://" in asked.output
    assert kept.views() == ["cards", "others"]
    done = kept.drop("cards", "--yes")
    assert (done.exit_code, done.output) == (0, "cards is dropped\n")
    assert (kept.rows(prefix), kept.views()) == ([f"{prefix}:o:1"], ["others"])


def test_the_rows_of_a_view_that_was_given_another_name_are_not_dropped(kept: Kept, prefix: str) -> None:
    view = {**CARDS, "key": f"{prefix}:{{id}}"}
    kept.build({"cards": view})
    kept.declare({"customer_cards": view})
    done = kept.drop("cards", "--yes")
    assert done.exit_code == 1
    assert done.stderr == (
        "dynaview: keys of cards could also be keys of view customer_cards, which is declared, and would be removed "
        "with them: forget cards with --keep-rows\n"
    )
    assert (kept.rows(prefix), kept.views()) == ([f"{prefix}:1"], ["cards"])
    assert kept.drop("cards", "--keep-rows", "--yes").exit_code == 0
    assert (kept.rows(prefix), kept.views()) == ([f"{prefix}:1"], [])


def test_a_view_whose_sink_is_not_declared_any_more(kept: Kept, prefix: str) -> None:
    kept.build({"cards": {**CARDS, "key": f"{prefix}:{{id}}"}})
    kept.declare(
        {"others": {**CARDS, "sink": "other", "key": "o:{id}"}}, sinks={"other": {"redis": "redis://127.0.0.1:1"}}
    )
    done = kept.drop("cards", "--yes")
    assert done.exit_code == 1
    assert "cards is kept in sink cache, which is not declared: declare it again" in done.stderr
    assert kept.views() == ["cards"]


def test_a_view_of_which_nothing_is_known(kept: Kept, prefix: str) -> None:
    others = {"others": {**CARDS, "key": f"{prefix}:o:{{id}}"}}
    kept.declare(others)
    control = ControlStore(kept.url)
    control.add_view("cards", "shop", "cache", "f")
    control.states.set("cards", ViewState.STOPPED)
    control.close()
    done = kept.drop("cards", "--yes")
    assert done.exit_code == 1
    assert "where cards is kept is not known any more" in done.stderr
    done = kept.drop("cardz", "--yes")
    assert done.exit_code == 2
    assert "no view is called cardz; there are cards, others" in done.stderr
