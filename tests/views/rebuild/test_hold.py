"""Waiting until a view's watermark has passed what was looked at."""

from __future__ import annotations

from tests.support.worker_harness import WorkerHarness


def test_pages_that_were_looked_at_meanwhile_are_not_waited_for_one_after_the_other(harness: WorkerHarness) -> None:
    harness.table.scan_page = 2
    asked: list[float] = []
    known = harness._kept.set_awaited

    def set_awaited(view: str, moment: float) -> None:
        asked.append(moment)
        known(view, moment)

    harness._kept.set_awaited = set_awaited  # type: ignore[method-assign]
    harness.rebuild("cards")
    harness.wait_ended("cards")
    # All ten pages were looked at before the first one was settled; the scan's end and the sweep come behind them.
    assert len(asked) <= 4
