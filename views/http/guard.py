"""Who may ask what over HTTP: by the address that was asked, the page that asks, and a token for what changes
anything."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dynaview.views.http.address import is_loopback

TOKEN_VARIABLE = "DYNAVIEW_HTTP_TOKEN"
"""The environment variable with the bearer token for what changes anything, or shows what is in items."""

LARGEST_BODY = 64 * 1024
"""Bytes of a request's body, at the most."""

SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

SAFE = frozenset({"GET", "HEAD"})


class Problem(Exception):
    """A request that is answered with an error. `message` says what happened and what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self) -> Response:
        """As JSON."""
        return json_response({"error": self.message}, self.status)


def json_response(body: object, status: int = 200) -> Response:
    """A body as JSON."""
    return Response(msgspec.json.encode(body), status, media_type="application/json")


def require_token(headers: Headers, token: str | None) -> None:
    """Raises `Problem` unless the request carries the token."""
    if not token:
        raise Problem(403, f"nothing can be changed over HTTP: set {TOKEN_VARIABLE} for dynaview run to allow it")
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
        raise Problem(401, f"a bearer token is needed: the value of {TOKEN_VARIABLE}")


class Gate:
    """Middleware before every route: names this server answers to, pages of other sites, bodies that are too large."""

    def __init__(self, app: ASGIApp, local_only: bool) -> None:
        """`local_only`: the server listens on the loopback interface, so no other name may lead to it (a page of
        another site could otherwise reach it by a name of its own)."""
        self._app = app
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope["method"], Headers(scope=scope))
        except Problem as problem:
            await problem.response()(scope, receive, _with_headers(send))
            return
        await self._app(scope, _limited(receive), _with_headers(send))

    def _check(self, method: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if self._local_only and not is_loopback(_hostname(host)):
            raise Problem(421, "this server answers on this machine only: ask it as localhost or 127.0.0.1")
        if method not in SAFE:
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != host:
                raise Problem(403, "a page of another site may not change anything here")
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > LARGEST_BODY:
                raise Problem(413, f"a request's body may have {LARGEST_BODY} bytes at the most")


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _limited(receive: Receive) -> Receive:
    """A body without a length is cut off where it is too large."""
    taken = 0

    async def read() -> Message:
        nonlocal taken
        message = await receive()
        if message["type"] == "http.request":
            taken += len(message.get("body", b""))
            if taken > LARGEST_BODY:
                return {"type": "http.disconnect"}
        return message

    return read


def _with_headers(send: Send) -> Send:
    async def write(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            more = [
                (name.encode(), text.encode()) for name, text in SECURITY_HEADERS.items() if name.encode() not in given
            ]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return write
