"""Comparing a view with its table: scan, project, and hold against what the store has.

For a table at rest and a view that has caught up; everything is held in memory. (Verification of a busy table needs
the watermark as well.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler import compile_view
from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey
from dynaview.sinks.port import Target
from dynaview.sources.port import TableReader
from dynaview.views.letters import key_text


@dataclass(slots=True)
class Comparison:
    """What differs between a table and a view of it, by row key as text."""

    view: str
    rows: int = 0
    """Rows that are as they should be."""
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    unprojected: int = 0
    """Items from which the projection could make no row (they are dead letters)."""

    @property
    def equal(self) -> bool:
        """Whether the view shows exactly what the table asks for."""
        return not (self.missing or self.extra or self.different)


def compare(view: ViewDeclaration, table: TableReader, target: Target) -> Comparison:
    """Compare one view with a strongly consistent scan of its table. Raises `SourceError` and `SinkError`."""
    expected, unprojected = expected_rows(view, table, target)
    found = Comparison(view.name, unprojected=unprojected)
    for stored in target.rows():
        if stored.key not in expected:
            found.extra.append(key_text(stored.key))
        elif expected.pop(stored.key) == stored.content:
            found.rows += 1
        else:
            found.different.append(key_text(stored.key))
    found.missing += [key_text(key) for key in expected]
    return found


def expected_rows(view: ViewDeclaration, table: TableReader, target: Target) -> tuple[dict[RowKey, Any], int]:
    """What the table asks the view to hold, as the store would give it back; and how many items yield no row."""
    description = table.describe()
    projection = compile_view(view)
    names = None if projection.attributes is None else projection.attributes | set(description.key)
    shape = Shape(names)
    bound = projection.bind(shape, description.key, description.view_type or "NEW_AND_OLD_IMAGES")
    expected: dict[RowKey, Any] = {}
    unprojected = 0
    for page in table.scan(0, 1, None, shape):
        unprojected += len(page.broken)
        for image in page.images:
            try:
                writes = bound.inserts(image)
            except ProjectionError:
                unprojected += 1
                continue
            expected.update((write.key, target.content(write)) for write in writes)
    return expected, unprojected
