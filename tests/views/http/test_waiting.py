"""``dynaview run --http`` while its control store is not up yet."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import urllib3

from tests.support.until import until

DECLARED = """
control: "CONTROL"
sources: {shop: {table: shop, region: eu-west-1, endpoint: "http://127.0.0.1:1"}}
sinks: {cache: {redis: "redis://127.0.0.1:1"}}
views:
  card: {source: shop, sink: cache, type: hash, key: "c:{pk}", fields: {pk: pk}}
"""


class Waiting:
    """A process that waits for its control store."""

    def __init__(self, folder: Path, control: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        file = folder / "dynaview.yaml"
        file.write_text(DECLARED.replace("CONTROL", control))
        command = [sys.executable, "-m", "dynaview.views.cli", "run", "-f", str(file), "--http", str(self.port)]
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        self.pool = urllib3.PoolManager(retries=False)

    def ask(self, path: str) -> tuple[int, str]:
        """What it answers; 0 where it does not yet."""
        try:
            answer = self.pool.request("GET", f"http://127.0.0.1:{self.port}{path}", timeout=10.0)
        except urllib3.exceptions.HTTPError:
            return 0, ""
        return answer.status, answer.data.decode()


def test_it_answers_and_says_what_it_waits_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    made = Waiting(tmp_path, f"postgresql://127.0.0.1:{nobody}/x")
    try:
        until(lambda: made.ask("/livez")[0] == 200, "the server", 60)
        until(lambda: "the control store" in made.ask("/readyz")[1], "the reason", 60)
        assert made.ask("/readyz")[0] == 503
        status, text = made.ask("/health")
        assert (status, "the control store" in msgspec.json.decode(text)["error"]) == (503, True)
        assert "dynaview_control_up 0" in made.ask("/metrics")[1]
        assert made.ask("/")[0] == 200
        assert msgspec.json.decode(made.ask("/api/status")[1])["views"] == []
        assert made.ask("/api/dead-letters")[0] == 503
        assert made.ask("/api/views/card")[0] in (404, 503)
    finally:
        made.process.terminate()
        assert made.process.wait(20) == 0


def test_it_goes_on_once_the_control_store_is_there(tmp_path: Path) -> None:
    made = Waiting(tmp_path, f"sqlite:///{tmp_path}/control.db")
    try:
        until(lambda: made.ask("/readyz")[0] in (200, 503), "the server", 60)
        until(lambda: "dynaview_control_up 1" in made.ask("/metrics")[1], "the control store", 60)
        until(lambda: made.ask("/api/dead-letters")[0] == 200, "the API", 60)
    finally:
        made.process.terminate()
        assert made.process.wait(30) == 0
