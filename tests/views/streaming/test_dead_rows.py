"""Rows of items that become dead letters: a view shows what a rebuild from the table would give (law 9)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import running
from tests.support.letters import replay
from tests.support.moving_rows import KINDS, UNSTORABLE, Kind, MovingRows, state
from tests.support.until import until

OPEN, CLOSED = ["open"], ["closed"]


@pytest.fixture
def moving(tmp_path: Path) -> Iterator[Callable[[Kind], MovingRows]]:
    made: list[MovingRows] = []

    def make(kind: Kind) -> MovingRows:
        harness = MovingRows(tmp_path, kind)
        harness.start()
        made.append(harness)
        until(lambda: harness.record("one").filled, "the first fill to end")  # its letters would come on top
        return harness

    yield make
    for harness in made:
        harness.stop()


def counted(harness: MovingRows, *changes: dict[str, Any]) -> None:
    for item in changes:
        harness.table.put(item)
    harness.wait_counted()
    assert harness.rows("one") == harness.expected()
    counts = harness.counts("one")
    assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered


good = state(1, [1], 1, OPEN)
bad = {
    "fields": state(1, [2], "no number", OPEN),
    "filter": state(1, [2], 2),
    "each": state(1, [1, None], 2, OPEN),
    "function": state(1, [2, None], 2, OPEN),
    "fixed": state(1, [2], 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_of_which_no_row_can_be_made_takes_the_rows_before(
    moving: Callable[[Kind], MovingRows], kind: Kind
) -> None:
    harness = moving(kind)
    counted(harness, good)
    assert harness.rows("one")
    counted(harness, bad[kind])
    assert harness.rows("one") == {}
    assert harness.counts("one").dead_lettered == 1
    counted(harness, state(1, [3], 3, OPEN))
    assert len(harness.rows("one")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_store_refuses_takes_the_row_before(moving: Callable[[Kind], MovingRows], kind: Kind) -> None:
    harness = moving(kind)
    counted(harness, good, state(2, [1], 1, OPEN))
    counted(harness, state(1, [1], UNSTORABLE, OPEN))
    assert len(harness.rows("one")) == 1
    assert harness.counts("one").dead_lettered == 1
    counted(harness, state(1, [1], 2, OPEN))
    assert len(harness.rows("one")) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_deletion_takes_all_rows_whatever_came_before(moving: Callable[[Kind], MovingRows], kind: Kind) -> None:
    harness = moving(kind)
    counted(harness, good, bad[kind])
    harness.table.delete(good)
    harness.wait_counted()
    assert harness.rows("one") == {}


def test_what_a_function_that_is_down_forgets_is_found_in_the_store(moving: Callable[[Kind], MovingRows]) -> None:
    harness = moving("function")
    others = [state(number, [1, 2], 1) for number in range(2, 5)]
    counted(harness, state(1, [1, 2], 1), *others)
    harness.function.down = True
    harness.table.put(state(1, [2, 3], 2))  # neither state tells its rows now
    harness.table.delete(others[0])
    harness.wait_counted()
    harness.function.down = False
    assert harness.rows("one").keys() == {"p3-r1", "p3-r2", "p4-r1", "p4-r2"}
    assert harness.counts("one").dead_lettered == 1
    assert replay(harness, harness.bound) == ["applied"]
    assert harness.rows("one") == harness.expected()


def test_a_row_that_is_refused_leaves_the_others_of_its_item(moving: Callable[[Kind], MovingRows]) -> None:
    """Of one item some rows can be stored and some cannot."""
    harness = moving("each")
    counted(harness, state(1, [1, 2, 3], 1))
    inner = harness.targets["one"].inner
    refused = {"p1-r2"}
    harness.targets["one"].inner = Refusing(inner, refused)
    harness.table.put(state(1, [1, 2, 3], 2))
    harness.wait_counted()
    assert harness.rows("one") == {"p1-r1": {"value": 2}, "p1-r3": {"value": 2}}
    assert [kept.letter.row_key for kept in harness.control.dead_letters.find()] == ["p1-r2"]
    refused.clear()
    assert replay(harness, harness.bound) == ["applied"]
    assert harness.rows("one") == harness.expected()


class Refusing:
    def __init__(self, inner: Any, refused: set[str]) -> None:
        self._inner, self._refused = inner, refused

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, writes: Any) -> Any:
        from dynaview.sinks.port import Rejected

        return [
            Rejected("not this one")
            if write.key in self._refused and write.values is not None
            else self._inner.write([write])[0]
            for write in writes
        ]

    def write_columns(self, columns: Any) -> Any:
        from dynaview.sinks.port import exceptions

        return exceptions(self.write(columns.writes()))


numbers = st.integers(0, 4)
operation = st.one_of(
    st.builds(
        lambda *state: ("put", state),
        numbers,
        st.lists(st.one_of(st.integers(0, 3), st.integers(0, 3), st.none()), min_size=1, max_size=3, unique=True),
        st.sampled_from([1, 2, 3, "no number", UNSTORABLE]),
        st.sampled_from([OPEN, OPEN, CLOSED, None, 7]),
    ),
    st.tuples(st.just("delete"), numbers),
    st.tuples(st.just("down"), st.booleans()),
    st.tuples(st.just("crash"), st.none()),
    st.tuples(st.just("restart"), st.none()),
    st.tuples(st.just("roll"), st.none()),
    st.tuples(st.just("sink"), st.sampled_from(["refuse", "lose", "half"])),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(
    before=st.lists(st.tuples(numbers, st.integers(0, 3)), max_size=4),
    script=st.lists(operation, min_size=1, max_size=30),
    page=st.integers(1, 7),
)
def test_whatever_happens_the_view_is_what_a_rebuild_would_give(
    kind: Kind, before: list[tuple[int, int]], script: list[tuple[str, Any]], page: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, running.none_left():
        harness = MovingRows(Path(folder), kind)
        harness.table.page, harness.table.scan_page = page, 3
        harness.pipeline_settings.buffer, harness.pipeline_settings.batch = 4, 3
        for number, room in before:
            harness.table.put(state(number, [room], 1, OPEN))
        harness.start()
        for what, how in script:
            if what == "put":
                harness.table.put(state(*how))
            elif what == "delete":
                harness.table.delete(state(how, [0], 0))
            elif what == "down":
                harness.function.down = how and kind == "function"
            elif what == "roll":
                harness.table.roll(harness.table.leaves[0])
            elif what == "sink":
                if len(harness.targets["one"].faults) < 3:
                    harness.targets["one"].faults.append(how)
            else:
                harness.crash() if what == "crash" else harness.stop()
                harness.start()
        harness.wait_counted()
        harness.function.down = False
        if kind == "function":  # what was down is not known of any letter, so they are tried again
            harness.targets["one"].faults.clear()  # a replay does not retry: it ends where the store cannot be reached
            replay(harness, harness.bound)
        harness.wait_equal(seconds=60)
        counts = harness.counts("one")
        assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered
        assert counts.read == harness.table.made
        harness.stop()
