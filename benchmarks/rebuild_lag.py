"""What a rebuild does to the lag of its view, and the memory that it needs: a daemon in a process of its own, which
follows a table that changes at a steady rate, and fills and rebuilds a view of a million of its items in a real store.

    python -m benchmarks.rebuild_lag
    python -m benchmarks.rebuild_lag --only redis --rows 200000 --rate 200

A reader in another process asks the store all the time for orders that change, and takes the time from the write of
each version it sees until then. The table is synthetic (`benchmarks.synthetic`), so no other server shares the machine.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import redis
from opensearchpy import OpenSearch
from psycopg import sql

from benchmarks.synthetic import HOT, OrdersTable, PagesFile
from benchmarks.verify import STORES
from benchmarks.workload import Workload
from dynaview.views.control.records import ENDED, Options
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.daemon.interpreter import tune
from dynaview.views.declarations.fingerprint import fingerprint
from tests.support.servers import servers

_DEADLINE = 1800.0
_GLANCE = 0.1


class Told(msgspec.Struct, frozen=True):
    """What the daemon's process says: its highest resident memory so far in bytes, rows of the step, its seconds."""

    peak: int
    rows: int
    seconds: float


class Delays(msgspec.Struct, frozen=True):
    """From a write to the row that readers see, in seconds."""

    median: float
    p95: float
    seen: int

    @classmethod
    def of(cls, delays: Sequence[float]) -> Delays:
        """Of at least two."""
        return cls(statistics.median(delays), statistics.quantiles(delays, n=20)[-1], len(delays))


class Found(msgspec.Struct, frozen=True):
    """One store."""

    filled: Told
    rebuilt: Told
    before: Delays
    during: Delays


# The process that rebuilds


def _serve(store: str, pages: Path, run: str, rate: float) -> None:
    """Fill the view, say so; at each line of standard input rebuild it, and say so."""
    logging.getLogger("dynaview").setLevel(logging.ERROR)
    logging.getLogger("opensearch").setLevel(logging.ERROR)
    table = OrdersTable(PagesFile(pages), rate)
    declaration = Workload(dict(os.environ), pages.parent, 0, run).declaration(store)
    ((name, view),) = declaration.views.items()
    tune()
    daemon = Daemon(declaration, open_source=lambda source: table)
    control, began = daemon.control, time.monotonic()
    daemon.start()
    try:
        _until(lambda: bool(control.views()) and control.views()[0].filled)
        _tell(began, control.generations(name)[0].inserted or 0)
        for _ in sys.stdin:
            began = time.monotonic()
            control.rebuilds.request([name], "shop", {name: fingerprint(view, "orders")}, Options(yes=True, keep=0))
            _until(lambda: control.rebuilds.all()[0].phase in ENDED)
            done = control.rebuilds.all()[0]
            if done.phase != "done":
                raise RuntimeError(f"{done.phase}: {done.reason}")
            _tell(began, done.items)
    finally:
        daemon.stop()


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + _DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("a step of the daemon did not end")
        time.sleep(_GLANCE)


