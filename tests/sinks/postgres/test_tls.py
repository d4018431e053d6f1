"""TLS to Postgres: verified unless somebody asks for less, and no password for a server that has none."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from dynaview.sinks.port import SinkRefused
from dynaview.sinks.postgres import PostgresSink
from dynaview.sinks.postgres import client as connections
from dynaview.views.control.errors import ControlError
from dynaview.views.control.store import ControlStore

FULL = "verify-full"


def mode(url: str, **options: Any) -> str | None:
    return connections._parameters(url, options).get("sslmode")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE", "PGSSLMODE", "PGSSLROOTCERT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://user@db/shop", FULL),
        ("postgres://user@db,localhost/shop", FULL),
        ("postgres://user@10.0.0.1:5433/shop", FULL),
        ("postgres://user@/shop?host=db", FULL),
        ("postgres://user@localhost/shop?hostaddr=10.0.0.1", FULL),
        ("postgres://user@/shop?service=elsewhere", FULL),
        ("postgres://user@db/shop?sslmode=disable", "disable"),
        ("postgres://user@db/shop?sslmode=prefer", "prefer"),
        ("postgres://user@db/shop?sslmode=verify-ca", "verify-ca"),
        ("postgres://user@localhost/shop", None),
        ("postgres://user@127.0.0.1:5433,[::1]/shop", None),
        ("postgres://user@/shop", None),
        ("postgres://user@/shop?host=/run/postgresql", None),
    ],
)
def test_what_the_url_asks_for(url: str, expected: str | None) -> None:
    assert mode(url) == expected
    if expected == FULL:
        assert connections._parameters(url, {})["sslrootcert"]


def test_what_the_environment_says_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db")
    assert mode("postgres:///shop") == FULL
    monkeypatch.setenv("PGSSLMODE", "disable")
    assert mode("postgres:///shop") is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"verify": False}, {"sslmode": "require"}),
        ({"verify": True}, {"sslmode": FULL}),
        ({"ca_file": "/ca.pem"}, {"sslmode": FULL, "sslrootcert": "/ca.pem"}),
        ({"ca_file": "/ca.pem", "verify": True}, {"sslmode": FULL, "sslrootcert": "/ca.pem"}),
    ],
)
@pytest.mark.parametrize("url", ["postgres://user@db/shop?sslmode=prefer", "postgres://user@localhost/shop"])
def test_the_declaration_wins(url: str, options: dict[str, Any], expected: dict[str, str]) -> None:
    parameters = connections._parameters(url, options)
    assert {name: parameters.get(name) for name in expected} == expected


class Declining:
    """A server that answers a request for TLS with no, and keeps what it is told then."""

    def __init__(self) -> None:
        self.heard = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return
            with line:
                line.settimeout(10)
                line.recv(8)  # SSLRequest
                line.sendall(b"N")
                self.heard += line.recv(1000)

    def close(self) -> None:
        self._socket.close()


def test_a_server_that_declines_tls_hears_nothing() -> None:
    server = Declining()
    url = f"postgresql://bob:hunter2@db.invalid:{server.port}/shop?hostaddr=127.0.0.1"
    with pytest.raises(SinkRefused, match=r"has no TLS, or a certificate that is not trusted.*sslmode=disable"):
        PostgresSink("reads", url, {"timeout": 5}).check()
    with pytest.raises(ControlError, match="has no TLS"):
        ControlStore(url)
    assert server.heard == b"", "neither user nor password"
    server.close()
