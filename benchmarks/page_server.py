"""A small server that answers as DynamoDB does, from pages that were made before: it outruns every reader.

    python -m benchmarks.page_server FOLDER

It holds one table of orders. A scan shows them in their first revision and the stream is empty, until somebody asks
for ``Go``: from then on the stream holds one change an order, and a scan shows what came of it. Pages lie in files and
go out by ``sendfile``, so a table of ten million rows costs disk and no memory.
"""

from __future__ import annotations

import os
import socketserver
import sys
import threading
import urllib.request
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import msgspec

from benchmarks.records import item, record

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders"
STREAM = f"{ARN}/stream/2026-11-23T09:30:00.000"

RECORDS, BYTES = 700, 1_000_000
"""What a page of a stream, or of a scan, holds at the most."""

_OPTIONAL = ("email", "tags", "note")
_SCANNED = ("pk", "sk", "status", "total", "quantity", "gift", "placed_at", "shipping")
"""What a scan with the views' ProjectionExpression shows."""


class Orders(msgspec.Struct, frozen=True):
    """What is served: so many orders, of so many bytes or as they are (0), in so many shards."""

    count: int
    size: int = 0
    shards: int = 1


class _Index(msgspec.Struct):
    orders: Orders
    stream: list[list[int]]
    """For each shard where its pages begin, and where the last one ends."""
    scans: list[list[int]]
    """The same of both revisions' scans."""
    firsts: list[list[int]]
    """For each shard how many changes stand before each of its pages."""


def sized(made: dict[str, Any], size: int) -> dict[str, Any]:
    """An order of about that many bytes: without what may be left out where it is small, padded where it is large."""
    if not size:
        return made
    kept = {name: value for name, value in made.items() if name not in _OPTIONAL}
    rest = size - len(msgspec.json.encode(kept))
    return kept if rest <= 20 else {**kept, "note": {"S": "n" * (rest - 20)}}


def prepare(folder: Path, orders: Orders) -> None:
    """Make the files."""
    head = b'{"NextShardIterator":"%s:%d","Records":['
    shards = range(orders.shards)
    streams = [_write(folder / f"stream-{shard}", _records(orders, shard), head, shard) for shard in shards]
    scans = [_write(folder / f"scan-{revision}", _items(orders, revision), b'{"Items":[', None) for revision in (1, 2)]
    index = _Index(orders, [s for s, _ in streams], [s for s, _ in scans], [firsts for _, firsts in streams])
    (folder / "index").write_bytes(msgspec.json.encode(index))


def _records(orders: Orders, shard: int) -> Iterator[bytes]:
    for number in range(shard, orders.count, orders.shards):
        made = record(number, 2)
        body = made["dynamodb"]
        body["NewImage"], body["OldImage"] = (sized(body[image], orders.size) for image in ("NewImage", "OldImage"))
        yield msgspec.json.encode(made)


def _items(orders: Orders, revision: int) -> Iterator[bytes]:
    for number in range(orders.count):
        found = item(number, revision)
        yield msgspec.json.encode({name: found[name] for name in _SCANNED})


def _write(path: Path, parts: Iterator[bytes], head: bytes, shard: int | None) -> tuple[list[int], list[int]]:
    """Where the pages begin, with the end of the last; and how many parts stand before each."""
    starts, firsts, held = [0], list[int](), 0
    with path.open("wb") as file:
        for page in _pages(parts):
            begin = head if shard is None else head % (str(shard).encode(), len(starts))
            starts.append(starts[-1] + file.write(begin + b",".join(page) + b"]"))
            firsts.append(held)
            held += len(page)
    return starts, firsts


