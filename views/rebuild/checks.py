"""What is looked at before readers see a generation: how many rows it has, and whether a sample of them is right."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import SinkRefused
from dynaview.sources.filters import scan_filter
from dynaview.views.control.records import Rebuild
from dynaview.views.policy import Backoff
from dynaview.views.rebuild.context import RebuildContext
from dynaview.views.rebuild.in_place import Hold
from dynaview.views.rebuild.side_by_side import Insist
from dynaview.views.retry import Retrier, Stop
from dynaview.views.verify.findings import Report
from dynaview.views.verify.verifier import Limits, Verification
from dynaview.views.verify.view_check import Subject

log = logging.getLogger(__name__)

SAMPLE = 500
"""About how many items are read again."""


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of one rebuild."""

    site: RebuildContext
    declared: ViewDeclaration
    rebuild: Rebuild
    insist: Insist
    hold: Hold
    check: Callable[[], None]
    """Raises where the rebuild is to end."""

    def question(self) -> str:
        """What an operator has to be asked; empty where all is as it should be."""
        before, after = self._counts()
        lost = before - after
        if before and lost > before * self.declared.shrink:
            return (
                f"the view would shrink from {before:,} to {after:,} rows, by more than {self.declared.shrink:.0%} "
                f"(shrink: in the declaration)"
            )
        if self.rebuild.options.exports:  # whoever reads one wants nothing to be read from the table
            return ""
        report = self._sample()
        # Which of two items a row belongs to cannot be told from a sample.
        wrong = {"missing": report.missing, "extra": report.extra, "different": report.different}
        if found := sum(wrong.values()):
            kinds = ", ".join(f"{count} {kind}" for kind, count in wrong.items() if count)
            return f"{found} rows of a sample of {report.items} items are not what the table asks for ({kinds})"
        return ""

    def _sample(self) -> Report:
        """Some items of the table, wherever the scan saw them, against the rows that readers would see. What has not
        come by the stream yet is no difference: see `ViewCheck`."""
        backoff = Backoff()
        while (report := self._sampled()).error:
            log.warning("view %s: the sample of its next generation: %s", self.declared.name, report.error)
            backoff.wait(self.site.stop)
            self.check()
        return report

    def _sampled(self) -> Report:
        site, view, number = self.site, self.declared.name, self.rebuild.generation
        generation = self.insist(lambda: site.generations(view))[number]
        count = self.insist(lambda: site.record(view)).stream_count
        output = site.opening.output(self.declared, generation, count)
        subject = Subject(view, output.bound, output.target, self.hold, site.control.dead_letters)
        verification = self.insist(
            lambda: Verification(
                site.table, [subject], site.opening.shape, patience=Retrier(Stop(site.stop), seconds=60.0),
                limits=Limits(segments=1), only=scan_filter([self.declared.match]),
            )
        )  # fmt: skip
        return verification.sample(min(1.0, SAMPLE / max(1, self.rebuild.items)))[0]

    def _counts(self) -> tuple[int, int]:
        """Rows that readers see now, and rows that they would see."""
        number = self.rebuild.generation
        if self.rebuild.kind == "in place":
            target = self.site.target(self.declared, number)
            orphans = self.insist(lambda: sum(1 for _ in target.earlier()))
            total = self.insist(target.count)
            return total, max(0, total - orphans)
        live, before = self.site.live(self.declared.name)
        after = self.insist(self.site.target(self.declared, number).count)
        if before is None:
            return 0, after
        old = self.site.target(before, live.generation)
        sink = self.site.sinks[before.sink]
        if self.insist(lambda: sink.gone(before.layout, live.generation)) is not None:
            return 0, after

        def count() -> int:
            try:
                return old.count()
            except SinkRefused as error:  # what stands there is not what the view was built with: nothing to compare
                log.warning("view %s: its rows cannot be counted: %s", self.declared.name, error)
                return 0

        return self.insist(count), after
