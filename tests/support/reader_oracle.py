"""A table whose items' states are all known, and readers that look at every row, again and again, and
say when one shows what no reader may see.

A row of a view is one place: an item under one of its codes. What it shows is the number of a change, or nothing. A
place never goes back to an older change, never vanishes without a change that took it away, and never comes back
after that.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

from dynaview.sinks.port import SinkRefused, Target
from tests.models.table import Value, shown
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness

CODES = ("a", "b")
HIDDEN = "none"

VIEWS = """
  cards:
    source: shop
    sink: cache
    type: hash
    key: "card:{pk}:{code}"
    where: code != 'none'
    fields: {pk: pk, code: code, value: value}
  reads:
    source: shop
    sink: reads
    table: reads
    key: [pk, code]
    where: code != 'none'
    fields: {pk: {from: pk, type: text}, code: {from: code, type: text}, value: {from: value, type: text}}
"""


class Wrong(AssertionError):
    """Readers saw what they must not see, or a view that is at rest does not show its table."""


class Items:
    """The items of a scripted table, each with all the states that it has had. Thread-safe."""

    def __init__(self, harness: WorkerHarness, count: int) -> None:
        self.names = [f"p{number}" for number in range(count)]
        self._harness = harness
        self._lock = threading.Lock()
        self._changes = 0
        self._histories: dict[tuple[str, str], tuple[Value, ...]] = {
            (name, code): () for name in self.names for code in CODES
        }

    def put(self, name: str, code: str = "a") -> None:
        """Give an item a new state: under a code, or `HIDDEN` from the views."""
        self._change(name, code)

    def delete(self, name: str) -> None:
        self._change(name, None)

    def _change(self, name: str, code: str | None) -> None:
        with self._lock:
            self._changes += 1
            value = str(self._changes)
            for each in CODES:  # first: readers must know of it before it can be seen
                self._histories[name, each] += (value if each == code else None,)
            if code is None:
                self._harness.table.delete({"pk": name, "sk": "s"})
            else:
                self._harness.table.put({"pk": name, "sk": "s", "code": code, "value": value})

    def history(self, place: tuple[str, str]) -> tuple[Value, ...]:
        """The states of a place."""
        return self._histories[place]

    def expected(self) -> dict[tuple[str, str], str]:
        """What the views are to show."""
        with self._lock:
            return {place: states[-1] for place, states in self._histories.items() if states and states[-1] is not None}


def place_of(key: Any) -> tuple[str, str]:
    """The place of a row."""
    if isinstance(key, tuple):
        return str(key[0]), str(key[1])
    _, name, code = str(key).split(":")
    return name, code


class _Repeated:
    """Does things again and again, each in a thread of its own, until the block ends."""

    def __init__(self, pause: float, *acts: Callable[[], None]) -> None:
        """`pause` is how many seconds lie between two rounds."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=(pause, act), daemon=True) for act in acts]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, pause: float, act: Callable[[], None]) -> None:
        while not self._stop.wait(pause):
            act()


class Readers(_Repeated):
    """Read every place of both views, until the block ends; `wrong` says what was."""

    def __init__(self, harness: WorkerHarness, items: Items) -> None:
        self._harness = harness
        self._items = items
        self.wrong: list[str] = []
        self.looks = 0
        self._seen: dict[tuple[str, tuple[str, str]], int] = {}
        places = [(name, code) for name in items.names for code in CODES]
        super().__init__(0.001, *(partial(self.look, view, places) for view in ("cards", "reads")))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self.wrong:
            raise Wrong(self.wrong[:5]) from error
        assert self.looks > 0

    def look(self, view: str, places: list[tuple[str, str]]) -> None:
        """Look once at every place of a view."""
        declared = self._harness.declaration.views[view]
        sink = self._harness.sinks[declared.sink]
        generation = 1 if sink.in_place else sink.published(declared.layout)
        if generation is None:
            if view in {seen for seen, _ in self._seen}:
                self.wrong.append(f"{view}: readers see no generation")
            return
        keys = [f"card:{name}:{code}" if view == "cards" else (name, code) for name, code in places]
        try:
            rows = sink.open(declared.layout, generation).read(keys)
        except SinkRefused:
            if sink.published(declared.layout) == generation:
                self.wrong.append(f"{view}: the generation that readers see is gone")
            return
        for place, row in zip(places, rows, strict=True):
            self._note(view, place, None if row is None or row.content is None else row.content["value"])
        self.looks += 1

    def _note(self, view: str, place: tuple[str, str], value: Value) -> None:
        history, since = self._items.history(place), self._seen.get((view, place), 0)
        now = shown(history, since, value)
        if now is None:
            self.wrong.append(f"{view}: {place} shows {value} after change {since} of {history}")
        else:
            self._seen[view, place] = now


