"""The front reads what some view can take, and nothing else: a page is read once, not once more to catch up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.support.house import QUICK, House, until


def test_a_page_that_no_view_has_room_for_is_not_read_yet(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.settings = replace(QUICK, page=20)
    for number in range(600):
        house.table.put({"pk": f"p{number}", "sk": "s", "value": number})
    with house.targets["one"].held():
        house.start()
        cursors = house.follower._discovery.cursors
        until(lambda: "shard-0" in cursors and cursors["shard-0"].refused > 3, "the front to find no room")
        assert house.table.counts()["read"] < 10
    house.wait_equal()
    house.wait_counted()
    assert [call.operation for call in house.table.calls].count("open") == 1  # nobody had to catch up
    house.stop()


def test_the_front_goes_on_for_the_view_that_keeps_up(tmp_path: Path) -> None:
    house = House(tmp_path, names=("one", "two"))
    house.settings = replace(QUICK, page=20)
    for number in range(600):
        house.table.put({"pk": f"p{number}", "sk": "s", "value": number})
    with house.targets["one"].held():
        house.start()
        house.wait_equal("two")
        house.wait_counted("two")
    house.wait_equal()
    house.wait_counted()
    house.stop()
