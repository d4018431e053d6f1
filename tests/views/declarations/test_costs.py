"""What a declaration costs in AWS's units: by the shards and the size of its tables, and by what has been followed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dynaview.sources.errors import TableMissing
from dynaview.sources.port import TableReader
from dynaview.views.cli.plan import cost_lines
from dynaview.views.control.records import Checkpoint, Part, Progress
from dynaview.views.control.store import ControlStore
from dynaview.views.cost import MONTH, control_commits, export_units, read_units, stream_reads
from dynaview.views.declarations.costs import costs
from tests.support.commands import told
from tests.support.scripted import ScriptedTable
from tests.views.declarations.planning import VIEWS, Declare


@pytest.mark.parametrize(
    ("shards", "latency", "second"),
    [(1, None, 2.0), (4, None, 8.0), (250, None, 250.0), (250, 5.0, 50.0), (250, 0.05, 250.0), (0, 1.0, 0.0)],
)
def test_reads_grow_with_shards_up_to_the_pace_of_a_worker(shards: int, latency: float | None, second: float) -> None:
    assert stream_reads(shards, latency, 1.0) == second
    assert stream_reads(shards, latency) == second * MONTH


def test_units() -> None:
    assert [read_units(size) for size in (0, 1, 4096, 4097, 10 * 2**30)] == [0, 1, 1, 2, 2_621_440]
    assert export_units(3 * 2**29) == 1.5
    assert (control_commits(3, 1.0), control_commits(500, 1.0)) == (3.0, 200.0)


def test_each_table_that_has_views_is_asked_once(declare: Declare) -> None:
    tables = [ScriptedTable(shards=4)]
    tables[0].split(tables[0].shard_of({"pk": "a", "sk": "b"}))
    (found,) = costs(declare(VIEWS), lambda source: tables.pop())
    assert (found.source, found.shards, found.views, found.latency) == ("shop", 5, 2, 0.5)
    lines = list(cost_lines(found))
    assert (
        lines[1] == "  following: about 25,920,000 stream reads a month for 5 open shards, idle ones read every 0.5 s"
    )
    assert lines[3] == "  control store: about 5,184,000 transactions a month for 2 views in which nothing happens"
    (none,) = costs(declare(VIEWS), lambda source: ScriptedTable(streaming=False))
    assert (none.shards, none.reads) == (0, 0.0)


def test_what_aws_does_not_tell_is_not_known(declare: Declare) -> None:
    def missing(_: object) -> TableReader:
        raise TableMissing("there is no table shop")

    (found,) = costs(declare(VIEWS), missing)
    assert (found.shards, found.reads, found.scan) == (None, None, None)
    assert next(cost_lines(found)).startswith("shop (table shop): what it costs is not known: there is no table shop")


def test_status_tells_it_by_the_shards_that_it_has_read(tmp_path: Path) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_text(
        f"control: sqlite:///{tmp_path}/control.db\n"
        "sources: {shop: {table: shop, latency: 5s}, other: {table: other}}\n"
        'sinks: {cache: {redis: "redis://127.0.0.1:1"}}\n'
        "views:\n"
        '  one: {source: shop, sink: cache, key: "one:{pk}", fields: {pk: pk}}\n'
        '  two: {source: shop, sink: cache, key: "two:{pk}", fields: {pk: pk}}\n'
    )
    control = ControlStore(f"sqlite:///{tmp_path}/control.db")
    for view, shards in (("one", "ab"), ("two", "bc")):
        control.add_view(view, "shop", "cache", "f", "arn")
        parts = {shard: Part(Checkpoint(1, 1.0, finished=shard == "a")) for shard in shards}
        control.commit(view, Progress(parts), 1.0)
    control.close()
    shown = told("status", "--cost", "-f", file).out.splitlines()
    assert shown[-1] == "shop: about 1,036,800 stream reads a month for 2 open shards, idle ones read every 5 s"
    views = json.loads(told("status", "--cost", "--json", "-f", file).out)
    cost = {"open_shards": 2, "stream_reads_a_month": 1_036_800.0}
    assert [(view["view"], view["cost"]) for view in views] == [("one", cost), ("two", cost)]
