"""An HTTP server in a thread that answers AWS requests with whatever a test has laid ready, broken answers included."""

from __future__ import annotations

import json
import socket
import struct
import threading
import zlib
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal


@dataclass(frozen=True)
class Answer:
    """One answer. `cut` sends so many bytes of the body only, then closes or resets the connection."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    end: Literal["close", "reset"] = "close"
    checksum: bool = True

    @classmethod
    def of(cls, body: Any, **rest: Any) -> Answer:
        """A whole JSON answer."""
        return cls(json.dumps(body, separators=(",", ":")).encode(), **rest)

    @classmethod
    def error(cls, code: str, status: int = 400, message: str = "the message") -> Answer:
        """An error as AWS writes it."""
        return cls.of({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": message}, status=status)


@dataclass(frozen=True)
class Asked:
    """One request."""

    operation: str
    parameters: dict[str, Any]
    agent: str


class Stub:
    """Answers requests in the order in which answers were laid ready; the last one is given again and again."""

    def __init__(self) -> None:
        self.answers: deque[Answer] = deque()
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                parameters = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                operation = self.headers["X-Amz-Target"].rpartition(".")[2]
                _send(self, stub._answer(Asked(operation, parameters, self.headers["User-Agent"])))

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def say(self, *answers: Answer) -> None:
        """Lay answers ready."""
        with self._lock:
            self.answers.clear()
            self.answers.extend(answers)

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            return self.answers.popleft() if len(self.answers) > 1 else self.answers[0]


def _send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    handler.send_response(answer.status)
    headers = {"Content-Type": "application/x-amz-json-1.0", "Content-Length": str(len(answer.body))}
    if answer.checksum:
        headers["x-amz-crc32"] = str(zlib.crc32(answer.body))
    for name, value in (headers | answer.headers).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(answer.body if answer.cut is None else answer.body[: answer.cut])
    handler.wfile.flush()
    if answer.cut is not None:
        handler.close_connection = True
        if answer.end == "reset":
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()
