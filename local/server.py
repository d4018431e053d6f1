"""One local server: started behind a guard, awaited, stopped."""

from __future__ import annotations

import abc
import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from dynaview.local import guard, private
from dynaview.local.errors import LocalServerError


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server(abc.ABC):
    """A real server on this machine, on the loopback interface only. Use it as a context manager.

    `directory` holds its files and its log; it is made when missing, and closed to other users. Nothing of the server
    outlives the process that started it, however that one ends (see `dynaview.local.guard`).
    """

    name: ClassVar[str]
    """How it is called in ``--only``: redis, postgres, opensearch or dynamodb."""
    title: ClassVar[str]
    """What it is, for people."""
    deadline: ClassVar[float] = 60.0
    """Seconds within which it answers, also on a busy machine."""
    attempts: ClassVar[int] = 3
    """A free port may be taken by another process before the server binds it; then another one is tried."""
    remedy: ClassVar[str]
    """What a user can do when it does not start."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.log = self.directory / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where it answers; valid after `start`."""

    @abc.abstractmethod
    def _launch(self) -> subprocess.Popen[bytes]:
        """Choose ports and start the process through `_guarded`."""

    @abc.abstractmethod
    def _answers(self) -> bool:
        """Whether the server does its work. Errors of a connection count as no."""

    def start(self) -> Self:
        """Start and wait until it answers. Raises `LocalServerError`; nothing is left running then."""
        self.launch()
        return self.ready()

    def launch(self) -> None:
        """Start the process without waiting for it; `ready` has to follow. Raises `LocalServerError`."""
        if self._process is not None:
            raise LocalServerError(f"{self.title} has been started already")
        private.folder(self.directory)
        try:
            self._process = self._launch()
        except OSError as error:
            what = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
            raise self.failure(f"could not be started ({what})") from error

    def ready(self) -> Self:
        """Wait until it answers, starting again where a port was taken meanwhile. Raises `LocalServerError`."""
        try:
            for attempt in range(1, self.attempts + 1):
                code = self._wait()
                if code is None:
                    return self
                if attempt == self.attempts:
                    raise self.failure(f"ended with exit code {code}")
                self.stop()
                self.launch()
        except BaseException:
            self.stop()
            raise
        raise AssertionError("unreachable")

    def end(self) -> None:
        """Ask it to end, without waiting for it."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()  # the guard ends the server, and itself with it

    def stop(self) -> None:
        """End it, politely first; returns when it is gone. Does nothing when it is not running."""
        self.end()
        process, self._process = self._process, None
        if process is not None:
            process.wait()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL); returns when it is gone. `launch` starts it again."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(guard.KILL)
                self._process.stdin.flush()
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The process id of its guard, None when not started."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _guarded(self, job: str, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        with private.opened(self.log, "a") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, job],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # Ctrl-C in a terminal is the owner's to act on
            )

    def _wait(self) -> int | None:
        """Wait until it answers (None) or has ended (its exit code). Raises `LocalServerError` at the deadline."""
        assert self._process is not None
        until = time.monotonic() + self.deadline
        while time.monotonic() < until:
            code = self._process.poll()
            if code is not None:
                return code
            with contextlib.suppress(OSError):
                if self._answers():
                    return None
            time.sleep(0.05)
        raise self.failure(f"did not answer within {self.deadline:.0f} seconds")

    def failure(self, what: str) -> LocalServerError:
        """An error that says what happened, where the log is and how it ends, and what to do."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-8:]
        except OSError:
            lines = []
        said = "".join(f"\n    {line}" for line in lines)
        return LocalServerError(
            f"{self.title} {what}. {self.remedy}\n  Its log is {self.log}{', which ends:' if said else '.'}{said}"
        )


def token() -> str:
    """A short name that no other server on this machine has."""
    return secrets.token_hex(4)
