"""How fast a view is verified: every row of it held against a scan of its table, against that scan alone.

``python -m benchmarks.verify`` also tells the memory that a verification needs: a process of its own, a table and a
store that are made as they are read, and a million rows.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
import msgspec

from benchmarks.from_dynamodb import write_orders
from benchmarks.records import item
from benchmarks.sinks import anew
from benchmarks.timing import Clock, Contender, Figure, Group, clock, measure
from benchmarks.workload import IMAGES, KEY, View, Workload
from dynaview.projections.attributes import Attr, Image, Shape
from dynaview.projections.changes import version_of
from dynaview.projections.rows import Rule, Write
from dynaview.sinks.port import CanonicalRows, Foreign, Target, state_of
from dynaview.sources.items import projection
from dynaview.sources.pages import ItemsDecoder
from dynaview.sources.port import ScanFilter, ScanPage, TableDescription
from dynaview.sources.session import Session
from dynaview.sources.table import DynamoTable
from dynaview.views.verify.findings import Report
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.subject import Subject
from dynaview.views.verify.verifier import Verification
from tests.support.servers import servers
from tests.support.shop import create_table

SEGMENTS = 4
PULLED = "scan pulled, not read"
PAGE = 1000
STORES = ("redis", "postgres", "opensearch")


def group(workload: Workload) -> Group:
    """A table in DynamoDB Local and its view in each store, in step: nothing is found."""
    workload = workload.apart("v")
    orders = min(workload.count, max(2000, workload.count // 2))
    endpoint = workload.environment["DYNAMODB_ENDPOINT"]
    session = Session("ddblocal", endpoint)
    client = boto3.client("dynamodb", region_name="ddblocal", endpoint_url=endpoint)
    create_table(client, workload.run)
    write_orders(client, workload.run, orders, 1)
    table = DynamoTable(session, workload.run)
    views = {store: workload.view(store) for store in STORES}
    targets = {store: _filled(view, table) for store, view in views.items()}

    def pull() -> Clock:
        with clock(orders) as timed:
            pull_all(session, workload.run, views["redis"])
        return timed

    def verified(store: str) -> Callable[[], Clock]:
        def run() -> Clock:
            with clock(orders) as timed:
                report = verify(views[store], table, targets[store])
            if report.drift or report.items != orders:
                raise RuntimeError(f"{store}: {report}")
            return timed

        return run

    def listed(store: str) -> Callable[[], Clock]:
        def run() -> Clock:
            with clock(orders) as timed:
                for _ in targets[store].canonical_rows():
                    pass
                pull_all(session, workload.run, views["redis"])
            return timed

        return run

    contenders, figures = [Contender(PULLED, pull)], []
    for store in STORES:
        contenders += [Contender(f"{store} listed, scan pulled", listed(store))]
        contenders += [Contender(f"verify {store}", verified(store))]
        figures += [Figure(f"verify {store}", PULLED, 0.5), Figure(f"verify {store}", f"{store} listed, scan pulled")]
    return Group("verify", contenders, figures)


def verify(view: View, table: Any, target: Target) -> Report:
    """Verify one view that nothing changes."""
    subject = Subject(view.name, view.bound, target, lambda at: None)
    (report,) = Verification(table, [subject], view.shape, limits=Limits(segments=SEGMENTS)).whole()
    return report


def _filled(view: View, table: DynamoTable) -> Target:
    target = anew(view)
    for page in table.scan(0, 1, None, view.shape):
        writes = [write for image in page.images for write in view.bound.inserts(image)]
        for write in writes:
            write.version, write.rule = version_of(0, "100000000000000000000"), Rule.NEWER
        target.write(writes)
    return target


def pull_all(session: Session, table: str, view: View) -> None:
    """All segments of the table side by side; see `_pull`."""
    acts = [threading.Thread(target=_pull, args=(session, table, view, segment)) for segment in range(SEGMENTS)]
    for act in acts:
        act.start()
    for act in acts:
        act.join()


def _pull(session: Session, table: str, view: View, segment: int) -> None:
    """The pages of a segment as AWS sends them, of which nothing but the position is read."""
    parameters: dict[str, Any] = {
        "TableName": table, "Segment": segment, "TotalSegments": SEGMENTS, "ConsistentRead": True,
        **projection(view.shape),
    }  # fmt: skip
    while True:
        last = _position.decode(session.ask("Scan", table, parameters)).last
        if last is None:
            return
        parameters["ExclusiveStartKey"] = last


class _Only(msgspec.Struct):
    last: dict[str, Any] | None = msgspec.field(name="LastEvaluatedKey", default=None)


_position = msgspec.json.Decoder(_Only)


# Memory


class Peak(msgspec.Struct, frozen=True):
    """The highest resident memory in bytes of a process that verifies so many rows."""

    verified: int
    rows: int
    seconds: float


class MadeTable:
    """A table of orders that are made as they are scanned."""

    name = "orders"

    def __init__(self, count: int, shape: Shape) -> None:
        self._count = count
        self._decoder = ItemsDecoder(shape, KEY)

    def describe(self) -> TableDescription:
        return TableDescription("orders", "arn", KEY, None, IMAGES, self._count, 400 * self._count, "ACTIVE")

    def scan(
        self, segment: int, segments: int, after: str | None, shape: Shape, only: ScanFilter | None = None
    ) -> Iterator[ScanPage[Any]]:
        numbers = range(segment, self._count, segments)
        for start in range(0, len(numbers), PAGE):
            items = [item(number, 1) for number in numbers[start : start + PAGE]]
            page = self._decoder.decode(msgspec.json.encode({"Items": items}))
            page.position = None if start + PAGE >= len(numbers) else str(start)
            yield page

    def get(self, keys: Sequence[Mapping[str, Attr]], shape: Shape) -> list[Image | None]:
        raise AssertionError("nothing differs, so nothing is read again")


class MadeTarget:
    """A store of the rows of orders, which are made as they are listed."""

    generation = 1

    def __init__(self, view: View, count: int) -> None:
        self.layout = view.layout
        self._view = view
        self._table = MadeTable(count, view.shape)
        self._real = view.target()

    def content(self, write: Write) -> Any:
        return self._real.content(write)

    def canonical(self, write: Write) -> bytes | None:
        return self._real.canonical(write)

    def canonical_rows(self) -> Iterator[CanonicalRows]:
        for page in self._table.scan(0, 1, None, self._view.shape):
            writes = [write for image in page.images for write in self._view.bound.inserts(image)]
            states = [state_of(10**21 + 7, 1, write.owner) for write in writes]
            yield CanonicalRows(
                [write.key for write in writes], states, [self.canonical(write) or b"" for write in writes]
            )

    def foreign(self) -> Iterator[Foreign]:
        return iter(())


def memory(rows: int) -> Peak:
    """Run it in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.verify", "--peak", str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Peak)


