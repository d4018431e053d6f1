"""A table of orders without a server: its scan is read from a file of pages, its stream is made as it is read.

So a table of a million items costs neither memory nor, but for reading and decoding its pages, processor time. Pages
hold what a scan with a ProjectionExpression answers: the attributes that the views need.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.records import PAGE, item, record, sequence
from benchmarks.workload import IMAGES, KEY
from dynaview.projections.attributes import Attr, Image, Shape
from dynaview.projections.projection import ViewType
from dynaview.sources.pages import ItemsDecoder, RecordsDecoder
from dynaview.sources.port import ExportStatus, Page, ScanFilter, ScanPage, Shard, StreamReader, TableDescription

SCANNED = 2500
"""Items a page of a scan: what comes to 1 MB before the ProjectionExpression."""

HOT = 50
"""Orders that change all the time, in turns."""

_ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-11-23T09:30:00.000"
_FIRST = 3
"""The revision of the first change of the stream."""


class PagesFile:
    """The pages of a scan in a file. Safe to read from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count, self._starts = msgspec.json.decode(
            path.with_suffix(".index").read_bytes(), type=tuple[int, list[int]]
        )
        self._file = os.open(path, os.O_RDONLY)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def read(self, number: int) -> bytes:
        """A page as DynamoDB answers it."""
        start, end = self._starts[number : number + 2]
        return os.pread(self._file, end - start, start)

    @classmethod
    def write(cls, path: Path, count: int, names: Sequence[str]) -> PagesFile:
        """Make the file: so many orders, of each what is asked for."""
        starts = [0]
        with path.open("wb") as file:
            for start in range(0, count, SCANNED):
                numbers = range(start, min(start + SCANNED, count))
                items = [{name: found[name] for name in names if name in found} for found in map(_first, numbers)]
                capacity = {"TableName": "orders", "CapacityUnits": len(items) / 8}
                starts.append(
                    starts[-1] + file.write(msgspec.json.encode({"Items": items, "ConsumedCapacity": capacity}))
                )
        path.with_suffix(".index").write_bytes(msgspec.json.encode((count, starts)))
        return cls(path)


def _first(number: int) -> dict[str, Any]:
    return item(number, 1)


class OrdersTable:
    """A `TableReader`. Of every hundred records of its stream, each is of another of the `HOT` first orders."""

    name = "orders"

    def __init__(self, pages: PagesFile, rate: float = 0.0) -> None:
        """`rate`: changes a second, from now on."""
        self._pages = pages
        self.changes = Changes(rate)

    def describe(self) -> TableDescription:
        count = self._pages.count
        return TableDescription("orders", "arn", KEY, _ARN, IMAGES, count, 400 * count, "ACTIVE")

    def enable_stream(self, view_type: ViewType) -> TableDescription:
        return self.describe()

    def stream(self, arn: str, shape: Shape) -> StreamReader:
        return OrdersStream(self.changes, shape)

    def scan(
        self, segment: int, segments: int, after: str | None, shape: Shape, only: ScanFilter | None = None
    ) -> Iterator[ScanPage[Any]]:
        decoder = ItemsDecoder(shape, KEY)
        first = segment if after is None else int(after) + segments
        if first >= len(self._pages):
            yield ScanPage([], [], [], None, 0.0)  # as DynamoDB answers for an empty segment
        for number in range(first, len(self._pages), segments):
            body = self._pages.read(number)
            page = decoder.decode(self._now(body, shape) if number == 0 else body)
            page.position = str(number) if number + segments < len(self._pages) else None
            yield page

    def _now(self, body: bytes, shape: Shape) -> bytes:
        """The first page with the hot orders as they stand now: a scan that shows what they were before breaks what a
        rebuild counts on, strongly consistent reads."""
        page = msgspec.json.decode(body)
        for order in range(min(HOT, len(page["Items"]))):
            found = self.changes.item(order)
            page["Items"][order] = {name: found[name] for name in shape.names or found if name in found}
        return msgspec.json.encode(page)

    def get(self, keys: Sequence[Mapping[str, Attr]], shape: Shape) -> list[Image | None]:
        numbers = [int((key["sk"].S or "").removeprefix("ORDER#")) for key in keys]
        items = [self.changes.item(number) for number in numbers]
        found: list[Image | None] = [*ItemsDecoder(shape, KEY).decode(msgspec.json.encode({"Items": items})).images]
        return found

    def exported(self, arn: str) -> ExportStatus | None:
        return None


class Changes:
    """The changes of a table: number `n` is written `n / rate` seconds after the beginning, to order ``n % HOT``, and
    says when in its `placed_at`, in seconds since 1970."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.began = time.time()

    def written(self) -> int:
        """How many there are by now."""
        return int((time.time() - self.began) * self.rate)

    def at(self, number: int) -> float:
        """When one was written."""
        return self.began + number / self.rate

    def record(self, number: int) -> dict[str, Any]:
        """One as the stream has it."""
        made = record(number % HOT, _FIRST + number // HOT)
        body = made["dynamodb"]
        body["SequenceNumber"] = str(sequence(number, _FIRST))
        body["ApproximateCreationDateTime"] = int(self.at(number))
        body["NewImage"]["placed_at"] = {"S": f"{self.at(number):.6f}"}
        return made

    def item(self, order: int) -> dict[str, Any]:
        """An order as it is now."""
        last = self.written() - 1
        last -= (last - order) % HOT
        found: dict[str, Any] = (
            item(order, 1) if order >= HOT or last < 0 else self.record(last)["dynamodb"]["NewImage"]
        )
        return found


class OrdersStream:
    """A `StreamReader` of one open shard."""

    arn = _ARN

    def __init__(self, changes: Changes, shape: Shape) -> None:
        self._changes = changes
        self._decoder = RecordsDecoder(shape, IMAGES)

    def shards(self) -> list[Shard]:
        return [Shard("shardId-0", None, "0", None)]

    def children(self, shard_id: str) -> list[Shard]:
        return []

    def open(self, shard_id: str, after: str | None) -> str:
        return "0" if after is None else str(int(after) - sequence(0, _FIRST) + 1)

    def read(self, iterator: str, limit: int = 1000) -> Page[Any]:
        first = int(iterator)
        numbers = range(first, min(self._changes.written(), first + min(limit, PAGE)))
        if not numbers:
            return Page([], [], iterator)
        records = [self._changes.record(number) for number in numbers]
        page = self._decoder.decode(msgspec.json.encode({"NextShardIterator": "A" * 300, "Records": records}))
        return Page(page.changes, page.broken, str(numbers[-1] + 1))
