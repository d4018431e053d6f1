"""Any store once more, written by columns: whatever of a batch can travel as columns does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

from dynaview.projections.columns import columns_of
from dynaview.projections.rows import Layout, Rule, Write
from dynaview.sinks.port import APPLIED, Outcome, Sink, Target
from tests.sinks.contract.subjects import Subject


class ColumnTarget:
    """A target whose `write` goes by `write_columns` where it can."""

    def __init__(self, inner: Target) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        plain = [at for at, write in enumerate(writes) if write.rule is Rule.NEWER and not write.owner]
        upserts = [at for at in plain if writes[at].values is not None]
        deletes = [at for at in plain if writes[at].values is None]
        columns = columns_of(
            [(writes[at].key, *cast("tuple[Any, ...]", writes[at].values)) for at in upserts],
            [writes[at].version for at in upserts],
            [writes[at].key for at in deletes],
            [writes[at].version for at in deletes],
        )
        outcomes: list[Outcome] = [APPLIED] * len(writes)
        for place, outcome in self.inner.write_columns(columns).items():
            assert outcome is not APPLIED
            outcomes[[*upserts, *deletes][place]] = outcome
        others = [at for at in range(len(writes)) if at not in set(plain)]
        for at, outcome in zip(others, self.inner.write([writes[at] for at in others]), strict=True):
            outcomes[at] = outcome
        return outcomes


class ColumnSink:
    """A sink of such targets."""

    def __init__(self, inner: Sink) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def open(self, layout: Layout, generation: int) -> Target:
        return cast(Target, ColumnTarget(self.inner.open(layout, generation)))


def by_columns(subject: Subject) -> Subject:
    """The same store, written by columns."""
    unreachable = subject.unreachable
    return dataclasses.replace(
        subject,
        sink=cast(Sink, ColumnSink(subject.sink)),
        another=lambda: cast(Sink, ColumnSink(subject.another())),
        unreachable=None if unreachable is None else lambda: cast(Sink, ColumnSink(unreachable())),
    )
