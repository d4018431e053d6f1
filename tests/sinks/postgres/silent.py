"""A server that speaks just enough of Postgres's protocol to refuse a connection, or to accept it and fall silent."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def server(state: str = "", message: str = "") -> Iterator[int]:
    """The port. With an SQLSTATE every connection is refused with it; else it is accepted, and nothing follows."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, state, message), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    assert not thread.is_alive()


def _serve(listener: socket.socket, state: str, message: str) -> None:
    held: list[socket.socket] = []
    with contextlib.suppress(OSError):  # how the listener's end shows
        while True:
            connection, _ = listener.accept()
            held.append(connection)
            connection.recv(4096)
            connection.sendall(_refusal(state, message) if state else _WELCOME)
            if state:
                connection.close()
    for connection in held:
        connection.close()


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">i", len(body) + 4) + body


def _refusal(state: str, message: str) -> bytes:
    return _message(b"E", b"SFATAL\0VFATAL\0C%s\0M%s\0\0" % (state.encode(), message.encode()))


_WELCOME = _message(b"R", struct.pack(">i", 0)) + _message(b"Z", b"I")
