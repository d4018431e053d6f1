"""Verifying a followed view: items and rows, what somebody does past dynaview, and what is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dynaview.projections.attributes import Image
from dynaview.projections.changes import SCANNED, Change
from dynaview.projections.compiler.compiler import owner
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey, RowValues, Rule, Write
from dynaview.sinks.port import APPLIED, ConditionalWrite, Target
from dynaview.views.retry import Retrier
from dynaview.views.verify.caught_up import CaughtUp
from dynaview.views.verify.findings import Finding, Report
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.subject import Subject
from dynaview.views.verify.verifier import Verification
from tests.support.follower_harness import FollowerHarness
from tests.support.simple import SHAPE, SimpleBound, layout
from tests.support.until import until


class Moving(SimpleBound):
    """Rows keyed by an attribute that changes, so that each carries its owner; an item may ask for several."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        item = SHAPE.unpack(image)
        if "bad" in item:
            raise ProjectionError("field value: bad is bad")
        if "hidden" in item:
            return []
        return [(str(at), (item.get("value"),)) for at in item["at"]]  # type: ignore[union-attr]  # a list

    def writes(self, change: Change[Any], version: int) -> list[Write]:
        by = owner(change.body.key)
        return [replace_owner(write, by) for write in super().writes(change, version)]

    def inserts(self, image: Image) -> list[Write]:
        by = owner({name: image[name] for name in ("pk", "sk")})
        return [Write(key, values, SCANNED, by, Rule.ABSENT) for key, values in self.rows(image)]


def replace_owner(write: Write, by: str) -> Write:
    return Write(write.key, write.values, write.version, by, write.rule)


def item(number: int, value: object = None, **more: object) -> dict[str, Any]:
    found = {"pk": f"p{number}", "sk": "s", "value": number if value is None else value}
    return {**found, **more}


def row(number: int) -> str:
    return f"p{number}/s"


def filled(harness: FollowerHarness, count: int = 10) -> None:
    for number in range(count):
        harness.table.put(item(number))
    harness.start()
    harness.wait_equal()
    settled(harness)


def settled(harness: FollowerHarness) -> None:
    """Nothing more is to come: neither from the fill nor from the stream."""
    until(lambda: bool(harness.control.view("one") and harness.control.view("one").filled), "the fill")  # type: ignore[union-attr]
    harness.wait_counted()


def by_hand(target: Target, key: RowKey, values: tuple[Any, ...] | None, by: str = "") -> None:
    """What somebody does past dynaview: the row's version stays."""
    (seen,) = target.read([key])
    write = Write(key, values, 0, by or (seen.owner if seen else ""))
    assert target.write_if_unchanged([ConditionalWrite(write, seen)]) == [APPLIED]


def held(harness: FollowerHarness) -> dict[RowKey, Any]:
    """What the store holds, to be taken away without a trace."""
    return harness.sink._find(layout("one"), 1).held


def subject(
    harness: FollowerHarness,
    retrier: Retrier,
    target: Target | None = None,
    found: Callable[[Sequence[Finding]], None] = lambda findings: None,
    hold: Callable[[float], None] | None = None,
) -> Subject:
    record = harness.control.view("one")
    assert record is not None
    hold = hold or CaughtUp(harness.control, record, retrier)
    return Subject("one", harness.bound, target or harness.targets["one"], hold, harness.control.dead_letters, found)


def verification(harness: FollowerHarness, limits: Limits | None = None, **about: Any) -> Verification:
    retrier = Retrier(seconds=20)
    return Verification(harness.table, [subject(harness, retrier, **about)], SHAPE, retrier=retrier, limits=limits)


def whole(harness: FollowerHarness, **about: Any) -> Report:
    (report,) = verification(harness, **about).whole()
    assert report.error == ""
    return report


def found(report: Report) -> set[tuple[str, RowKey]]:
    return {(finding.kind, finding.key) for finding in report.listed}
