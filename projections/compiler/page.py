"""Projecting a page of changes in one loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from dynaview.projections.attributes import Image
from dynaview.projections.changes import Change
from dynaview.projections.columns import FlatRow, ProjectedPage
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey

RowFunction: TypeAlias = "Callable[[Image], FlatRow | bool | None]"
"""The only row of an image; None where its item is not the view's by its key, False where only the filter says so."""

LeftFunction: TypeAlias = Callable[[Change[Any]], Sequence[RowKey]]
"""The row key that the item of a change may have had before, none or one. Raises `ProjectionError` where nothing tells
it."""

_STATES = frozenset({"INSERT", "MODIFY"})
"""The kinds of changes that bring a state of the item."""


def project_page(
    row_of: RowFunction, left_by: LeftFunction, changes: Sequence[Change[Any]], versions: Sequence[int]
) -> ProjectedPage | None:
    """What a page asks of a view whose match and row keys read nothing but key attributes, which are the same in both
    images. None where some change has to be looked at by itself: one from which no row can be made, say."""
    rows: list[Any] = []
    add = rows.append
    others: list[int] = []
    try:
        for change in changes:
            image = change.body.new
            if image is not None and change.event in _STATES:
                row = row_of(image)
                if row:
                    add(row)
                    continue
                if row is None:
                    others.append(~(len(rows) + len(others)))
                    continue
            others.append(len(rows) + len(others))
        if not others:
            return ProjectedPage(rows, versions, changes)
        return _with_others(rows, left_by, changes, versions, others)
    except ProjectionError:
        return None


def _with_others(
    rows: list[FlatRow],
    left_by: LeftFunction,
    changes: Sequence[Change[Any]],
    versions: Sequence[int],
    others: Sequence[int],
) -> ProjectedPage | None:
    """`others` are the places of changes that make no row; those of which none ever stood are inverted (`~`)."""
    left_out = {at if at >= 0 else ~at for at in others}
    kept = [at for at in range(len(changes)) if at not in left_out]
    page = ProjectedPage(rows, [versions[at] for at in kept], [changes[at] for at in kept])
    for at in others:
        if at < 0:
            page.unmatched += 1
            continue
        change = changes[at]
        if change.event != "REMOVE" and (change.body.new is None or change.event not in _STATES):
            return None
        left = left_by(change)
        if not left:
            page.unmatched += 1
        for key in left:
            page.gone.append(key)
            page.gone_versions.append(versions[at])
            page.gone_origins.append(change)
    return page
