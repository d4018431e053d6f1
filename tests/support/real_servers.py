"""Real stores: a table on DynamoDB Local, a view of it in each store, and a daemon that reaches all through proxies."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dynaview.local import servers
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Target
from dynaview.sources.table import DynamoTable, open_table
from dynaview.views.control.records import Counts
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.daemon.table_worker import WorkerSettings
from dynaview.views.declarations.load import load
from dynaview.views.streaming.pipeline import PipelineSettings
from dynaview.views.streaming.stream_reader import FollowerSettings
from dynaview.views.verify.compare import compare
from tests.support.proxy import Proxy, address_of
from tests.support.until import until

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

DECLARATION = """
control: "${CONTROL}"
sources: {shop: {table: "${TABLE}", endpoint: "${DYNAMODB_ENDPOINT}"}}
sinks:
  cache: {redis: "${REDIS_URL}", timeout: 2}
  search: {opensearch: "${OPENSEARCH_URL}", timeout: 2}
  reads: {postgres: "${DATABASE_URL}", timeout: 2}
views:
  ${PREFIX}_redis:
    {source: shop, sink: cache, type: string, key: "${PREFIX}:{pk}", fields: {pk: pk, value: value}}
  ${PREFIX}_opensearch:
    source: shop
    sink: search
    index: "${PREFIX}"
    key: "{pk}"
    fields: {pk: pk, value: {from: value, mapping: {type: text}}}
  ${PREFIX}_postgres:
    source: shop
    sink: reads
    table: "${PREFIX}"
    key: [pk]
    fields: {pk: {from: pk, type: text}, value: {from: value, type: text}}
"""

STORES = ("redis", "opensearch", "postgres")


class RealServers:
    """One test's own. `urls` are the real servers by the names of `dynaview.local`; `proxies` stand before them."""

    def __init__(self, folder: Path, urls: Mapping[str, str], dynamodb: DynamoDBClient) -> None:
        self.made = 0
        """How many changes were written."""
        self._dynamodb = dynamodb
        self._prefix = f"servers{uuid.uuid4().hex[:10]}"
        self._table = f"{self._prefix}_table"
        self._open = contextlib.ExitStack()
        dynamodb.create_table(
            TableName=self._table,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self._open.callback(dynamodb.delete_table, TableName=self._table)
        self.proxies = {name: self._open.enter_context(Proxy(address_of(url))) for name, url in urls.items()}
        self.file = folder / "dynaview.yaml"
        self.file.write_text(DECLARATION.replace("${PREFIX}", self._prefix))
        common = {"TABLE": self._table, "CONTROL": f"sqlite:///{folder / 'control.db'}"}
        direct = load([self.file], {**common, **{servers.VARIABLES[name]: url for name, url in urls.items()}})
        proxied = {servers.VARIABLES[name]: self.proxies[name].url(url) for name, url in urls.items()}
        self._proxied = load([self.file], {**common, **proxied})
        self.declaration = direct
        self.environment = {**os.environ, **common, **proxied}
        self.logs: list[Path] = []
        """What processes have said, in the order of their start."""
        self.table: DynamoTable = open_table(direct.sources["shop"])
        self._sinks = {name: connect(sink) for name, sink in direct.sinks.items()}
        for sink in self._sinks.values():
            self._open.callback(sink.close)
        self.daemon = self._daemon()
        self.control = ControlStore(direct.control)

    def _daemon(self) -> Daemon:
        follower = FollowerSettings(poll_first=0.005, poll_cap=0.02)
        return Daemon(self._proxied, WorkerSettings(PipelineSettings(commit_every=0.0, beat=0.1), follower))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for proxy in self.proxies.values():
            proxy.heal()
        self.daemon.stop()
        for record in self.control.views():
            view = self.declaration.views[record.name]
            for generation in range(1, record.generation + 2):
                self._sinks[view.sink].open(view.layout, generation).drop()
        self.control.close()
        self._open.close()

    def start(self) -> None:
        """Start the daemon, and wait until every view follows."""
        self.daemon.start()
        self.wait_following()

    def wait_following(self) -> None:
        """Wait until every view follows."""
        until(lambda: [record.state for record in self.control.views()] == ["following"] * 3, "the views to follow", 90)

    @contextlib.contextmanager
    def process(self) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon in a process of its own, killed at the end of the block."""
        log = self.file.with_name(f"daemon-{len(self.logs)}.log")
        self.logs.append(log)
        command = [sys.executable, "-m", "dynaview.views.cli", "run", "-f", str(self.file)]
        with log.open("wb") as stderr:
            process = subprocess.Popen(command, env=self.environment, stderr=stderr, cwd=self.file.parent)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def put(self, first: int, count: int, value: str) -> None:
        """Write items number `first` and following; the value has to be another one than they have."""
        for start in range(first, first + count, 25):
            batch = [
                {"PutRequest": {"Item": {"pk": {"S": f"item{number}"}, "value": {"S": f"{number}:{value}"}}}}
                for number in range(start, min(start + 25, first + count))
            ]
            self._dynamodb.batch_write_item(RequestItems={self._table: batch})  # type: ignore[dict-item]  # a list of literals
        self.made += count

    def delete(self, number: int) -> None:
        """Delete item number `number`; where there is none, nothing changes."""
        key = {"pk": {"S": f"item{number}"}}
        answer = self._dynamodb.delete_item(TableName=self._table, Key=key, ReturnValues="ALL_OLD")
        self.made += "Attributes" in answer

    def view(self, store: str) -> str:
        """The view in a store."""
        return f"{self._prefix}_{store}"

    def target(self, store: str, generation: int = 1) -> Target:
        """That view's rows, reached directly."""
        view = self.declaration.views[self.view(store)]
        return self._sinks[view.sink].open(view.layout, generation)

    def counts(self, store: str) -> Counts:
        """What became of that view's changes."""
        record = self.control.view(self.view(store))
        assert record is not None
        return record.counts

    def state(self, store: str) -> str:
        """What that view is doing."""
        record = self.control.view(self.view(store))
        assert record is not None
        return record.state

    def wait_counted(self, *stores: str) -> None:
        """Wait until views have counted every change."""
        for store in stores or STORES:
            self._wait_counted(store)

    def _wait_counted(self, store: str) -> None:
        until(lambda: self.counts(store).read >= self.made, f"{store} to have counted every change", 90)

    def check(self) -> None:
        """Every view equals the table, and every change was counted once."""
        self.wait_counted()
        for store in STORES:
            counts = self.counts(store)
            assert counts.read == counts.applied + counts.stale == self.made, (store, counts)
            found = compare(self.declaration.views[self.view(store)], self.table, self.target(store))
            assert found.equal, found


@contextlib.contextmanager
def real_servers(folder: Path, urls: Mapping[str, str], dynamodb: Any) -> Iterator[RealServers]:
    """Real stores whose daemon runs."""
    with RealServers(folder, urls, dynamodb) as made:
        made.start()
        yield made
