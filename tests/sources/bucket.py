"""A folder as a bucket of S3: an HTTP server in a thread that lists and gives objects, and fails where told to."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

NAME = "exports"
LISTED = 2
"""Keys and folders in one answer to a listing."""


class Bucket:
    """The bucket ``exports``. `cut` sends so many bytes of an object only, once; `refuse` answers with errors."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cut: dict[str, int] = {}
        self.refuse: dict[str, tuple[int, str]] = {}
        """By key, or ``list`` for listings."""
        self.asked: list[str] = []
        bucket = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                name, _, key = unquote(parts.path).lstrip("/").partition("/")
                bucket._answer(self, name, key, parse_qs(parts.query, keep_blank_values=True))

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler, name: str, key: str, query: dict[str, list[str]]) -> None:
        self.asked.append(key or "list")
        refused = self.refuse.get(key or "list")
        if refused is None and name != NAME:
            refused = 404, "NoSuchBucket"
        path = self.root / key
        if refused is None and key and not path.is_file():
            refused = 404, "NoSuchKey"
        if refused is not None:
            status, code = refused
            _send(handler, status, f"<Error><Code>{code}</Code><Message>the message</Message></Error>".encode())
        elif key:
            _send(handler, 200, path.read_bytes(), self.cut.pop(key, None))
        else:
            _send(handler, 200, self._listing(query))

    def _listing(self, query: dict[str, list[str]]) -> bytes:
        prefix = query["prefix"][0]
        keys = sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        shown: dict[str, str] = {}
        for key in keys:
            if key.startswith(prefix):
                rest, slash, _ = key[len(prefix) :].partition("/")
                tag = "CommonPrefixes" if slash else "Contents"
                inner = f"<Prefix>{escape(prefix + rest)}/</Prefix>" if slash else f"<Key>{escape(key)}</Key>"
                shown[prefix + rest + slash] = f"<{tag}>{inner}</{tag}>"
        start = int(query.get("continuation-token", ["0"])[0])
        page = list(shown.values())[start : start + LISTED]
        more = start + LISTED < len(shown)
        token = f"<NextContinuationToken>{start + LISTED}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return f"<ListBucketResult>{truncated}{token}{''.join(page)}</ListBucketResult>".encode()


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, cut: int | None = None) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[:cut])
    handler.wfile.flush()
    if cut is not None:
        handler.close_connection = True
