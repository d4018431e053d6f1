"""Dead letters that settle by themselves: those that nothing needs any more go, and those whose obstacle is gone are
applied.

A letter of an item that is gone, or right again, explains nothing. One that lost its row to another item is applied as
soon as that one has given the row key free; one that a function refused, as soon as the function works again. So the
letters of a view are tried again on their own: soon after one was added, and less and less often while nothing comes of
it. Each try reads the items of the letters; whether a row key is free is asked of the store alone, every second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import RejectedKind, Sink, SinkError
from dynaview.sources.errors import SourceError
from dynaview.sources.port import TableReader
from dynaview.views.control.errors import ControlError
from dynaview.views.control.records import DeadLetterFilter, KeptLetter, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.replay import Replay, replay_of
from dynaview.views.states import ViewState

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks whether letters are due, and whether row keys are free."""

FIRST, LONGEST = 2.0, 600.0
"""Seconds until letters are tried for the first time, and at most between two tries."""

PAGE = 500
"""Letters that are looked at together."""


@dataclass(slots=True)
class _Due:
    """When the letters of a view are tried again."""

    known: tuple[int, int]
    """How many there were, and the highest id."""
    at: float
    """By the monotonic clock."""
    wait: float = FIRST


class LetterSettling:
    """Settles the letters of one table's views. `run` is the body of a thread, and ends when `stop` is set."""

    def __init__(
        self,
        table_name: str,
        views: Sequence[ViewDeclaration],
        table: TableReader,
        sinks: Mapping[str, Sink],
        control: ControlStore,
        stop: threading.Event,
        mine: Callable[[], bool] = lambda: True,
    ) -> None:
        """`sinks` are the opened ones by name; `mine` says whether this worker, of all that share the table, is the
        one to settle letters."""
        self._table_name = table_name
        self._views = {view.name: view for view in views}
        self._table = table
        self._sinks = sinks
        self._control = control
        self._stop = stop
        self._mine = mine
        self._due: dict[str, _Due] = {}
        self._replays: dict[str, tuple[tuple[str, int], Replay]] = {}
        """By view, with what its rows are made by: a description of the table serves many looks."""

    def run(self) -> None:
        """Settle until told to stop."""
        while not self._stop.wait(LOOK_EVERY):
            try:
                self.settle()
            except ControlError:  # the pipelines say so, and wait for it
                continue

    def settle(self) -> None:
        """Look at all views once. Raises `ControlError`."""
        kept = self._control.dead_letters.by_view()
        for name in self._due.keys() - kept.keys():
            del self._due[name]
        for name in self._views.keys() & kept.keys():
            if self._stop.is_set() or not self._mine():
                return
            try:
                self._settle(self._views[name])
            except (SinkError, SourceError) as error:
                log.debug("view %s: its dead letters are tried again later: %s", name, error)
                self._put_off(name)

    def _settle(self, view: ViewDeclaration) -> None:
        record = self._control.view(view.name)
        if record is None or record.state is not ViewState.FOLLOWING or view.sink not in self._sinks:
            return
        if record.fingerprint != fingerprint(view, self._table_name):
            return  # its rows are made by another declaration
        known = self._control.dead_letters.count(DeadLetterFilter(view=view.name))
        now = time.monotonic()
        due = self._due.get(view.name)
        if due is None or due.known != known:
            due = self._due[view.name] = _Due(known, now + FIRST)
        owners = self._letters(view.name, RejectedKind.OWNER.value)
        if now < due.at and not owners:
            return
        replay = self._replay(view, record)
        if now >= due.at:
            due.at, due.wait = now + due.wait, min(due.wait * 2, LONGEST)
            last = 0
            while not self._stop.is_set() and (page := self._letters(view.name, after=last)):
                last = page[-1].id
                self._run(view.name, replay, page)
        elif freed := replay.freed(owners):
            self._run(view.name, replay, freed)

    def _replay(self, view: ViewDeclaration, record: ViewRecord) -> Replay:
        made_by = record.fingerprint, record.generation
        found = self._replays.get(view.name)
        if found is None or found[0] != made_by:
            target = self._sinks[view.sink].open(view.layout, record.generation)
            found = made_by, replay_of(view, self._control.dead_letters, self._table, target)
            self._replays[view.name] = found
        return found[1]

    def _run(self, name: str, replay: Replay, letters: Sequence[KeptLetter]) -> None:
        results = Counter(replayed.result for replayed in replay.run(letters, "settle"))
        settled = {result: results[result] for result in ("applied", "stale", "unmatched") if results[result]}
        if settled:
            words = ", ".join(f"{count} {result}" for result, count in settled.items())
            log.info("view %s: dead letters settled by themselves: %s", name, words)

    def _letters(self, name: str, kind: str | None = None, after: int = 0) -> list[KeptLetter]:
        return self._control.dead_letters.find(DeadLetterFilter(view=name, kind=kind), PAGE, after)

    def _put_off(self, name: str) -> None:
        if name in self._due:
            due = self._due[name]
            due.at, due.wait = time.monotonic() + due.wait, min(due.wait * 2, LONGEST)
