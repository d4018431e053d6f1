"""A scripted door to a PostgreSQL that lets in who shows a token, as RDS does where the user has ``rds_iam``."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SSL_REQUEST = 80877103


class Door:
    """`takes` says of each token whether it is good; `tokens` are those that were shown."""

    def __init__(self, folder: str, takes: Callable[[str], bool]) -> None:
        self.tokens: list[str] = []
        self.takes = takes
        self.port = 0
        self._socket = f"{folder}/.s.PGSQL.5432"

    def serve(self, near: socket.socket) -> None:
        start = self._packet(near)
        if struct.unpack("!i", start[4:8])[0] == SSL_REQUEST:
            near.sendall(b"N")
            start = self._packet(near)
        near.sendall(b"R" + struct.pack("!ii", 8, 3))  # a password in clear, please
        assert near.recv(1) == b"p"
        token = self._packet(near)[4:].rstrip(b"\0").decode()
        self.tokens.append(token)
        if not self.takes(token):
            fields = b"SFATAL\0VFATAL\0C28000\0MPAM authentication failed for user\0\0"
            near.sendall(b"E" + struct.pack("!i", 4 + len(fields)) + fields)
            return
        with socket.socket(socket.AF_UNIX) as far:
            far.connect(self._socket)
            far.sendall(start)
            back = threading.Thread(target=_pump, args=(far, near), daemon=True)
            back.start()
            _pump(near, far)
            back.join()

    @staticmethod
    def _packet(near: socket.socket) -> bytes:
        head = near.recv(4, socket.MSG_WAITALL)
        if len(head) < 4:
            raise ConnectionError
        return head + near.recv(struct.unpack("!i", head)[0] - 4, socket.MSG_WAITALL)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def door(folder: str, takes: Callable[[str], bool] = lambda token: True) -> Iterator[Door]:
    """A door to the server whose socket stands in `folder`."""
    made = Door(folder, takes)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> Any:
            with contextlib.suppress(ConnectionError):
                made.serve(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
