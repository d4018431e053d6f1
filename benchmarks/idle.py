"""What an idle shard costs: processor time of a process that polls many of them, less that of one that polls one.

    python -m benchmarks.idle

Once with a scripted stream, which is all dynaview's own work, and once against DynamoDB Local, which adds what boto3
and HTTP cost. DynamoDB Local has one shard a table, so there every shard is an alias of the same one: each is opened
and read as if it were alone.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3

from dynaview.local.servers import REGION
from dynaview.sinks.memory import MemorySink
from dynaview.sources.port import Page, Shard, StreamReader
from dynaview.sources.session import Session
from dynaview.sources.table import DynamoTable
from dynaview.views.streaming.stream_reader import Follower, FollowerSettings
from tests.support.follower_harness import FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.servers import servers
from tests.support.shop import create_table
from tests.support.simple import SHAPE

REACH = 0.002
"""The share of a core that an idle shard may cost."""

SETTLING = 4.0
"""Seconds in which the waits between two reads grow to their longest."""


class Aliases:
    """A stream that shows its only shard under many names."""

    def __init__(self, stream: StreamReader, count: int) -> None:
        self.arn = stream.arn
        self._stream = stream
        [self._real] = stream.shards()
        self._names = [f"{self._real.id}-{index:05d}" for index in range(count)]

    def shards(self) -> list[Shard]:
        """The shard under all its names."""
        return [Shard(name, None, self._real.first, None) for name in self._names]

    def children(self, shard_id: str) -> list[Shard]:
        """None."""
        return []

    def open(self, shard_id: str, after: str | None) -> str:
        """See `StreamReader.open`."""
        return self._stream.open(self._real.id, after)

    def read(self, iterator: str, limit: int = 1000) -> Page[Any]:
        """See `StreamReader.read`."""
        return self._stream.read(iterator, limit)


def cost(stream_of: Callable[[int], StreamReader], shards: int, seconds: float, settling: float = SETTLING) -> float:
    """The share of a core that one idle shard costs."""
    return (_busy(stream_of(shards), seconds, settling) - _busy(stream_of(1), seconds, settling)) / (shards - 1)


def processor() -> float:
    """Processor seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _busy(stream: StreamReader, seconds: float, settling: float) -> float:
    """The share of a core that following takes."""
    with tempfile.TemporaryDirectory() as folder:
        harness = FollowerHarness(Path(folder), ScriptedTable(clock=time.time))
        harness.sink = MemorySink("memory")
        harness.pipeline_settings = replace(harness.pipeline_settings, beat=1.0)
        harness.start()
        harness.follower.stop()
        follower = Follower(stream, list(harness.pipelines.values()), harness.context, FollowerSettings())
        follower.start()
        try:
            time.sleep(settling)
            before, began = processor(), time.monotonic()
            time.sleep(seconds)
            return (processor() - before) / (time.monotonic() - began)
        finally:
            follower.stop()
            harness.stop()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=40, help="idle shards on DynamoDB Local (40)")
    parser.add_argument("--scripted", type=int, default=1000, help="idle scripted shards (1000)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to measure each (20)")
    parser.add_argument("--settling", type=float, default=SETTLING, help="how long to wait before that (4)")
    options = parser.parse_args()
    times = options.seconds, options.settling

    def scripted(count: int) -> StreamReader:
        table = ScriptedTable(shards=count, clock=time.time)
        return table.stream(table.arn, SHAPE)

    shares = {f"scripted, {options.scripted} shards": cost(scripted, options.scripted, *times)}
    with servers(["dynamodb"]) as environment:
        endpoint, name = environment["DYNAMODB_ENDPOINT"], f"bench{uuid4().hex[:8]}_idle"
        client: Any = boto3.client("dynamodb", endpoint_url=endpoint, region_name=REGION)
        create_table(client, name)
        session = Session(REGION, endpoint)
        try:
            table = DynamoTable(session, name)
            stream = table.stream(table.describe().stream_arn or "", SHAPE)
            title = f"DynamoDB Local, {options.shards} shards"
            shares[title] = cost(lambda count: Aliases(stream, count), options.shards, *times)
        finally:
            session.close()
            client.delete_table(TableName=name)
    for title, share in shares.items():
        print(f"{title}: {share:.4%} of a core an idle shard (to reach: < {REACH:.1%})")


if __name__ == "__main__":
    main()
