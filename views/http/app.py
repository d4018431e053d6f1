"""The HTTP application: routes and what they answer. What it knows comes from the control store."""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from dynaview.views.control.errors import ControlError
from dynaview.views.control.tasks import TaskStore
from dynaview.views.http.actions import Actions
from dynaview.views.http.guard import Gate, Problem, json_response, require_token
from dynaview.views.http.health import Health, Limits, health
from dynaview.views.http.letters import Letters
from dynaview.views.http.metrics import Metrics
from dynaview.views.http.openapi import document
from dynaview.views.http.snapshot import Snapshot, Snapshots
from dynaview.views.http.tasks import plain
from dynaview.views.http.trials import Trials

STREAMS = 200
"""Event streams that may be open at once; one more is told to come again later."""

EVENTS_EVERY = 1.0
"""Seconds between two events of a stream."""

PAGE = files("dynaview.views.http").joinpath("page")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Api:
    """What stands behind the routes."""

    actions: Actions
    letters: Letters
    trials: Trials
    tasks: TaskStore


class Application:
    """The routes of one server."""

    def __init__(
        self,
        snapshots: Snapshots,
        api: Api | None,
        limits: Limits,
        token: str | None = None,
        local_only: bool = True,
        streams: int = STREAMS,
    ) -> None:
        """`api` is None until `open` says what it is: until then its routes answer 503. `token` is needed for whatever
        changes something or shows what is in items; None: none of it is allowed. `local_only` refuses requests by other
        names than this machine's. `streams` event streams may be open at once."""
        self._there = api
        self.snapshots = snapshots
        self._limits = limits
        self._token = token
        self._metrics = Metrics(snapshots, limits)
        self._streams = streams
        self._open = 0
        self._ending = asyncio.Event()
        self.asgi = Starlette(
            routes=[
                Route("/", self._page),
                Route("/static/{name}", self._page),
                Route("/livez", self._livez),
                Route("/readyz", self._readyz),
                Route("/health", self._health),
                Route("/metrics", self._scrape),
                Route("/api/openapi.json", self._openapi),
                Route("/api/status", self._status),
                Route("/api/views/{view}", self._view),
                Route("/api/views/{view}/declaration", self._declaration),
                Route("/api/views/{view}/preview", self._preview, methods=["POST"]),
                Route("/api/events", self._events),
                Route("/api/views/{view}/wait", self._wait),
                Route("/api/views/{view}/{action}", self._act, methods=["POST"]),
                Route("/api/trace", self._trace, methods=["POST"]),
                Route("/api/tasks", self._all_tasks),
                Route("/api/tasks/{task}", self._task),
                Route("/api/tasks/{task}/cancel", self._cancel_task, methods=["POST"]),
                Route("/api/dead-letters", self._dead_letters),
                Route("/api/dead-letters/{id:int}", self._dead_letter),
                Route("/api/dead-letters/{action}", self._settle, methods=["POST"]),
            ],
            middleware=[Middleware(Gate, local_only=local_only)],
            exception_handlers={Problem: _problem, ControlError: _away, HTTPException: _refused},
        )

    def open(self, api: Api) -> None:
        """The control store is there: this is what stands behind the API."""
        self._there = api

    def stop(self) -> None:
        """Let requests that wait, and tasks, end."""
        if self._there is not None:
            self._there.actions.stop()

    @property
    def _api(self) -> Api:
        if self._there is None:
            raise Problem(503, self.snapshots.latest().error)
        return self._there

    def end(self) -> None:
        """Let open event streams and waiting requests end. Call from the server's event loop."""
        self._ending.set()

    # For orchestrators and monitoring

    async def _livez(self, _request: Request) -> Response:
        return json_response({"ok": True})

    async def _readyz(self, _request: Request) -> Response:
        snapshot = await self._look()
        ready = not snapshot.error and not snapshot.missing
        reason = snapshot.error or (f"never started: {', '.join(snapshot.missing)}" if snapshot.missing else "")
        return json_response({"ok": ready, "reason": reason}, 200 if ready else 503)

    async def _health(self, _request: Request) -> Response:
        judged = health(await self._look(), self._limits)
        return json_response(_health_body(judged), 200 if judged.ok else 503)

    async def _scrape(self, request: Request) -> Response:
        body, content_type = await run_in_threadpool(self._metrics.render, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    # The API

    async def _openapi(self, _request: Request) -> Response:
        return json_response(document())

    async def _status(self, _request: Request) -> Response:
        return json_response(self._told(await self._look()))

    async def _view(self, request: Request) -> Response:
        name = request.path_params["view"]
        snapshot = await self._look()
        if name not in snapshot.by_name:
            raise Problem(404, self._api.actions.unknown(name))
        judged = next(each for each in health(snapshot, self._limits).views if each.view == name)
        detail = await run_in_threadpool(self._api.actions.detail, name)
        return json_response({**snapshot.by_name[name], "ok": judged.ok, "problem": judged.reason, **detail})

    async def _declaration(self, request: Request) -> Response:
        return json_response(await run_in_threadpool(self._api.trials.declared, request.path_params["view"]))

    async def _preview(self, request: Request) -> Response:
        require_token(request.headers, self._token)
        body = await _body(request)
        made = await self._patiently(partial(self._api.trials.preview, request.path_params["view"], body))
        return Response(made, media_type="application/json")

    async def _events(self, _request: Request) -> Response:
        if self._open >= self._streams:
            response = Problem(503, f"{self._streams} event streams are open already; come again later").response()
            response.headers["retry-after"] = "30"
            return response
        self._open += 1
        return _Stream(self._stream(), self._closed)

    def _closed(self) -> None:
        self._open -= 1

    async def _stream(self) -> AsyncIterator[bytes]:
        while not self._ending.is_set():
            yield b"data: " + msgspec.json.encode(self._told(await self._look())) + b"\n\n"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), EVENTS_EVERY)

    async def _act(self, request: Request) -> Response:
        require_token(request.headers, self._token)
        view, action = request.path_params["view"], request.path_params["action"]
        return json_response(await run_in_threadpool(self._api.actions.act, view, action, await _body(request)), 202)

    async def _wait(self, request: Request) -> Response:
        view, query = request.path_params["view"], dict(request.query_params)
        return json_response(await self._patiently(partial(self._api.actions.wait, view, query)))

    async def _trace(self, request: Request) -> Response:
        require_token(request.headers, self._token)
        found = await self._patiently(partial(self._api.actions.trace, await _body(request)))
        return Response(found, media_type="application/json")

    async def _patiently(self, act: Callable[[], T]) -> T:
        """Do what may take long in a thread that other requests do not need."""
        admitted = self._api.actions.admitted(act)
        return await asyncio.get_running_loop().run_in_executor(self._api.actions.patient, admitted)

    async def _all_tasks(self, _request: Request) -> Response:
        found = await run_in_threadpool(self._api.tasks.all)
        return json_response({"tasks": [plain(task) for task in found]})

    async def _task(self, request: Request) -> Response:
        found = await run_in_threadpool(self._api.tasks.find, request.path_params["task"])
        if found is None:
            raise Problem(404, "there is no such task (any more)")
        return json_response(plain(found))

    async def _cancel_task(self, request: Request) -> Response:
        require_token(request.headers, self._token)
        await _body(request)
        if not await run_in_threadpool(self._api.tasks.cancel, request.path_params["task"]):
            raise Problem(409, "there is no such task under way")
        return await self._task(request)

    async def _dead_letters(self, request: Request) -> Response:
        return json_response(await run_in_threadpool(self._api.letters.page, dict(request.query_params)))

    async def _dead_letter(self, request: Request) -> Response:
        require_token(request.headers, self._token)
        return json_response(await run_in_threadpool(self._api.letters.one, request.path_params["id"]))

    async def _settle(self, request: Request) -> Response:
        require_token(request.headers, self._token)
        action = request.path_params["action"]
        done = await run_in_threadpool(self._api.letters.act, action, await _body(request))
        return json_response(done, 202 if "task" in done else 200)

    # The page

    async def _page(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        found = PAGE.joinpath(name)
        if "/" in name or "\\" in name or name.startswith(".") or not found.is_file():
            raise Problem(404, "there is no such page")
        kind, _ = mimetypes.guess_type(name)
        return Response(found.read_bytes(), media_type=kind or "application/octet-stream")

    async def _look(self) -> Snapshot:
        return await run_in_threadpool(self.snapshots.latest)

    def _told(self, snapshot: Snapshot) -> dict[str, Any]:
        judged = health(snapshot, self._limits)
        problems = {each.view: each.reason for each in judged.views}
        return {
            "at": snapshot.at,
            "error": snapshot.error,
            "ok": judged.ok,
            "writable": bool(self._token),
            "missing": snapshot.missing,
            "views": [
                {**view, "ok": not problems[view["view"]], "problem": problems[view["view"]]} for view in snapshot.views
            ],
        }


class _Stream(StreamingResponse):
    """Server-sent events that say when they are over, also where they have never begun because nobody reads them."""

    def __init__(self, content: AsyncIterator[bytes], closed: Callable[[], None]) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._closed()


def _health_body(judged: Health) -> dict[str, Any]:
    return {
        "ok": judged.ok,
        "error": judged.error,
        "views": {each.view: {"ok": each.ok, "reason": each.reason} for each in judged.views},
    }


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.body()
    except ClientDisconnect:
        raise Problem(413, "the request's body is too large") from None
    if not body:
        return {}
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Problem(415, "send the body as application/json")
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"the body is no JSON object: {error}") from None


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _away(_request: Request, error: Exception) -> Response:
    return Problem(503, str(error)).response()


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Problem(error.status_code, error.detail).response()
