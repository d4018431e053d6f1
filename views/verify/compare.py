"""Comparing a view with its table at rest: a verification that waits for nothing.

For a table that nobody writes to and a view that has caught up: demo, soak, tests.
`dynaview.views.verify.verifier` compares while both go on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.projection import shape_of
from dynaview.sinks.port import SinkUnavailable, Target
from dynaview.sources.port import TableReader
from dynaview.views.dead_letters import key_text
from dynaview.views.retry import Retrier
from dynaview.views.verify.findings import Finding
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.service import FULL_IMAGES
from dynaview.views.verify.subject import Subject
from dynaview.views.verify.verifier import Verification


@dataclass(slots=True)
class Comparison:
    """What differs between a table and a view of it, by row key as text."""

    view: str
    rows: int = 0
    """Rows that are as they should be."""
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    """Rows of another item's among them."""
    unprojected: int = 0
    """Items from which the projection could make no row (they are dead letters)."""

    @property
    def equal(self) -> bool:
        """Whether the view shows exactly what the table asks for."""
        return not (self.missing or self.extra or self.different)


def compare(view: ViewDeclaration, table: TableReader, target: Target) -> Comparison:
    """Compare one view with a strongly consistent scan of its table. Raises `SourceError` and `SinkError`."""
    description = table.describe()
    projection = compile_view(view)
    shape = shape_of([projection], description.key)
    bound = projection.bind(shape, description.key, description.view_type or FULL_IMAGES)
    found: list[Finding] = []
    subject = Subject(view.name, bound, target, caught_up=lambda at: None, found=found.extend)
    (report,) = Verification(table, [subject], shape, retrier=Retrier(seconds=0.0), limits=Limits(listed=0)).whole()
    if report.error:
        raise SinkUnavailable(report.error)
    comparison = Comparison(view.name, unprojected=report.dead_lettered)
    lists = {"missing": comparison.missing, "extra": comparison.extra}
    for finding in found:
        lists.get(finding.kind, comparison.different).append(key_text(finding.key))
    comparison.rows = report.rows - len(comparison.missing) - len(comparison.different)
    return comparison
