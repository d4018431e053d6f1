"""A reader that looks at all rows of views time and again, and notes what no reader may ever see."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from dynaview.sinks.port import Target
from tests.support.worker_harness import WorkerHarness


class Poller:
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
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._stop.wait(0.001):
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
