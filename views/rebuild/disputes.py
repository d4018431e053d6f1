"""Rows that two items have asked for (law 10), where what is read is older than what is written already.

An export, and what the stream tells since, are read while pipelines write newer changes: a row key that has moved from
one item to another meanwhile looks as if both claimed it. So a rejection stands only where the item claims the row as
the table has it now, and in the end each of them is replayed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import msgspec

from dynaview.projections.attributes import Attr, Image
from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import RowKey, RowValues
from dynaview.sinks.port import RejectedKind
from dynaview.views.control.records import DeadLetter, DeadLetterFilter
from dynaview.views.dead_letters import key_text
from dynaview.views.rebuild.view_rebuild import ViewRebuild
from dynaview.views.replay import Replay

_OWNER = RejectedKind.OWNER.value

_key = msgspec.json.Decoder(dict[str, Attr])


def standing(rebuild: ViewRebuild, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Those of the letters that stand: without rows claimed for an item that does not claim them any more."""
    found = list(letters)
    disputed = [(letter, key) for letter in found if letter.kind == _OWNER and (key := _item(letter)) is not None]
    if not disputed:
        return found
    images = rebuild.read_again([key for _, key in disputed])
    bound = rebuild.writer().bound
    gone = {
        id(letter)
        for (letter, _), image in zip(disputed, images, strict=True)
        if letter.row_key not in {key_text(key) for key, _ in asked(bound, image)}
    }
    return [letter for letter in found if id(letter) not in gone]


def settle(rebuild: ViewRebuild) -> None:
    """Replay what was rejected in favour of another item, once everything that was read is written."""
    context, box = rebuild.context, rebuild.context.kept.control.dead_letters
    kept = [
        each
        for each in rebuild.retry(lambda: box.find(DeadLetterFilter(view=rebuild.view, kind=_OWNER)))
        if each.letter.generation == rebuild.rebuild.generation
    ]
    if not kept:
        return
    writer, shape = rebuild.writer(), context.factory.shape
    replay = rebuild.retry(lambda: Replay(box, writer.bound, shape, context.kept.reader, writer.target))
    rebuild.retry(lambda: list(replay.run(kept)))


def uncounted(letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Letters of changes that the view's pipeline has counted before."""
    return [dataclasses.replace(letter, counted=False) for letter in letters]


def _item(letter: DeadLetter) -> dict[str, Attr] | None:
    try:
        return _key.decode(letter.item_key)
    except (msgspec.DecodeError, UnicodeEncodeError):  # a key too long to be kept whole
        return None


def asked(bound: Bound, image: Image | None) -> list[tuple[RowKey, RowValues]]:
    """The rows of an item as it is now; none where none can be made, of which the pipeline keeps a dead letter."""
    try:
        return [] if image is None else bound.rows(image)
    except ProjectionError:
        return []
