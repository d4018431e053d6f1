"""Repairing a view: repairing exactly what a verification found, where nothing has changed since it was seen.

A `Repairer` takes findings as they are made and writes what the table asks for by compare-and-set
(`Target.write_if_unchanged`), so a change that comes between always wins; then there is nothing to do. What dead
letters explain is left to a replay, and rows that two items ask for are left to whoever decides between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import APPLIED, ConditionalWrite, Foreign, Rejected, RejectedKind, Target
from dynaview.views.retry import Retrier
from dynaview.views.verify.findings import DRIFT, Finding, Report

Outcome: TypeAlias = Literal["mended", "changed", "left"]

MEANINGS: dict[Outcome, str] = {
    "mended": "the row is as its item asks for it now",
    "changed": "changed meanwhile, nothing to do",
    "left": "not repaired, see why",
}

BATCH = 500
"""Rows repaired together."""


@dataclass(frozen=True, slots=True)
class RowRepair:
    """What became of one finding. `reason` says why a row is left."""

    finding: Finding
    outcome: Outcome
    reason: str = ""


@dataclass(slots=True)
class Repair:
    """What became of the findings of one view, by kind and outcome. Only the first of the left are listed."""

    view: str
    counts: Counter[tuple[str, Outcome]] = field(default_factory=Counter)
    left: list[RowRepair] = field(default_factory=list)

    def number(self, outcome: Outcome, kind: str | None = None) -> int:
        """How many findings (of a kind) came to that outcome."""
        return sum(count for (of, came), count in self.counts.items() if came == outcome and kind in (None, of))


@dataclass(slots=True)
class Repairs:
    """Makes the repairers of a verification, one a view, and remembers them by view. `told`, `listed` and `foreign` are
    theirs."""

    told: Callable[[RowRepair], None] = lambda repaired: None
    listed: int = 100
    foreign: bool = False
    made: dict[str, Repairer] = field(default_factory=dict)

    def repairer(self, view: str, target: Target, retrier: Retrier) -> Repairer:
        """The one of a view."""
        self.made[view] = Repairer(view, target, retrier, self.told, self.listed, self.foreign)
        return self.made[view]

    @property
    def by_view(self) -> dict[str, Repair]:
        """What became of the findings, by view."""
        return {view: repairer.repair for view, repairer in self.made.items()}


class Repairer:
    """Repairs the rows of one view. Call it with findings; safe for one thread at a time."""

    def __init__(
        self,
        view: str,
        target: Target,
        retrier: Retrier,
        told: Callable[[RowRepair], None] = lambda mended: None,
        listed: int = 100,
        foreign: bool = False,
    ) -> None:
        """`told` hears what became of each row; `listed` is how many of those left are remembered; with `foreign` what
        dynaview did not put there is removed too."""
        self.repair = Repair(view)
        self._target = target
        self._retrier = retrier
        self._told = told
        self._listed = listed
        self._foreign = foreign

    def __call__(self, findings: Sequence[Finding]) -> None:
        """Repair. Raises `SinkError`, `Stopped`; what was repaired until then stays, and the rest is found again."""
        mendable = [finding for finding in findings if finding.kind in DRIFT and not finding.stuck]
        for finding in findings:
            if finding.kind == "foreign" and self._foreign:
                self._remove(finding)
            elif finding.kind in DRIFT and finding.stuck:
                self._count(RowRepair(finding, "left", finding.stuck))
        for batch in _batches(mendable):
            mends = [ConditionalWrite(finding.write, finding.seen) for finding in batch]
            outcomes = self._retrier.insist(lambda mends=mends: self._target.write_if_unchanged(mends))  # type: ignore[misc]
            self._take([finding for finding, outcome in zip(batch, outcomes, strict=True) if _is_refused(outcome)])
            for finding, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Rejected):
                    self._count(RowRepair(finding, "left", outcome.reason))
                else:
                    self._count(RowRepair(finding, "mended" if outcome is APPLIED else "changed"))

    def _remove(self, finding: Finding) -> None:
        foreign = [Foreign(finding.key, finding.stuck)]
        removed = self._retrier.insist(lambda: self._target.remove_foreign(foreign))
        self._count(RowRepair(finding, "mended" if removed else "changed"))

    def _take(self, findings: Sequence[Finding]) -> None:
        """Remove rows of an earlier state where the store cannot hold what their items ask for: a rebuild would give
        none (law 9)."""
        deletes = [
            ConditionalWrite(Write(finding.key, None, 0, finding.write.owner), finding.seen)
            for finding in findings
            if finding.kind == "different"
        ]
        if deletes:
            self._retrier.insist(lambda: self._target.write_if_unchanged(deletes))

    def _count(self, mended: RowRepair) -> None:
        self.repair.counts[mended.finding.kind, mended.outcome] += 1
        if mended.outcome == "left" and len(self.repair.left) < self._listed:
            self.repair.left.append(mended)
        self._told(mended)


def plain_repair(report: Report, repair: Repair | None) -> dict[str, Any]:
    """What a verification found and what became of it, as plain data without contents; `repair` is None where nothing
    was to be repaired."""
    found = report.plain()
    if repair is not None:
        found["mended"] = {kind: repair.number("mended", kind) for kind in DRIFT}
        found["changed"] = repair.number("changed")
        found["left"] = [{**mended.finding.plain(), "reason": mended.reason} for mended in repair.left]
    return found


def _is_refused(outcome: object) -> bool:
    return isinstance(outcome, Rejected) and outcome.kind is RejectedKind.CONTENT


def _batches(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Batches that hold no row key twice."""
    batch: list[Finding] = []
    keys: set[RowKey] = set()
    for finding in findings:
        if len(batch) >= BATCH or finding.key in keys:
            yield batch
            batch, keys = [], set()
        batch.append(finding)
        keys.add(finding.key)
    if batch:
        yield batch
