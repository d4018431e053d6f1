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
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import RejectedKind, SinkError
from dynaview.sources.errors import SourceError
from dynaview.views.control.errors import ControlError
from dynaview.views.control.records import DeadLetterFilter, KeptLetter, ViewRecord
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.kept_table import KeptTable
from dynaview.views.replay import Replay, replay_of
from dynaview.views.states import ViewState

log = logging.getLogger(__name__)

PAGE = 500
"""Letters that are looked at together."""


@dataclass(frozen=True, slots=True)
class SettlingPace:
    """In seconds."""

    look_every: float = 1.0
    """Between two looks whether letters are due, and whether row keys are free."""
    first: float = 2.0
    """Until letters are tried for the first time."""
    longest: float = 600.0
    """At most between two tries."""


@dataclass(slots=True)
class _Due:
    """When the letters of a view are tried again."""

    known: tuple[int, int]
    """How many there were, and the highest id."""
    at: float
    """By the monotonic clock."""
    wait: float


class LetterSettling:
    """Settles the letters of one table's views. `run` is the body of a thread, and ends when `stop` is set."""

    def __init__(
        self,
        table: KeptTable,
        stop: threading.Event,
        mine: Callable[[], bool],
        pace: SettlingPace,
    ) -> None:
        """`mine` says whether this worker, of all that share the table, is the one to settle letters."""
        self._table_name = table.source.table
        self._views = table.views
        self._table = table.reader
        self._sinks = table.sinks
        self._control = table.control
        self._stop = stop
        self._mine = mine
        self._pace = pace
        self._due: dict[str, _Due] = {}
        self._replays: dict[str, tuple[tuple[str, int], Replay]] = {}
        """By view, with what its rows are made by: a description of the table serves many looks."""

    def run(self) -> None:
        """Settle until told to stop."""
        while not self._stop.wait(self._pace.look_every):
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
            due = self._due[view.name] = _Due(known, now + self._pace.first, self._pace.first)
        owners = self._letters(view.name, RejectedKind.OWNER.value)
        if now < due.at and not owners:
            return
        replay = self._replay(view, record)
        if now >= due.at:
            due.at, due.wait = now + due.wait, min(due.wait * 2, self._pace.longest)
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
            due.at, due.wait = time.monotonic() + due.wait, min(due.wait * 2, self._pace.longest)
