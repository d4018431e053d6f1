"""What is looked at before readers see a generation: how many rows it has, and whether a sample of them is right."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from dynaview.sinks.port import SinkRefused
from dynaview.sources.filters import scan_filter
from dynaview.views.policy import Backoff
from dynaview.views.rebuild.context import Interrupted
from dynaview.views.rebuild.view_rebuild import ViewRebuild
from dynaview.views.retry import Retrier, Stop, Stopped
from dynaview.views.verify.findings import Report
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.subject import Subject
from dynaview.views.verify.verifier import Verification

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checks:
    """The checks of one rebuild."""

    rebuild: ViewRebuild

    def question(self) -> str:
        """What an operator has to be asked; empty where all is as it should be."""
        declared = self.rebuild.declared
        before, after = self._counts()
        lost = before - after
        if before and lost > before * declared.shrink:
            return (
                f"the view would shrink from {before:,} to {after:,} rows, by more than {declared.shrink:.0%} "
                f"(shrink: in the declaration)"
            )
        if self.rebuild.rebuild.options.exports:  # whoever reads one wants nothing to be read from the table
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
            log.warning("view %s: the sample of its next generation: %s", self.rebuild.view, report.error)
            backoff.wait(self.rebuild.context.turn.stop)
            self.rebuild.check()
        return report

    def _sampled(self) -> Report:
        rebuild, context = self.rebuild, self.rebuild.context
        writer, retrier = rebuild.writer(), Retrier(Stop(context.turn.stop), seconds=60.0)
        subject = Subject(rebuild.view, writer.bound, writer.target, rebuild.hold, context.kept.control.dead_letters)
        verification = rebuild.retry(
            lambda: Verification(
                context.kept.reader, [subject], context.factory.shape, retrier=retrier,
                limits=Limits(segments=1), only=scan_filter([rebuild.declared.match]),
            )
        )  # fmt: skip
        try:
            return verification.sample(min(1.0, context.settings.sample / max(1, rebuild.rebuild.items)))[0]
        except Stopped:
            raise Interrupted from None

    def _counts(self) -> tuple[int, int]:
        """Rows that readers see now, and rows that they would see."""
        rebuild, context, target = self.rebuild, self.rebuild.context, self.rebuild.target
        if rebuild.rebuild.kind == "in place":
            orphans = rebuild.retry(lambda: sum(1 for _ in target.earlier()))
            total = rebuild.retry(target.count)
            return total, max(0, total - orphans)
        live, before = context.live(rebuild.view)
        after = rebuild.retry(target.count)
        if before is None:
            return 0, after
        old, sink = context.target(before, live.generation), context.kept.sinks[before.sink]
        if rebuild.retry(lambda: sink.gone(before.layout, live.generation)) is not None:
            return 0, after

        def count() -> int:
            try:
                return old.count()
            except SinkRefused as error:  # what stands there is not what the view was built with: nothing to compare
                log.warning("view %s: its rows cannot be counted: %s", rebuild.view, error)
                return 0

        return rebuild.retry(count), after
