"""The whole daemon in a process of its own, ``dynaview run``, against the page server: fill, follow, rebuild, verify.

    python -m benchmarks.daemon
    python -m benchmarks.daemon --stores redis --views 10 --workers 2 --changes 200000 --size 4000

What counts is the processor time of the daemon's processes, which other work on the machine changes little; the rate by
the clock is told too. Everything goes through the command line and the control store's list of views, so any version of
dynaview can be measured: see `benchmarks.compare`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import msgspec

from benchmarks.from_dynamodb import write_orders
from benchmarks.page_server import Orders, go, served
from benchmarks.surroundings import surroundings
from benchmarks.timing import Spread
from benchmarks.verify import STORES
from benchmarks.workload import IMAGES, declaration_text
from dynaview.local.servers import REGION
from tests.support.servers import servers
from tests.support.shop import create_table

_DEADLINE = 900.0
_GLANCE = 0.02
_TICK = os.sysconf("SC_CLK_TCK")


class Trial(msgspec.Struct, frozen=True):
    """What one run took. Processor times are in microseconds an item (or change) and view; `rate` is changes a second
    of each view, by the clock; `peak` is bytes, of the largest process."""

    fill: float
    follow: float
    rate: float
    rebuild: float
    verify: float
    peak: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured."""

    orders: Orders
    stores: Sequence[str] = ("redis",)
    views: int = 1
    """In each store."""
    workers: int = 1
    after: bool = True
    """Whether the first view is rebuilt and verified too."""
    dynamodb: bool = False
    """From DynamoDB Local, not from the page server; `Orders.size` and `Orders.shards` are not its to choose."""


@dataclass
class Running:
    """A daemon and its declaration."""

    command: Sequence[str]
    environment: Mapping[str, str]
    file: Path
    control: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self, workers: int) -> None:
        """Begin; its words go to a file beside the declaration."""
        words = ["run", "-f", str(self.file), "--log-level", "warning"]
        words += ["--workers", str(workers)] if workers > 1 else []
        with self.file.with_suffix(".log").open("wb") as log:
            self.process = subprocess.Popen(
                [*self.command, *words], env=self.environment, stdout=log, stderr=subprocess.STDOUT
            )

    def ask(self, *words: str) -> float:
        """Run another command on the declaration; its processor time in seconds. Raises where it fails."""
        before = os.times()
        subprocess.run(
            [*self.command, words[0], "-f", str(self.file), *words[1:]],
            env=self.environment, stdout=subprocess.DEVNULL, check=True, timeout=_DEADLINE,
        )  # fmt: skip
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    def stop(self) -> None:
        """End it in good order."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            self.process.kill()

    def processes(self) -> list[int]:
        """Its processes: with several workers, their parent too."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def processor(self) -> float:
        """Processor seconds of all of them so far."""
        return sum(_processor(each) for each in self.processes())

    def peak(self) -> int:
        """The highest resident memory of any, in bytes."""
        return max(_peak(each) for each in self.processes())

    def until(self, condition: str, what: str) -> None:
        """Wait until every view of the control store fulfils an SQL condition."""
        end = time.monotonic() + _DEADLINE
        while not self._all(condition):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{what}: {self.file.with_suffix('.log').read_text()[-2000:]}")
            time.sleep(_GLANCE)

    def _all(self, condition: str) -> bool:
        query = f"SELECT count(*), sum({condition}) FROM dynaview_views"  # noqa: S608 - conditions of our own
        try:
            with closing(sqlite3.connect(f"file:{self.control}?mode=ro", uri=True)) as database:
                views, right = database.execute(query).fetchone()
        except sqlite3.OperationalError:  # not made yet, or busy
            return False
        return bool(views and views == right)


