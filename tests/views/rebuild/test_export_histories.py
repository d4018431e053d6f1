"""Rebuilds from exports at any moment of a table's life, while readers look on."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dynaview.sinks.memory import MemorySink
from tests.support.reader_oracle import Poller
from tests.support.until import until
from tests.views.rebuild.exported import PHASES, SEATS_BESIDE, SEATS_IN_PLACE, VIEWS, started


@settings(
    max_examples=8, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_rebuilt_from_exports_at_any_moment_views_show_the_table_and_never_an_older_row(data: st.DataObject) -> None:
    key = st.sampled_from([f"p{number}" for number in range(8)])
    step = st.tuples(st.sampled_from(["put", "put", "delete", "roll", "restart"]), key)
    early, middle, late, during = (data.draw(st.lists(step, max_size=12)) for _ in range(4))
    page, chain, restarts = data.draw(st.integers(1, 30)), data.draw(st.booleans()), data.draw(st.integers(0, 2))
    with tempfile.TemporaryDirectory() as folder:
        life = started(Path(folder))
        harness = life.harness

        def live(steps: Sequence[tuple[str, str]]) -> None:
            for what, name in steps:
                if what == "put":
                    life.put(name)
                elif what == "delete":
                    life.delete(name)
                elif what == "roll":
                    harness.table.roll(harness.table.leaves[-1])

        try:
            live(early)
            first = life.snapshot()
            live(middle)
            second = life.snapshot()
            live(late)
            places = [life.exporter.full(first)]
            if chain:
                places.append(life.exporter.incremental(first, second))
            harness.table.page = page
            with Poller(harness, *VIEWS) as poller:
                life.ask(*places)
                live(during)
                for _ in range(restarts):
                    phases = {harness.rebuilt(view).phase for view in VIEWS}
                    harness.restart()
                    until(lambda before=phases: {harness.rebuilt(view).phase for view in VIEWS} != before, "a step")  # type: ignore[misc]
                for view in VIEWS:
                    harness.wait_ended(view)
                life.check()
            assert poller.wrong == []
            assert poller.rounds > 2
        finally:
            harness.close()


@pytest.mark.parametrize("views", [SEATS_BESIDE, SEATS_IN_PLACE])
@settings(max_examples=4, deadline=None, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_rows_that_move_between_items_all_the_time_are_where_they_belong(data: st.DataObject, views: str) -> None:
    move = st.tuples(st.integers(0, 5), st.integers(0, 3))
    early, middle, late, during = (data.draw(st.lists(move, max_size=15)) for _ in range(4))
    page, chain, damaged = data.draw(st.integers(1, 30)), data.draw(st.booleans()), data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        life = started(Path(folder), views)
        seated: dict[int, int] = {number: number for number in range(20)}

        def live(moves: Sequence[tuple[int, int]]) -> None:
            for who, seat in moves:
                for other in [other for other, held in seated.items() if held == seat and other != who]:
                    life.delete(f"p{other}")
                    del seated[other]
                life.put(f"p{who}", seat=f"s{seat}")
                seated[who] = seat

        try:
            live(early)
            first = life.snapshot()
            live(middle)
            second = life.snapshot()
            live(late)
            places = [life.exporter.full(first)]
            if chain:
                places.append(life.exporter.incremental(first, second))
            life.harness.table.page = page
            life.caught_up(["seats"])
            if damaged:
                sink = life.harness.sinks["cache" if views == SEATS_IN_PLACE else "reads"]
                assert isinstance(sink, MemorySink)
                sink._find(life.harness.target("seats").layout, 1).held.clear()
            with Poller(life.harness, "seats", lost=damaged) as poller:
                life.ask(*places, views=["seats"], yes=True)
                live(during)
                life.harness.wait_ended("seats")
                life.check_seats()
            assert poller.wrong == []
        finally:
            life.harness.close()
