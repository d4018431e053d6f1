"""What a chaos run works on: a table with a view in each store, the processes that keep them, and a steady writer."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3

from dynaview.local import servers as local
from dynaview.sinks.connect import connect
from dynaview.sources.table import DynamoTable, open_table
from dynaview.views.control.records import Rebuild
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from dynaview.views.verify.compare import compare
from tests.soak.faults import Daemon, Store
from tests.soak.readers import CODES, HIDDEN, Documents, Hits, Keys, Reader, Rows, Truth

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

BREAK = 1.5
"""Seconds of the writer's breaks. DynamoDB Local cuts creation times to the minute, so only a run of looks at a shard's
end moves a watermark on."""

BREATH = 2.0
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
    longest: float = 4.0
    """The longest outage, in seconds."""
    redis: str = "hash"
    burst: int = 2000
    """Changes that the writer makes without a break, though never for longer than `BREATH`."""
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


class RebuildEnvironment:
    """A table with its views, and the processes that work on them. A context manager."""

    def __init__(self, urls: Mapping[str, str], folder: Path, plan: Plan) -> None:
        """`urls` names the servers: REDIS_URL, OPENSEARCH_URL, DATABASE_URL, DYNAMODB_ENDPOINT."""
        self.plan, self.folder = plan, folder
        self.random = random.Random(plan.seed)
        self.prefix = f"chaos{uuid.uuid4().hex[:8]}"
        self.truth = Truth(plan.items)
        self.report = Report()
        self.stages = 0
        """How many stages of `chaos_run.in_every_phase` were reached."""
        self._open = contextlib.ExitStack()
        self.stores = {name: Store(urls[variable], None) for name, variable in local.VARIABLES.items()}
        for store in self.stores.values():
            self._open.callback(store.close)
        try:
            self._set_up(urls)
        except BaseException:
            self._open.close()
            raise

    def _set_up(self, urls: Mapping[str, str]) -> None:
        self.file = self.folder / "dynaview.yaml"
        rows = REDIS[self.plan.redis]
        self.file.write_text(DECLARATION.replace("${ROWS}", rows).replace("${PREFIX}", self.prefix))
        self.table_name = f"{self.prefix}_table"
        self.database = self.folder / "control.db"
        os.environ.update(local.CREDENTIALS)
        common = {"SHOP_TABLE": self.table_name, "CONTROL_URL": f"sqlite:///{self.database}"}
        fronts = {local.VARIABLES[name]: store.front_url for name, store in self.stores.items()}
        self.environment = {**os.environ, **common, **fronts}
        self.declaration = load([self.file], {**urls, **common})
        self.client: Any = boto3.client("dynamodb", endpoint_url=urls["DYNAMODB_ENDPOINT"], region_name=local.REGION)
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
        self._reader_urls = (urls["REDIS_URL"], urls["DATABASE_URL"], urls["OPENSEARCH_URL"])

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

    def readers(self) -> list[Reader]:
        """All ways to read the views; the caller closes them."""
        redis_url, postgres_url, opensearch_url = self._reader_urls
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

    def running(self, view: str) -> Rebuild | None:
        """The rebuild of a view that is under way."""
        return next((each for each in self.rebuilds() if each.view == view and not each.ended), None)

    def jobs(self) -> dict[str, str]:
        """The job of each view's last rebuild."""
        return {each.view: each.job for each in self.rebuilds()}

    def wait_ended(self, views: Sequence[str], *, cancelled: bool = False) -> None:
        """Wait until no rebuild is under way. Those of these views may not have failed, asked, or (unless asked to)
        been cancelled."""
        asked: set[str] = set()

        def ended() -> bool:
            for each in self.rebuilds():
                if each.answer == "?" and each.view not in asked:
                    asked.add(each.view)
                    self.fault(f"the {each.kind} rebuild of {each.view} asks: {each.reason}")
                    self.control.rebuilds.answer(each.view, "yes")
            return all(each.ended for each in self.rebuilds())

        self.until(ended, "rebuilds to end")
        for each in [each for each in self.rebuilds() if each.view in views]:
            if each.phase == "failed" or (each.phase == "cancelled" and not cancelled):
                self.fault(f"the {each.kind} rebuild of {each.view} {each.phase}: {each.reason}")

    def wait_following(self) -> None:
        """Wait until every view follows, filled."""
        self.until(
            lambda: [(each.state, each.filled) for each in self.control.views()] == [("following", True)] * len(VIEWS),
            "the views to follow",
        )

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


class Writer:
    """Changes items as fast as it can, with a break now and then, until the block ends."""

    def __init__(self, env: RebuildEnvironment) -> None:
        self._env = env
        self._random = random.Random(env.plan.seed + 1)
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="writer")

    def fill(self) -> None:
        """Give every item a first state."""
        names = self._env.truth.names
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
                end, most = time.monotonic() + BREATH, self._env.truth.made + self._env.plan.burst
                while time.monotonic() < end and self._env.truth.made < most and not self._stop.is_set():
                    self._batch(self._random.sample(self._env.truth.names, 20))
                    self._update(self._random.choice(self._env.truth.names))
        except BaseException as error:  # noqa: BLE001 - raised again at the end of the block
            self._failed = error

    def _batch(self, names: Sequence[str]) -> None:
        left: list[dict[str, Any]] = []
        for name in names:
            kind = self._random.random()
            if kind < 0.2:
                self._env.truth.change(name, None)
                left.append({"DeleteRequest": {"Key": {"pk": {"S": name}}}})
            else:
                code = HIDDEN if kind < 0.35 else self._random.choice(CODES)
                rev = str(self._env.truth.change(name, code))
                item = {"pk": {"S": name}, "code": {"S": code}, "rev": {"N": rev}, "pad": {"S": "x" * 500}}
                left.append({"PutRequest": {"Item": item}})
        while left:
            answer = self._env.client.batch_write_item(RequestItems={self._env.table_name: left})
            left = answer.get("UnprocessedItems", {}).get(self._env.table_name, [])

    def _update(self, name: str) -> None:
        """Change the number of an item alone, where there is one."""
        code = self._env.truth.code(name)
        if code is not None:
            self._env.client.update_item(
                TableName=self._env.table_name,
                Key={"pk": {"S": name}},
                UpdateExpression="SET rev = :rev",
                ExpressionAttributeValues={":rev": {"N": str(self._env.truth.change(name, code))}},
            )
