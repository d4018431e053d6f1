"""The process that holds the servers of one directory: in the foreground, or detached from the terminal.

Run as ``python -m dynaview.local.supervisor DIRECTORY NAME…`` for the detached form, which is what `detach` does.
SIGTERM and Ctrl-C end it and all its servers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from dynaview.local import private
from dynaview.local.errors import LocalServerError
from dynaview.local.servers import AnyServer, prepare, started
from dynaview.local.state import Run, Running, State

_STOPPED_WITHIN = 40.0
"""Seconds; the slowest server is given 15 before it is killed."""


class AlreadyRunning(LocalServerError):
    """The directory has servers already."""


def serve(directory: Path, names: Sequence[str], console: Console, ready: Callable[[Run], None]) -> None:
    """Start the servers, say so in the state file, call `ready`, and hold them until SIGTERM or Ctrl-C.

    Returns when all have ended. Raises `LocalServerError`, `AlreadyRunning` among them. Call from the main thread.
    """
    state = State(directory)
    lock = state.acquire()
    if lock is None:
        raise AlreadyRunning(f"local servers run already in {directory}")
    # A shell's background job would ignore Ctrl-C's signal; here it ends it, whoever sends it.
    previous = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with lock, started(names, private.folder(state.data), console) as servers:
            run = _run(servers, time.time())
            state.write(run)
            ready(run)
            while True:
                time.sleep(1.0)
                if (now := _run(servers, run.since)) != run:
                    state.write(run := now)
    except KeyboardInterrupt:
        return
    finally:
        state.clear()
        for number, handler in previous.items():
            signal.signal(number, handler)


def detach(directory: Path, names: Sequence[str], console: Console) -> Run:
    """Start a process that serves in the background, and return when its servers answer. Raises `LocalServerError`."""
    state = State(directory)
    prepare(names, console)  # here, where somebody looks on
    log = private.folder(state.data) / "supervisor.log"
    with private.opened(log, "w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(directory), *names],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            run = state.read()
            if run is not None and run.pid == process.pid:
                return run
            time.sleep(0.05)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    said = log.read_text().strip()
    raise LocalServerError(said or f"the local servers ended with exit code {process.returncode}; see {state.data}")


def stop(directory: Path) -> bool:
    """End what runs in the directory; False where nothing does. Returns when all of it is gone.

    Raises `LocalServerError` where it belongs to another user, or does not end.
    """
    state = State(directory)
    if not state.held():
        state.clear()
        return False
    until = time.monotonic() + _STOPPED_WITHIN
    run = state.read()
    while run is None and state.held() and time.monotonic() < until:  # it is still starting
        time.sleep(0.1)
        run = state.read()
    if run is None:
        if not state.held():
            return False
        raise LocalServerError(f"local servers are starting in {directory} and do not get ready; see {state.data}")
    try:
        os.kill(run.pid, signal.SIGTERM)
        if not _gone(lambda: not state.held(), until):
            os.kill(run.pid, signal.SIGKILL)  # its guards notice, and end the servers
            if not _gone(lambda: not any(_exists(server.pid) for server in run.servers), until + _STOPPED_WITHIN):
                raise LocalServerError(f"the local servers in {directory} do not end; see {state.data}")
    except ProcessLookupError:
        pass  # it ended by itself a moment ago
    except PermissionError as error:
        raise LocalServerError(f"the local servers in {directory} belong to another user") from error
    state.clear()
    return True


def delete(directory: Path) -> None:
    """Remove the data of servers that do not run. Raises `LocalServerError` where they do."""
    state = State(directory)
    if not directory.is_dir():
        return
    lock = state.acquire()
    if lock is None:
        raise AlreadyRunning(f"local servers run in {directory}: dynaview local down")
    with lock:
        shutil.rmtree(state.data, ignore_errors=True)
        state.clear()
        state.remove_files()


def _run(servers: dict[str, AnyServer], since: float) -> Run:
    found = (
        Running(server.name, server.title, server.url, str(server.log), server.pid or 0, server.running)
        for server in servers.values()
    )
    return Run(os.getpid(), since, tuple(found))


def _gone(condition: Callable[[], bool], until: float) -> bool:
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Serve the directory and the names given as arguments, until SIGTERM."""
    directory, *names = sys.argv[1:]
    try:
        serve(Path(directory), names, Console(file=sys.stderr), lambda _run: None)
    except LocalServerError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
