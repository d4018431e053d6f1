"""A long run on real servers: random changes while daemons die, sleep and lose their stores, then a count of losses.

    python -m tests.soak.soak --changes 100000 --items 5000 --kills 50 --outages 10 --pauses 5

The daemon reaches every store through a proxy that refuses, holds, loses answers or resets at random bytes; servers
that the run has started are paused as well (SIGSTOP), and Postgres is killed and started again. After every kill each
view's checkpoints are held against its store: nothing behind a checkpoint may be missing there, and exactly the changes
behind checkpoints may be counted. At the end every view has to equal the projection of the table, row by row.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import psycopg

from dynaview.local import servers as local
from dynaview.projections.declaration import Declaration
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Target
from dynaview.sources.table import DynamoTable, open_table
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from tests.soak.faults import Daemon, Outages, Pauses, Store
from tests.soak.stream_oracle import StreamOracle, patiently
from tests.support.pgbouncer import pgbouncer
from tests.support.shop import DECLARATION, TTL_SHARE, create_table, write_changes

WRITERS = 3
DEADLINE = 600.0
"""Seconds a view may take to catch up at the end."""
LIFE = 20.0
"""The longest life of a daemon between two kills, in seconds."""
ALIVE = 30.0
"""Seconds that a daemon has to show progress before it is killed all the same."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does. `pace` is how many seconds a daemon lives on average between two kills; `ttl_share` how many of
    the items have expired when they are written; `control` is sqlite or postgres."""

    changes: int
    items: int
    kills: int = 0
    outages: int = 0
    pauses: int = 0
    workers: int = 1
    control: str = "sqlite"
    seed: int = 0
    sample: int = 200
    pace: float = 1.5
    longest: float = 8.0
    """The longest outage, in seconds."""
    ttl_share: float = TTL_SHARE


@dataclass
class Report:
    """What a run found; `faults` is empty where nothing was lost, stale or counted in a wrong way."""

    changes: int = 0
    slips: int = 0
    """Deletes of which DynamoDB Local forgot the old image."""
    kills: int = 0
    pauses: int = 0
    revivals: int = 0
    """Times that a daemon had ended because its control store was away when it started."""
    outages: Counter[str] = field(default_factory=Counter)
    resets: int = 0
    checkpoint_checks: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Soak:
    """One run: a table, a declaration of views of every kind, and a daemon that is killed, paused and cut off."""

    def __init__(
        self,
        environment: Mapping[str, str],
        folder: Path,
        plan: Plan,
        started: Mapping[str, local.AnyServer] | None = None,
    ) -> None:
        """`environment` names the servers: REDIS_URL, OPENSEARCH_URL, DATABASE_URL, DYNAMODB_ENDPOINT. `started` are
        those that the run may pause and kill, by name."""
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.prefix = f"soak{uuid.uuid4().hex[:8]}"
        self.table_name = f"{self.prefix}_shop"
        self.stores = {
            name: Store(environment[variable], (started or {}).get(name)) for name, variable in local.VARIABLES.items()
        }
        self.report = Report()
        self._open = contextlib.ExitStack()
        for store in self.stores.values():
            self._open.callback(store.close)
        try:
            self._set_up(folder)
        except BaseException:
            self._open.close()
            raise

    def _set_up(self, folder: Path) -> None:
        file = folder / "dynaview.yaml"
        file.write_text(DECLARATION.replace("${PREFIX}", self.prefix))
        shared = {**os.environ, **local.CREDENTIALS, "SHOP_TABLE": self.table_name}
        os.environ.update(local.CREDENTIALS)
        sides: list[dict[str, str]] = []
        for side in ("back_url", "front_url"):
            urls = {local.VARIABLES[name]: getattr(store, side) for name, store in self.stores.items()}
            sides.append({**shared, **urls, "CONTROL_URL": f"sqlite:///{folder / 'control.db'}"})
            if self.plan.control == "postgres":
                sides[-1]["CONTROL_URL"] = (
                    urlsplit(urls["DATABASE_URL"])._replace(path=f"/{self.prefix}_control").geturl()
                )
        if self.plan.control == "postgres":
            self._database(f"CREATE DATABASE {self.prefix}_control")
            self._open.callback(self._database, f"DROP DATABASE {self.prefix}_control WITH (FORCE)")
        self.declaration: Declaration = load([file], sides[0])
        self.client: Any = boto3.client(
            "dynamodb", endpoint_url=sides[0]["DYNAMODB_ENDPOINT"], region_name=local.REGION
        )
        self.table: DynamoTable = open_table(self.declaration.sources["shop"])
        self._sinks = {name: connect(sink) for name, sink in self.declaration.sinks.items()}
        for sink in self._sinks.values():
            self._open.callback(sink.close)
        create_table(self.client, self.table_name)
        self._open.callback(self.client.delete_table, TableName=self.table_name)
        for view in self.declaration.views:
            self._open.callback(self._drop, view)
        self.control = ControlStore(self.declaration.control)
        self._open.callback(self.control.close)
        self.daemon = Daemon(file, sides[1], folder / "daemon.log", self.plan.workers, self.random)
        self._open.callback(self.daemon.close)
        self.oracle = StreamOracle(self.declaration, self.table, self.target, self.control, self.random)

    def _database(self, statement: str) -> None:
        with psycopg.connect(self.stores["postgres"].back_url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def _drop(self, view: str) -> None:
        self.target(view).drop()

    def target(self, view: str) -> Target:
        """The generation of a view that readers see, opened from here."""
        declared = self.declaration.views[view]
        return self._sinks[declared.sink].open(declared.layout, 1)

    def close(self) -> None:
        """End the daemon and remove what the run made in the stores."""
        self._open.close()

    @property
    def read(self) -> int:
        """How many changes the views have counted, together."""
        return sum(record.counts.read for record in patiently(self.control.views))

    def lives(self) -> bool:
        """Whether the daemon runs. One that found its control store away when it started is started again, as whoever
        supervises it would; any other end is a fault."""
        code = self.daemon.code
        if code is None:
            return True
        if code == 1 and self.plan.control == "postgres" and self.daemon.says("the control store"):
            self.report.revivals += 1
            time.sleep(0.5)
            self.daemon.start()
            return True
        fault = f"the daemon ended by itself with exit code {code}"
        if fault not in self.report.faults:
            self.report.faults.append(fault)
        return False

    def wait_until_caught_up(self) -> bool:
        """Wait until every view's watermark has passed this moment."""
        now, deadline = time.time(), time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            views = self.control.views()
            if len(views) == len(self.declaration.views) and all(
                view.filled and view.watermark is not None and view.watermark > now for view in views
            ):
                return True
            if not self.lives():
                return False
            time.sleep(0.1)
        self.report.faults.append(
            "the views did not catch up in time: "
            + "; ".join(
                f"{view.name} {view.state} {view.reason} watermark {view.watermark} filled {view.filled}"
                for view in self.control.views()
            )
        )
        return False


