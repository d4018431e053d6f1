"""Many changes at once: what a page of them asks of a view, as rows side by side, and what a batch is as columns.

What is done change by change costs an object and some calls a change at every step. A view whose rows are told by the
item key alone, one an item at the most, needs none of them: a page is projected in one loop (`ProjectedPage`), and
reaches its store as columns (`Columns`), a list for the row keys and one for each field. `Bound.writes` and
`Target.write` say what the same means change by change: they serve every other view, and the tests as the measure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, TypeAlias, overload

from dynaview.projections.changes import Change
from dynaview.projections.rows import RowKey, Write

FlatRow: TypeAlias = tuple[Any, ...]
"""A row key, and behind it the values in the order of `Layout.fields`."""


@dataclass(slots=True)
class ProjectedPage:
    """What some changes ask of a view, in their order; a row key may come more than once."""

    rows: list[FlatRow]
    """The upserts."""
    versions: Sequence[int]
    origins: Sequence[Change[Any]]
    """The changes that ask for them."""
    gone: list[RowKey] = field(default_factory=list)
    """The deletes."""
    gone_versions: list[int] = field(default_factory=list)
    gone_origins: list[Change[Any]] = field(default_factory=list)
    unmatched: int = 0
    """Changes that ask for nothing."""


@dataclass(frozen=True, slots=True)
class Columns(Sequence[Write]):
    """A batch of writes, all under `Rule.NEWER` and without owners, none of which has another's row key.

    It is also the sequence of these writes, upserts first; each is made when it is asked for.
    """

    keys: Sequence[RowKey]
    """Of the upserts."""
    versions: Sequence[int]
    """One for each of `keys`."""
    values: Sequence[Sequence[Any]]
    """For each of `Layout.fields` a value for each of `keys`."""
    gone: Sequence[RowKey] = ()
    """Of the deletes."""
    gone_versions: Sequence[int] = ()
    """One for each of `gone`."""

    def writes(self) -> list[Write]:
        """All of its writes."""
        rows: Iterable[Any] = zip(*self.values, strict=True) if self.values else repeat(())
        upserts = [Write(key, row, version) for key, row, version in zip(self.keys, rows, self.versions, strict=False)]
        deletes = [Write(key, None, version) for key, version in zip(self.gone, self.gone_versions, strict=True)]
        return upserts + deletes

    def __len__(self) -> int:
        return len(self.keys) + len(self.gone)

    @overload
    def __getitem__(self, index: int) -> Write: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Write]: ...

    def __getitem__(self, index: int | slice) -> Write | Sequence[Write]:
        if isinstance(index, slice):
            return [self._write(at) for at in range(*index.indices(len(self)))]
        return self._write(range(len(self))[index])

    def _write(self, at: int) -> Write:
        upserts = len(self.keys)
        if at >= upserts:
            return Write(self.gone[at - upserts], None, self.gone_versions[at - upserts])
        return Write(self.keys[at], tuple([column[at] for column in self.values]), self.versions[at])


def columns_of(
    rows: Sequence[FlatRow], versions: Sequence[int], gone: Sequence[RowKey] = (), gone_versions: Sequence[int] = ()
) -> Columns:
    """Rows and deletes as columns."""
    if not rows:
        return Columns((), (), (), gone, gone_versions)
    keys, *values = zip(*rows, strict=True)
    return Columns(keys, versions, values, gone, gone_versions)
