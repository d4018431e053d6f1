"""What is done to a daemon: processes are killed and paused, stores go away."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dynaview.local.servers import AnyServer
from tests.support.proxy import Proxy, address_of

LEASE = 30.0
"""Seconds after which another worker may take over from one that is paused."""


class Store:
    """One server behind two proxies: `front` is the daemon's and breaks, `back` is the soak's own and does not."""

    def __init__(self, url: str, server: AnyServer | None) -> None:
        """`server` where the soak has started it, so that it may be stopped and started again."""
        self.front, self.back = Proxy(address_of(url)), Proxy(address_of(url))
        self.server = server
        self.front_url, self.back_url = self.front.url(url), self.back.url(url)

    def close(self) -> None:
        """End the proxies."""
        self.front.close()
        self.back.close()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """SIGSTOP the server's processes until the block ends."""
        assert self.server is not None
        assert self.server.pid is not None
        stopped: list[int] = []
        for pid in descendants(self.server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
        try:
            yield
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def killed(self) -> Iterator[None]:
        """SIGKILL the server, and start it again on the same data when the block ends."""
        assert self.server is not None
        self.server.kill()
        try:
            yield
        finally:
            self.server.start()
            self.front.upstream = self.back.upstream = address_of(self.server.url)


class Outages:
    """Takes stores away for random moments, in a thread of its own, as often as asked and one at a time."""

    def __init__(
        self,
        stores: Mapping[str, Store],
        chance: random.Random,
        count: int,
        progress: Callable[[], float],
        longest: float = 8.0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`progress` says how much of the run is over (0 to 1): one outage falls into each of `count` equal parts."""
        self.done: Counter[str] = Counter()
        """How many there were of each store and kind."""
        self.failed: BaseException | None = None
        self._stores, self._random, self._count, self._progress = stores, chance, count, progress
        self._longest, self._say = longest, say
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outages")
        self._thread.start()

    def stop(self) -> None:
        """End after the present outage; raises what went wrong with one."""
        self._stop.set()
        self._thread.join()
        if self.failed is not None:
            raise self.failed

    def _run(self) -> None:
        try:
            for index in range(self._count):
                due = (index + self._random.random()) / self._count
                while self._progress() < due:
                    if self._stop.wait(0.02):
                        return
                self._take_away()
        except BaseException as error:  # noqa: BLE001 - told by `stop`
            self.failed = error

    def _take_away(self) -> None:
        name = self._random.choice(sorted(self._stores))
        store = self._stores[name]
        seconds = self._random.uniform(0.2, self._longest)
        kinds = ["refuse", "hold", "lose answers", "cut"]
        if store.server is not None:
            kinds.append("pause")
            if name == "postgres":  # the others keep their data in memory
                kinds.append("kill")
        kind = self._random.choice(kinds)
        self._say(f"outage: {name} {kind} {seconds:.1f} s")
        if kind == "cut":
            self._cut(store.front, seconds)
        else:
            ways = {
                "refuse": store.front.refuse,
                "hold": store.front.hold,
                "lose answers": store.front.lose_answers,
                "pause": store.paused,
                "kill": store.killed,
            }
            with ways[kind]():
                self._stop.wait(seconds)
        self.done[f"{name} {kind}"] += 1

    def _cut(self, proxy: Proxy, seconds: float) -> None:
        """Reset connections somewhere within what they carry, again and again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stop.is_set():
            for direction in ("up", "down"):
                proxy.cut(direction, self._random.randrange(self._random.choice((10, 1000, 100_000))))
            while proxy.pending > 1 and time.monotonic() < end:
                time.sleep(0.01)
        proxy.heal()


class Daemon:
    """`dynaview run` in a process of its own, or one with several workers under it."""

    def __init__(self, file: Path, environment: Mapping[str, str], log: Path, workers: int, chance: random.Random):
        self.file, self.environment, self.workers = file, dict(environment), workers
        self._random = chance
        self._path, self._log = log, log.open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def code(self) -> int | None:
        """Its exit code, where it has ended although nobody killed it."""
        return None if self._process is None else self._process.poll()

    @property
    def pid(self) -> int | None:
        """Its process, None where none was started."""
        return None if self._process is None else self._process.pid

    def says(self, words: str) -> bool:
        """Whether the end of its log holds these words."""
        return words in self._path.read_text(errors="replace")[-500:]

    def start(self) -> None:
        """Start it."""
        command = [sys.executable, "-m", "dynaview.views.cli", "run", "-f", str(self.file), "--log-level", "info"]
        if self.workers > 1:
            command += ["--workers", str(self.workers)]
        self._process = subprocess.Popen(command, env=self.environment, stderr=self._log, cwd=self.file.parent)

    def kill(self) -> None:
        """SIGKILL everything, as a power cut would."""
        if self._process is not None:
            for pid in [*descendants(self._process.pid), self._process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def kill_one(self) -> bool:
        """SIGKILL one worker, which its parent starts again, or now and then everything. Whether all are dead."""
        workers = [] if self._process is None else descendants(self._process.pid)
        if not workers or self._random.random() < 0.1:
            self.kill()
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._random.choice(workers), signal.SIGKILL)
        return False

    def pause(self, seconds: float, stop: threading.Event) -> None:
        """SIGSTOP one process that works, and let it go on later."""
        process = self._process
        if process is None:
            return
        pid = self._random.choice(descendants(process.pid) or [process.pid])
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            stop.wait(seconds)
            os.kill(pid, signal.SIGCONT)

    def terminate(self) -> int:
        """SIGTERM it; its exit code."""
        if self._process is None:
            raise RuntimeError("no daemon runs")
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=120)
        self._process = None
        return code

    def close(self) -> None:
        """End whatever runs."""
        self.kill()
        self._log.close()


class Pauses:
    """Pauses a daemon at random moments, in a thread of its own."""

    def __init__(self, daemon: Daemon, chance: random.Random, count: int, progress: Callable[[], float]) -> None:
        self.done = 0
        self._daemon, self._random, self._count, self._progress = daemon, chance, count, progress
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pauses")
        self._thread.start()

    def stop(self) -> None:
        """End; what is paused goes on."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for index in range(self._count):
            due = (index + self._random.random()) / self._count
            while self._progress() < due:
                if self._stop.wait(0.02):
                    return
            long = self._daemon.workers > 1 and self._random.random() < 0.2  # so long that others take over
            self._daemon.pause(
                self._random.uniform(LEASE, LEASE * 1.5) if long else self._random.uniform(0.2, 5), self._stop
            )
            self.done += 1


def descendants(pid: int) -> list[int]:
    """The processes under one, those under them included (Linux)."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found
