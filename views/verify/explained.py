"""What dead letters explain: a row that its item asks for and that does not stand, because the store or a function
refused that very state of the item.

That is no drift: replaying the letter is what brings the row. A letter of another state explains nothing: of that one
the item asks nothing any more. Nor does it explain a row that stands: whatever became a dead letter has taken it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dynaview.projections.attributes import Shape, item_key
from dynaview.projections.changes import SCANNED
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import Write
from dynaview.sinks.port import Stored
from dynaview.sources.port import Key
from dynaview.views.control.records import DeadLetter, DeadLetterFilter
from dynaview.views.dead_letters import LetterReader, key_text
from dynaview.views.verify.subject import Subject

_PAGE = 500


@dataclass(frozen=True, slots=True)
class _Kept:
    """A letter of an item: the version of its change, and what the state that it kept asks for. None: nobody knows."""

    version: int
    asks: Collection[Write] | None


class Explained:
    """The letters of some items of one view, as they were kept when `load` was last called."""

    def __init__(self, subject: Subject, shape: Shape, key: tuple[str, ...]) -> None:
        """`key` are the names of the table's key attributes. Without letters nothing is explained."""
        self._box = subject.letters
        self._view = subject.view
        self._generation = subject.target.generation
        self._bound = subject.bound
        self._reader = LetterReader(shape, key)
        self._by_item: dict[str, list[_Kept]] = {}

    def load(self, items: Collection[Key]) -> None:
        """Look what is kept of these items now. Raises `ControlUnavailable`."""
        if self._box is None:
            return
        names = {key_text(item_key(key)) for key in items}
        found: dict[str, list[_Kept]] = {}
        last = 0
        while names and (page := self._box.find(DeadLetterFilter(view=self._view), _PAGE, last)):
            last = page[-1].id
            for kept in page:
                # Of a generation that readers see no more, nothing is of interest.
                if kept.letter.generation >= self._generation and kept.letter.item_key in names:
                    found.setdefault(kept.letter.item_key, []).append(self._kept(kept.letter))
        self._by_item = found

    def row(self, item: Key, write: Write, seen: Stored | None) -> bool:
        """Whether a letter explains that `seen` stands where the item asks for `write`."""
        kept = self._by_item.get(key_text(item_key(item)), ()) if self._by_item else ()
        return any(self._explains(each, write, seen) for each in kept)

    def _explains(self, kept: _Kept, write: Write, seen: Stored | None) -> bool:
        if kept.version != SCANNED and seen is not None and seen.owner == write.owner and seen.version > kept.version:
            return False  # the row has been written since
        if kept.asks is None:
            return True
        return any(each.key == write.key and each.values == write.values for each in kept.asks)

    def _kept(self, letter: DeadLetter) -> _Kept:
        content = self._reader.read(letter)
        if isinstance(content, str) or content.trouble:
            return _Kept(letter.version, None)
        try:
            return _Kept(content.version, () if content.new is None else self._bound.inserts(content.new))
        except ProjectionError:  # the item, of which a row can be made, is in another state
            return _Kept(content.version, ())
