"""The heart of the contract: whatever order, repetition and concurrency do, the last version of each row stands."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dynaview.projections.changes import SCANNED
from dynaview.projections.rows import RowKey, Rule, Write
from dynaview.sinks.port import APPLIED, Stored, Target
from tests.sinks.contract.model import VERSIONS, Model, State, seen
from tests.sinks.contract.subjects import Subject

ROWS = 4

versions = st.one_of(
    st.sampled_from(VERSIONS), st.integers(1, 30), st.integers(10**20, 10**44 - 1), st.integers(2**53, 2**53 + 3)
)


@dataclass(frozen=True)
class Step:
    """A write before it is spelled for a store: `number` None is a delete."""

    row: int
    version: int
    number: int | None
    owner: str = ""
    rule: Rule = Rule.NEWER


def spell(subject: Subject, example: int, step: Step) -> Write:
    text = f"{example}:{step.row}"
    values = None if step.number is None else subject.values(text, step.number)
    return Write(subject.key(text), values, step.version, step.owner, step.rule)


def coalesced(writes: Sequence[Write]) -> list[Write]:
    """A batch holds a row key once."""
    return list({write.key: write for write in writes}.values())


def parts(writes: Sequence[Write]) -> list[list[Write]]:
    """All of `writes`, in batches that hold no row key twice."""
    batches: list[dict[RowKey, Write]] = []
    for write in writes:
        free = next((batch for batch in batches if write.key not in batch), None)
        if free is None:
            batches.append(free := {})
        free[write.key] = write
    return [list(batch.values()) for batch in batches]


def check(target: Target, expected: dict[RowKey, State]) -> None:
    """The target holds exactly `expected` under its keys."""
    keys = list(expected)
    for key, found in zip(keys, target.read(keys), strict=True):
        state = expected[key]
        content = target.content(Write(key, state.values, state.version, state.owner))
        assert found == Stored(key, state.version, state.owner, target.generation, content)


steps = st.builds(
    Step,
    row=st.integers(0, ROWS - 1),
    version=versions,
    number=st.none() | st.integers(0, 9),
    owner=st.sampled_from(["a1", "b2"]),
    rule=st.sampled_from([Rule.NEWER, Rule.NEWER, Rule.NEWER, Rule.ABSENT]),
)

examples = count()
anyway = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.fixture(scope="session")
def target(subject: Subject) -> Target:
    return subject.open()


@pytest.fixture(scope="session")
def twin(subject: Subject, target: Target) -> Target:
    """The same target as another process sees it."""
    return subject.another().open(target.layout, target.generation)


@pytest.mark.parametrize("owned", [False, True], ids=["without owners", "with owners"])
def test_one_writer_gets_the_outcomes_of_the_model(subject: Subject, target: Target, owned: bool) -> None:
    @settings(max_examples=subject.examples, deadline=None, suppress_health_check=anyway)
    @given(st.lists(st.lists(steps, max_size=ROWS), max_size=8))
    def run(batches: list[list[Step]]) -> None:
        example = next(examples)
        model = Model()
        for batch in batches:
            spelled = [spell(subject, example, step) for step in batch]
            writes = coalesced(spelled if owned else [Write(w.key, w.values, w.version, "", w.rule) for w in spelled])
            assert [seen(outcome) for outcome in target.write(writes)] == [model.write(write) for write in writes]
        check(target, model.states)

    run()


@dataclass(frozen=True)
class Delivery:
    """Changes of a few rows as two writers receive them."""

    changes: tuple[Step, ...]
    batches: tuple[tuple[tuple[Step, ...], ...], tuple[tuple[Step, ...], ...]]
    """Per writer, its batches. Together they hold every change at least once, and scan inserts anywhere."""


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    changes: list[Step] = []
    for row in range(draw(st.integers(1, ROWS))):
        ascending = sorted(draw(st.sets(versions, min_size=1, max_size=5)))
        changes += [Step(row, version, draw(st.none() | st.integers(0, 9))) for version in ascending]
    scans = draw(st.lists(st.builds(Step, st.integers(0, ROWS - 1), st.just(SCANNED), st.integers(0, 9)), max_size=4))
    inserts = [Step(scan.row, scan.version, scan.number, "", Rule.ABSENT) for scan in scans]
    inserts = [insert for insert in inserts if any(change.row == insert.row for change in changes)]
    again = draw(st.lists(st.sampled_from(changes), max_size=6))
    order = draw(st.permutations([*changes, *again, *inserts]))
    cut = draw(st.integers(0, len(order)))
    size = draw(st.integers(1, 4))
    pipelines = tuple(
        tuple(tuple(pipeline[at : at + size]) for at in range(0, len(pipeline), size))
        for pipeline in (order[:cut], order[cut:])
    )
    return Delivery(tuple(changes), (pipelines[0], pipelines[1]))


@pytest.mark.parametrize("writers", ["two threads on one target", "two sinks of one view"])
def test_any_interleaving_ends_in_the_last_version_of_each_row(
    subject: Subject, target: Target, twin: Target, writers: str
) -> None:
    targets = (target, target if writers == "two threads on one target" else twin)

    # Threads do not replay the same way, so shrinking what failed once would mislead.
    phases = [Phase.explicit, Phase.reuse, Phase.generate]

    @settings(max_examples=subject.examples, deadline=None, suppress_health_check=anyway, phases=phases)
    @given(deliveries())
    def run(delivery: Delivery) -> None:
        example = next(examples)
        barrier = threading.Barrier(2)

        def follow(pipeline: int) -> list[tuple[RowKey, int, Rule]]:
            applied: list[tuple[RowKey, int, Rule]] = []
            barrier.wait(timeout=30)
            for batch in delivery.batches[pipeline]:
                for part in parts([spell(subject, example, step) for step in batch]):
                    outcomes = targets[pipeline].write(part)
                    assert len(outcomes) == len(part)
                    done = (write for write, outcome in zip(part, outcomes, strict=True) if outcome is APPLIED)
                    applied += [(write.key, write.version, write.rule) for write in done]
            return applied

        with ThreadPoolExecutor(2) as pool:
            applied = Counter(one for pipeline in pool.map(follow, (0, 1)) for one in pipeline)

        last = {step.row: step for step in delivery.changes}
        writes = [spell(subject, example, step) for step in last.values()]
        check(targets[0], {write.key: State(write.version, "", write.values) for write in writes})
        check(targets[1], {write.key: State(write.version, "", write.values) for write in writes})
        assert max(applied.values()) == 1, "a write was applied twice"
        for write in writes:
            assert applied[write.key, write.version, Rule.NEWER] == 1, "the last version was never applied"

    run()
