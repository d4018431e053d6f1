"""The first fill of totals: a scan gives to groups beside the stream, and no item counts twice or is shown too early.

Two items of two shards may stand in the table before the view begins, and the stream still holds some of their changes.
Workers follow the stream from there. The scan reads one item after the other and gives it an entry of version 0 where
neither an entry nor a tombstone stands, in the same kind of transaction as a change. Rows are shown once the scan is
over and the checkpoints have passed what the stream was at then. Whoever scans dies between reading and inserting, or
is paused there and inserts late; so do workers. How rows are shown is another model's (`totals`): here it is one step.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tests.models.groups import (
    ITEMS,
    NAMES,
    Bag,
    Group,
    History,
    Pair,
    Readers,
    changes,
    counted,
    group_of,
    lengths,
    promised,
    read,
    replaced,
    total,
)


class Rule(enum.Enum):
    """What the protocol rests on. Without any one of these there is a history that goes wrong."""

    STREAM_FIRST = "workers begin at or before what the scan reads"
    STRONG_SCAN = "the scan's reads are strongly consistent"
    SCAN_INSERTS = "a scanned item goes in only where neither an entry nor a tombstone stands"
    SCANNED_ENTRIES = "a scanned item leaves an entry, not only what it gives to its group"
    TOMBSTONES = "an item that leaves the view leaves its version in its entry"
    KEPT_TOMBSTONES = "no tombstone is forgotten while a scan may still insert"
    GUARD = "an entry takes only a change that is newer than what it holds"
    SILENT = "no row is shown while the scan goes on"
    HOLD = "no row is shown before the checkpoints have passed the scan's end"
    HOLD_FROM_END = "what is held for is where the stream was at the end of the scan"


class Entry(NamedTuple):
    """What an item gives. A scanned one has version 0, so the change that it shows stands apart."""

    version: int
    group: Group
    shows: int


class Total(NamedTuple):
    """A group of the state, and whether the sink has its row as it is."""

    bag: Bag
    shown: bool


class Worker(NamedTuple):
    """Who follows the shard of one item; `late` is the change that a paused one has in hand."""

    taken: int
    saved: int
    late: int | None = None


class Page(NamedTuple):
    """An item as the scan has read it: its number, and as of which change."""

    number: int
    moment: int


class State(NamedTuple):
    """All there is. `pauses` tells whether a worker, and whoever scans, may still be paused."""

    pauses: tuple[bool, bool]
    histories: tuple[History, History] = ((), ())
    phase: Literal["idle", "scanning", "holding", "following"] = "idle"
    entries: tuple[Entry | None, Entry | None] = (None, None)
    totals: tuple[Total | None, Total | None] = (None, None)
    rows: tuple[Bag | None, Bag | None] = (None, None)
    workers: tuple[Worker, Worker] = (Worker(0, 0), Worker(0, 0))
    scanned: int = 0
    page: Page | None = None
    late_page: Page | None = None
    begun: Pair = (0, 0)
    until: Pair = (0, 0)
    published: Pair | None = None
    """The watermark that readers go by; None: they are told that nothing is complete."""
    readers: Readers = Readers()
    fault: str | None = None


@dataclass(frozen=True)
class TotalsFill:
    """The protocol with so many changes of each item, and `without` one of its rules."""

    changes: Pair
    without: Rule | None = None
    pauses: tuple[bool, bool] = (True, True)

    def start(self) -> State:
        return State(self.pauses)

    def wrong(self, state: State) -> str | None:
        """Readers' laws at any time; at rest every row shows the table."""
        if state.fault is None and self._rests(state):
            for name, bag in zip(NAMES, state.rows, strict=True):
                if (bag or ()) != total(state.histories, name):
                    return f"at rest the row of {name} does not show the table"
        return state.fault

    def finished(self, state: State) -> bool:
        return self._rests(state) and lengths(state.histories) == self.changes

    def _rests(self, state: State) -> bool:
        followed = all(
            worker == Worker(len(history), len(history))
            for worker, history in zip(state.workers, state.histories, strict=True)
        )
        shown = all(group is None or group.shown for group in state.totals)
        return state.phase == "following" and followed and shown and state.late_page is None

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Table, workers, scan and emitter, in any order; readers look after each step."""
        for text, after in self._steps(state):
            # A row that is missing tells nothing before readers are told that the view is complete.
            shown = [() if bag is None and after.published is not None else bag for bag in after.rows]
            found = read(after.readers, after.histories, shown)
            yield text, after._replace(fault=found) if isinstance(found, str) else after._replace(readers=found)

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        for number in (0, 1):
            if len(state.histories[number]) < self.changes[number]:
                for text, histories in changes(state.histories, number):
                    yield text, state._replace(histories=histories)
        if state.phase == "idle":
            yield from self._begin(state)
            return
        for number in (0, 1):
            yield from self._work(state, number)
        yield from self._scan(state)
        if state.phase == "following" or self.without is Rule.SILENT:
            yield from self._show(state)
        if (state.phase == "following" and state.late_page is None) or self.without is Rule.KEPT_TOMBSTONES:
            yield from self._forget(state)

    def _begin(self, state: State) -> Iterator[tuple[str, State]]:
        made = lengths(state.histories)
        # What stood before is known to whoever looked at the table; rows may not be older than that.
        begun = state._replace(phase="scanning", begun=made, readers=Readers(seen=(made, made)))
        if self.without is Rule.STREAM_FIRST:
            yield "the scan begins, and workers do not", begun._replace(workers=_at(made))
            return
        for first in range(made[0] + 1):
            for second in range(made[1] + 1):
                text = f"the scan begins, and workers do at {first}, {second}"
                yield text, begun._replace(workers=_at((first, second)))

    # From the stream and the scan into the state

    def _work(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        worker, name = state.workers[number], ITEMS[number]

        def by(worker: Worker, state: State) -> State:
            return state._replace(workers=replaced(state.workers, number, worker))

        for version in range(worker.taken + 1, len(state.histories[number]) + 1):
            taken = self._take(by(worker._replace(taken=version), state), number, version)
            yield f"change {version} of {name} is taken", taken
            if state.pauses[0]:
                late = by(worker._replace(taken=worker.saved, late=version), state)
                text = f"the worker of {name} is paused with change {version} in hand, and another takes over"
                yield text, late._replace(pauses=(False, state.pauses[1]))
        if worker.saved < worker.taken:
            yield f"the checkpoint of {name} is saved at {worker.taken}", by(worker._replace(saved=worker.taken), state)
            yield f"the worker of {name} dies", by(worker._replace(taken=worker.saved), state)
        if worker.late is not None:
            free = by(worker._replace(late=None), state)
            yield f"the paused worker of {name} ends", free
            yield f"the paused worker of {name} takes change {worker.late}", self._take(free, number, worker.late)

    def _take(self, state: State, number: int, version: int) -> State:
        old = state.entries[number]
        if old is not None and version <= old.version and self.without is not Rule.GUARD:
            return state
        return self._give(state, number, Entry(version, group_of(state.histories[number], version), version))

    def _insert(self, state: State, page: Page) -> State:
        number, moment = page
        group = group_of(state.histories[number], moment)
        stands = state.entries[number] is not None and self.without is not Rule.SCAN_INSERTS
        if group is None or stands:
            return state
        after = self._give(state, number, Entry(0, group, moment))
        return after._replace(entries=state.entries) if self.without is Rule.SCANNED_ENTRIES else after

    def _give(self, state: State, number: int, new: Entry) -> State:
        """One transaction: the entry, the group that the item leaves, and the one it enters."""
        old, totals = state.entries[number], state.totals
        for place, name in enumerate(NAMES):
            take = (number, old.shows) if old is not None and old.group == name else None
            give = (number, new.shows) if new.group == name else None
            if take is not None or give is not None:
                bag = () if (group := totals[place]) is None else group.bag
                totals = replaced(totals, place, Total(counted(bag, give, take), shown=False))
        kept = None if new.group is None and self.without is Rule.TOMBSTONES else new
        return state._replace(entries=replaced(state.entries, number, kept), totals=totals)

    def _scan(self, state: State) -> Iterator[tuple[str, State]]:
        made = lengths(state.histories)
        if state.phase == "scanning" and state.page is None:
            number = state.scanned
            for moment in range(0 if self.without is Rule.STRONG_SCAN else made[number], made[number] + 1):
                text = f"the scan reads {ITEMS[number]} as of change {moment}"
                yield text, state._replace(page=Page(number, moment))
        elif state.phase == "scanning" and state.page is not None:
            unread = state._replace(page=None)
            yield "whoever scans dies", unread
            if state.pauses[1]:
                late = unread._replace(late_page=state.page, pauses=(state.pauses[0], False))
                yield "whoever scans is paused with what it read, and another takes over", late
            after = self._insert(unread, state.page)._replace(scanned=state.scanned + 1)
            if after.scanned == len(ITEMS):
                until = state.begun if self.without is Rule.HOLD_FROM_END else made
                after = after._replace(phase="holding", until=until)
                if self.without is Rule.STREAM_FIRST:
                    after = after._replace(workers=_at(made))
            yield f"the scan inserts {ITEMS[state.page.number]} as of change {state.page.moment}", after
        elif state.phase == "holding":
            passed = all(worker.saved >= at for worker, at in zip(state.workers, state.until, strict=True))
            if passed or self.without is Rule.HOLD:
                yield "the fill is complete", state._replace(phase="following")
        if (page := state.late_page) is not None:
            free = state._replace(late_page=None)
            yield "the paused scan ends", free
            yield f"the paused scan inserts {ITEMS[page.number]}", self._insert(free, page)

    # From the state to readers

    def _show(self, state: State) -> Iterator[tuple[str, State]]:
        for place, group in enumerate(state.totals):
            if group is not None and not group.shown:
                totals = replaced(state.totals, place, group._replace(shown=True))
                rows = replaced(state.rows, place, group.bag)
                yield f"row {NAMES[place]} is shown", state._replace(totals=totals, rows=rows)
        if state.phase == "following" and all(group is None or group.shown for group in state.totals):
            saved = (state.workers[0].saved, state.workers[1].saved)
            readers = promised(state.readers, saved)
            if state.published != readers.promised:
                after = state._replace(published=readers.promised, readers=readers)
                yield f"watermark {readers.promised} is published", after

    def _forget(self, state: State) -> Iterator[tuple[str, State]]:
        for number, entry in enumerate(state.entries):
            worker = state.workers[number]
            dead = entry is not None and entry.group is None and worker.saved >= entry.version
            if dead and worker.late is None:
                after = state._replace(entries=replaced(state.entries, number, None))
                yield f"the tombstone of {ITEMS[number]} is forgotten", after


def _at(begin: Pair) -> tuple[Worker, Worker]:
    """Workers that go on from there."""
    return Worker(begin[0], begin[0]), Worker(begin[1], begin[1])
