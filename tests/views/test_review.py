"""What one view meets is its own (law 7): errors nobody expected, outages, and the end of the daemon."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections.changes import Change
from dynaview.projections.rows import Write
from dynaview.sinks.port import Outcome
from dynaview.views.control import ControlStore, ControlUnavailable, Segment
from dynaview.views.status import view_status
from tests.support.house import House, until
from tests.support.simple import SimpleBound
from tests.views.test_gaps import Site


@pytest.fixture
def two(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, names=("one", "two"))
    yield made
    assert not made.crashed.is_set()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    assert not made.crashed.is_set()
    made.control.close()


def put(house: House, number: int, value: object) -> None:
    house.table.put({"pk": f"p{number}", "sk": "s", "value": value})


def test_a_fault_of_a_sink_stops_its_view_alone_and_the_next_start_goes_on(two: House) -> None:
    target = two.targets["one"]
    write, poisoned = target.inner.write, True

    def fail(writes: Sequence[Write]) -> list[Outcome]:
        if poisoned and any(each.key == "p3/s" for each in writes):
            raise KeyError("secret value")
        return write(writes)

    target.inner.write = fail  # type: ignore[method-assign]  # a fault that no port promises
    two.start()
    for number in range(6):
        put(two, number, number)
        two.wait_counted("two")
    until(lambda: two.state("one") == "failed", "the fault to show")
    record = two.control.view("one")
    assert record is not None
    assert "KeyError" in record.reason
    assert "secret" not in record.reason
    two.wait_equal("two")
    assert not two.crashed.is_set()
    two.stop()
    poisoned = False
    two.start()
    two.wait_equal()
    two.wait_counted()
    counts = two.counts("one")
    assert counts.read == counts.applied + counts.stale
    two.stop()


def test_a_fault_of_a_projection_stops_its_view_alone(two: House) -> None:
    class Poisoned(SimpleBound):
        def writes(self, change: Change[Any], version: int) -> list[Write]:
            raise RuntimeError("nobody expected this")

    two.start()
    two.lanes["one"].bound = Poisoned()
    for number in range(6):
        put(two, number, number)
    two.wait_counted("two")
    until(lambda: two.state("one") == "failed", "the fault to show")
    two.stop()
    two.start()
    two.wait_equal()
    two.wait_counted()
    two.stop()


def test_a_fault_of_a_fill_stops_its_view_alone(two: House) -> None:
    class Poisoned(SimpleBound):
        def inserts(self, image: Any) -> list[Write]:
            raise RuntimeError("nobody expected this")

    put(two, 1, 1)
    with two.table.hold("scan"):
        two.start()
        two.wait_equal()
        for lane in two.lanes.values():
            assert lane.failed is None
        two.fills["one"].bound = Poisoned()
    until(lambda: two.state("one") == "failed", "the fault to show")
    until(lambda: two.state("two") == "following", "the other view to be filled")
    two.stop()
    two.start()
    until(lambda: two.state("one") == "following", "the next start to fill it")
    two.stop()


def test_a_view_that_cannot_be_opened_holds_up_no_other(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = site.sink.open

    def fail(layout: Any, generation: int) -> Any:
        if layout.view == "one":
            raise TypeError("nobody expected this")
        return opened(layout, generation)

    monkeypatch.setattr(site.sink, "open", fail)
    site.start()
    site.put(1, 1)
    until(lambda: "two" in site.sink.by_view and bool(site.control.view("two")), "the other view to begin")
    until(lambda: site.record("two").counts.read == 1, "the other view to follow")
    assert site.rows("two") == {"p1/s"}
    assert site.record("one").state == "failed"
    site.stop()


def test_a_control_store_that_goes_away_while_views_begin_starts_them_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lanes of one view would count every change twice."""
    segments, failures = site.control.segments, [1, 2]

    def fail(view: str, generation: int) -> list[Segment]:
        if view == "two" and failures:
            failures.pop()
            raise ControlUnavailable("scripted")
        return segments(view, generation)

    monkeypatch.setattr(site.control, "segments", fail)
    site.start()
    for number in range(20):
        site.put(number, number)
    site.wait_following()
    until(lambda: site.record("two").counts.read >= 20, "the changes to be counted")
    site.stop()
    assert not failures
    assert site.record("one").counts.read == site.record("two").counts.read == 20


def test_a_fill_that_was_planned_in_part_is_planned_to_the_end(tmp_path: Path) -> None:
    house = House(tmp_path)
    for number in range(40):
        put(house, number, number)
    house.table.trim("shard-0")
    control = ControlStore(house.url)
    control.add_view("one", "shop", "memory", "f", house.table.arn)
    control.save_segment("one", 1, Segment(0, 4))  # then it crashed
    control.close()
    house.start()
    house.wait_equal()
    until(lambda: house.state("one") == "following", "the fill to be complete")
    house.stop()


def test_a_view_whose_store_is_away_for_long_still_runs(site: Site) -> None:
    site.start(alive_every=0.01)
    site.put(1, 1)
    site.wait_following()
    site.sink.by_view["one"].down = True
    site.put(2, 2)
    until(lambda: site.record().state == "retrying", "the outage to show")
    later = time.time() + 0.1
    until(lambda: site.record().seen > later, "a sign of life")
    assert view_status(site.record(), 0, now=site.record().seen + 5)["state"] == "retrying"
    site.stop()


def test_an_end_does_not_wait_for_a_store_that_hangs(site: Site) -> None:
    site.start(patience=0.2)
    site.put(1, 1)
    site.wait_following()
    with site.sink.by_view["one"].held():
        site.put(2, 2)
        assert site.sink.by_view["one"].entered.wait(10)
        begun = time.monotonic()
        site.stop()
        assert time.monotonic() - begun < 5
        assert site.record("two").counts.read == 2