def _tell(began: float, rows: int) -> None:
    """In bytes (Linux counts in KiB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    told = Told(peak if sys.platform == "darwin" else peak * 1024, rows, time.monotonic() - began)
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    sys.stdout.flush()


# The process that looks on


def _reader(workload: Workload, store: str) -> Callable[[int], str | None]:
    """Answers the `placed_at` of an order that readers see."""
    run, urls = workload.run, workload.environment
    if store == "redis":
        client = redis.Redis.from_url(urls["REDIS_URL"], decode_responses=True)
        return lambda order: _text(client.hget(f"{run}:{order // 7:07d}:{order:08d}", "placed_at"))
    if store == "postgres":
        connection = psycopg.connect(urls["DATABASE_URL"], autocommit=True)
        query = sql.SQL("SELECT placed_at FROM {} WHERE customer_id = %s AND order_id = %s").format(
            sql.Identifier(f"{run}_orders")
        )

        def ask(order: int) -> str | None:
            row = connection.execute(query, (f"{order // 7:07d}", f"{order:08d}")).fetchone()
            return None if row is None else _text(row[0])

        return ask
    search: Any = OpenSearch([urls["OPENSEARCH_URL"]], timeout=60)

    def find(order: int) -> str | None:
        query = {"query": {"ids": {"values": [f"{order // 7:07d}:{order:08d}"]}}, "_source": ["placed_at"]}
        hits = search.search(index=f"{run}-orders", body=query)["hits"]["hits"]
        return _text(hits[0]["_source"]["placed_at"]) if hits else None

    return find


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _look(ask: Callable[[int], str | None], last: dict[int, str], until: Callable[[], bool]) -> list[float]:
    """The delays of all versions that a reader sees for the first time until then; `last` is what it saw before."""
    delays: list[float] = []
    order = 0
    while not until():
        seen, now = ask(order), time.time()
        if seen is None:
            raise RuntimeError(f"order {order} is not there")
        if order in last and seen != last[order]:
            delays.append(now - float(seen))
        last[order] = seen
        order = (order + 7) % HOT
        time.sleep(0.002)
    return delays


def measure(workload: Workload, store: str, pages: PagesFile, rate: float, seconds: float) -> Found:
    """Look on for so many seconds, then while the view is rebuilt."""
    command = [
        sys.executable, "-m", "benchmarks.rebuild_lag", "--serve", store, "--pages", str(pages.path),
        "--run", workload.run, "--rate", str(rate),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = process.stdout
        filled = _read(answers.readline())
        ask, last = _reader(workload, store), dict[int, str]()
        settled = time.monotonic() + 10.0  # what the fill left behind is written
        _look(ask, last, lambda: time.monotonic() > settled)
        end = time.monotonic() + seconds
        before = _look(ask, last, lambda: time.monotonic() > end)
        os.set_blocking(answers.fileno(), False)
        process.stdin.write(b"rebuild\n")
        process.stdin.flush()
        line = b""

        def told() -> bool:
            nonlocal line
            line += answers.read() or b""
            return line.endswith(b"\n") or process.poll() is not None

        during = _look(ask, last, told)
        rebuilt = _read(line)
        process.stdin.close()
        process.wait()
    return Found(filled, rebuilt, Delays.of(before), Delays.of(during))


def _read(line: bytes) -> Told:
    if not line:
        raise RuntimeError("the daemon's process ended")
    return msgspec.json.decode(line, type=Told)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="items of the table (1000000)")
    parser.add_argument("--rate", type=float, default=100.0, help="changes a second (100)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to look on before the rebuild (30)")
    parser.add_argument("--only", nargs="+", choices=STORES, default=STORES, metavar="STORE", help=", ".join(STORES))
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    for name, kind in {"serve": str, "pages": Path, "run": str}.items():
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(options.serve, options.pages, options.run, options.rate)
        return
    found: dict[str, Found] = {}
    with servers(options.only) as urls, tempfile.TemporaryDirectory() as folder:
        workload = Workload({**os.environ, **urls}, Path(folder), options.rows)
        names = workload.view("redis").shape.names or ()
        pages = PagesFile.write(workload.folder / "pages", options.rows, names)
        for store in options.only:
            found[store] = measure(workload, store, pages, options.rate, options.seconds)
            if not options.json:
                print(_line(store, found[store]), flush=True)
    if options.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


def _line(store: str, found: Found) -> str:
    before, during, told = found.before, found.during, found.rebuilt
    return (
        f"{store}: {told.rows:,} rows rebuilt in {told.seconds:.0f} s ({told.rows / told.seconds:,.0f} rows/s; filled "
        f"with {found.filled.rows / found.filled.seconds:,.0f} rows/s); lag before {before.median * 1000:.0f} ms "
        f"(p95 {before.p95 * 1000:.0f}), while it ran {during.median * 1000:.0f} ms (p95 {during.p95 * 1000:.0f}): "
        f"{during.median / before.median:.1f} times as much (p95: {during.p95 / before.p95:.1f} times), to reach: 2; "
        f"{told.peak / 2**20:.0f} MB at the peak ({found.filled.peak / 2**20:.0f} MB once filled), to reach: 300"
    )


if __name__ == "__main__":
    main()
