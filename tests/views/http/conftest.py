"""A server over a control store of two declared views, one of them started."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import urllib3

from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.load import load
from dynaview.views.http.address import Address
from dynaview.views.http.app import Application
from dynaview.views.http.health import Limits
from dynaview.views.http.server import Server, api
from dynaview.views.http.snapshot import Snapshots

TOKEN = "open-sesame"

DECLARED = """
control: {control}
sources: {{shop: {{table: shop}}}}
sinks: {{cache: {{redis: "redis://127.0.0.1:1"}}}}
views:
  card: {{source: shop, sink: cache, type: hash, key: "c:{{pk}}", fields: {{pk: pk}}}}
  lines: {{source: shop, sink: cache, type: hash, key: "l:{{pk}}", fields: {{pk: pk}}}}
"""


@dataclass
class Answer:
    """What a server said."""

    status: int
    body: Any
    headers: Any
    text: str


class Served:
    """A running server, and ways to ask it."""

    def __init__(self, folder: Path, token: str | None = TOKEN, streams: int = 200, declared: str = DECLARED) -> None:
        self.folder = folder
        file = folder / "dynaview.yaml"
        file.write_text(declared.format(control=f"sqlite:///{folder}/control.db"))
        self.declaration = load([file], {})
        self.control = ControlStore(self.declaration.control)
        self.snapshots = Snapshots(self.control, sorted(self.declaration.views), fresh=0.0)
        self.application = Application(
            self.snapshots, api(self.declaration, self.control), Limits(), token, streams=streams
        )
        self.server = Server(self.application, Address.parse("0").listen())
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()
        self.pool = urllib3.PoolManager(retries=urllib3.Retry(0, status=0, read=0))
        self.url = f"http://127.0.0.1:{self.server.port}"

    def begin(self, *views: str) -> None:
        """Let views be started, as a worker does."""
        for name in views:
            view = self.declaration.views[name]
            self.control.add_view(name, view.source, view.sink, fingerprint(view, "shop"), "arn")

    def ask(self, path: str, **more: Any) -> Answer:
        """GET."""
        return self._ask("GET", path, **more)

    def post(self, path: str, body: Any = None, token: str | None = TOKEN, **headers: str) -> Answer:
        """POST with a JSON body."""
        given = {"content-type": "application/json", **headers}
        if token is not None:
            given["authorization"] = f"Bearer {token}"
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        return self._ask("POST", path, body=raw, headers=given)

    def _ask(self, method: str, path: str, **more: Any) -> Answer:
        answer = self.pool.request(method, self.url + path, timeout=60.0, **more)
        text = answer.data.decode()
        is_json = answer.headers.get("content-type") == "application/json"
        return Answer(answer.status, msgspec.json.decode(text) if is_json else None, answer.headers, text)

    def lose_control(self) -> None:
        """Let the control store fail from now on: one of its tables is gone."""
        with sqlite3.connect(self.folder / "control.db") as connection:
            connection.execute("ALTER TABLE dynaview_views RENAME TO gone")

    def regain_control(self) -> None:
        """Let it work again."""
        with sqlite3.connect(self.folder / "control.db") as connection:
            connection.execute("ALTER TABLE gone RENAME TO dynaview_views")

    def close(self) -> None:
        """End the server; the thread has to end by itself."""
        self.server.stop()
        self._thread.join(20)
        assert not self._thread.is_alive()
        self.control.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    made.begin("card", "lines")
    yield made
    made.close()


@pytest.fixture
def served_empty(tmp_path: Path) -> Iterator[Served]:
    """A server on a control store in which no view was ever started."""
    made = Served(tmp_path)
    yield made
    made.close()
