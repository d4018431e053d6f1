"""A command at a terminal: what it shows there, and how it ends when somebody presses Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. `status` is as a shell tells it: 130 also where SIGINT itself ended the process."""

    status: int
    shown: str
    """All that the terminal was sent."""


class Terminal:
    """A running command, with a terminal of its own to which its process group listens."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path, columns: int = 100
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self._shown = b""
        self.process = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    @property
    def shown(self) -> str:
        """What it was sent until now."""
        return self._shown.decode(errors="replace")

    def watch(self, seconds: float, until: str | None = None) -> bool:
        """Read for so long, or until a text is shown; whether the process still runs."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and (until is None or until not in self.shown):
            if not self._read(min(left, 0.05)):
                return False
        return self.process.poll() is None

    def press(self, key: bytes) -> None:
        """Type it."""
        os.write(self._master, key)

    def ended(self, seconds: float = 30.0) -> Ended:
        """Read until the process has ended by itself."""
        end = time.monotonic() + seconds
        while self._read(0.05) and time.monotonic() < end:
            pass
        try:
            code = self.process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.process.args!r} goes on; it has shown {self.shown!r}") from None
        return Ended(128 - code if code < 0 else code, self.shown)

    def close(self) -> None:
        """End the process with all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bool:
        """Whether there may be more."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return True
        try:
            read = os.read(self._master, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            return False
        self._shown += read
        return bool(read)


@contextlib.contextmanager
def terminal(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, columns: int = 100
) -> Iterator[Terminal]:
    """A command at a terminal; it does not outlive the block."""
    running = Terminal(command, environment, folder, columns)
    try:
        yield running
    finally:
        running.close()


def interrupted(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, after: float, until: str | None = None
) -> Ended | None:
    """How it ends when Ctrl-C is pressed after so many seconds, or as soon as a text is shown; None where it has ended
    before."""
    with terminal(command, environment, folder) as running:
        if not running.watch(after, until):
            return None
        running.press(b"\x03")
        return running.ended()


def wrong(ended: Ended, status: int = 130) -> str:
    """What of the end of an interrupted command a user would mind; empty where nothing is."""
    if ended.status != status:
        return f"exit code {ended.status}"
    for text in ("Traceback", "Exception ignored", "KeyboardInterrupt"):
        if text in ended.shown:
            return f"it shows {text}"
    if ended.shown.rfind("\x1b[?25l") > ended.shown.rfind("\x1b[?25h"):
        return "the cursor is hidden"
    if "\x1b[?1049h" in ended.shown and ended.shown.rfind("\x1b[?1049h") > ended.shown.rfind("\x1b[?1049l"):
        return "the screen is not given back"
    last = ended.shown.replace("\r\n", "\n").rpartition("\n")[2].rpartition("\r")[2].replace("\x1b[K", "")
    if last.strip() not in ("", "^C"):
        return f"half a line is left: {last!r}"
    return ""
