"""Replaying dead letters: what was kept is decoded and projected as the view does it now, and written under its guard.

The guard alone is not enough for a letter that has lain for long: the tombstone of a newer delete may be purged by
now, and a row that a rebuild has scanned stands at version 0. So the item is read again, strongly consistent, and a
write goes out only where the item as it is now still asks for it; everything else has been superseded. A change that
comes after that look carries a higher version, which is what the guard is for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from dynaview.projections.attributes import Attr, AttributeValueError, Image, Shape, item_key
from dynaview.projections.changes import STREAM_SPAN, Change, version_of
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import APPLIED, Rejected, Target
from dynaview.sources.errors import BadPage
from dynaview.sources.pages import ItemsDecoder, RecordsDecoder
from dynaview.sources.port import TableReader
from dynaview.views.control.dead_letters import SCAN, DeadLetter, DeadLetterStore, KeptLetter
from dynaview.views.dead_letters import key_text

Result: TypeAlias = Literal["applied", "stale", "unmatched", "rejected", "gone"]

MEANINGS: dict[Result, str] = {
    "applied": "the row is in the view now",
    "stale": "superseded: the item or its row is newer",
    "unmatched": "the item does not belong to the view",
    "rejected": "still rejected, and kept",
    "gone": "settled or discarded by somebody else meanwhile",
}

TOGETHER = 100
"""Changes whose items are read together (one BatchGetItem)."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one change. `letters` are all that were chosen of it; `reason` says why it is still rejected."""

    letters: Sequence[KeptLetter]
    result: Result
    reason: str = ""


class _Unreadable(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Asked:
    """A decoded letter: the item's key and what it asks of the view."""

    key: dict[str, Attr]
    writes: list[Write]


class Replay:
    """Replays letters of one view. Safe beside the running daemon, and beside another replay."""

    def __init__(self, box: DeadLetterStore, bound: Bound, shape: Shape, table: TableReader, target: Target) -> None:
        """Reads the table's description. `bound` is fitted to `shape`. Raises `SourceError`."""
        self._box = box
        self._bound = bound
        self._shape = shape
        self._table = table
        self._target = target
        self._records = RecordsDecoder(shape)
        self._items = ItemsDecoder(shape, table.describe().key)

    def run(self, letters: Iterable[KeptLetter]) -> Iterator[Replayed]:
        """Replay the changes of these letters, oldest first; each is settled as its result is given.

        Letters of one change are one: it is applied as a whole. Raises `SourceError`, `SinkError` and
        `ControlUnavailable`; what was not yet replayed is kept, and replaying twice does no harm.
        """
        changes: dict[tuple[str, int, int, str, str], list[KeptLetter]] = {}
        for kept in sorted(letters, key=lambda kept: kept.id):
            changes.setdefault(kept.letter.origin, []).append(kept)
        waiting = iter(changes.values())
        while some := list(itertools.islice(waiting, TOGETHER)):
            yield from self._some(some)

    def _some(self, changes: Sequence[list[KeptLetter]]) -> Iterator[Replayed]:
        asked = [self._asked(letters[0].letter) for letters in changes]
        keys = {item_key(each.key): each.key for each in asked if isinstance(each, _Asked) and each.writes}
        images = dict(zip(keys, self._table.get(list(keys.values()), self._shape), strict=True)) if keys else {}
        for letters, each in zip(changes, asked, strict=True):
            if isinstance(each, DeadLetter):
                yield self._rejected(letters, [each])
            elif not each.writes:
                yield self._settled(letters, "unmatched")
            else:
                yield self._written(letters, self._confirmed(each.writes, images[item_key(each.key)]))

    def _asked(self, letter: DeadLetter) -> _Asked | DeadLetter:
        """What the letter asks for; or the letter as it has to be kept on."""
        try:
            if letter.shard == SCAN:
                key, image = self._image(letter)
                return _Asked(key, self._bound.inserts(image))
            change = self._change(letter)
            version = version_of(letter.version // STREAM_SPAN, change.body.sequence)
            return _Asked(change.body.key, self._bound.writes(change, version))
        except _Unreadable as error:
            return replace(letter, row_key="", kind="unreadable", reason=str(error))
        except ProjectionError as error:
            return replace(letter, row_key="", kind="projection", reason=str(error))

    def _change(self, letter: DeadLetter) -> Change[Any]:
        try:
            page = self._records.decode(b'{"Records":[' + letter.change + b"]}")
            if page.broken:
                raise _Unreadable(page.broken[0].reason)
            item_key(page.changes[0].body.key)
        except BadPage as error:
            raise _Unreadable(error.what) from error
        except AttributeValueError as error:
            raise _Unreadable(str(error)) from error
        return page.changes[0]

    def _image(self, letter: DeadLetter) -> tuple[dict[str, Attr], Image]:
        try:
            page = self._items.decode(b'{"Items":[' + letter.change + b"]}")
            if page.broken:
                raise _Unreadable(page.broken[0].reason)
            item_key(page.keys[0])
        except BadPage as error:
            raise _Unreadable(error.what) from error
        except AttributeValueError as error:
            raise _Unreadable(str(error)) from error
        return page.keys[0], page.images[0]

    def _confirmed(self, writes: Sequence[Write], image: Image | None) -> list[Write]:
        """The writes that the item as it is now still asks for."""
        try:
            now = {} if image is None else dict(self._bound.rows(image))
        except ProjectionError:  # a newer change that is a dead letter itself
            now = {}
        return [write for write in writes if _asks(now, write)]

    def _written(self, letters: Sequence[KeptLetter], writes: Sequence[Write]) -> Replayed:
        outcomes = self._target.write(writes) if writes else []
        rejected = [
            replace(letters[0].letter, row_key=key_text(write.key), kind=outcome.kind.value, reason=outcome.reason)
            for write, outcome in zip(writes, outcomes, strict=True)
            if isinstance(outcome, Rejected)
        ]
        if rejected:
            return self._rejected(letters, rejected)
        return self._settled(letters, "applied" if any(outcome is APPLIED for outcome in outcomes) else "stale")

    def _settled(self, letters: Sequence[KeptLetter], result: Literal["applied", "stale", "unmatched"]) -> Replayed:
        return Replayed(letters, result if self._box.settle(letters[0].letter, result) else "gone")

    def _rejected(self, letters: Sequence[KeptLetter], rejected: Sequence[DeadLetter]) -> Replayed:
        if not self._box.renew(rejected):
            return Replayed(letters, "gone")
        return Replayed(letters, "rejected", rejected[0].reason)


def replay_of(view: ViewDeclaration, box: DeadLetterStore, table: TableReader, target: Target) -> Replay:
    """The replay of a declared view. Raises `SourceError`."""
    description = table.describe()
    projection = compile_view(view)
    names = None if projection.attributes is None else projection.attributes | set(description.key)
    shape = Shape(names)
    bound = projection.bind(shape, description.key, description.view_type or "NEW_AND_OLD_IMAGES")
    return Replay(box, bound, shape, table, target)


def _asks(now: dict[RowKey, Any], write: Write) -> bool:
    if write.values is None:
        return write.key not in now
    return write.key in now and now[write.key] == write.values
