"""A guard: the small process between dynaview and one server, so that no server ever outlives its owner.

Run as a script with one argument, the JSON of a `Job`. The owner holds the other end of the guard's standard input;
when that ends, for whatever reason (a clean stop, Ctrl-C, SIGKILL of the owner), the guard ends the server: first
with the server's own polite signal, after ``grace`` seconds with SIGKILL. It exits with the server's exit code.

A pipe is used rather than Linux' parent death signal because that one follows threads, not processes, and does not
exist on macOS. Where it exists it still covers the guard itself being killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

KILL = b"K"
"""What the owner writes to have the server end as a crash would."""

_PR_SET_PDEATHSIG = 1


def job(
    argv: Sequence[str],
    *,
    term_signal: signal.Signals = signal.SIGTERM,
    grace: float = 10.0,
    user: tuple[int, int] | None = None,
    directory: str | None = None,
    remove: Sequence[str] = (),
) -> str:
    """The argument of a guard: run ``argv``, end it with `term_signal`, give it `grace` seconds, then kill it.

    `user` is the user and group id to run as (only root can ask for it); `directory` is where it starts, the guard's
    own where it is not given. It is entered before the user changes, so it may lie where only root can go. `remove`
    names directories to remove after the server's end.
    """
    return json.dumps(
        {
            "argv": list(argv),
            "term_signal": int(term_signal),
            "grace": grace,
            "user": user and list(user),
            "directory": directory,
            "remove": list(remove),
        }
    )


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _guard(settings: Mapping[str, Any]) -> int:
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    asked_to_end: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: asked_to_end.append(number))
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    user, group = settings["user"] or (None, None)
    os.umask(0o077)  # what a server writes is its user's alone
    child = subprocess.Popen(
        settings["argv"],
        stdin=subprocess.DEVNULL,
        cwd=settings["directory"],
        user=user,
        group=group,
        extra_groups=None if user is None else [],
        start_new_session=True,
        preexec_fn=_die_with_parent,  # called after the change of user, which would clear it
    )
    deadline: float | None = None
    watched = [0, wake_read]
    while child.poll() is None:
        timeout = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        ready, _, _ = select.select(watched, [], [], timeout)
        if wake_read in ready:
            os.read(wake_read, 4096)
        if 0 in ready:
            order = os.read(0, 4096)
            if KILL in order:
                _signal_group(child.pid, signal.SIGKILL)
            elif not order:
                watched = [wake_read]
                asked_to_end.append(0)
        if asked_to_end and deadline is None:
            deadline = time.monotonic() + settings["grace"]
            _signal_group(child.pid, settings["term_signal"])
        elif deadline is not None and time.monotonic() >= deadline:
            _signal_group(child.pid, signal.SIGKILL)
            child.wait()
    _signal_group(child.pid, signal.SIGKILL)  # whatever it left in its group
    for path in settings["remove"]:
        shutil.rmtree(path, ignore_errors=True)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def main() -> NoReturn:
    """Guard the job named by the first argument; ends with the server's exit code (128 + n for signal n)."""
    sys.exit(_guard(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
