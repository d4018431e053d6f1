"""Conditional writes among guarded writes: compared with the model step by step, and racing with them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any, Literal, NamedTuple, TypeAlias

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from dynaview.projections.rows import Layout, RowKey, Rule, Write
from dynaview.sinks.port import APPLIED, STALE, ConditionalWrite, Outcome, SinkUnavailable, Stored, Target
from tests.sinks.contract.model import VERSIONS, Model, State, seen
from tests.sinks.contract.shop import Shop
from tests.sinks.contract.subjects import Subject

ROWS = 3
GENERATIONS = (1, 2, 3)
OWNERS = ("", "item1", "item2")

Doubt: TypeAlias = Literal["none", "version", "owner", "generation", "life", "nothing"]
"""What of a look is told wrongly."""


class Look(NamedTuple):
    row: int
    state: State | None


class Fix(NamedTuple):
    """A conditional write before it is spelled: of which of the last looks, and how; `number` None deletes."""

    look: int
    number: int | None
    owner: str
    doubt: Doubt


class Edit(NamedTuple):
    """A write before it is spelled."""

    row: int
    version: int
    number: int | None
    owner: str
    rule: Rule


numbers = st.none() | st.integers(0, 9)
edits = st.builds(
    Edit,
    row=st.integers(0, ROWS - 1),
    version=st.sampled_from(VERSIONS) | st.integers(0, 5),
    number=numbers,
    owner=st.sampled_from(OWNERS),
    rule=st.sampled_from([Rule.NEWER, Rule.NEWER, Rule.NEWER, Rule.ABSENT]),
)
doubts: st.SearchStrategy[Doubt] = st.sampled_from(
    ["none", "none", "none", "none", "version", "owner", "generation", "life", "nothing"]
)
fixes = st.builds(Fix, look=st.integers(0, 5), number=numbers, owner=st.sampled_from(OWNERS), doubt=doubts)
pipelines = st.sampled_from(GENERATIONS)
examples = count()


def doubted(state: State | None, doubt: Doubt) -> State | None:
    """`state` with one thing told wrongly."""
    if doubt == "none":
        return state
    if state is None:
        return State(0, "", ())
    match doubt:
        case "version":
            return state._replace(version=state.version + 1)
        case "owner":
            return state._replace(owner="item1" if state.owner != "item1" else "")
        case "generation":
            return state._replace(generation=state.generation % 3 + 1)
        case "life":
            return state._replace(values=() if state.values is None else None)
        case "nothing":
            return None


class Bench:
    """All generations of one view, open."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.layout: Layout = subject.fresh()
        self.targets: dict[int, Target] = {number: subject.open(self.layout, number) for number in GENERATIONS}

    def text(self, example: int, row: int) -> str:
        return f"{self.layout.view}:{example} {row}"

    def write(self, example: int, row: int, number: int | None, **rest: Any) -> Write:
        text = self.text(example, row)
        values = None if number is None else self.subject.values(text, number)
        return Write(self.subject.key(text), values, **rest)

    def stored(self, key: RowKey, state: State | None, generation: int) -> Stored | None:
        """What `Target.read` should tell of `state`."""
        if state is None:
            return None
        content = None if state.values is None else self.content(key, state)
        return Stored(key, state.version, state.owner, state.generation, content)

    def content(self, key: RowKey, state: State) -> Any:
        # What was doubted to live has no values.
        return True if state.values == () else self.targets[1].content(Write(key, state.values, 0))


@pytest.fixture(scope="module")
def bench(subject: Subject) -> Bench:
    return Bench(subject)


def machine(bench: Bench) -> type[RuleBasedStateMachine]:
    in_place = bench.subject.sink.in_place

    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.example = next(examples)
            shared = Model()
            self.models = {number: shared if in_place else Model() for number in GENERATIONS}
            self.looks: list[Look] = []

        @rule(pipeline=pipelines, batch=st.lists(edits, max_size=ROWS, unique_by=lambda edit: edit.row))
        def write(self, pipeline: int, batch: list[Edit]) -> None:
            writes = [
                bench.write(self.example, edit.row, edit.number, version=edit.version, owner=edit.owner, rule=edit.rule)
                for edit in batch
            ]
            outcomes = bench.targets[pipeline].write(writes)
            assert [seen(outcome) for outcome in outcomes] == [
                self.models[pipeline].write(one, pipeline) for one in writes
            ]

        @rule(pipeline=pipelines, row=st.integers(0, ROWS - 1))
        def look(self, pipeline: int, row: int) -> None:
            self.check(pipeline, row)
            key = bench.subject.key(bench.text(self.example, row))
            self.looks.append(Look(row, self.models[pipeline].states.get(key)))

        @precondition(lambda self: self.looks)
        @rule(pipeline=pipelines, batch=st.lists(fixes, min_size=1, max_size=ROWS))
        def write_if_unchanged(self, pipeline: int, batch: list[Fix]) -> None:
            asked: dict[RowKey, tuple[ConditionalWrite, State | None]] = {}
            for fix in batch:
                look = self.looks[-1 - fix.look % len(self.looks)]
                write = bench.write(self.example, look.row, fix.number, version=7, owner=fix.owner)
                claimed = doubted(look.state, fix.doubt)
                asked[write.key] = ConditionalWrite(write, bench.stored(write.key, claimed, pipeline)), claimed
            outcomes: list[Outcome] = bench.targets[pipeline].write_if_unchanged(
                [conditional for conditional, _ in asked.values()]
            )
            model = self.models[pipeline]
            assert outcomes == [
                model.write_if_unchanged(conditional.write, claimed, pipeline)
                for conditional, claimed in asked.values()
            ]

        def check(self, pipeline: int, row: int) -> None:
            key = bench.subject.key(bench.text(self.example, row))
            expected = bench.stored(key, self.models[pipeline].states.get(key), pipeline)
            assert bench.targets[pipeline].read([key]) == [expected]

        def teardown(self) -> None:
            for pipeline in GENERATIONS:
                for row in range(ROWS):
                    self.check(pipeline, row)

    return Histories


