"""A view by hand: one row an item, keyed by the item's whole key, for tests of following that need no compiler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynaview.projections.attributes import Image, Shape
from dynaview.projections.changes import SCANNED, Change
from dynaview.projections.columns import ProjectedPage
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import Field, Layout, OpenSearchOptions, RowKey, RowValues, Rule, Write

SHAPE = Shape(None)


def layout(view: str) -> Layout:
    """The layout of a simple view: one field ``value``."""
    return Layout(view, (), (Field("value"),), OpenSearchOptions(view, {}, {}))


class SimpleBound:
    """Rows of items with ``value``; an item with ``hidden`` is not the view's, one with ``bad`` cannot be projected."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        item = SHAPE.unpack(image)
        if "bad" in item:
            raise ProjectionError("field value: bad is bad")
        if "hidden" in item:
            return []
        return [("/".join((str(item["pk"]), str(item["sk"]))), (item.get("value"),))]

    def writes(self, change: Change[Any], version: int) -> list[Write]:
        item = SHAPE.unpack(change.body.key)
        own: RowKey = "/".join((str(item["pk"]), str(item["sk"])))
        try:
            old = [] if change.body.old is None else self.rows(change.body.old)
        except ProjectionError:
            old = [(own, ())]
        try:
            new = [] if change.body.new is None else self.rows(change.body.new)
        except ProjectionError as error:
            error.asked = [Write(key, None, version) for key in dict.fromkeys([*(key for key, _ in old), own])]
            raise
        kept = {key for key, _ in new}
        gone = [Write(key, None, version) for key, _ in old if key not in kept]
        return [Write(key, values, version) for key, values in new] + gone

    def page(self, changes: Sequence[Change[Any]], versions: Sequence[int]) -> ProjectedPage | None:
        """By `writes`, one by one, so that whoever follows such a view sends columns."""
        page = ProjectedPage([], upserts := [], origins := [])
        for change, version in zip(changes, versions, strict=True):
            try:
                writes = self.writes(change, version)
            except ProjectionError:
                return None
            if len(writes) > 1 or any(write.owner for write in writes):
                return None
            page.unmatched += not writes
            for write in writes:
                if write.values is None:
                    page.gone.append(write.key)
                    page.gone_versions.append(version)
                    page.gone_origins.append(change)
                else:
                    page.rows.append((write.key, *write.values))
                    upserts.append(version)
                    origins.append(change)
        return page

    def inserts(self, image: Image) -> list[Write]:
        return [Write(key, values, SCANNED, rule=Rule.ABSENT) for key, values in self.rows(image)]
