"""The items of one table, as its verification reads them: whatever heals by itself is tried again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from dynaview.projections.attributes import Image, Shape, item_key
from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sources.port import Key, TableReader
from dynaview.views.retry import Retrier

TOGETHER = 1000
"""Items that are read together."""


@dataclass(frozen=True, slots=True)
class ItemReader:
    """Reads items of one table."""

    table: TableReader
    shape: Shape
    retrier: Retrier

    def get(self, keys: Sequence[Key]) -> list[Image | None]:
        """The items of these keys now, however many. Raises `SourceError`, `Stopped`."""
        images: list[Image | None] = []
        for start in range(0, len(keys), TOGETHER):
            images += self.retrier.insist(partial(self.table.get, keys[start : start + TOGETHER], self.shape))
        return images

    def asked(self, bound: Bound, keys: Sequence[Key]) -> dict[str, Mapping[RowKey, Write]]:
        """What these items ask for now, by item key; nothing where no row can be made of one."""
        items = {item_key(key): key for key in keys}
        images = self.get([*items.values()])
        return {name: _asked(bound, image) for name, image in zip(items, images, strict=True)}


def _asked(bound: Bound, image: Image | None) -> Mapping[RowKey, Write]:
    try:
        return {} if image is None else {write.key: write for write in bound.inserts(image)}
    except ProjectionError:
        return {}
