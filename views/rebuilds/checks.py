"""What is looked at before readers see a generation: how many rows it has, and whether a sample of them is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from dynaview.projections.declaration import ViewDeclaration
from dynaview.views.rebuilds.beside import Insist
from dynaview.views.rebuilds.inplace import Hold
from dynaview.views.rebuilds.site import Site
from dynaview.views.rebuilds.store import Rebuild

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of one rebuild."""

    site: Site
    declared: ViewDeclaration
    rebuild: Rebuild
    insist: Insist
    hold: Hold

    def question(self) -> str:
        """What an operator has to be asked; empty where all is as it should be."""
        before, after = self._counts()
        lost = before - after
        if before and lost > before * self.declared.shrink:
            return (
                f"the view would shrink from {before:,} to {after:,} rows, by more than {self.declared.shrink:.0%} "
                f"(shrink: in the declaration)"
            )
        return ""

    def _counts(self) -> tuple[int, int]:
        """Rows that readers see now, and rows that they would see."""
        number = self.rebuild.generation
        if self.rebuild.kind == "in place":
            total = fresh = 0
            for row in self.site.target(self.declared, number).rows():
                total += 1
                fresh += row.generation >= number
            return total, fresh
        live, before = self.site.live(self.declared.name)
        after = self.insist(self.site.target(self.declared, number).count)
        if before is None:
            return 0, after
        old = self.site.target(before, live.generation)
        sink = self.site.sinks[before.sink]
        if self.insist(lambda: sink.gone(before.layout, live.generation)) is not None:
            return 0, after
        return self.insist(old.count), after