def _pages(parts: Iterator[bytes]) -> Iterator[list[bytes]]:
    page: list[bytes] = []
    held = 0
    for part in parts:
        if page and (len(page) == RECORDS or held + len(part) > BYTES):
            yield page
            page, held = [], 0
        page.append(part)
        held += len(part)
    if page:
        yield page


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a file, and what follows it."""

    file: int
    start: int
    end: int
    tail: bytes


class PageServer(socketserver.ThreadingTCPServer):
    """Serves a prepared folder on a port of its own choice, this machine only."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self._index = msgspec.json.decode((folder / "index").read_bytes(), type=_Index)
        self._streams = [os.open(folder / f"stream-{shard}", os.O_RDONLY) for shard in range(len(self._index.stream))]
        self._scans = [os.open(folder / f"scan-{revision}", os.O_RDONLY) for revision in (1, 2)]
        self._gone = threading.Event()

    def answer(self, operation: str, asked: dict[str, Any]) -> bytes | _Part:
        """What DynamoDB would say."""
        match operation:
            case "GetRecords":
                return self._get_records(asked["ShardIterator"])
            case "Scan":
                return self._scan(asked)
            case "GetShardIterator":
                return _json({"ShardIterator": self._open(asked)})
            case "DescribeTable":
                return _json({"Table": self._table()})
            case "DescribeStream":
                return _json({"StreamDescription": self._stream()})
            case "BatchGetItem":
                return _json({"Responses": {name: self._get(keys) for name, keys in asked["RequestItems"].items()}})
            case "Go":
                self._gone.set()
                return b"{}"
        raise LookupError(operation)

    def _get_records(self, iterator: str) -> bytes | _Part:
        shard, _, page = iterator.partition(":")
        starts, number = self._index.stream[int(shard)], int(page)
        if not self._gone.is_set() or number >= len(starts) - 1:
            return _json({"NextShardIterator": iterator, "Records": []})
        return _Part(self._streams[int(shard)], starts[number], starts[number + 1], b"}")

    def _open(self, asked: dict[str, Any]) -> str:
        shard = int(asked["ShardId"].rpartition("-")[2])
        if "SequenceNumber" not in asked:
            return f"{shard}:0"
        done = int(asked["SequenceNumber"]) % 10**12 // self._index.orders.shards + 1
        held = len(range(shard, self._index.orders.count, self._index.orders.shards))
        if done == held:
            return f"{shard}:{len(self._index.stream[shard]) - 1}"
        return f"{shard}:{bisect_right(self._index.firsts[shard], done) - 1}"

    def _scan(self, asked: dict[str, Any]) -> bytes | _Part:
        segments = asked.get("TotalSegments", 1)
        after = asked.get("ExclusiveStartKey")
        number = asked.get("Segment", 0) if after is None else int(after["sk"]["S"]) + segments
        revision = int(self._gone.is_set())
        starts = self._index.scans[revision]
        if number >= len(starts) - 1:
            return _json({"Items": [], "ScannedCount": 0})
        position = {"pk": {"S": "page"}, "sk": {"S": str(number)}}
        more = b"" if number + segments >= len(starts) - 1 else b',"LastEvaluatedKey":' + _json(position)
        return _Part(self._scans[revision], starts[number], starts[number + 1], more + b"}")

    def _get(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        numbers = [int(key["sk"]["S"].removeprefix("ORDER#")) for key in asked["Keys"]]
        return [item(number, 1 + self._gone.is_set()) for number in numbers]

    def _table(self) -> dict[str, Any]:
        key = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
        stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        return {
            "TableName": "orders", "TableArn": ARN, "KeySchema": key, "TableStatus": "ACTIVE", "TableId": "made",
            "StreamSpecification": stream, "LatestStreamArn": STREAM, "ItemCount": self._index.orders.count,
        }  # fmt: skip

    def _stream(self) -> dict[str, Any]:
        first = {"StartingSequenceNumber": "100000000000000000000"}
        shards = [
            {"ShardId": f"shardId-{shard:020d}", "SequenceNumberRange": first}
            for shard in range(self._index.orders.shards)
        ]
        return {"Shards": shards, "StreamStatus": "ENABLED", "StreamViewType": "NEW_AND_OLD_IMAGES"}


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


class _Connection(socketserver.StreamRequestHandler):
    """Requests of one connection, one after the other."""

    server: PageServer
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while self.rfile.readline():
            headers = dict(self._headers())
            asked = self.rfile.read(int(headers.get("content-length", 0)))
            operation = headers.get("x-amz-target", "").rpartition(".")[2]
            self._send(self.server.answer(operation, msgspec.json.decode(asked or b"{}")))

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            yield name.lower(), value.strip()

    def _send(self, answer: bytes | _Part) -> None:
        length = len(answer) if isinstance(answer, bytes) else answer.end - answer.start + len(answer.tail)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n" % length
        if isinstance(answer, bytes):
            self.connection.sendall(head + answer)
            return
        self.connection.sendall(head)
        at = answer.start
        while at < answer.end:
            at += os.sendfile(self.connection.fileno(), answer.file, at, answer.end - at)
        self.connection.sendall(answer.tail)


@contextmanager
def served(folder: Path, orders: Orders) -> Iterator[str]:
    """Prepare the folder where nobody has yet, and serve it from a process of its own; the URL."""
    if not (folder / "index").exists():
        prepare(folder, orders)
    with Popen([sys.executable, "-m", "benchmarks.page_server", str(folder)], stdout=PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def go(url: str) -> None:
    """Let the stream begin."""
    request = urllib.request.Request(url, data=b"{}", headers={"X-Amz-Target": "Pages.Go"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def main(arguments: Sequence[str]) -> None:
    """Serve until the process is ended."""
    with PageServer(Path(arguments[0])) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
