"""Real processes: a parent with workers that share a table, killed and stopped while changes flow."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from dynaview.local import servers
from dynaview.sinks.connect import connect
from dynaview.sources.table import open_table
from dynaview.views.control.records import WorkerRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from dynaview.views.verify.compare import compare
from tests.support.processes import Mark
from tests.support.until import until

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

DECLARATION = """
control: "${CONTROL}"
sources: {shop: {table: "${TABLE}", endpoint: "${DYNAMODB_ENDPOINT}"}}
sinks: {cache: {redis: "${REDIS_URL}"}}
views:
  ${TABLE}_a:
    {source: shop, sink: cache, type: string, key: "${TABLE}a:{pk}", fields: {pk: pk, value: value}}
  ${TABLE}_b:
    {source: shop, sink: cache, type: string, key: "${TABLE}b:{pk}", fields: {pk: pk, value: value}}
"""


class ProcessSupervisor:
    """``dynaview run --workers N`` on a table of its own."""

    def __init__(self, folder: Path, control: str, endpoint: str, redis: str, dynamodb: DynamoDBClient) -> None:
        self.made = 0
        self.dynamodb = dynamodb
        self.table = f"fleet{uuid.uuid4().hex[:10]}"
        dynamodb.create_table(
            TableName=self.table,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self.file = folder / "dynaview.yaml"
        self.file.write_text(DECLARATION.replace("${TABLE}", self.table))
        names = {"CONTROL": control, "DYNAMODB_ENDPOINT": endpoint, "REDIS_URL": redis}
        self.declaration = load([self.file], names)
        self.control = ControlStore(control)
        self.mark = Mark()
        self.environment = {**self.mark.environment, **names, **servers.CREDENTIALS}
        self.log = folder / "log"
        self.parent: subprocess.Popen[bytes] | None = None

    def start(self, workers: int, *options: str) -> None:
        """Start the parent."""
        command = [sys.executable, "-m", "dynaview.views.cli", "run", "-f", str(self.file), "--workers", str(workers)]
        command += ["--lease", "6"]
        with self.log.open("ab") as log:
            self.parent = subprocess.Popen([*command, *options], env=self.environment, stderr=log, stdout=log)

    def members(self) -> list[WorkerRecord]:
        """The workers that share the table."""
        return [member for member in self.control.leases.living() if member.sharing]

    def wait_members(self, count: int) -> list[WorkerRecord]:
        """Wait until so many workers share the table."""
        until(lambda: len(self.members()) == count, f"{count} workers to share", 60)
        return self.members()

    def put(self, count: int) -> None:
        """Write items, twenty at a time."""
        for start in range(self.made, self.made + count, 20):
            items: list[Any] = [
                {"PutRequest": {"Item": {"pk": {"S": f"item{number % 40}"}, "value": {"S": f"{number}"}}}}
                for number in range(start, start + 20)
            ]
            self.dynamodb.batch_write_item(RequestItems={self.table: items})
            self.made += 20

    def wait_counted(self, seconds: float = 60.0) -> None:
        """Wait until every view has counted every change."""
        views = self.declaration.views

        def counted() -> bool:
            records = {record.name: record for record in self.control.views()}
            return all(name in records and records[name].counts.read >= self.made for name in views)

        until(counted, "every change to be counted", seconds)

    def check(self) -> None:
        """Every change was counted once, and every view equals the table."""
        self.wait_counted()
        sink = connect(self.declaration.sinks["cache"])
        for name, view in self.declaration.views.items():
            record = self.control.view(name)
            assert record is not None
            assert record.counts.read == record.counts.applied + record.counts.stale == self.made
            found = compare(view, open_table(self.declaration.sources["shop"]), sink.open(view.layout, 1))
            assert found.equal, found
        sink.close()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the parent; its exit code."""
        assert self.parent is not None
        self.parent.send_signal(number)
        return self.parent.wait(60)

    def close(self) -> None:
        """End whatever runs, and remove the table."""
        for pid in self.mark.processes():
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)
        if self.parent is not None:
            self.parent.wait(20)
        self.control.close()
        self.dynamodb.delete_table(TableName=self.table)


@pytest.fixture(params=["sqlite", "postgres"])
def fleet(
    request: pytest.FixtureRequest, tmp_path: Path, dynamodb_endpoint: str, redis_url: str, dynamodb: DynamoDBClient
) -> Iterator[ProcessSupervisor]:
    control = f"sqlite:///{tmp_path / 'control.db'}"
    if request.param == "postgres":
        server = sa.make_url(str(request.getfixturevalue("postgres_url"))).set(drivername="postgresql+psycopg")
        name = f"fleet_{uuid.uuid4().hex}"
        engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        control = server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    made = ProcessSupervisor(tmp_path, control, dynamodb_endpoint, redis_url, dynamodb)
    try:
        yield made
    finally:
        made.close()


def test_workers_that_are_killed_and_stopped_are_replaced_and_nothing_is_lost(fleet: ProcessSupervisor) -> None:
    fleet.start(3)
    before = fleet.wait_members(3)
    fleet.put(60)
    fleet.wait_counted()
    owners = {
        lease.owner for lease in fleet.control.leases.of_group(before[0].group) if lease.resource.startswith("shard")
    }
    owner = next(member for member in before if member.id in owners)
    os.kill(owner.pid, signal.SIGKILL)
    fleet.put(60)
    begun = time.monotonic()
    fleet.wait_counted(30)  # somebody has taken it over
    assert time.monotonic() - begun < 15  # at once: not only when its registration has expired
    after = fleet.wait_members(3)  # and the parent has started another one
    assert owner.pid not in {member.pid for member in after}
    if fleet.control.name.startswith("postgresql"):
        sleeper = next(
            member
            for member in after
            if member.id
            in {lease.owner for lease in fleet.control.leases.of_group(member.group) if "job" not in lease.resource}
        )
        os.kill(sleeper.pid, signal.SIGSTOP)
        fleet.put(60)
        fleet.wait_counted(30 + 5)
        os.kill(sleeper.pid, signal.SIGCONT)
        fleet.put(20)
        fleet.wait_members(3)
    fleet.check()
    assert fleet.end() == 0
    assert fleet.mark.wait_until_gone() == {}
    assert "fault of dynaview" not in fleet.log.read_text()


@pytest.mark.parametrize("fleet", ["sqlite"], indirect=True)
def test_the_death_of_the_parent_ends_the_workers(fleet: ProcessSupervisor) -> None:
    fleet.start(2)
    fleet.wait_members(2)
    fleet.put(20)
    fleet.wait_counted()
    assert fleet.end(signal.SIGKILL) == -signal.SIGKILL
    assert fleet.mark.wait_until_gone() == {}
    assert fleet.members() == []  # they ended in good order
    fleet.check()
