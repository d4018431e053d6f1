"""The server: one socket, one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn

from dynaview.projections.declaration import Declaration
from dynaview.views.control.store import ControlStore
from dynaview.views.http.actions import Actions
from dynaview.views.http.address import is_loopback
from dynaview.views.http.app import Api, Application
from dynaview.views.http.health import Limits
from dynaview.views.http.letters import Letters
from dynaview.views.http.snapshot import Snapshots
from dynaview.views.http.tasks import TaskRunner
from dynaview.views.http.trials import Trials


class Server:
    """Serves what a control store says of the declared views, until `stop`. It may be there before its control store:
    until `open` it says why that is waited for."""

    def __init__(self, application: Application, listening: socket.socket) -> None:
        self._application = application
        self._socket = listening
        config = uvicorn.Config(
            application.asgi,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
            limit_concurrency=1000,
        )
        self._server = uvicorn.Server(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready = threading.Event()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        found: int = self._socket.getsockname()[1]
        return found

    def run(self) -> None:
        """Serve; returns after `stop`. For a thread of its own."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._server.serve(sockets=[self._socket])

    def wait_for_control(self, error: Exception) -> None:
        """Say why the control store is not there yet."""
        self._application.snapshots.wait_for_control(str(error))

    def open(self, declaration: Declaration, control: ControlStore) -> None:
        """Tell what this control store says from now on."""
        self._application.snapshots.open(control)
        self._application.open(api(declaration, control))

    def stop(self) -> None:
        """End: open event streams, requests that wait and tasks end, other requests are finished."""
        self._application.stop()
        self._ready.wait(5)
        if (loop := self._loop) is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._application.end()
        self._server.should_exit = True


def api(declaration: Declaration, control: ControlStore) -> Api:
    """What stands behind the API of a control store."""
    tasks = TaskRunner(control.tasks)
    actions = Actions(declaration, control, tasks)
    trials = Trials(declaration, control)
    return Api(actions, Letters(declaration, control, tasks), trials, control.tasks)


def serve(declaration: Declaration, listening: socket.socket, limits: Limits, token: str | None) -> Server:
    """A server for the declared views that waits for its control store. `token` is needed for what changes anything."""
    snapshots = Snapshots(None, sorted(declaration.views))
    local_only = is_loopback(str(listening.getsockname()[0]))
    return Server(Application(snapshots, None, limits, token, local_only), listening)
