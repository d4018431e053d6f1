"""Several workers on one machine under one parent, which starts again whoever dies and ends them all.

The parent does nothing else and imports nothing of dynaview, so it needs little memory and hardly anything to fail.
Workers are in sessions of their own (Ctrl-C reaches the parent alone) and hold the reading end of a pipe whose other
end only the parent has: when the parent dies, however it dies, they read its end and stop in good order.

    python -m dynaview.views.workers.supervisor 3 -- run -f dynaview.yaml

Numbers before the dashes are open files that the workers get too.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

REFUSED, GAP = 2, 3
"""Exit codes of a worker that every other one would end with too: a refused declaration, a gap with --fail-on-gap."""

SETTLED = 10.0
"""Seconds after which a worker counts as one that works. Where none ever has, an error at the start ends them all."""

FIRST, LONGEST = 0.2, 30.0
"""Seconds until a worker that died is started again: they double while it dies early."""


@dataclass
class _Place:
    """One of the workers, and those that come after it."""

    number: int
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    wait: float = FIRST
    told: bool = False
    """Whether it was asked to end: asked twice, it would end at once."""


class ProcessSupervisor:
    """`run` starts `count` processes of a command and returns when all have ended."""

    def __init__(
        self,
        count: int,
        command: Sequence[str],
        kept: Sequence[int] = (),
    ) -> None:
        """`command` gets the number of the pipe's file as ``--lifeline``, and the open files `kept`."""
        self._command = list(command)
        self._kept = tuple(kept)
        self._places = [_Place(number + 1) for number in range(count)]
        self._ending: int | None = None
        """The exit code, once everything is to end."""
        self._signals = 0
        self._settled = False

    def run(self) -> int:
        """The exit code: 0 after SIGTERM or SIGINT, or what a worker ended with that no start could heal."""
        lifeline, self._held = os.pipe()
        woken, wake = os.pipe()
        for end in (woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        # They were held back while this process began; workers must not inherit that.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        while True:
            self._look()
            if self._ending is None:
                self._start(lifeline)
            elif all(place.process is None for place in self._places):
                return self._ending
            select.select([woken], [], [], self._pause())
            while select.select([woken], [], [], 0)[0]:
                os.read(woken, 512)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._end(0)
        if self._signals > 1:
            self._kill()

    def _end(self, code: int) -> None:
        if self._ending is None:
            self._ending = code
        self._tell()

    def _tell(self) -> None:
        for place in self._places:
            if place.process is not None and not place.told:
                place.told = True
                place.process.terminate()

    def _kill(self) -> None:
        for place in self._places:
            if place.process is not None:
                place.process.kill()

    def _start(self, lifeline: int) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.process is None and now >= place.due and self._ending is None:
                place.started, place.told = now, False
                place.process = subprocess.Popen(
                    [*self._command, "--lifeline", str(lifeline)],
                    pass_fds=(lifeline, *self._kept),
                    start_new_session=True,
                )
        if self._ending is not None:  # a signal came between two starts
            self._tell()

    def _pause(self) -> float | None:
        dead = [place.due for place in self._places if place.process is None]
        return max(0.0, min(dead) - time.monotonic()) if dead and self._ending is None else None

    def _look(self) -> None:
        for place in self._places:
            if place.process is not None and (code := place.process.poll()) is not None:
                pid, place.process = place.process.pid, None
                self._ended(place, pid, code)

    def _ended(self, place: _Place, pid: int, code: int) -> None:
        lived = time.monotonic() - place.started
        self._settled = self._settled or lived >= SETTLED
        if self._ending is not None:
            if self._ending == 0 and code not in (0, -signal.SIGTERM, -signal.SIGKILL):
                self._ending = abs(code)
            return
        if code in (REFUSED, GAP) or (code == 1 and not self._settled):
            _say(f"worker {place.number} (process {pid}) ended with exit code {code}; all end")
            self._end(code)
            return
        place.wait = FIRST if lived >= SETTLED else min(LONGEST, 2 * place.wait)
        place.due = time.monotonic() + place.wait
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        _say(f"worker {place.number} (process {pid}) {how}; it is started again in {place.wait:g} s")


def _say(text: str) -> None:
    """A line of the log, in the form of the workers' own: they were told which."""
    now = time.time()
    at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
    if "--log-format json" in " ".join(sys.argv):
        line = f'{{"time":"{at}","level":"warning","logger":"supervisor","message":"{text}"}}'
    else:
        line = f"{at} WARNING [{os.getpid()}] {text}"
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """See the module."""
    count, *rest = sys.argv[1:]
    split = rest.index("--")
    kept, arguments = [int(number) for number in rest[:split]], rest[split + 1 :]
    command = [sys.executable, "-P", "-m", "dynaview.views.cli", *arguments]
    sys.exit(ProcessSupervisor(int(count), command, kept).run())


if __name__ == "__main__":
    main()
