"""Whatever an event source mapping does with the batches of a stream, the rows are those of the table in the end: by
the guard alone, as nothing else knows of what came before."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dynaview.projections.attributes import Attr, item_key
from dynaview.projections.rows import Write
from dynaview.sinks.memory import MemoryTarget
from dynaview.sinks.port import SinkUnavailable
from dynaview.views.aws_lambda import table_views
from dynaview.views.control.records import DeadLetterFilter
from tests.support.event_source import Killed, Mapping
from tests.support.lambda_harness import LambdaHarness, TroubledTarget
from tests.support.scripted import ScriptedTable

POISON = {"a": 1}
"""A value of which the view `reads` can make no row."""


@dataclass(frozen=True, slots=True)
class Put:
    item: int
    value: str


@dataclass(frozen=True, slots=True)
class Delete:
    item: int


@dataclass(frozen=True, slots=True)
class Split:
    shard: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """A batch of one of the parts of shards that have one."""

    lane: int
    trouble: str
    """What happens at the `at`th write of it, if anything."""
    at: int
    other: int
    """Which batch another invocation takes meanwhile, as a whole."""


@dataclass(frozen=True, slots=True)
class Replay:
    lane: int
    records: int


@dataclass(frozen=True, slots=True)
class Late:
    """An event of earlier comes once more, when nobody expects it."""

    event: int


small = st.integers(0, 5)
TROUBLES = st.sampled_from(["", "", "killed", "half", "away", "other", "same"])
STEPS = st.one_of(
    st.builds(Put, small, st.sampled_from(["a", "b", "c", "poison", "hidden"])),
    st.builds(Put, small, st.sampled_from(["a", "b", "c", "poison", "hidden"])),
    st.builds(Delete, small),
    st.builds(Split, small),
    st.builds(Deliver, small, TROUBLES, st.integers(0, 4), small),
    st.builds(Deliver, small, st.just(""), st.just(0), st.just(0)),
    st.builds(Replay, small, st.integers(1, 6)),
    st.builds(Late, st.integers(0, 50)),
)  # fmt: skip


def key(number: int) -> dict[str, str]:
    return {"pk": f"p{number % 3}", "sk": str(number)}


class Once:
    """Trouble at one write."""

    def __init__(self, at: int, act: Callable[[TroubledTarget, Sequence[Write]], None]) -> None:
        self._left = at
        self._act: Callable[[TroubledTarget, Sequence[Write]], None] | None = act

    def __call__(self, target: MemoryTarget, writes: Sequence[Write]) -> None:
        assert isinstance(target, TroubledTarget)
        act = self._act
        if self._left or act is None:
            self._left -= 1
            return
        self._act = None  # whoever acts meanwhile writes undisturbed
        act(target, writes)


class World:
    """A table, the mapping of its stream, and a few execution environments."""

    def __init__(self, harness: LambdaHarness, mapping: Mapping) -> None:
        self.harness, self.mapping = harness, mapping
        self.functions = [harness.function() for _ in range(3)]
        self._turn = 0
        mapping.invoke = self.invoke

    def invoke(self, event: Any, context: Any) -> Any:
        """One environment after the other has a turn."""
        self._turn += 1
        return self.functions[self._turn % len(self.functions)].handle(event, context)

    def step(self, step: Any) -> None:
        table, mapping = self.harness.table, self.mapping
        match step:
            case Put(number, "poison"):
                table.put({**key(number), "value": POISON})
            case Put(number, "hidden"):
                table.put(key(number))
            case Put(number, value):
                table.put({**key(number), "value": value})
            case Delete(number):
                table.delete(key(number))
            case Split(shard):
                if len(table.leaves) < 4:
                    table.split(table.leaves[shard % len(table.leaves)])
            case Deliver():
                self.deliver(step)
            case Replay(number, records):
                lanes = list(mapping._lanes.values())
                if lanes:
                    mapping.replay(lanes[number % len(lanes)], records)
            case Late(number):
                if mapping.delivered:
                    self.invoke(mapping.delivered[number % len(mapping.delivered)], mapping.context)

    def deliver(self, step: Deliver) -> None:
        due = self.mapping.due()
        if not due:
            return

        def happen(target: TroubledTarget, writes: Sequence[Write]) -> None:
            match step.trouble:
                case "killed":
                    raise Killed
                case "half":
                    target.write_some(writes[: len(writes) // 2])
                    raise Killed
                case "away":
                    raise SinkUnavailable("scripted: away")
                case "other":  # of two invocations at once, one waits for its store while the other runs
                    others = self.mapping.due()
                    self.mapping.deliver(others[step.other % len(others)])
                case "same":
                    self.invoke(self.mapping.delivered[-1], self.mapping.context)

        trouble = Once(step.at, happen) if step.trouble else None
        self.harness.reads.trouble = self.harness.cache.trouble = trouble
        self.mapping.deliver(due[step.lane % len(due)])
        self.harness.reads.trouble = self.harness.cache.trouble = None

    def check(self) -> None:
        """The views are what a rebuild would give."""
        items = {(item["pk"], item["sk"]): item.get("value") for item in self.harness.table.items()}
        reads = {each: row.get("value") for each, row in self.harness.rows("reads").items()}
        assert reads == {each: value for each, value in items.items() if value != POISON}
        assert self.harness.rows("cards").keys() == {f"card:{pk}:{sk}" for pk, sk in items}
        letters = self.harness.control.dead_letters.find(DeadLetterFilter(view="reads"))
        poisoned = {item_key({"pk": Attr(S=pk), "sk": Attr(S=sk)}) for (pk, sk), v in items.items() if v == POISON}
        assert poisoned <= {each.letter.item_key for each in letters}


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(STEPS, max_size=40),
    batch=st.integers(1, 7),
    lanes=st.sampled_from([1, 3, 10]),
    bisect=st.booleans(),
    chunk=st.sampled_from([1, 2, 1000]),
    pipe=st.booleans(),
)
def test_the_rows_are_those_of_the_table(
    steps: list[Any], batch: int, lanes: int, bisect: bool, chunk: int, pipe: bool
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(table_views, "CHUNK", chunk),
        mock.patch.object(table_views, "PATIENCE", 0.0),
    ):
        harness = LambdaHarness(Path(folder))
        try:
            harness.begin()
            mapping = Mapping(harness.table, lambda *_: None, batch=batch, lanes=lanes, bisect=bisect, pipe=pipe)
            world = World(harness, mapping)
            for step in steps:
                world.step(step)
            mapping.drain()
            world.check()
            for event in mapping.delivered[::3]:  # and whatever comes late changes nothing
                world.invoke(event, mapping.context)
            world.check()
        finally:
            harness.close()


@settings(max_examples=3, deadline=None, phases=(Phase.explicit, Phase.generate))  # each takes seconds
@given(steps=st.lists(STEPS, min_size=10, max_size=30), lanes=st.sampled_from([1, 10]), rebuilt=st.booleans())
def test_batches_and_rounds_together(steps: list[Any], lanes: int, rebuilt: bool) -> None:
    """Batches are given up, and rebuilds go on in between: after a round the views are right, and each change counts
    once."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(table_views, "PATIENCE", 0.0):
        harness = LambdaHarness(Path(folder), table=ScriptedTable(clock=time.time), timeout="1s")
        try:
            assert all(each.current for each in harness.round())
            mapping = Mapping(harness.table, lambda *_: None, batch=3, lanes=lanes, retries=0)
            mapping.context.seconds = 1.0
            world = World(harness, mapping)
            for step in steps[:-5]:
                world.step(step)
            if rebuilt:
                harness.rebuild("reads")
            assert all(each.current for each in harness.round())
            world.check()
            for step in steps[-5:]:
                world.step(step)
            mapping.drain()
            assert all(each.current for each in harness.round())
            world.check()
            counts = harness.record("reads").counts
            assert counts.read == harness.table.made
            assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered
        finally:
            harness.close()


def test_a_mapping_that_heeds_no_answers_loses_nothing_of_a_whole_batch(harness: LambdaHarness) -> None:
    """Made without ReportBatchItemFailures it takes any answer for success, but no error."""

    def away(target: MemoryTarget, writes: Sequence[Write]) -> None:
        raise SinkUnavailable("scripted: away")

    mapping = harness.mapping("reads", partial=False)
    harness.table.put({**key(1), "value": "a"})
    harness.reads.trouble = away
    with pytest.raises(AssertionError, match="did not take all"):
        mapping.drain(2)
    harness.reads.trouble = None
    mapping.drain(1)
    assert len(harness.rows("reads")) == 1
