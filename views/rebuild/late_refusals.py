"""Rows that a store turns out unable to hold once a load is made good: a value too long for an index, two rows with one
value of a unique one. Following would have set them aside, so a rebuild does: a dead letter of the item, and the row
goes where it is still as it was seen."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence

from dynaview.projections.attributes import Image
from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import RowKey
from dynaview.sinks.port import RefusedRow
from dynaview.sources.port import Key
from dynaview.views.control.records import SCAN, DeadLetter
from dynaview.views.dead_letters import key_text, scanned_letter
from dynaview.views.rebuild.context import describe
from dynaview.views.rebuild.view_rebuild import ViewRebuild
from dynaview.views.verify.origins import item_of, item_of_row

log = logging.getLogger(__name__)


def make_good(rebuild: ViewRebuild) -> None:
    """Make good what the load has left out, until no row stands in the way. Raises `RebuildFailed` where they are too
    many."""
    kept: list[RefusedRow] = []
    while refused := rebuild.retry(lambda kept=kept: rebuild.target.finish(kept)):  # type: ignore[misc]  # a default is not inferred
        rebuild.check()
        log.warning(
            "%s: its store cannot hold %d rows, which become dead letters; the first: %s",
            *(describe(rebuild.rebuild), len(refused), refused[0].refused.reason),
        )
        rebuild.keep(_letters(rebuild, refused))
        kept = refused


def _letters(rebuild: ViewRebuild, refused: Sequence[RefusedRow]) -> list[DeadLetter]:
    """One for each row, of its item as the table has it now where the row tells which one that is."""
    keys = [_item_key(rebuild, each) for each in refused]
    told = [key for key in keys if key is not None]
    images = iter(rebuild.read_again(told)) if told else iter(())
    bound, letters = rebuild.writer().bound, list[DeadLetter]()
    for each, key in zip(refused, keys, strict=True):
        image = None if key is None else next(images)
        if key is not None and image is not None and each.row.key in _asked(bound, image):
            letter = scanned_letter(
                rebuild.view, key, image, each.refused.reason, each.refused.kind.value, each.row.key
            )
        else:
            letter = _letter_of_row(rebuild.view, each)
        letters.append(dataclasses.replace(letter, generation=rebuild.rebuild.generation))
    return letters


def _item_key(rebuild: ViewRebuild, refused: RefusedRow) -> Key | None:
    names, row = rebuild.context.factory.description.key, refused.row
    return item_of(rebuild.declared, row.key, names) or item_of_row(rebuild.declared, row.key, row.content, names)


def _asked(bound: Bound, image: Image) -> set[RowKey]:
    try:
        return {key for key, _ in bound.rows(image)}
    except ProjectionError:
        return set()


def _letter_of_row(view: str, refused: RefusedRow) -> DeadLetter:
    """Of a row that does not tell its item."""
    row = refused.row
    return DeadLetter(
        view, f"unknown {row.owner}".strip(), key_text(row.key), row.version, SCAN, time.time(),
        refused.refused.kind.value, refused.refused.reason, b"", counted=False,
    )  # fmt: skip
