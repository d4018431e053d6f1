"""Rebuilds on real servers while everything is done to them, and readers who look on all the time.

    python -m benchmarks.siege --minutes 10 --items 300 --redis hash

A table has a view in each of Redis, Postgres and OpenSearch. Items are put, updated, hidden from the views, moved to
another row key and deleted without a break, while views are rebuilt and rolled back. Every process that works on that
is killed: first once in each phase, held there by a trigger in the control store, also between the swap and the record
of it; then at random moments, with outages of the stores, requests made twice and cancels among them. No reader may see
a row go back, vanish or come back, and at the end every generation that is written equals the table.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3

from benchmarks.onlookers import CODES, HIDDEN, Documents, Hits, Keys, Onlookers, Rows, Truth, Window
from benchmarks.servers import servers
from benchmarks.torments import Daemon, Outages, Store
from dynaview.local import servers as local
from dynaview.sinks.connect import connect
from dynaview.sinks.port import SinkError
from dynaview.sources.table import DynamoTable, open_table
from dynaview.views.control.store import ControlStore
from dynaview.views.declared.declarations import load
from dynaview.views.rebuilds.store import Rebuild
from dynaview.views.verification.compare import compare

DECLARATION = """
sources: {shop: {table: "${SHOP_TABLE}", endpoint: "${DYNAMODB_ENDPOINT}"}}
sinks:
  cache: {redis: "${REDIS_URL}", timeout: 3}
  search: {opensearch: "${OPENSEARCH_URL}", timeout: 5}
  reads: {postgres: "${DATABASE_URL}", timeout: 3}
control: "${CONTROL_URL}"
views:
  ${PREFIX}_cards:
    source: shop
    where: code != 'none'
    sink: cache
    ${ROWS}
  ${PREFIX}_reads:
    source: shop
    where: code != 'none'
    sink: reads
    table: ${PREFIX}_reads
    key: [pk, code]
    fields: {pk: {from: pk, type: text}, code: {from: code, type: text}, rev: {from: rev, type: bigint}}
  ${PREFIX}_search:
    source: shop
    where: code != 'none'
    sink: search
    index: ${PREFIX}-search
    key: "{pk}:{code}"
    fields: {pk: pk, code: code, rev: {from: rev, type: bigint}}
"""

REDIS = {
    "hash": 'type: hash\n    key: "${PREFIX}:{pk}:{code}"\n    fields: {pk: pk, code: code, rev: rev}',
    "string": 'type: string\n    key: "${PREFIX}:{pk}:{code}"\n    fields: {pk: pk, code: code, rev: rev}',
    "sorted_set": 'type: sorted_set\n    key: "${PREFIX}:{code}"\n    member: "{pk}"\n    score: rev\n'
    "    fields: {pk: {from: pk, type: text}, code: {from: code, type: text}}",
}
"""How the rows of Redis are declared, by type."""

VIEWS = ("cards", "reads", "search")

STAGES = (
    ("starting", "starting"),
    ("midway", "midway"),
    ("scanning", "scanning"),
    ("finishing", "waiting"),
    ("waiting", "checking"),
    ("checking", "sweeping"),
    ("swapping", "swapping"),
)
"""Where all three views of a job are held at once: a phase of those that fill beside, and one of that in place. Midway
through a scan some of its segments are finished."""

SEGMENTS = 5
MIDWAY = 2
"""Segments that are finished midway."""

BREATH = 2.0
"""Seconds that writers write without a break. DynamoDB Local cuts creation times to the minute, so only a look at a
shard's end moves a watermark on."""
BREAK = 0.5

DEADLINE = 180.0
"""Seconds for whatever is waited for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run does: `phases` kills in every phase, then for so many `seconds` whatever comes. `redis` is a type of
    row."""

    items: int = 300
    phases: bool = True
    seconds: float = 0.0
    outages: int = 0
    redis: str = "hash"
    yes: bool = False
    """Whether a swap goes on whatever the checks before it find (to see whether readers find it too)."""
    seed: int = 0


