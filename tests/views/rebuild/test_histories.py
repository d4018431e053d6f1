"""Rebuilds, rollbacks and cancels at random, beside writers at full speed, crashes and outages; readers look on.

Rules of the protocols are left out as well, to see that the readers, or the end, show it; `test_order` holds the
others down: the order of writing, and what is waited for.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaview.projections.rows import Rule, Write
from dynaview.sinks.memory import MemoryTarget
from dynaview.sinks.port import ConditionalWrite, Outcome, SinkUnavailable
from dynaview.views.control.records import Options
from dynaview.views.rebuild import in_place as inplace
from dynaview.views.rebuild.view_rebuild import ViewRebuild
from tests.support import running
from tests.support.reader_oracle import VIEWS, Items, Readers, Writer, Wrong, settled
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness

BOTH = ("cards", "reads")


class Outages:
    """Makes the targets of a sink go wrong at random while `share` is above 0."""

    def __init__(self, patch: pytest.MonkeyPatch, chance: random.Random) -> None:
        self.share = 0.0
        self._chance = chance
        write, mend = MemoryTarget.write, MemoryTarget.write_if_unchanged
        patch.setattr(MemoryTarget, "write", lambda target, writes: self._through(write, target, writes))
        patch.setattr(MemoryTarget, "write_if_unchanged", lambda target, mends: self._through(mend, target, mends))

    def _through(self, act: Callable[..., list[Outcome]], target: MemoryTarget, batch: Sequence[Any]) -> list[Outcome]:
        if self._chance.random() >= self.share:
            return act(target, batch)
        kind = self._chance.choice(("refuse", "half", "lose"))
        if kind != "refuse":
            act(target, batch if kind == "lose" else batch[: len(batch) // 2])
        raise SinkUnavailable(f"scripted: {kind}")


Act = tuple[str, int, str]

acts = st.lists(
    st.tuples(
        st.sampled_from(("rebuild", "cancel", "rollback", "yes", "kill", "restart", "outage", "calm", "split", "both")),
        st.integers(0, 40),
        st.sampled_from(BOTH),
    ),
    min_size=3,
    max_size=12,
)


@settings(max_examples=8)
@given(script=acts, seed=st.integers(0, 2**32))
def test_no_reader_ever_sees_a_step_back(
    tmp_path_factory: pytest.TempPathFactory, script: list[Act], seed: int
) -> None:
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch, running.none_left():
        outages = Outages(patch, random.Random(seed + 1))
        harness = WorkerHarness(tmp_path_factory.mktemp("harness"), VIEWS)
        harness.table.scan_page = 7
        items = Items(harness, 30)
        for name in items.names:
            items.put(name)
        harness.start()
        for view in BOTH:
            harness.wait_state(view, "following")  # a first fill promises nothing
        with Readers(harness, items), Writer(items, chance):
            for act, pause, view in script:
                perform(harness, outages, act, view, chance)
                time.sleep(pause / 1000)
            outages.share = 0.0
            for view in BOTH:
                harness.control.rebuilds.answer(view, "yes")
                until(lambda view=view: ended(harness, view), f"the rebuild of {view} to end")  # type: ignore[misc]
        settled(harness, items)
        harness.close()


def ended(harness: WorkerHarness, view: str) -> bool:
    found = harness.control.rebuilds.get(view)
    if found is not None and found.answer == "?":
        harness.control.rebuilds.answer(view, "yes")
    return found is None or found.ended


def perform(harness: WorkerHarness, outages: Outages, act: str, view: str, chance: random.Random) -> None:
    match act:
        case "rebuild" | "both":
            options = Options(segments=chance.randint(1, 3), keep=chance.choice((0.0, 60.0)))
            known = [each for each in BOTH if harness.control.view(each) is not None]
            harness.rebuild(*(known if act == "both" else {view} & {*known}), options=options)
        case "rollback" if harness.control.view(view) is not None:
            harness.rebuild(view, kind="rollback")
        case "cancel" | "yes":
            harness.control.rebuilds.answer(view, "cancel" if act == "cancel" else "yes")
        case "kill":
            harness.kill()
            harness.start()
        case "restart":
            harness.restart()
        case "outage":
            outages.share = 0.3
        case "calm":
            outages.share = 0.0
        case "split":
            harness.table.split(chance.choice(harness.table.leaves), chance.randint(1, 2))


# Rules left out


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], WorkerHarness]]:
    """Makes harnesses, which end with the test."""
    with ExitStack() as stack:
        numbers = count()

        def made() -> WorkerHarness:
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            harness = WorkerHarness(folder, VIEWS)
            harness.table.scan_page = 200
            stack.callback(harness.control.close)
            return harness

        yield made


def rebuilt_under_fire(harness: WorkerHarness) -> None:
    """Rebuild both views some times, and go back, with a writer at full speed."""
    items = Items(harness, 1000)
    for name in items.names:
        items.put(name)
    harness.start()
    for view in BOTH:
        harness.wait_state(view, "following")
    try:
        with Readers(harness, items) as readers, Writer(items, random.Random(1), 20):
            for _ in range(2):
                harness.rebuild(*BOTH, options=Options(yes=True, keep=30.0))
                until(lambda: bool(readers.wrong) or all(ended(harness, view) for view in BOTH), "the rebuilds to end")
                if readers.wrong:
                    break
                harness.rebuild("reads", kind="rollback")
                until(lambda: bool(readers.wrong) or ended(harness, "reads"), "the rollback to end")
        settled(harness, items)
    finally:
        harness.stop()


def test_with_all_rules_nothing_is_wrong(make: Callable[[], WorkerHarness]) -> None:
    rebuilt_under_fire(make())


def eventually(patch: pytest.MonkeyPatch, harness: WorkerHarness) -> None:
    harness.table.behind = 10_000


def without_tombstones(patch: pytest.MonkeyPatch, harness: WorkerHarness) -> None:
    put = MemoryTarget._put

    def forgetting(target: MemoryTarget, write: Write, *rest: Any) -> Outcome:
        outcome = put(target, write, *rest)
        rows = target._rows()
        with rows.lock:
            if write.values is None and rows.held[write.key].content is None:
                del rows.held[write.key]
        return outcome

    patch.setattr(MemoryTarget, "_put", forgetting)


def sweep_without_compare(patch: pytest.MonkeyPatch, harness: WorkerHarness) -> None:
    mend = MemoryTarget.write_if_unchanged

    def blind(target: MemoryTarget, mends: Sequence[ConditionalWrite]) -> list[Outcome]:
        if not any(each.write.values is None for each in mends):
            return mend(target, mends)
        time.sleep(0.05)
        now = target.read([each.write.key for each in mends])
        return mend(target, [replace(each, seen=row) for each, row in zip(mends, now, strict=True)])

    patch.setattr(MemoryTarget, "write_if_unchanged", blind)
    # Something to sweep: rows that come to be wanted only once they have been looked at.
    hold = ViewRebuild.hold

    def longer(member: ViewRebuild, at: float) -> None:
        hold(member, at)
        if member.rebuild.phase == "sweeping":
            time.sleep(0.05)

    patch.setattr(ViewRebuild, "hold", longer)
    sweep = inplace.InPlace._sweep_once
    earlier = MemoryTarget.earlier
    done: set[int] = set()

    def all_live(filling: inplace.InPlace, swept: Callable[[int], None]) -> bool:
        first = filling.target.generation not in done
        done.add(filling.target.generation)
        with pytest.MonkeyPatch.context() as once:
            some = lambda target: iter(list(target.rows())[:5]) if first else earlier(target)  # noqa: E731
            once.setattr(MemoryTarget, "earlier", some)
            return sweep(filling, swept)

    patch.setattr(inplace.InPlace, "_sweep_once", all_live)


def scan_overwrites(patch: pytest.MonkeyPatch, harness: WorkerHarness) -> None:
    write = MemoryTarget.write

    def over(target: MemoryTarget, writes: Sequence[Write]) -> list[Outcome]:
        if not threading.current_thread().name.startswith("scan-"):
            return write(target, writes)
        time.sleep(0.02)
        now = target.read([each.key for each in writes])
        newer = [
            Write(each.key, each.values, 10**22 if row is None else row.version + 10**22, each.owner, Rule.NEWER)
            for each, row in zip(writes, now, strict=True)
        ]
        return write(target, newer)

    patch.setattr(MemoryTarget, "write", over)


def no_compare_in_scan(patch: pytest.MonkeyPatch, harness: WorkerHarness) -> None:
    mend = MemoryTarget.write_if_unchanged

    def blind(target: MemoryTarget, mends: Sequence[ConditionalWrite]) -> list[Outcome]:
        time.sleep(0.02)
        now = target.read([each.write.key for each in mends])
        return mend(target, [replace(each, seen=row) for each, row in zip(mends, now, strict=True)])

    patch.setattr(MemoryTarget, "write_if_unchanged", blind)


RULES = [eventually, without_tombstones, scan_overwrites, no_compare_in_scan, sweep_without_compare]


ATTEMPTS = 8
"""How often luck may be on the side of what is wrong."""


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_left_out_shows(
    make: Callable[[], WorkerHarness], rule: Callable[[pytest.MonkeyPatch, WorkerHarness], None]
) -> None:
    def attempts() -> None:
        for _ in range(ATTEMPTS):
            with pytest.MonkeyPatch.context() as patch:
                harness = make()
                rule(patch, harness)
                rebuilt_under_fire(harness)

    with pytest.raises(Wrong):
        attempts()
