"""A long run on real servers: random changes while the daemon is killed at random moments, then a count of losses.

    python -m benchmarks.soak --changes 100000 --items 5000 --kills 50

After every kill each view's checkpoints are held against its store: nothing behind a checkpoint may be missing there.
At the end every view has to equal the projection of the table, row by row, and every change has to be counted once.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.shop import DECLARATION, TTL_SHARE, create_table, write_changes
from dynaview.projections.attributes import Shape
from dynaview.projections.changes import version_of
from dynaview.projections.compiler import compile_view
from dynaview.projections.declaration import Declaration
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Target
from dynaview.sources.table import DynamoTable, open_table
from dynaview.views.compare import compare
from dynaview.views.control import ControlStore
from dynaview.views.declarations import load
from dynaview.views.letterbox import Choice

WRITERS = 3
DEADLINE = 300.0
"""Seconds a view may take to catch up at the end."""


@dataclass
class Report:
    """What a run found; `faults` is empty where nothing was lost."""

    changes: int = 0
    slips: int = 0
    """Deletes of which DynamoDB Local forgot the old image."""
    kills: int = 0
    checkpoint_checks: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Soak:
    """One run: a table, a declaration of views of every kind, and a daemon to torment."""

    def __init__(self, environment: Mapping[str, str], folder: Path, seed: int) -> None:
        """`environment` names the servers: REDIS_URL, OPENSEARCH_URL, DATABASE_URL, DYNAMODB_ENDPOINT."""
        self.random = random.Random(seed)
        prefix = f"soak{uuid.uuid4().hex[:8]}"
        self.table_name = f"{prefix}_shop"
        self.file = folder / "dynaview.yaml"
        self.file.write_text(DECLARATION.replace("${PREFIX}", prefix))
        self.log = folder / "daemon.log"
        self.environment = {
            **os.environ,
            **environment,
            "SHOP_TABLE": self.table_name,
            "CONTROL_URL": f"sqlite:///{folder / 'control.db'}",
        }
        os.environ.setdefault("AWS_DEFAULT_REGION", self.environment.get("AWS_DEFAULT_REGION", "ddblocal"))
        self.declaration: Declaration = load([self.file], self.environment)
        self.table: DynamoTable = open_table(self.declaration.sources["shop"])
        self.report = Report()
        self._sinks = {name: connect(sink) for name, sink in self.declaration.sinks.items()}
        self._daemon: subprocess.Popen[bytes] | None = None
        self._log_handle = self.log.open("ab")

    def target(self, view: str) -> Target:
        """The first generation of a view, opened from here."""
        declared = self.declaration.views[view]
        return self._sinks[declared.sink].open(declared.layout, 1)

    def close(self) -> None:
        """End the daemon and remove what the run made in the stores."""
        if self._daemon is not None:
            self.kill()
        for view in self.declaration.views:
            self.target(view).drop()
        for sink in self._sinks.values():
            sink.close()
        self._log_handle.close()

    # The daemon

    def start(self) -> None:
        """Start `dynaview run` in a process of its own."""
        command = [sys.executable, "-m", "dynaview.views.cli", "run", "-f", str(self.file), "--log-level", "info"]
        self._daemon = subprocess.Popen(command, env=self.environment, stderr=self._log_handle, cwd=self.file.parent)

    def kill(self) -> None:
        """SIGKILL it."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None

    def terminate(self) -> int:
        """SIGTERM it; its exit code."""
        if self._daemon is None:
            raise RuntimeError("no daemon runs")
        self._daemon.send_signal(signal.SIGTERM)
        code = self._daemon.wait(timeout=60)
        self._daemon = None
        return code

    def ended_by_itself(self) -> bool:
        """Whether the daemon has died although nobody killed it."""
        return self._daemon is not None and self._daemon.poll() is not None

    # What it checks

    def check_checkpoints(self, sample: int) -> None:
        """Everything behind a checkpoint has to be in the store, at that version or a newer one."""
        control = ControlStore(self.declaration.control)
        shape = Shape(None)
        description = self.table.describe()
        stream = self.table.stream(description.stream_arn or "", shape)
        pages = {shard.id: _records(stream, shard.id) for shard in stream.shards()}
        for name, view in self.declaration.views.items():
            bound = compile_view(view).bind(shape, description.key, "NEW_AND_OLD_IMAGES")
            expected: dict[RowKey, Write] = {}
            for shard, checkpoint in control.checkpoints(name).items():
                for change in pages.get(shard, []):
                    if checkpoint.sequence is None or int(change.body.sequence) > checkpoint.sequence:
                        break
                    try:
                        writes = bound.writes(change, version_of(0, change.body.sequence))
                    except ProjectionError:  # a dead letter
                        continue
                    expected.update((write.key, write) for write in writes)
            keys = self.random.sample(list(expected), min(sample, len(expected)))
            for key, stored in zip(keys, self.target(name).read(keys), strict=True):
                if stored is None or stored.version < expected[key].version:
                    has = "nothing" if stored is None else f"version {stored.version}"
                    self.report.faults.append(f"{name}: checkpoint ahead of the store: {key} has {has}")
            self.report.checkpoint_checks += len(keys)
        control.close()

    def wait_until_caught_up(self) -> bool:
        """Wait until every view's watermark has passed this moment."""
        now, deadline = time.time(), time.monotonic() + DEADLINE
        control = ControlStore(self.declaration.control)
        try:
            while time.monotonic() < deadline:
                views = control.views()
                if len(views) == len(self.declaration.views) and all(
                    view.filled and view.watermark is not None and view.watermark > now for view in views
                ):
                    return True
                if self.ended_by_itself():
                    self.report.faults.append("the daemon ended by itself")
                    return False
                time.sleep(0.1)
            self.report.faults.append(
                "the views did not catch up in time: "
                + "; ".join(
                    f"{view.name} {view.state} {view.reason} watermark {view.watermark} filled {view.filled}"
                    for view in control.views()
                )
            )
            return False
        finally:
            control.close()

    def check_views(self) -> None:
        """Every view has to equal the projection of the table, and its counts have to add up to the stream.

        When a delete meets one by TTL, DynamoDB Local may write a record without its old image. A view whose rows only
        the old image tells keeps that as a dead letter; such slips are told, and their rows are not held against it.
        """
        stream = self.table.stream(self.table.describe().stream_arn or "", Shape(None))
        records = [change for shard in stream.shards() for change in _records(stream, shard.id)]
        slips = [change for change in records if change.event == "REMOVE" and change.body.old is None]
        parts = [str(attr.S) for change in slips for attr in change.body.key.values()]
        slipped = {part.rpartition("#")[2] for part in parts}
        key = self.table.describe().key
        self.report.changes, self.report.slips = len(records), len(slips)
        for name, view in self.declaration.views.items():
            found = compare(view, self.table, self.target(name))
            self.report.rows[name] = found.rows
            needs_old_image = bool(compile_view(view).problems(key, "NEW_IMAGE"))
            extra = [row for row in found.extra if not (needs_old_image and slipped & set(msgspec.json.decode(row)))]
            if extra or found.missing or found.different:
                self.report.faults.append(
                    f"{name}: missing {found.missing[:5]} extra {extra[:5]} different {found.different[:5]}"
                )
        control = ControlStore(self.declaration.control)
        for record in control.views():
            counts = record.counts
            told = counts.applied + counts.stale + counts.unmatched + counts.dead_lettered
            if not counts.read == told == len(records):
                self.report.faults.append(f"{record.name}: {len(records)} records, but counted {counts}")
            reasons = {kept.letter.reason for kept in control.letters.find(Choice(record.name))}
            if any("no old image" not in reason for reason in reasons) or counts.dead_lettered > len(slips):
                self.report.faults.append(f"{record.name}: {counts.dead_lettered} dead letters: {reasons}")
        control.close()