@dataclass
class Report:
    """What a run did and found; `faults` is empty where all is well."""

    changes: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    """By the phase in which a view was."""
    ends: Counter[str] = field(default_factory=Counter)
    """Rebuilds and rollbacks by kind and how they ended."""
    joins: int = 0
    outages: Counter[str] = field(default_factory=Counter)
    looks: dict[str, int] = field(default_factory=dict)
    generations: int = 0
    """How many equalled the table at the end."""
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Stuck(Exception):
    """What was waited for did not come."""


class Siege:
    """A table with its views, and the processes that work on them. A context manager."""

    def __init__(self, environment: Mapping[str, str], folder: Path, plan: Plan) -> None:
        """`environment` names the servers: REDIS_URL, OPENSEARCH_URL, DATABASE_URL, DYNAMODB_ENDPOINT."""
        self.plan, self.folder = plan, folder
        self.random = random.Random(plan.seed)
        self.prefix = f"siege{uuid.uuid4().hex[:8]}"
        self.truth = Truth(plan.items)
        self.report = Report()
        self._open = contextlib.ExitStack()
        self.stores = {name: Store(environment[variable], None) for name, variable in local.VARIABLES.items()}
        for store in self.stores.values():
            self._open.callback(store.close)
        try:
            self._set_up(environment)
        except BaseException:
            self._open.close()
            raise

    def _set_up(self, environment: Mapping[str, str]) -> None:
        self.file = self.folder / "dynaview.yaml"
        rows = REDIS[self.plan.redis]
        self.file.write_text(DECLARATION.replace("${ROWS}", rows).replace("${PREFIX}", self.prefix))
        self.table_name = f"{self.prefix}_table"
        self.database = self.folder / "control.db"
        os.environ.update(local.CREDENTIALS)
        common = {"SHOP_TABLE": self.table_name, "CONTROL_URL": f"sqlite:///{self.database}"}
        fronts = {local.VARIABLES[name]: store.front_url for name, store in self.stores.items()}
        self.environment = {**os.environ, **common, **fronts}
        self.declaration = load([self.file], {**environment, **common})
        self.client: Any = boto3.client(
            "dynamodb", endpoint_url=environment["DYNAMODB_ENDPOINT"], region_name=local.REGION
        )
        self.client.create_table(
            TableName=self.table_name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self._open.callback(self.client.delete_table, TableName=self.table_name)
        self.table: DynamoTable = open_table(self.declaration.sources["shop"])
        self.sinks = {name: connect(sink) for name, sink in self.declaration.sinks.items()}
        for sink in self.sinks.values():
            self._open.callback(sink.close)
        self.control = ControlStore(self.declaration.control)
        self._open.callback(self.control.close)
        self._open.callback(self._drop)
        self.daemon = Daemon(self.file, self.environment, self.folder / "daemon.log", 1, self.random)
        self._open.callback(self.daemon.close)
        self.commands: list[subprocess.Popen[bytes]] = []
        self._open.callback(self.kill_commands)
        self.names = [f"{self.prefix}_{view}" for view in VIEWS]
        self._windows = (environment["REDIS_URL"], environment["DATABASE_URL"], environment["OPENSEARCH_URL"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _drop(self) -> None:
        for record in self.control.views():
            view = self.declaration.views[record.name]
            for each in self.control.generations(record.name):
                self.sinks[view.sink].open(view.layout, each.generation).drop()

    def windows(self) -> list[Window]:
        """All ways to look at the views; their callers close them."""
        redis_url, postgres_url, opensearch_url = self._windows
        alias = f"{self.prefix}-search"
        return [
            Keys(redis_url, self.prefix, self.plan.redis),
            Rows(postgres_url, f"{self.prefix}_reads"),
            Hits(opensearch_url, alias),
            Documents(opensearch_url, alias),
        ]

    # Processes

    def command(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a `dynaview` command."""
        arguments = [sys.executable, "-m", "dynaview.views.cli", *words, "-f", str(self.file)]
        with (self.folder / "commands.log").open("ab") as log:
            started = subprocess.Popen(
                arguments, env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder
            )
        self.commands.append(started)
        return started

    def rebuild(self, views: Sequence[str], *options: str) -> subprocess.Popen[bytes]:
        """Start `dynaview rebuild`."""
        return self.command("rebuild", *views, *options, *(["--yes"] if self.plan.yes else []))

    def kill_commands(self) -> None:
        """SIGKILL every command."""
        for process in self.commands:
            process.kill()
            process.wait()
        self.commands.clear()

    def kill(self, *, daemon: bool = True, commands: bool = True) -> None:
        """SIGKILL what works on the views, and note in which phases they were."""
        for rebuild in self.rebuilds():
            if not rebuild.ended:
                self.report.kills[f"{rebuild.kind} {rebuild.phase}"] += 1
        if daemon:
            self.daemon.kill()
        if commands:
            self.kill_commands()

    def pause(self, seconds: float) -> None:
        """SIGSTOP the daemon for a while."""
        if (pid := self.daemon.pid) is not None:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(seconds)
            os.kill(pid, signal.SIGCONT)

    def see_ends(self) -> None:
        """Commands that have ended must have ended well."""
        for process in [each for each in self.commands if each.poll() is not None]:
            self.commands.remove(process)
            if process.returncode not in (0, 1):  # 1: it was cancelled, as `wait_ended` sees
                self.fault(f"a command ended with exit code {process.returncode}")
        if (code := self.daemon.code) is not None:
            self.fault(f"the daemon ended by itself with exit code {code}")
            self.daemon.start()

    # What is waited for

    def rebuilds(self) -> list[Rebuild]:
        """The last rebuild of each view."""
        return self.control.rebuilds.all()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait. Raises `Stuck`."""
        end = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > end:
                where = "; ".join(f"{each.view} {each.phase} {each.reason} {each.answer}" for each in self.rebuilds())
                views = "; ".join(f"{each.name} {each.state} {each.reason}" for each in self.control.views())
                raise Stuck(f"waited {DEADLINE:.0f} s for {what}: {where}; {views}")
            time.sleep(0.01)

    def wait_requested(self, views: Sequence[str], before: Mapping[str, str]) -> None:
        """Wait until rebuilds of views are known that are not those of `before` (job by view)."""

        def known() -> bool:
            if any(command.poll() not in (None, 0) for command in self.commands):
                raise Stuck(f"a command failed: {(self.folder / 'commands.log').read_text()[-1000:]}")
            now = self.jobs()
            return all(name in now and now[name] != before.get(name) for name in views)

        self.until(known, "the request")

    def jobs(self) -> dict[str, str]:
        """The job of each view's last rebuild."""
        return {each.view: each.job for each in self.rebuilds()}

    def wait_ended(self, *, cancelled: bool = False) -> None:
        """Wait until no rebuild is under way. None may have failed, asked, or (unless asked to) been cancelled."""
        asked: set[str] = set()

        def ended() -> bool:
            for each in self.rebuilds():
                if each.answer == "?" and each.view not in asked:
                    asked.add(each.view)
                    self.fault(f"the {each.kind} rebuild of {each.view} asks: {each.reason}")
                    self.control.rebuilds.answer(each.view, "yes")
            return all(each.ended for each in self.rebuilds())

        self.until(ended, "rebuilds to end")
        for each in self.rebuilds():
            if each.phase == "failed" or (each.phase == "cancelled" and not cancelled):
                self.fault(f"the {each.kind} rebuild of {each.view} {each.phase}: {each.reason}")

    def wait_following(self) -> None:
        """Wait until every view follows, filled."""
        self.until(
            lambda: [(each.state, each.filled) for each in self.control.views()] == [("following", True)] * len(VIEWS),
            "the views to follow",
        )

    # Holding rebuilds in a phase

    def hold(self, beside: str, in_place: str) -> None:
        """Let no rebuild record that a phase is over: the control store seems to be away where it tries to. Those that
        fill beside are held in one phase, those in place in another; see `STAGES`."""
        with self._database() as database:
            if beside == "midway":
                database.execute(_trigger("UPDATE ON dynaview_scans", f"NEW.finished AND NEW.segment >= {MIDWAY}"))
            elif beside == "swapping":
                database.execute(_trigger("UPDATE OF generation ON dynaview_views", "NEW.generation <> OLD.generation"))
            else:
                kept = " OR ".join(
                    f"(OLD.phase = '{phase}' AND {kind})"
                    for phase, kind in ((beside, "OLD.kind <> 'in place'"), (in_place, "OLD.kind = 'in place'"))
                )
                database.execute(
                    _trigger("UPDATE OF phase ON dynaview_rebuilds", f"NEW.phase <> OLD.phase AND ({kept})")
                )

    def release(self) -> None:
        """Let rebuilds go on."""
        with self._database() as database:
            database.execute("DROP TRIGGER IF EXISTS siege")

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self.database, timeout=60, isolation_level=None)
        try:
            yield database
        finally:
            database.close()

    def is_held(self, beside: str, in_place: str) -> bool:
        """Whether every rebuild that is under way has come as far as `hold` lets it."""
        running = [each for each in self.rebuilds() if not each.ended]
        if beside == "midway":
            segments = self.control.rebuilds.segments(running[0].job) if running else []
            return len(segments) > MIDWAY and all(each.finished for each in segments[:MIDWAY])
        if beside == "swapping":
            return bool(running) and all(each.phase == "swapping" and self._is_published(each) for each in running)
        return bool(running) and all(
            each.phase == (in_place if each.kind == "in place" else beside) for each in running
        )

    def _is_published(self, rebuild: Rebuild) -> bool:
        view = self.declaration.views[rebuild.view]
        sink = self.sinks[view.sink]
        return sink.in_place or sink.published(view.layout) == rebuild.generation

    # The end

    def fault(self, what: str) -> None:
        """Note what must not be."""
        if len(self.report.faults) < 1000:
            self.report.faults.append(what)

    def wait_counted(self) -> None:
        """Wait until every view has counted every change, each once."""
        made = self.truth.made
        self.until(lambda: all(each.counts.read >= made for each in self.control.views()), "every change to be counted")
        for each in self.control.views():
            counts = each.counts
            told = counts.applied + counts.stale + counts.unmatched
            if not counts.read == told == made:
                self.fault(f"{each.name}: {made} changes were made, but counted {counts}")

    def compare(self) -> None:
        """Every generation that is written equals the table."""
        for record in self.control.views():
            view = self.declaration.views[record.name]
            for number in record.write_order:
                found = compare(view, self.table, self.sinks[view.sink].open(view.layout, number))
                self.report.generations += found.equal
                if not found.equal:
                    self.fault(
                        f"{record.name}, generation {number} of {record.write_order} (readers see {record.generation}) "
                        f"lacks {found.missing[:5]}, has too much {found.extra[:5]}, different {found.different[:5]}"
                    )


def _trigger(moment: str, condition: str) -> str:
    """A statement after which a change of the control store fails as if the disk did: no mistake of its maker."""
    return f"CREATE TRIGGER siege BEFORE {moment} WHEN {condition} BEGIN SELECT json('held by a siege'); END"


class Writer:
    """Changes items as fast as it can, with a break now and then, until the block ends."""

    def __init__(self, siege: Siege) -> None:
        self._siege = siege
        self._random = random.Random(siege.plan.seed + 1)
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer")

    def fill(self) -> None:
        """Give every item a first state."""
        names = self._siege.truth.names
        for start in range(0, len(names), 25):
            self._batch(names[start : start + 25])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        try:
            while not self._stop.wait(BREAK):
                end = time.monotonic() + BREATH
                while time.monotonic() < end and not self._stop.is_set():
                    self._batch(self._random.sample(self._siege.truth.names, 20))
                    self._update(self._random.choice(self._siege.truth.names))
        except BaseException as error:  # noqa: BLE001 - raised again at the end of the block
            self._failed = error

    def _batch(self, names: Sequence[str]) -> None:
        left: list[dict[str, Any]] = []
        for name in names:
            kind = self._random.random()
            if kind < 0.2:
                self._siege.truth.change(name, None)
                left.append({"DeleteRequest": {"Key": {"pk": {"S": name}}}})
            else:
                code = HIDDEN if kind < 0.35 else self._random.choice(CODES)
                rev = str(self._siege.truth.change(name, code))
                item = {"pk": {"S": name}, "code": {"S": code}, "rev": {"N": rev}, "pad": {"S": "x" * 500}}
                left.append({"PutRequest": {"Item": item}})
        while left:
            answer = self._siege.client.batch_write_item(RequestItems={self._siege.table_name: left})
            left = answer.get("UnprocessedItems", {}).get(self._siege.table_name, [])

    def _update(self, name: str) -> None:
        """Change the number of an item alone, where there is one."""
        code = self._siege.truth.code(name)
        if code is not None:
            self._siege.client.update_item(
                TableName=self._siege.table_name,
                Key={"pk": {"S": name}},
                UpdateExpression="SET rev = :rev",
                ExpressionAttributeValues={":rev": {"N": str(self._siege.truth.change(name, code))}},
            )


def in_every_phase(siege: Siege, say: Callable[[str], None]) -> None:
    """Rebuild all three views in one go, and roll two of them back; kill what works on them once in every phase."""
    before = siege.jobs()
    first, *stages = STAGES
    siege.hold(*first)
    siege.rebuild(siege.names, "--segments", str(SEGMENTS))
    siege.wait_requested(siege.names, before)
    for stage, after in zip((first, *stages), (*stages, None), strict=True):
        _kill_held(siege, stage, say)
        siege.release()
        if after is not None:
            siege.hold(*after)
        siege.daemon.start()
    siege.wait_ended()
    before, beside = siege.jobs(), siege.names[1:]
    stages = [("starting", "starting"), ("waiting", "waiting"), ("swapping", "swapping")]
    siege.hold(*stages[0])
    siege.command("rollback", *beside)
    siege.wait_requested(beside, before)
    for stage, after in zip(stages, (*stages[1:], None), strict=True):
        _kill_held(siege, stage, say)
        siege.release()
        if after is not None:
            siege.hold(*after)
        # Without a daemon the command does everything.
        siege.command("rollback", *beside)
    siege.wait_ended()
    siege.until(lambda: not [each for each in siege.commands if each.poll() is None], "the commands to end")
    siege.see_ends()
    siege.daemon.start()


def _kill_held(siege: Siege, stage: tuple[str, str], say: Callable[[str], None]) -> None:
    siege.until(lambda: siege.is_held(*stage), f"all to be held in {stage}")
    time.sleep(siege.random.uniform(0.0, 0.4))
    siege.kill()
    say(f"killed in {stage[0]} / {stage[1]}: {siege.truth.made:,} changes")


def at_random(siege: Siege, until: float, say: Callable[[str], None]) -> None:
    """Rebuild, roll back, cancel, join, kill and pause as it comes, until a monotonic time."""
    chance, report = siege.random, siege.report
    while time.monotonic() < until:
        siege.see_ends()
        before = siege.jobs()
        kept = [
            name for name in siege.names if any(each.role == "previous" for each in siege.control.generations(name))
        ]
        cancelled = False
        if kept and chance.random() < 0.3:
            views = chance.sample(kept, chance.randint(1, len(kept)))
            siege.command("rollback", *views)
        else:
            views = chance.sample(siege.names, chance.randint(1, len(siege.names)))
            options = ["--segments", str(chance.randint(1, 6)), "--keep", chance.choice(("0s", "0s", "1h"))]
            options += ["--detach"] * (chance.random() < 0.3)
            siege.rebuild(views, *options)
            cancelled = chance.random() < 0.15
        siege.wait_requested(views, before)
        for _ in range(chance.choice((0, 1, 1, 2, 4))):
            time.sleep(min(8.0, chance.expovariate(1 / 1.5)))
            _torment(siege)
        if cancelled:
            siege.rebuild([chance.choice(views)], "--cancel", "--detach")
        elif chance.random() < 0.3 and any(not each.ended and each.kind != "rollback" for each in siege.rebuilds()):
            _join(siege, chance.choice(views))
        siege.wait_ended(cancelled=cancelled)
        siege.wait_following()
        ended = [each for each in siege.rebuilds() if each.view in views]
        report.ends.update(f"{each.kind} {each.phase}" for each in ended)
        told = ", ".join(f"{each.view.rpartition('_')[2]} {each.kind} {each.phase}" for each in ended)
        say(f"{told}; {siege.truth.made:,} changes, {report.kills.total()} kills, {len(report.faults)} faults")


def _torment(siege: Siege) -> None:
    kind = siege.random.random()
    if kind < 0.15:
        siege.pause(siege.random.uniform(0.1, 4.0))
    elif kind < 0.25:
        siege.kill(daemon=False)
    elif kind < 0.5:
        siege.kill(commands=False)
        siege.daemon.start()
    else:
        siege.kill()
        siege.daemon.start()


def _join(siege: Siege, view: str) -> None:
    """Ask for what is under way already."""
    before = next((each for each in siege.rebuilds() if each.view == view and not each.ended), None)
    siege.rebuild([view], "--detach").wait(60)
    after = next((each for each in siege.rebuilds() if each.view == view), None)
    if before is not None and after is not None and before.job == after.job:
        siege.report.joins += 1


def run(
    environment: Mapping[str, str], folder: Path, plan: Plan, say: Callable[[str], None] = lambda line: None
) -> Report:
    """One whole run. See `Siege` for `environment`."""
    began = time.monotonic()
    with Siege(environment, folder, plan) as siege, contextlib.ExitStack() as stack:
        report, writer = siege.report, Writer(siege)
        writer.fill()
        siege.daemon.start()
        siege.wait_following()
        windows = siege.windows()
        for window in windows:
            stack.callback(window.close)
        onlookers = Onlookers(siege.truth, windows)
        try:
            with onlookers:
                with writer:
                    if plan.phases:
                        in_every_phase(siege, say)
                    _under_outages(siege, say)
                siege.wait_counted()
                siege.wait_following()
            onlookers.conclude()
            siege.compare()
            if (code := siege.daemon.terminate()) != 0:
                siege.fault(f"SIGTERM ended the daemon with exit code {code}")
        except (Stuck, SinkError) as error:
            siege.fault(f"{type(error).__name__}: {error}")
        report.faults += onlookers.faults
        report.looks, report.changes = onlookers.looks, siege.truth.made
    report.seconds = time.monotonic() - began
    return report


def _under_outages(siege: Siege, say: Callable[[str], None]) -> None:
    plan, began = siege.plan, time.monotonic()
    if not plan.seconds:
        return
    outages = Outages(
        siege.stores, random.Random(plan.seed + 2), plan.outages, lambda: (time.monotonic() - began) / plan.seconds,
        longest=4.0, say=say,
    )  # fmt: skip
    try:
        at_random(siege, began + plan.seconds, say)
    finally:
        outages.stop()
        siege.report.outages = outages.done


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="of random rounds behind the kills in every phase")
    parser.add_argument("--items", type=int, default=300, help="different items (300)")
    parser.add_argument("--outages", type=int, default=None, help="times that a store goes away (two a minute)")
    parser.add_argument("--redis", choices=REDIS, default="hash", help="type of Redis' rows (hash)")
    parser.add_argument("--yes", action="store_true", help="swap whatever the checks find")
    parser.add_argument("--no-phases", dest="phases", action="store_false", help="only random rounds")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    told = parser.parse_args()
    outages = round(told.minutes * 2) if told.outages is None else told.outages
    plan = Plan(told.items, told.phases, told.minutes * 60, outages, told.redis, told.yes, told.seed)

    def say(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    say(f"seed {plan.seed}")
    with servers(local.NAMES), tempfile.TemporaryDirectory() as folder:
        report = run(os.environ, Path(folder), plan, say)
        if report.faults:
            print(Path(folder, "daemon.log").read_text()[-5000:], file=sys.stderr)
    for what in ("kills", "ends", "outages", "looks"):
        for kind, count in sorted(getattr(report, what).items()):
            say(f"{what}: {kind}: {count:,}")
    for fault in report.faults[:50]:
        say(f"FAULT {fault}")
    say(
        f"{report.changes:,} changes, {report.kills.total()} views met by a kill, {report.joins} joins, "
        f"{report.outages.total()} outages, {report.generations} generations equal the table, {report.seconds:.0f} s: "
        + (f"{len(report.faults)} FAULTS" if report.faults else "no reader saw anything wrong")
    )
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