class Writers:
    """Threads that change items, no further than they may: kills fall among writes, not after them."""

    def __init__(self, soak: Soak) -> None:
        plan = soak.plan
        self.total = plan.changes * 9 // 10 // WRITERS * WRITERS
        self.allowed = 0.0
        """How many changes may have been written by now."""
        self._done = [0] * WRITERS
        self._threads = [
            threading.Thread(
                target=write_changes,
                args=(soak.client, soak.table_name, self.total // WRITERS, plan.items, plan.seed + 1 + index),
                kwargs={"progress": partial(self._wrote, index), "ttl_share": plan.ttl_share},
            )
            for index in range(WRITERS)
        ]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.allowed = float("inf")
        for thread in self._threads:
            thread.join()

    @property
    def done(self) -> int:
        """How many changes were written."""
        return sum(self._done)

    def _wrote(self, writer: int, count: int) -> None:
        self._done[writer] = count
        while self.done > self.allowed:
            time.sleep(0.01)


def run(
    environment: Mapping[str, str],
    folder: Path,
    plan: Plan,
    started: Mapping[str, local.AnyServer] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """One whole run. See `Soak` for `environment` and `started`."""
    began = time.monotonic()
    soak = Soak(environment, folder, plan, started)
    report, oracle = soak.report, soak.oracle
    try:
        # Rows from before the start.
        write_changes(
            soak.client,
            soak.table_name,
            min(plan.changes // 10, plan.items),
            plan.items,
            plan.seed,
            ttl_share=plan.ttl_share,
        )
        with Writers(soak) as writers, _with_faults(soak, writers, say):
            soak.daemon.start()
            _kill(soak, writers, say)
            writers.allowed = float("inf")
            while writers.done < writers.total and soak.lives():
                time.sleep(0.1)
        if soak.wait_until_caught_up():
            if plan.ttl_share:
                _wait_for_ttl(soak.client, soak.table_name)
            if soak.wait_until_caught_up():
                code = soak.daemon.terminate()
                if code != 0:
                    report.faults.append(f"SIGTERM ended the daemon with exit code {code}")
                oracle.look(10**9, still=True)
                oracle.conclude()
    finally:
        report.faults += oracle.faults
        report.changes, report.slips = oracle.records, len(oracle.slips)
        report.checkpoint_checks, report.rows = oracle.checked, oracle.rows
        report.resets = sum(store.front.resets for store in soak.stores.values())
        soak.close()
    report.seconds = time.monotonic() - began
    return report


@contextlib.contextmanager
def _with_faults(soak: Soak, writers: Writers, say: Callable[[str], None]) -> Iterator[None]:
    """Outages and pauses until the block ends."""

    def progress() -> float:
        return writers.done / max(1, writers.total)

    plan, seed = soak.plan, soak.plan.seed
    outages = Outages(soak.stores, random.Random(seed + 101), plan.outages, progress, plan.longest, say)
    pauses = Pauses(soak.daemon, random.Random(seed + 102), plan.pauses, progress)
    try:
        yield
    finally:
        pauses.stop()
        outages.stop()
        soak.report.outages, soak.report.pauses = outages.done, pauses.done


def _kill(soak: Soak, writers: Writers, say: Callable[[str], None]) -> None:
    """Kill the daemon at random moments, each in one of equal parts of what is written."""
    plan, report, chance = soak.plan, soak.report, soak.random
    began = time.monotonic()
    for kill in range(plan.kills):
        writers.allowed = writers.total * (kill + 1) / plan.kills
        until = writers.total * (kill + chance.random()) / plan.kills
        lives = min(LIFE, chance.expovariate(1 / plan.pace))
        # Most daemons have shown that they work before they die, however slow the machine is.
        before, shown, born = soak.read, chance.random() < 0.25, time.monotonic()
        while time.monotonic() < born + ALIVE and soak.lives():
            shown = shown or soak.read > before
            if shown and writers.done >= until and time.monotonic() > born + lives:
                break
            time.sleep(0.02)
        if not soak.lives():
            return
        dead = soak.daemon.kill_one()
        report.kills += 1
        soak.oracle.look(plan.sample, still=dead)
        if report.kills % max(1, plan.kills // 100) == 0:
            behind = soak.oracle.records * len(soak.declaration.views) - soak.read
            say(
                f"{time.monotonic() - began:6.0f} s: kill {report.kills}, {writers.done:,} changes written, "
                f"{behind:,} behind, {len(soak.oracle.faults)} faults"
            )
        if dead:
            soak.daemon.start()


def _wait_for_ttl(client: Any, table: str) -> None:
    """Give DynamoDB some time to delete what has expired (it looks every now and then, and misses some)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        left = client.scan(
            TableName=table,
            FilterExpression="#t < :now",
            ExpressionAttributeNames={"#t": "ttl"},
            ExpressionAttributeValues={":now": {"N": str(int(time.time()))}},
            Select="COUNT",
        )["Count"]
        if left == 0:
            break
        time.sleep(1)
    client.update_time_to_live(TableName=table, TimeToLiveSpecification={"Enabled": False, "AttributeName": "ttl"})
    time.sleep(2)  # for a round of deletes that has begun


@contextlib.contextmanager
def _servers() -> Iterator[tuple[Mapping[str, str], Mapping[str, local.AnyServer]]]:
    """The servers that the environment names, which are only cut off, or own ones, which are paused and killed too."""
    given = {name: os.environ[name] for name in local.VARIABLES.values() if name in os.environ}
    if len(given) == len(local.VARIABLES):
        yield given, {}
        return
    with tempfile.TemporaryDirectory() as folder, local.started(local.NAMES, Path(folder)) as started:
        yield {local.VARIABLES[name]: server.url for name, server in started.items()}, started


@contextlib.contextmanager
def _pooler(wanted: bool, environment: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """The servers, Postgres through a pooler where that is wanted."""
    if not wanted:
        yield environment
        return
    with pgbouncer(environment["DATABASE_URL"]) as url:
        yield {**environment, "DATABASE_URL": url}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=100_000, help="puts and deletes (100000)")
    parser.add_argument("--items", type=int, default=5_000, help="different items (5000)")
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of a daemon or worker (50)")
    parser.add_argument("--outages", type=int, default=10, help="times that a store goes away (10)")
    parser.add_argument("--pauses", type=int, default=5, help="SIGSTOPs of a daemon or worker (5)")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the work (1)")
    parser.add_argument("--control", choices=("sqlite", "postgres"), default="sqlite", help="control store (sqlite)")
    parser.add_argument("--pace", type=float, default=1.5, help="seconds a daemon lives on average (1.5)")
    parser.add_argument("--pooler", action="store_true", help="Postgres behind a PgBouncer in transaction mode")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = vars(parser.parse_args())
    pooled = asked.pop("pooler")
    plan = Plan(**asked)

    def say(line: str) -> None:
        print(line, flush=True)

    say(f"seed {plan.seed}")
    with (
        _servers() as (environment, started),
        _pooler(pooled, environment) as environment,
        tempfile.TemporaryDirectory() as folder,
    ):
        report = run(environment, Path(folder), plan, started, say)
        if report.faults:
            print(Path(folder, "daemon.log").read_text()[-5000:], file=sys.stderr)
    say(
        f"{report.changes:,} stream records, {report.kills} kills, {report.pauses} pauses, {report.revivals} revivals, "
        f"{report.outages.total()} outages with {report.resets:,} connections reset, "
        f"{report.checkpoint_checks:,} rows held against checkpoints, {report.slips} deletes without their old image, "
        f"{report.seconds:.0f} s"
    )
    for kind, count in sorted(report.outages.items()):
        say(f"  outages: {kind}: {count}")
    for view, rows in report.rows.items():
        say(f"  {view}: {rows:,} rows equal the table")
    for fault in report.faults:
        say(f"FAULT {fault}")
    say("zero lost, zero stale" if not report.faults else f"{len(report.faults)} FAULTS")
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
