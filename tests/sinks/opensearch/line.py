"""A faulty line to a real server: a proxy whose script may answer instead of the server, or after it has done its
work."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """An answer that the faulty line gives itself."""

    status: int
    body: Any = ""
    """JSON, or text as it is."""
    length: int | None = None
    """A length to promise instead of the body's."""


DROP = Answer(0)
"""The connection breaks."""

Script = Callable[[str, str, bytes], "Answer | None"]
Gate = Callable[[str, str, bytes, dict[str, str]], "Answer | None"]


@dataclass
class Line:
    """A proxy before the server. `before` and `after` see each request (method, path, body): `before` may answer it
    instead of the server, `after` may answer it although the server has done it."""

    server: str
    before: Script = field(default=lambda *_: None)
    after: Script = field(default=lambda *_: None)
    gate: Gate = field(default=lambda *_: None)
    """Sees the headers too, before `before`."""
    url: str = ""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def pass_on(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        self.seen.append((method, path, headers))
        if (answer := self.gate(method, path, body, headers)) is not None:
            return answer
        if (answer := self.before(method, path, body)) is not None:
            return answer
        address = urlsplit(self.server)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        try:
            connection.request(method, path, body or None, {"content-type": "application/json"})
            response = connection.getresponse()
            done = Answer(response.status, response.read().decode())
        finally:
            connection.close()
        return self.after(method, path, body) or done


def handler(line: Line) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = line.pass_on(self.command, self.path, body, headers)
            if answer is DROP:
                self.close_connection = True
                return
            text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body)
            self.send_response(answer.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text.encode()) if answer.length is None else answer.length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text.encode())
            if answer.length is not None:
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _answer

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def opened(server: str, tls: ssl.SSLContext | None = None) -> Iterator[Line]:
    """A line to `server`, open until the block ends."""
    line = Line(server)
    listener = ThreadingHTTPServer(("127.0.0.1", 0), handler(line))
    listener.daemon_threads = True
    if tls is not None:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True)
    line.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield line
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()