def _processor(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def command_of(tree: Path | None) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a tree's dynaview: a folder with the packages as ``dynaview``, or None for
    what is installed."""
    path = {} if tree is None else {"PYTHONPATH": str(tree)}
    credentials = {"AWS_ACCESS_KEY_ID": "made", "AWS_SECRET_ACCESS_KEY": "made", "AWS_DEFAULT_REGION": "eu-west-1"}
    words = [sys.executable, "-c", "from dynaview.views.cli import main; main()"]
    return words, {**os.environ, **credentials, "PYTHONHASHSEED": "0", **path}


def trial(pages: Path, setting: Setting, tree: Path | None = None) -> Trial:
    """One run, from an empty store, under names of its own."""
    if setting.dynamodb:
        with _table(setting.orders.count) as (source, change), _running(source, setting, tree) as running:
            return _measured(running, change, setting)
    with served(pages, setting.orders) as url:
        source = f'{{table: orders, region: eu-west-1, endpoint: "{url}"}}'
        with _running(source, setting, tree) as running:
            return _measured(running, lambda: go(url), setting)


@contextmanager
def _table(orders: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """A table of DynamoDB Local with so many orders and an empty stream: its source, and what changes every order."""
    endpoint, name = os.environ["DYNAMODB_ENDPOINT"], f"bench{uuid4().hex[:8]}"
    client: Any = boto3.client("dynamodb", region_name=REGION, endpoint_url=endpoint)
    create_table(client, name)
    try:
        write_orders(client, name, orders, 1)
        stream: dict[str, Any]
        for stream in {"StreamEnabled": False}, {"StreamEnabled": True, "StreamViewType": IMAGES}:
            client.update_table(TableName=name, StreamSpecification=stream)
        source = f'{{table: {name}, region: {REGION}, endpoint: "{endpoint}"}}'
        yield source, lambda: write_orders(client, name, orders, 2)
    finally:
        client.delete_table(TableName=name)


@contextmanager
def _running(source: str, setting: Setting, tree: Path | None) -> Iterator[Running]:
    command, environment = command_of(tree)
    run = f"bench{uuid4().hex[:8]}"
    with tempfile.TemporaryDirectory() as folder:
        file, control = Path(folder) / "dynaview.yaml", Path(folder) / "control.db"
        file.write_text(declaration_text(f"sqlite:///{control}", source, setting.stores, run, setting.views))
        running = Running(command, environment, file, control)
        running.start(setting.workers)
        try:
            yield running
        finally:
            running.stop()


def _measured(running: Running, change: Callable[[], None], setting: Setting) -> Trial:
    count, views = setting.orders.count, len(setting.stores) * setting.views
    running.until("state = 'following'", "the fill did not end")
    filled = running.processor()
    began = time.perf_counter()
    change()
    running.until(f"read >= {count}", "not all changes came to the views")
    seconds, followed = time.perf_counter() - began, running.processor()
    rebuilt, verified = 0.0, 0.0
    if setting.after:
        with closing(sqlite3.connect(running.control)) as database:
            ((name,),) = database.execute("SELECT name FROM dynaview_views ORDER BY name LIMIT 1").fetchall()
        before = running.processor()
        running.ask("rebuild", name, "--yes")
        rebuilt = running.processor() - before
        verified = running.ask("verify", name)
    micro = 1e6 / count
    return Trial(
        filled * micro / views, (followed - filled) * micro / views, count / seconds,
        rebuilt * micro, verified * micro, running.peak(),
    )  # fmt: skip


FIGURES: Mapping[str, Callable[[Trial], float]] = {
    "fill, µs": lambda trial: trial.fill,
    "follow, µs": lambda trial: trial.follow,
    "follow, changes/s": lambda trial: trial.rate,
    "rebuild, µs": lambda trial: trial.rebuild,
    "verify, µs": lambda trial: trial.verify,
    "peak, MB": lambda trial: trial.peak / 2**20,
}


def options_of(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES), metavar="STORE")
    parser.add_argument("--together", action="store_true", help="all stores in one daemon, not one after the other")
    parser.add_argument("--changes", type=int, default=50_000, help="orders of the table, and changes (50000)")
    parser.add_argument("--size", type=int, default=0, help="bytes of an item, 100 to 400000 (0: some 450)")
    parser.add_argument("--shards", type=int, default=1, help="shards of the stream (1)")
    parser.add_argument("--views", type=int, default=1, help="views in each store (1)")
    parser.add_argument("--workers", type=int, default=1, help="processes of the daemon (1)")
    parser.add_argument("--dynamodb", action="store_true", help="from DynamoDB Local (then no --size and --shards)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each (5)")


def settings_of(options: argparse.Namespace, after: bool = True) -> dict[str, Setting]:
    """What is to be measured, by name."""
    orders = Orders(options.changes, options.size, options.shards)
    groups = [options.stores] if options.together else [[store] for store in options.stores]
    if options.dynamodb and (options.size or options.shards > 1):
        raise SystemExit("--dynamodb: its table has one shard, and orders as they are: leave out --size and --shards")
    settings = [Setting(orders, group, options.views, options.workers, after, options.dynamodb) for group in groups]
    return {"+".join(setting.stores): setting for setting in settings}


def servers_of(options: argparse.Namespace) -> list[str]:
    """The servers that it needs."""
    return [*options.stores, *["dynamodb"] * options.dynamodb]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options_of(parser)
    parser.add_argument("--follow-only", action="store_true", help="no rebuild, no verification")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there, too")
    options = parser.parse_args()
    settings = settings_of(options, not options.follow_only)
    found: dict[str, list[Trial]] = {name: [] for name in settings}
    with servers(servers_of(options)) as urls, tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for name, setting in settings.items():
                found[name].append(trial(Path(folder), setting))
        where = surroundings(urls)
    for name, trials in found.items():
        for figure, of in FIGURES.items():
            spread = Spread.of([of(each) for each in trials])
            print(f"{name:30}{figure:20}{spread.median:>10,.1f}  ({spread.low:,.1f}..{spread.high:,.1f})")
    if options.json is not None:
        said = {"surroundings": where, "settings": settings, "trials": found}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(said)) + b"\n")


if __name__ == "__main__":
    main()
