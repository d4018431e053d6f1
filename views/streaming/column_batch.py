"""A batch of changes that travels to its sink as columns; see `batch` for what the same means change by change.

Nearly always each of its writes is applied, and then nothing is made for a single change: it is counted by how many of
which shard there were. Where the sink says otherwise of some rows, their changes alone go through a `Batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from dynaview.projections.changes import Change
from dynaview.projections.columns import Columns, FlatRow, ProjectedPage, columns_of
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import Outcome
from dynaview.views.control.records import Counts
from dynaview.views.streaming.batch import Batch, Refusal, WriteBatch

WriteColumns: TypeAlias = Callable[[Columns], Mapping[int, Outcome]]
"""Writes a batch and answers the outcomes that are not APPLIED, by the place of the write."""


class ColumnBatch:
    """Changes of one view that are written together, each of which asks for one write.

    As in a `Batch`, of several writes to one row key only the newest is sent.
    """

    __slots__ = ("_gone", "_gone_origins", "_gone_versions", "_origins", "_parts", "_rows", "_versions")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._rows: list[FlatRow] = []
        self._versions: list[int] = []
        self._origins: list[Change[Any]] = []
        self._gone: list[RowKey] = []
        self._gone_versions: list[int] = []
        self._gone_origins: list[Change[Any]] = []
        self._parts: list[tuple[str, int, int]] = []
        """Of every page its shard, and how many upserts and deletes it brought."""

    def __len__(self) -> int:
        return len(self._rows) + len(self._gone)

    def add(self, shard: str, page: ProjectedPage) -> None:
        """Take in what a page of a shard asks for."""
        self._rows += page.rows
        self._versions += page.versions
        self._origins += page.origins
        self._gone += page.gone
        self._gone_versions += page.gone_versions
        self._gone_origins += page.gone_origins
        self._parts.append((shard, len(page.rows), len(page.gone)))

    def settle(self, send: WriteColumns, slowly: WriteBatch) -> tuple[dict[str, Counts], list[Refusal]]:
        """Write everything and say what became of the changes of each shard; the batch is empty afterwards. `slowly`
        writes what a refused row makes necessary.

        Whatever they raise leaves the batch as it was.
        """
        columns = self._coalesced()
        met = send(columns)
        counts: dict[str, Counts] = {}
        refusals: list[Refusal] = []
        if met:
            counts, refusals = self._account({columns[at].key: outcome for at, outcome in met.items()}, slowly)
        else:
            for shard, upserts, deletes in self._parts:
                _add_applied(counts, shard, upserts + deletes)
        self._clear()
        return counts, refusals

    def _coalesced(self) -> Columns:
        columns = columns_of(self._rows, self._versions, self._gone, self._gone_versions)
        if len({*columns.keys, *columns.gone}) == len(self):
            return columns
        newest: dict[RowKey, int] = {}
        versions = [*self._versions, *self._gone_versions]
        for at, key in enumerate([*columns.keys, *columns.gone]):
            held = newest.setdefault(key, at)
            if versions[at] > versions[held]:
                newest[key] = at
        upserts = len(self._rows)
        kept = sorted(newest.values())
        rows = [at for at in kept if at < upserts]
        gone = [at - upserts for at in kept[len(rows) :]]
        return columns_of(
            [self._rows[at] for at in rows],
            [self._versions[at] for at in rows],
            [self._gone[at] for at in gone],
            [self._gone_versions[at] for at in gone],
        )

    def _account(self, met: Mapping[RowKey, Outcome], slowly: WriteBatch) -> tuple[dict[str, Counts], list[Refusal]]:
        """Let the changes to rows of which the sink said something else than APPLIED go through a `Batch`."""
        counts: dict[str, Counts] = {}
        batch = Batch()
        for shard, change, write in self._asked():
            if write.key in met:
                batch.add(shard, change, [write])
            else:
                _add_applied(counts, shard, 1)
        sent = False

        def send(writes: Sequence[Write]) -> list[Outcome]:
            nonlocal sent
            if sent:
                return slowly(writes)
            sent = True
            return [met[write.key] for write in writes]

        rest, refusals = batch.settle(send)
        for shard, some in rest.items():
            counts.setdefault(shard, Counts()).add(some)
        return counts, refusals

    def _asked(self) -> Iterator[tuple[str, Change[Any], Write]]:
        upsert = delete = 0
        for shard, upserts, deletes in self._parts:
            for at in range(upsert, upsert := upsert + upserts):
                key, *values = self._rows[at]
                yield shard, self._origins[at], Write(key, tuple(values), self._versions[at])
            for at in range(delete, delete := delete + deletes):
                yield shard, self._gone_origins[at], Write(self._gone[at], None, self._gone_versions[at])


def _add_applied(counts: dict[str, Counts], shard: str, number: int) -> None:
    counts.setdefault(shard, Counts()).add(Counts(read=number, applied=number))
