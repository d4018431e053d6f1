"""A batch of columns in the order in which its rows are locked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, overload

from dynaview.projections.columns import Columns
from dynaview.projections.rows import Write


class OrderedColumns(Sequence[Write]):
    """The writes of a batch in an order of their places, each made when it is asked for; and its columns in it."""

    def __init__(self, columns: Columns, order: Sequence[int]) -> None:
        self._columns = columns
        self.order = order
        self._pick = None if _rises(order) else itemgetter(*order)

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, index: int) -> Write: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Write]: ...

    def __getitem__(self, index: int | slice) -> Write | Sequence[Write]:
        if isinstance(index, slice):
            return [self._columns[at] for at in self.order[index]]
        return self._columns[self.order[index]]

    def keys(self) -> list[Sequence[Any]]:
        """The columns of the row key. Raises ValueError where keys are not of one width, TypeError where one is not
        made of values."""
        keys: Any = chain(self._columns.keys, self._columns.gone)
        return [self._ordered(column) for column in zip(*keys, strict=True)]

    def values(self, width: int) -> list[Sequence[Any]]:
        """The other columns, with None for deletes; of as many fields where there are deletes only."""
        gone = len(self._columns.gone)
        if not gone:
            return [self._ordered(column) for column in self._columns.values]
        if not self._columns.keys:
            return [[None] * gone] * width
        nothing = [None] * gone
        return [self._ordered([*column, *nothing]) for column in self._columns.values]

    def versions(self) -> Sequence[int]:
        """A version for each write."""
        return self._ordered([*self._columns.versions, *self._columns.gone_versions])

    def deletes(self) -> Sequence[bool]:
        """Whether each write is a delete."""
        flags = chain(repeat(False, len(self._columns.keys)), repeat(True, len(self._columns.gone)))
        return self._ordered([*flags])

    def _ordered(self, column: Sequence[Any]) -> Sequence[Any]:
        return column if self._pick is None else self._pick(column)


def _rises(order: Sequence[int]) -> bool:
    return list(order) == list(range(len(order)))
