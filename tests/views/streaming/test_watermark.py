"""The watermark that was said stays true, whatever the creation times of later records are cut to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.follower_harness import QUICK, FollowerHarness
from tests.support.until import until


def test_a_restart_does_not_take_back_the_watermark(tmp_path: Path) -> None:
    """Creation times are cut: to the second by AWS, to the minute by DynamoDB Local."""
    harness = FollowerHarness(tmp_path)

    def watermark() -> float:
        record = harness.control.view("one")
        assert record is not None
        return record.watermark or 0.0

    harness.start()
    harness.table.put({"pk": "a", "sk": "s", "value": 1})
    harness.wait_counted()
    first = watermark()
    until(lambda: watermark() > first, "the tip to be seen")
    harness.stop()
    said = watermark()
    harness.table.advance(-60)
    harness.table.put({"pk": "a", "sk": "s", "value": 2})
    harness.settings = replace(QUICK, tip_pages=10**9)  # from here on records alone tell
    harness.start()
    harness.wait_counted()
    assert watermark() >= said
    harness.stop()
