"""The paths of a change that touch no file and no network, each as one piece of work on the same pages.

    python -m benchmarks.pure_paths

runs each once from within a call through libffi, which nothing else there makes: by it `benchmarks.instructions` tells
them apart.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from subprocess import DEVNULL, Popen
from types import SimpleNamespace
from typing import Any

import msgspec

from benchmarks.records import Pages
from benchmarks.workload import IMAGES, Workload
from dynaview.projections.changes import version_of
from dynaview.projections.columns import Columns, columns_of
from dynaview.sinks.opensearch.bulk import Bulk
from dynaview.sinks.opensearch.values import Documents
from dynaview.sinks.postgres.target import PostgresTarget
from dynaview.sinks.redis.packing import ROWS_A_CALL, Packer
from dynaview.sinks.redis.values import Content
from dynaview.sources.pages import RecordsDecoder
from dynaview.views.streaming.column_batch import ColumnBatch

CHANGES = 700

_FEW = 100
"""Changes of the yardstick: enough for it."""

YARDSTICK = "yardstick"
"""The path that the others are measured by: it is none of ours."""

PATHS = ("decode", "project", "coalesce", "redis", "postgres", "opensearch")


def paths(folder: Path) -> Mapping[str, Callable[[], object]]:
    """All of them; what they need is made ready, and each has been run once."""
    nowhere = {name: f"{name}://localhost:1/none" for name in ("redis", "postgresql")}
    environment = {"REDIS_URL": nowhere["redis"], "DATABASE_URL": nowhere["postgresql"]}
    workload = Workload({**environment, "OPENSEARCH_URL": "http://localhost:1"}, folder, CHANGES, "bench")
    bodies, small = list(Pages(CHANGES)), Pages(_FEW)[0]
    view = workload.view("redis")
    decoder = RecordsDecoder(view.shape, IMAGES)
    changes = [change for body in bodies for change in decoder.decode(body).changes]
    versions = [version_of(0, change.body.sequence) for change in changes]
    page = view.bound.page(changes, versions)
    assert page is not None
    columns = {"redis": columns_of(page.rows, page.versions)}
    for store in ("postgres", "opensearch"):
        other = workload.view(store).bound.page(changes, versions)
        assert other is not None
        columns[store] = columns_of(other.rows, other.versions)

    def coalesce() -> None:
        batch = ColumnBatch()
        batch.add("shard", page)
        batch.add("shard", page)
        batch.settle(lambda columns: {}, lambda writes: [])

    packer = Packer(Content(workload.view("redis").layout), 1)
    rows = len(columns["redis"])
    groups = [range(start, min(start + ROWS_A_CALL, rows)) for start in range(0, rows, ROWS_A_CALL)]
    table, bulk = _postgres(workload), _opensearch(workload)
    found: dict[str, Callable[[], object]] = {
        YARDSTICK: lambda: _size(msgspec.json.decode(small)),
        "decode": lambda: [decoder.decode(body) for body in bodies],
        "project": lambda: view.bound.page(changes, versions),
        "coalesce": coalesce,
        "redis": lambda: [*packer.column_calls(columns["redis"], groups, {})],
        "postgres": lambda: table.write_columns(columns["postgres"]),
        "opensearch": lambda: bulk.write_columns(_later(columns["opensearch"])),
    }
    for act in found.values():
        act()
    return found


def _later(columns: Columns) -> Columns:
    """The same rows once more, at newer versions."""
    return Columns(columns.keys, [version + 10**12 for version in columns.versions], columns.values)


def _size(value: Any) -> int:
    """A walk through a whole tree of JSON: work of the interpreter, beside that of its decoder."""
    if isinstance(value, dict):
        return sum(len(name) + _size(each) for name, each in value.items())
    return sum(map(_size, value)) if isinstance(value, list) else 1


def _postgres(workload: Workload) -> PostgresTarget:
    """A target whose database says at once that all was applied."""
    applied = SimpleNamespace(execute=lambda statement, arrays=(): SimpleNamespace(rowcount=CHANGES))

    @contextmanager
    def transaction(*_: object) -> Iterator[Any]:
        yield applied

    connections: Any = SimpleNamespace(role="", transaction=transaction)
    return PostgresTarget(connections, workload.view("postgres").layout, 1)


def _opensearch(workload: Workload) -> Bulk:
    """A bulk writer whose index says at once that all was applied."""
    item = {"status": 200, "_seq_no": 7, "_primary_term": 1}
    answer = msgspec.json.encode({"items": [*repeat({"index": item}, CHANGES)]}).decode()
    connection: Any = SimpleNamespace(send=lambda *_, **__: answer)
    return Bulk(connection, Documents(workload.view("opensearch").layout), "door", "orders-1", "orders")


def _count() -> None:
    """Let valgrind begin to count: what came before, imports above all, would take a minute under its counter."""
    with Popen(["vgdb", f"--pid={os.getpid()}", "instrumentation", "on"], stdout=DEVNULL, stderr=DEVNULL) as asked:
        while asked.poll() is None:  # it is heard while instructions run, so this one must not sleep
            pass
    if asked.returncode:
        raise RuntimeError("valgrind could not be told to begin: is vgdb installed beside it?")


def _marked(act: Callable[[], object]) -> None:
    """Run it from within libffi. ctypes would print an error and go on, so it is raised here."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    ctypes.PYFUNCTYPE(None)(run)()
    if failed:
        raise failed[0]


def main() -> None:
    """Run each once."""
    with tempfile.TemporaryDirectory() as folder:
        found = paths(Path(folder))
        _count()
        for name in chain((YARDSTICK,), PATHS):
            _marked(found[name])


if __name__ == "__main__":
    main()
