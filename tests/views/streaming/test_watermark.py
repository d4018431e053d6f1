"""The watermark that was said stays true, whatever the creation times of later records are cut to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.house import QUICK, House, until


def test_a_restart_does_not_take_back_the_watermark(tmp_path: Path) -> None:
    """Creation times are cut: to the second by AWS, to the minute by DynamoDB Local."""
    house = House(tmp_path)

    def watermark() -> float:
        record = house.control.view("one")
        assert record is not None
        return record.watermark or 0.0

    house.start()
    house.table.put({"pk": "a", "sk": "s", "value": 1})
    house.wait_counted()
    first = watermark()
    until(lambda: watermark() > first, "the tip to be seen")
    house.stop()
    said = watermark()
    house.table.advance(-60)
    house.table.put({"pk": "a", "sk": "s", "value": 2})
    house.settings = replace(QUICK, tip_pages=10**9)  # from here on records alone tell
    house.start()
    house.wait_counted()
    assert watermark() >= said
    house.stop()