def _peak(rows: int) -> Peak:
    with tempfile.TemporaryDirectory() as folder:
        view = Workload({"OPENSEARCH_URL": "http://localhost:1"}, Path(folder), rows).view("redis")
        began = time.monotonic()
        target: Any = MadeTarget(view, rows)
        report = verify(view, MadeTable(rows, view.shape), target)
        if report.drift or report.items != rows:
            raise RuntimeError(str(report))
        return Peak(_resident(), report.rows, time.monotonic() - began)


def _resident() -> int:
    """In bytes (Linux counts in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verify", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--records", type=int, default=40_000, help="half as many items (40000)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows for the memory's peak")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        sys.stdout.write(msgspec.json.encode(_peak(options.peak)).decode())
        return
    with servers(("redis", "postgres", "opensearch", "dynamodb")) as urls, tempfile.TemporaryDirectory() as folder:
        made = group(Workload(dict(urls), Path(folder), options.records))
        rates = measure([made], options.rounds, lambda line: None)
        for each in made.contenders:
            rate = rates.rate(made, each.name)
            print(f"{each.name:24}{rate.median:>10,.0f} items/s ({rate.low:,.0f}..{rate.high:,.0f})")
        for figure in made.figures:
            ratio = rates.ratio(made, figure)
            print(f"{figure.over} ÷ {figure.under}: {ratio.median:.2f} ({ratio.low:.2f}..{ratio.high:.2f})")
    peak = memory(options.rows)
    print(f"{peak.rows:,} rows: {peak.verified / 2**20:.0f} MB at the peak")


if __name__ == "__main__":
    main()
