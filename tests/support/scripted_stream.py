"""The stream of a scripted table, as whatever reads streams sees it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from dynaview.projections.attributes import Shape
from dynaview.sources.errors import SourceRefused
from dynaview.sources.port import Page, Shard

if TYPE_CHECKING:
    from tests.support.scripted import ScriptedTable


class ScriptedStream:
    """A `StreamReader` of a scripted table."""

    def __init__(self, table: ScriptedTable, arn: str, shape: Shape) -> None:
        self.arn = arn
        self._table = table
        self._shape = shape

    def shards(self) -> list[Shard]:
        """See `StreamReader.shards`."""
        self._table.enter("shards")
        return self._table.listing(self.arn)

    def children(self, shard_id: str) -> list[Shard]:
        """See `StreamReader.children`."""
        self._table.enter("children", shard_id)
        return [shard for shard in self._table.listing(self.arn) if shard.parent == shard_id]

    def open(self, shard_id: str, after: str | None) -> str:
        """See `StreamReader.open`."""
        self._table.enter("open", shard_id, after)
        return self._table.iterator(self.arn, shard_id, after)

    def read(self, iterator: str, limit: int = 1000) -> Page[Any]:
        """See `StreamReader.read`."""
        self._table.enter("read", parts(iterator)[3])
        return self._table.records(self.arn, iterator, limit, self._shape)


def parts(iterator: str) -> tuple[str, str, str, str]:
    """What an iterator says."""
    matched = re.fullmatch(r"(\d+)/([\d.e+]+)/(\d+)/(.+)", iterator)
    if matched is None:
        raise SourceRefused("not an iterator")
    return matched[1], matched[2], matched[3], matched[4]