def _records(stream: Any, shard: str) -> list[Any]:
    found: list[Any] = []
    iterator, empty = stream.open(shard, None), 0
    while iterator is not None and empty < 2:  # DynamoDB Local's pages are empty only at the tip
        page = stream.read(iterator)
        found += page.changes
        empty = 0 if page.changes else empty + 1
        iterator = page.next
    return found


def run(
    client: Any,
    environment: Mapping[str, str],
    folder: Path,
    *,
    changes: int,
    items: int,
    kills: int,
    seed: int,
    sample: int = 200,
    ttl_share: float = TTL_SHARE,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """One whole run; `client` is a boto3 DynamoDB client of the same endpoint. `ttl_share` is how many of the
    items have expired when they are written."""
    began = time.monotonic()
    allowed = [0.0]  # changes that may have been written by now: kills fall among writes, not after them
    soak = Soak(environment, folder, seed)
    report = soak.report
    try:
        create_table(client, soak.table_name)
        write_changes(
            client, soak.table_name, min(changes // 10, items), items, seed, ttl_share=ttl_share
        )  # rows from before the start
        done = [0] * WRITERS

        def wrote(writer: int, count: int) -> None:
            done[writer] = count
            while sum(done) > allowed[0]:
                time.sleep(0.01)

        writers = [
            threading.Thread(
                target=write_changes,
                args=(client, soak.table_name, changes * 9 // 10 // WRITERS, items, seed + 1 + index),
                kwargs={"progress": partial(wrote, index), "ttl_share": ttl_share},
            )
            for index in range(WRITERS)
        ]
        for writer in writers:
            writer.start()
        soak.start()
        total = changes * 9 // 10
        for kill in range(kills):
            allowed[0] = total * (kill + 1) / kills
            until = total * (kill + soak.random.random()) / kills  # a random moment in each of equal parts
            limit = time.monotonic() + 1 + 4 * soak.random.random()
            while sum(done) < until and any(writer.is_alive() for writer in writers):
                time.sleep(0.01)
            while time.monotonic() < limit - 4 * soak.random.random() and not soak.ended_by_itself():
                time.sleep(0.01)
            if soak.ended_by_itself():
                report.faults.append("the daemon ended by itself")
                break
            soak.kill()
            report.kills += 1
            soak.check_checkpoints(sample)
            say(f"kill {report.kills}: {sum(done):,} changes written, {len(report.faults)} faults")
            soak.start()
        allowed[0] = float("inf")
        for writer in writers:
            writer.join()
        if soak.wait_until_caught_up():
            if ttl_share:
                _wait_for_ttl(client, soak)
            if soak.wait_until_caught_up():
                code = soak.terminate()
                if code != 0:
                    report.faults.append(f"SIGTERM ended the daemon with exit code {code}")
                soak.check_checkpoints(10**9)
                soak.check_views()
    finally:
        allowed[0] = float("inf")
        soak.close()
        client.delete_table(TableName=soak.table_name)
    report.seconds = time.monotonic() - began
    return report


def _wait_for_ttl(client: Any, soak: Soak) -> None:
    """Give DynamoDB some time to delete what has expired (it looks every now and then, and misses some)."""
    deadline = time.monotonic() + 10
    specification = {"Enabled": False, "AttributeName": "ttl"}
    while time.monotonic() < deadline:
        left = client.scan(
            TableName=soak.table_name,
            FilterExpression="#t < :now",
            ExpressionAttributeNames={"#t": "ttl"},
            ExpressionAttributeValues={":now": {"N": str(int(time.time()))}},
            Select="COUNT",
        )["Count"]
        if left == 0:
            break
        time.sleep(1)
    client.update_time_to_live(TableName=soak.table_name, TimeToLiveSpecification=specification)
    time.sleep(2)  # for a round of deletes that has begun


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    import boto3

    from benchmarks.servers import servers

    print(f"seed {options.seed}")
    with servers() as environment, tempfile.TemporaryDirectory() as folder:
        client = boto3.client(
            "dynamodb",
            endpoint_url=environment["DYNAMODB_ENDPOINT"],
            region_name="ddblocal",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        report = run(
            client,
            environment,
            Path(folder),
            changes=options.changes,
            items=options.items,
            kills=options.kills,
            seed=options.seed,
            say=print,
        )
        if report.faults:
            print(Path(folder, "daemon.log").read_text()[-5000:], file=sys.stderr)
    print(
        f"{report.changes:,} stream records, {report.kills} kills, {report.checkpoint_checks:,} rows held against "
        f"checkpoints, {report.slips} deletes without their old image, {report.seconds:.0f} s"
    )
    for view, rows in report.rows.items():
        print(f"  {view}: {rows:,} rows equal the table")
    for fault in report.faults:
        print(f"FAULT {fault}")
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