def test_conditional_writes_among_writes_do_as_the_model_does(bench: Bench) -> None:
    run_state_machine_as_test(
        machine(bench),
        settings=settings(
            max_examples=bench.subject.examples,
            stateful_step_count=16,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        ),
    )


# Races


class Race:
    """One pipeline that follows, two that repair what they saw, and, in place, a late writer of the generation before.

    What a change or a conditional write under a version leaves tells of that version, so that every look shows what
    undid what.
    """

    NAMES = tuple(f"{number}" for number in range(8))
    FILLED = NAMES[:5]
    """Rows that stand before the race."""
    LATE = 4
    """Changes that the late writer knows."""

    def __init__(self, subject: Subject) -> None:
        layout = subject.fresh()
        generation = 2 if subject.sink.in_place else 1
        self.pipeline = Shop(subject, subject.open(layout, generation))
        self.twin = Shop(subject, subject.another().open(layout, generation))
        self.late = Shop(subject, subject.sink.open(layout, 1)) if subject.sink.in_place else None
        self.looked = threading.Semaphore(0)
        self.over = threading.Event()
        self.met: dict[RowKey, int] = {}

    def change(self, shop: Shop, name: str, at: int) -> Write:
        deletes = (at + int(name)) % 5 == 4
        return shop.delete(name, VERSIONS[at]) if deletes else shop.put(name, VERSIONS[at], at)

    def fill(self) -> None:
        first = self.late or self.pipeline
        for at in range(2):
            outcomes = first.target.write([self.change(first, name, at) for name in self.FILLED])
            assert outcomes == [APPLIED] * len(self.FILLED)

    def follow(self) -> None:
        try:
            for at in range(len(VERSIONS)):
                assert self.looked.acquire(timeout=30), "nobody repairs"
                writes = [self.change(self.pipeline, name, at) for name in self.NAMES]
                outcomes = sent(lambda writes=writes: self.pipeline.target.write(writes))  # type: ignore[misc]
                assert at < self.LATE or outcomes == [APPLIED] * len(writes), (
                    "a conditional write took the place of a newer change"
                )
        finally:
            self.over.set()

    def replay(self) -> None:
        assert self.late is not None
        while not self.over.is_set():
            for at in range(self.LATE):
                writes = [self.change(self.late, name, at) for name in self.NAMES]
                sent(lambda late=self.late, writes=writes: late.target.write(writes))  # type: ignore[misc]

    def write_if_unchanged(self, shop: Shop, pipeline: int) -> Counter[Outcome]:
        done: Counter[Outcome] = Counter()
        turn = pipeline
        while not self.over.is_set():
            rows = shop.target.read([shop.key(name) for name in self.NAMES])
            self.looked.release()
            conditional_writes = []
            for name, row in zip(self.NAMES, rows, strict=True):
                turn += 1
                write = shop.put(name, 0, number_after(row)) if turn % 4 else shop.delete(name, 0)
                conditional_writes.append(ConditionalWrite(write, row))
            done.update(sent(partial(shop.target.write_if_unchanged, conditional_writes)))
        return done

    def look(self) -> None:
        while not self.over.is_set():
            self.look_once()

    def look_once(self) -> None:
        for name, row in zip(
            self.NAMES, self.twin.target.read([self.twin.key(name) for name in self.NAMES]), strict=True
        ):
            if row is None:
                assert name not in self.FILLED
                assert row not in self.met
                continue
            assert row.version >= self.met.get(row.key, 0), "a row went back in time"
            self.met[row.key] = row.version
            contents = [self.twin.target.content(self.twin.put(name, 0, number_after(row))), None]
            if row.version:
                contents.append(self.twin.target.content(self.change(self.twin, name, VERSIONS.index(row.version))))
            assert row.content in contents, "a row shows what is not of its version"


def sent(act: Callable[[], list[Outcome]]) -> list[Outcome]:
    """Send a batch again where the store could not take it, as pipelines and repairers do: of two batches that wait for
    each other's rows a store has to refuse one."""
    for _ in range(30):
        try:
            return act()
        except SinkUnavailable:
            continue
    return act()


def number_after(row: Stored | None) -> int:
    """The number of the row that repairs `row`."""
    return 100 + (VERSIONS.index(row.version) if row is not None and row.version else 99)


def test_no_conditional_write_undoes_a_newer_change(subject: Subject) -> None:
    race = Race(subject)
    race.fill()
    with ThreadPoolExecutor(5) as pool:
        pipelines = [pool.submit(race.follow), pool.submit(race.look)]
        if race.late is not None:
            pipelines.append(pool.submit(race.replay))
        repairers = [
            pool.submit(race.write_if_unchanged, race.pipeline, 0),
            pool.submit(race.write_if_unchanged, race.twin, 1),
        ]
        for pipeline in pipelines:
            pipeline.result(timeout=120)
        outcomes = sum((repairer.result(timeout=120) for repairer in repairers), Counter[Outcome]())
    race.look_once()
    assert set(outcomes) <= {APPLIED, STALE}
    assert outcomes[APPLIED]
    assert set(race.met.values()) == {VERSIONS[-1]}
    assert len(race.met) == len(race.NAMES)
