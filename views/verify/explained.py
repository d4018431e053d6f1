"""What dead letters explain: their changes never reached the view, so its rows are not as their items ask for.

That is no drift: replaying the letters (or mending what they name) is what brings these rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dynaview.projections.attributes import AttributeValueError, Shape, item_key
from dynaview.projections.changes import SCANNED, Body, Change
from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sources.errors import BadPage
from dynaview.sources.pages import ItemsDecoder, RecordsDecoder
from dynaview.sources.port import Key
from dynaview.views.control.dead_letters import SCAN, DeadLetter, DeadLetterFilter, DeadLetterStore
from dynaview.views.dead_letters import key_text

_PAGE = 500


class Explained:
    """The letters of one view that were kept when `load` was last called."""

    def __init__(
        self, box: DeadLetterStore | None, view: str, generation: int, bound: Bound, shape: Shape, key: tuple[str, ...]
    ) -> None:
        """Without a `box` nothing is explained."""
        self._box = box
        self._view = view
        self._generation = generation
        self._bound = bound
        self._records = RecordsDecoder(shape)
        self._items = ItemsDecoder(shape, key)
        self._by_item: set[str] = set()
        self._rows: set[RowKey] = set()

    def load(self, rows: bool = False) -> None:
        """Look what is kept now; with `rows` also which rows the changes had to do with.

        Raises `ControlUnavailable`.
        """
        if self._box is None:
            return
        by_item: set[str] = set()
        of_rows: set[RowKey] = set()
        last = 0
        while page := self._box.find(DeadLetterFilter(view=self._view), _PAGE, last):
            last = page[-1].id
            for kept in page:
                if kept.letter.generation < self._generation:  # of rows that readers see no more
                    continue
                by_item.add(kept.letter.item_key)
                if rows:
                    of_rows.update(self._rows_of(kept.letter))
        self._by_item, self._rows = by_item, of_rows

    def item(self, key: Key) -> bool:
        """Whether a letter of this item is kept."""
        return bool(self._by_item) and key_text(item_key(key)) in self._by_item

    def row(self, key: RowKey) -> bool:
        """Whether a kept letter's item had this row, or was to get it."""
        return key in self._rows

    def _rows_of(self, letter: DeadLetter) -> Iterator[RowKey]:
        try:
            if letter.shard == SCAN:
                page = self._items.decode(b'{"Items":[' + letter.change + b"]}")
                states: list[tuple[Key, Any]] = [*zip(page.keys, page.images, strict=True)]
            else:
                changes = self._records.decode(b'{"Records":[' + letter.change + b"]}").changes
                states = [(each.body.key, image) for each in changes for image in (each.body.new, each.body.old)]
        except (BadPage, AttributeValueError):  # then the letter tells no rows
            return
        for key, image in states:
            if image is not None:
                yield from (write.key for write in leavings(self._bound, key, image))


def leavings(bound: Bound, key: Key, image: Any) -> list[Write]:
    """Deletes of the rows that a state of the item `key` yielded, also where their fields could not be made; empty
    where not even their keys can."""
    body: Body[Any] = Body(sequence="0", key=key, old=image)
    try:
        return bound.writes(Change("REMOVE", body), SCANNED)
    except ProjectionError:
        return []