class Writer(_Repeated):
    """Changes items at random, so many without taking breath, until the block ends."""

    def __init__(self, items: Items, chance: random.Random, burst: int = 100) -> None:
        self._items = items
        self._chance = chance
        self._burst = burst
        # Creation times are cut to the second, so a shard that is never at rest has a watermark of a second ago.
        super().__init__(0.02, self._change_many)

    def _change_many(self) -> None:
        for _ in range(self._burst):
            self.change()

    def change(self) -> None:
        """One change."""
        name, kind = self._chance.choice(self._items.names), self._chance.random()
        if kind < 0.2:
            self._items.delete(name)
        else:
            self._items.put(name, HIDDEN if kind < 0.35 else self._chance.choice(CODES))


class Poller(_Repeated):
    """Watches views whose rows have a number in `value` that only grows. Used as a context manager.

    `wrong` says what was seen: a key that went back, or one that came back as it was after it had gone. With `lost`,
    rows were taken away by hand: they may come back as they were, though not as anything older.
    """

    def __init__(self, harness: WorkerHarness, *views: str, lost: bool = False) -> None:
        self.wrong: list[str] = []
        self.rounds = 0
        self._harness = harness
        self._views = views
        self._lost = lost
        self._seen: dict[tuple[str, Any], int] = {}
        self._gone: set[tuple[str, Any]] = set()
        super().__init__(0.001, self._look)

    def __enter__(self) -> Self:
        self._look()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._look()

    def _look(self) -> None:
        for view in self._views:
            rows = {row.key: int(row.content["value"]) for row in self._target(view).rows()}
            for key, value in rows.items():
                self._note((view, key), value)
            self._gone |= {place for place in self._seen if place[0] == view and place[1] not in rows}
        self.rounds += 1

    def _note(self, place: tuple[str, Any], value: int) -> None:
        seen = self._seen.get(place)
        if seen is not None and value < seen:
            self.wrong.append(f"{place} went back from {seen} to {value}")
        if seen == value and place in self._gone and not self._lost:
            self.wrong.append(f"{place} came back as it was: {value}")
        self._seen[place] = value
        self._gone.discard(place)

    def _target(self, view: str) -> Target:
        declared = self._harness.declaration.views[view]
        sink = self._harness.sinks[declared.sink]
        shown = sink.published(declared.layout)
        return sink.open(declared.layout, 1 if shown is None else shown)


def settled(harness: WorkerHarness, items: Items) -> None:
    """Wait until every change is counted, each once (law 8), and see that both views show exactly what the table asks
    for."""
    for view in ("cards", "reads"):
        until(lambda view=view: harness.record(view).counts.read >= harness.table.made, f"{view} to count")  # type: ignore[misc]
        counts = harness.record(view).counts
        assert counts.read == harness.table.made, counts
        assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered, counts
        rows = {place_of(key): content["value"] for key, content in harness.rows(view).items()}
        if rows != items.expected():
            off = sorted({*rows.items()} ^ {*items.expected().items()})
            raise Wrong(f"{view} does not show the table: {off[:5]} ({len(off)})")
