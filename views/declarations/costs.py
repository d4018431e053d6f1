"""What following a declaration's tables costs a month, and what a scan or an export of each does: by the size and
the open shards that AWS tells of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dynaview.projections.attributes import Shape
from dynaview.projections.declaration import Declaration, SourceDeclaration
from dynaview.sources.errors import SourceError
from dynaview.sources.port import TableReader
from dynaview.sources.table import open_table
from dynaview.views.control.records import Checkpoint
from dynaview.views.cost import LATENCY, control_commits, export_units, read_units, stream_reads


@dataclass(frozen=True, slots=True)
class TableCost:
    """Of one source. What AWS did not tell is None, and `unknown` says why."""

    source: str
    table: str
    latency: float
    """Seconds between two reads of a shard in which nothing happens."""
    views: int
    shards: int | None = None
    """That are open; 0 where the table has no stream."""
    scan: int | None = None
    """Read units of a scan."""
    export: float | None = None
    """Gigabytes of a full export."""
    unknown: str = ""

    @property
    def reads(self) -> float | None:
        """Stream reads a month."""
        return None if self.shards is None else stream_reads(self.shards, self.latency)

    @property
    def line(self) -> str:
        """What following it costs, for people."""
        if self.reads is None:
            return f"what following costs is not known: {self.unknown}"
        shards = "1 open shard" if self.shards == 1 else f"{self.shards:,} open shards"
        return f"about {self.reads:,.0f} stream reads a month for {shards}, idle ones read every {self.latency:g} s"

    @property
    def commits(self) -> float:
        """Transactions of the control store a month."""
        return control_commits(self.views)


def costs(
    declaration: Declaration, open_source: Callable[[SourceDeclaration], TableReader] = open_table
) -> list[TableCost]:
    """Of every source that has views."""
    found = []
    for source in declaration.sources.values():
        views = sum(view.source == source.name for view in declaration.views.values())
        if views:
            found.append(_cost(source, views, open_source))
    return found


def _cost(source: SourceDeclaration, views: int, open_source: Callable[[SourceDeclaration], TableReader]) -> TableCost:
    latency = _latency(source)
    try:
        table = open_source(source)
        described = table.describe()
        shards = 0
        if described.stream_arn is not None:
            listing = table.stream(described.stream_arn, Shape(frozenset(described.key))).shards()
            shards = sum(shard.last is None for shard in listing)
    except SourceError as error:
        return TableCost(source.name, source.table, latency, views, unknown=str(error))
    scan, export = read_units(described.size), export_units(described.size)
    return TableCost(source.name, source.table, latency, views, shards, scan, export)


def followed(declaration: Declaration, checkpoints: Callable[[str], Mapping[str, Checkpoint]]) -> list[TableCost]:
    """What following costs of every source whose views have read some of its shards, by the `checkpoints` of each view.
    AWS is not asked."""
    found = []
    for source in declaration.sources.values():
        views = [view.name for view in declaration.views.values() if view.source == source.name]
        at = [each for view in views for each in checkpoints(view).items()]
        if at:
            shards = len({shard for shard, checkpoint in at if not checkpoint.finished})
            found.append(TableCost(source.name, source.table, _latency(source), len(views), shards))
    return found


def _latency(source: SourceDeclaration) -> float:
    return LATENCY if source.latency is None else source.latency
