"""Changes of one item as they pass."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dynaview.local import servers
from dynaview.projections.attributes import attribute
from dynaview.projections.compiler.trial import SHAPE
from dynaview.sources.errors import IteratorExpired, Throttled
from dynaview.views.control.records import Checkpoint
from dynaview.views.declarations.load import load
from dynaview.views.retry import Retrier, Stopped
from dynaview.views.streaming.shard_reader import ReadSettings
from dynaview.views.trace.passing import Changes, Passed
from tests.support.processes import child
from tests.support.scripted import ScriptedTable
from tests.support.until import until
from tests.support.worker_harness import CARDS, READS, SINKS

KEY = {"pk": "p", "sk": "s"}
OTHER = {"pk": "p", "sk": "other"}
QUICK = ReadSettings(poll_first=0.001, poll_cap=0.002)


@pytest.fixture
def table() -> ScriptedTable:
    return ScriptedTable(shards=2)


def changes(table: ScriptedTable, folder: Path, views: str = CARDS + READS) -> Changes:
    file = folder / "dynaview.yaml"
    file.write_text(f"{SINKS}\nviews:{views}")
    declared = list(load([file], {}).views.values())
    key = {name: attribute(value) for name, value in KEY.items()}
    stream = table.stream(table.arn, SHAPE)
    retrier = Retrier(seconds=20.0)
    return Changes(stream, key, declared, ("pk", "sk"), table.describe().view_type or "KEYS_ONLY", retrier, QUICK)


def told(passed: Passed) -> Any:
    return passed.event, {name: (asks.upserts, asks.deletes) for name, asks in passed.asks.items()}


def test_only_the_item_and_what_each_change_asks(table: ScriptedTable, tmp_path: Path) -> None:
    table.put({**OTHER, "value": "x"})
    first = table.put({**KEY, "value": "a"})
    table.delete(KEY)
    passing = changes(table, tmp_path).passing([])
    one, two = itertools.islice(passing, 2)
    assert told(one) == ("INSERT", {"cards": (["card:p:s"], []), "reads": ([("p", "s")], [])})
    assert told(two) == ("REMOVE", {"cards": ([], ["card:p:s"]), "reads": ([], [("p", "s")])})
    assert one.sequence == first
    table.put({**KEY, "value": "b"})
    assert told(next(passing))[0] == "INSERT"


def test_it_begins_behind_the_furthest_checkpoint(table: ScriptedTable, tmp_path: Path) -> None:
    seen = table.put({**KEY, "value": "a"})
    table.put({**KEY, "value": "b"})
    assert seen is not None
    shard = table.shard_of(KEY)
    checkpoints = [{shard: Checkpoint(None)}, {shard: Checkpoint(int(seen))}]
    passed = next(changes(table, tmp_path).passing(checkpoints))
    assert passed.event == "MODIFY"


def test_shards_that_roll_and_readers_that_are_held_up(table: ScriptedTable, tmp_path: Path) -> None:
    passing = changes(table, tmp_path).passing([])
    table.put({**KEY, "value": "0"})
    assert next(passing).event == "INSERT"
    for number in range(1, 6):
        table.roll(table.shard_of(KEY))
        table.fail("read", Throttled)
        table.fail("read", IteratorExpired, after=1)
        table.put({**KEY, "value": str(number)})
        passed = next(passing)
        assert (passed.event, passed.asks["cards"].upserts) == ("MODIFY", ["card:p:s"])


def test_a_dead_letter_and_a_view_that_such_a_stream_cannot_keep(tmp_path: Path) -> None:
    table = ScriptedTable(view_type="NEW_IMAGE")
    moving = READS.replace("key: [pk, sk]", "key: [value]")
    found = changes(table, tmp_path, CARDS + moving)
    assert list(found.refused) == ["reads"]
    table.put({**KEY, "value": {"a": 1}})
    assert list(next(found.passing([])).asks) == ["cards"]
    table = ScriptedTable()
    table.put({**KEY, "value": [1]})
    asks = next(changes(table, tmp_path).passing([])).asks["reads"]
    assert asks.reason.startswith("field value: ")


def test_it_can_be_stopped(table: ScriptedTable, tmp_path: Path) -> None:
    found = changes(table, tmp_path)
    found._retrier.stop.set()
    with pytest.raises(Stopped):
        next(found.passing([]))


@pytest.fixture
def real(dynamodb: Any, dynamodb_endpoint: str, tmp_path: Path) -> Iterator[str]:
    name = f"passing-{uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    source = f'shop: {{table: {name}, region: {servers.REGION}, endpoint: "{dynamodb_endpoint}"}}'
    (tmp_path / "dynaview.yaml").write_text(SINKS.replace("shop: {table: shop}", source) + f"\nviews:{CARDS}")
    yield name
    dynamodb.delete_table(TableName=name)


def test_the_command_follows_until_ctrl_c(real: str, dynamodb: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dynaview.views.cli", "trace", "--follow", "--key", json.dumps(KEY)]
    with child(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(iter(process.stdout.readline, "")))  # type: ignore[union-attr]  # a pipe
        reader.start()
        try:
            until(lambda: any("as they pass; Ctrl-C" in line for line in said), "it to follow", 60)
            item = {name: {"S": value} for name, value in KEY.items()}
            dynamodb.put_item(TableName=real, Item={**item, "value": {"S": "a"}})
            until(lambda: "  cards: upsert card:p:s\n" in said, "the change to pass", 60)
        finally:
            os.kill(process.pid, signal.SIGINT)
            reader.join(30)
        assert process.wait(30) == 130
    assert "cards: not started: dynaview run starts it\n" in said
    assert "Traceback" not in "".join(said)
