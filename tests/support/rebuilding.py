"""What tests of rebuilds share: two views of a small table, and ways to hold a rebuild up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import Target
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness

BOTH = ("cards", "reads")


def item(number: int, value: str) -> dict[str, str]:
    return {"pk": f"p{number}", "sk": "s", "value": value}


def begin(harness: WorkerHarness, *views: str) -> None:
    harness.start()
    for view in views or BOTH:
        harness.wait_state(view, "following")


def follows(harness: WorkerHarness, number: int, value: str, *views: str) -> None:
    """A change comes to the views."""
    harness.table.put(item(number, value))
    for view in views or BOTH:
        key: Any = f"card:p{number}:s" if view == "cards" else (f"p{number}", "s")
        until(lambda view=view, key=key: harness.rows(view).get(key, {}).get("value") == value, f"{view} to follow")  # type: ignore[misc]


def expected(harness: WorkerHarness, view: str) -> dict[Any, Any]:
    """What the table asks of a view, as the first declarations have it."""
    if view == "cards":
        return {f"card:{each['pk']}:{each['sk']}": {"value": each["value"]} for each in harness.table.items()}
    return {(each["pk"], each["sk"]): dict(each) for each in harness.table.items()}


def traces(harness: WorkerHarness, view: str, generation: int) -> list[str]:
    """What is left of a generation that was given up."""
    left = [
        f"generation {each.generation}" for each in harness.control.generations(view) if each.generation == generation
    ]
    left += [
        f"letter {each.id}" for each in harness.control.dead_letters.find() if each.letter.generation == generation
    ]
    left += [f"segment of {harness.rebuilt(view).job}"] * len(
        harness.control.rebuilds.segments(harness.rebuilt(view).job)
    )
    sink = harness.sinks["reads"]
    assert isinstance(sink, MemorySink)
    left += [f"rows of {place}" for place in sink._made if place == (view, generation)]
    return left


@contextmanager
def paused(harness: WorkerHarness, phase: str, views: int = 1) -> Iterator[threading.Event]:
    """Rebuilds wait as they record a phase, until the block ends. What is yielded is set when so many have come."""
    reached, go_on, come = threading.Event(), threading.Event(), [0]

    def heard(moment: str, what: str) -> None:
        if (moment, what) == ("after", phase):
            come[0] += 1
            if come[0] >= views:
                reached.set()
            assert go_on.wait(30)

    harness.on_record(heard)
    try:
        yield reached
    finally:
        go_on.set()


class Held:
    """A sink's targets, whose calls go through `act` first."""

    def __init__(self, sink: Any, act: Callable[[str, Target], None]) -> None:
        self._sink, self._act = sink, act
        self._open = sink.open
        sink.open = self.open

    def open(self, layout: Any, generation: int) -> Any:
        target, act = self._open(layout, generation), self._act
        for name in ("write", "write_if_unchanged", "publish", "prepare", "finish", "drop"):
            setattr(target, name, _through(getattr(target, name), lambda name=name: act(name, target)))  # type: ignore[misc]
        return target

    def heal(self) -> None:
        del self._sink.open


def _through(call: Callable[..., Any], before: Callable[[], None]) -> Callable[..., Any]:
    def called(*arguments: Any, **values: Any) -> Any:
        before()
        return call(*arguments, **values)

    return called


def damage(harness: WorkerHarness) -> None:
    """Edit rows by hand: one is changed, one removed, one added."""
    for view in BOTH:
        sink = harness.sinks["cache" if view == "cards" else "reads"]
        assert isinstance(sink, MemorySink)
        held = next(rows for place, rows in sink._made.items() if place[0] == view).held
        first, second, *_ = held
        held[first].content = b'{"value": "edited"}'
        held["card:nobody:s" if view == "cards" else ("nobody", "s")] = held.pop(second)


def pipelines(thread: threading.Thread) -> bool:
    return thread.name.startswith("view-")


def stays(condition: Callable[[], bool], seconds: float = 0.4) -> None:
    """It is so for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition()
