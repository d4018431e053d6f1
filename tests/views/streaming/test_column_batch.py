"""A batch of columns, held against the batch that goes change by change, on random changes and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaview.projections.changes import Body, Change
from dynaview.projections.columns import Columns, ProjectedPage
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import APPLIED, STALE, Outcome, Rejected, RejectedKind, exceptions
from dynaview.views.streaming.batch import Batch, Refusal
from dynaview.views.streaming.column_batch import ColumnBatch

OUTCOMES: list[Outcome] = [APPLIED, APPLIED, APPLIED, STALE, Rejected("too odd"), Rejected("a", RejectedKind.UNIQUE)]


@dataclass(frozen=True)
class Asked:
    """A change and its one write (`values` None: a delete)."""

    key: str
    version: int
    values: tuple[Any, ...] | None

    @property
    def write(self) -> Write:
        return Write(self.key, self.values, self.version)


asked = st.builds(
    Asked, st.sampled_from(["a", "b", "c", "d"]), st.integers(1, 9), st.none() | st.tuples(st.integers(0, 3))
)
changes = st.lists(
    st.tuples(st.sampled_from(["one", "two"]), asked),
    min_size=1,
    max_size=12,
    unique_by=lambda one: (one[1].key, one[1].version),
)
"""With their shards; a version comes once for a row."""
answers = st.fixed_dictionaries(
    {(key, deletes): st.sampled_from(OUTCOMES) for key in "abcd" for deletes in (False, True)}
)


class Store:
    """Answers as it was told, and keeps what it was sent."""

    def __init__(self, answers: Mapping[tuple[str, bool], Outcome]) -> None:
        self.answers = answers
        self.sent: list[list[Write]] = []

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        assert len({write.key for write in writes}) == len(writes)
        self.sent.append(sorted(writes, key=lambda write: str(write.key)))
        return [self.answers[str(write.key), write.values is None] for write in writes]

    def write_columns(self, columns: Columns) -> dict[int, Outcome]:
        return exceptions(self.write(columns.writes()))


def page_of(some: Sequence[Asked], changes: Sequence[Change[Any]]) -> ProjectedPage:
    page = ProjectedPage([], versions := list[int](), origins := list[Change[Any]]())
    for each, change in zip(some, changes, strict=True):
        if each.values is None:
            page.gone.append(each.key)
            page.gone_versions.append(each.version)
            page.gone_origins.append(change)
        else:
            page.rows.append((each.key, *each.values))
            versions.append(each.version)
            origins.append(change)
    return page


def told(refusals: Sequence[Refusal]) -> list[tuple[str, int, RowKey, int, str]]:
    return sorted(
        (each.origin[0], id(each.origin[1]), str(each.write.key), each.write.version, each.rejected.reason)
        for each in refusals
    )


@given(changes, answers)
def test_it_sends_and_counts_what_a_batch_does(
    given_changes: list[tuple[str, Asked]], answers: Mapping[tuple[str, bool], Outcome]
) -> None:
    batch, columns = Batch(), ColumnBatch()
    for shard, part in groupby(given_changes, key=lambda one: one[0]):
        some = [each for _, each in part]
        made: list[Change[Any]] = [Change("MODIFY", Body(str(each.version), {})) for each in some]
        for each, change in zip(some, made, strict=True):
            assert batch.add(shard, change, [each.write])
        columns.add(shard, page_of(some, made))
    slow, fast = Store(answers), Store(answers)
    expected_counts, expected_refusals = batch.settle(slow.write)
    counts, refusals = columns.settle(fast.write_columns, fast.write)
    assert fast.sent == slow.sent
    assert counts == expected_counts
    assert told(refusals) == told(expected_refusals)
    assert len(columns) == 0


def test_what_fails_leaves_it_as_it_was() -> None:
    columns = ColumnBatch()
    columns.add("one", ProjectedPage([("a", 1)], [5], [Change("MODIFY", Body("5", {}))]))

    def fail(_: object) -> Any:
        raise RuntimeError("away")

    with pytest.raises(RuntimeError):
        columns.settle(fail, fail)
    with pytest.raises(RuntimeError):
        columns.settle(lambda _: {0: Rejected("too odd")}, fail)
    store = Store({("a", False): APPLIED})
    counts, _ = columns.settle(store.write_columns, store.write)
    assert counts["one"].applied == 1
