"""DynamoDB Local as if it made exports: a server before it that writes them into a folder, and passes on the rest."""

from __future__ import annotations

import http.client
import json
import threading
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit


class Exporting:
    """Answers ExportTableToPointInTime and DescribeExport itself. An export is in progress for one look, and then
    completed. `lose` lets so many answers to requests be lost."""

    def __init__(self, endpoint: str, write: Callable[[str, str], Path]) -> None:
        """`write` makes an export below a prefix, of this ARN, and answers its folder."""
        self._behind = urlsplit(endpoint)
        self._write = write
        self.lose = 0
        self.asked: list[dict[str, Any]] = []
        """The requests for exports, in order."""
        self.made: dict[str, str] = {}
        """The exports' ARNs, by the tokens that they were asked for with."""
        self._left: dict[str, int] = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._answer(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def _answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        operation = handler.headers["X-Amz-Target"].rpartition(".")[2]
        if operation == "ExportTableToPointInTime":
            with self._lock:
                self._export(handler, json.loads(body))
        elif operation == "DescribeExport":
            with self._lock:
                _send(handler, self._described(json.loads(body)["ExportArn"]))
        else:
            self._pass_on(handler, body)

    def _export(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        self.asked.append(request)
        token = request["ClientToken"]
        if token not in self.made:
            arn = f"{request['TableArn']}/export/0170000000000{len(self.made)}-0a1b2c3d"
            self.made[token], self._left[arn] = arn, 1
            self._write(request.get("S3Prefix", ""), arn)
        if self.lose:
            self.lose -= 1
            handler.close_connection = True
            handler.connection.close()
            return
        _send(handler, {"ExportDescription": {"ExportArn": self.made[token], "ExportStatus": "IN_PROGRESS"}})

    def _described(self, arn: str) -> dict[str, Any]:
        self._left[arn] -= 1
        if self._left[arn] >= 0:
            return {"ExportDescription": {"ExportArn": arn, "ExportStatus": "IN_PROGRESS"}}
        return {"ExportDescription": {"ExportArn": arn, "ExportStatus": "COMPLETED"}}

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        behind = http.client.HTTPConnection(str(self._behind.hostname), self._behind.port, timeout=30)
        try:
            headers = {name: text for name, text in handler.headers.items() if name.lower() != "host"}
            behind.request("POST", handler.path, body, headers)
            found = behind.getresponse()
            data = found.read()
        finally:
            behind.close()
        handler.send_response(found.status)
        for name, text in found.getheaders():
            if name.lower() in ("content-type", "x-amz-crc32", "content-encoding"):
                handler.send_header(name, text)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


def _send(handler: BaseHTTPRequestHandler, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/x-amz-json-1.0")
    handler.send_header("x-amz-crc32", str(zlib.crc32(body)))
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
