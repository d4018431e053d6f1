"""Totals that follow the stream: what items give to groups, and how the rows of groups come to readers.

Two items of two shards, each with a worker of its own, move between two groups. A worker takes changes (of several in
hand only the last counts) and applies them to the state in one transaction: the item's entry under the guard of its
version, the groups that the item leaves and enters, and their counters. An emitter looks for groups whose counter is
above what was shown, writes their rows under the counter as version, marks them as shown, and publishes the watermark.
Workers and emitters die between any two steps, or are paused with something in hand and go on after another one has
taken over. Readers look after each step.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

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

    GUARD = "an entry takes only a change that is newer than what it holds"
    TOMBSTONES = "an item that leaves the view leaves its version in its entry"
    ONE_TRANSACTION = "entry, groups and counters move in one transaction"
    LOCKED_OLD = "what an entry gave is read under the lock under which it is replaced"
    STORED_OLD = "what is taken away is what the entry gave, not what the change says was before"
    BOTH_GROUPS = "the group that an item leaves is counted up, too"
    ONE_SNAPSHOT = "the counter of a row is not read later than its content"
    DURABLE = "which groups are to be shown is kept with the state"
    MARK_AFTER = "a group is marked as shown when the sink has confirmed its row, not before"
    MARK_WRITTEN = "a group is marked as shown up to the counter that was written, not up to its own"
    WATERMARK_FIRST = "a pass publishes the watermark that it read before it looked for groups"
    WATERMARK_LAST = "a pass publishes when the sink has confirmed all of its rows"
    CHECKPOINT = "a checkpoint moves only past changes that the state holds"
    SINK_GUARD = "the sink refuses a row whose counter is not higher"
    SINK_TOMBSTONES = "the row of an emptied group leaves a tombstone in the sink"
    FLOOR = "a group that was forgotten begins again above every counter that was forgotten"
    FORGET_SHOWN = "an emptied group is forgotten when the sink has confirmed that its row is gone"
    FORGET_SAVED = "the tombstone of an item is forgotten when its checkpoint has passed it"


class Entry(NamedTuple):
    """What an item gives: the version that said so, and its group, None for a tombstone."""

    version: int
    group: Group


class Total(NamedTuple):
    """A group of the state."""

    counter: int
    shown: int
    """Up to which counter the sink is known to hold its row."""
    bag: Bag


class Row(NamedTuple):
    """What the sink is asked for, or holds; with an empty bag a tombstone."""

    place: int
    counter: int
    bag: Bag


class Late(NamedTuple):
    """What a paused worker has in hand: a change, and the entry as it found it."""

    version: int
    found: Entry | None


class Worker(NamedTuple):
    """Who follows the shard of one item."""

    taken: int = 0
    saved: int = 0
    late: Late | None = None
    half: tuple[Entry | None, Entry] | None = None
    """An entry that was replaced, and its successor, whose groups are still to follow: without ONE_TRANSACTION."""


class Pass(NamedTuple):
    """One look of the emitter for all groups that are to show."""

    watermark: Pair
    todo: tuple[Row, ...] | None = None
    """None: it has not looked yet."""
    done: tuple[Row, ...] = ()
    marked: bool = False


class State(NamedTuple):
    """All there is. `pauses` tells whether a worker, and an emitter, may still be paused."""

    pauses: tuple[bool, bool]
    histories: tuple[History, History] = ((), ())
    entries: tuple[Entry | None, Entry | None] = (None, None)
    totals: tuple[Total | None, Total | None] = (None, None)
    floor: int = 0
    rows: tuple[Row | None, Row | None] = (None, None)
    workers: tuple[Worker, Worker] = (Worker(), Worker())
    emitter: Pass | None = None
    late: Pass | None = None
    readers: Readers = Readers()
    fault: str | None = None


@dataclass(frozen=True)
class Totals:
    """The protocol with so many changes of each item, and `without` one of its rules."""

    changes: Pair
    without: Rule | None = None
    pauses: tuple[bool, bool] = (True, True)
    forgets: bool = False
    """Whether what is empty is forgotten: long after, so nobody has anything of it in hand."""

    def start(self) -> State:
        return State(self.pauses)

    def wrong(self, state: State) -> str | None:
        """Readers' laws at any time; at rest every row shows the table."""
        if state.fault is None and self._rests(state):
            for name, row in zip(NAMES, state.rows, strict=True):
                if (() if row is None else row.bag) != total(state.histories, name):
                    return f"at rest the row of {name} does not show the table"
        return state.fault

    def finished(self, state: State) -> bool:
        return self._rests(state) and lengths(state.histories) == self.changes

    def _rests(self, state: State) -> bool:
        followed = all(
            worker.taken == worker.saved == len(history) and worker.late is None and worker.half is None
            for worker, history in zip(state.workers, state.histories, strict=True)
        )
        return followed and state.emitter is None and state.late is None and not _to_show(state)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Table, workers and emitters, in any order; readers look after each step."""
        for text, after in self._steps(state):
            found = read(after.readers, after.histories, [() if row is None else row.bag for row in after.rows])
            yield text, after._replace(fault=found) if isinstance(found, str) else after._replace(readers=found)

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        for number in (0, 1):
            if len(state.histories[number]) < self.changes[number]:
                for text, histories in changes(state.histories, number):
                    yield text, state._replace(histories=histories)
            yield from self._work(state, number)
        yield from self._emit(state)
        if self.forgets:
            yield from self._forget(state)

    # Workers: from the stream into the state

    def _work(self, state: State, number: int) -> Iterator[tuple[str, State]]:
        worker, made, name = state.workers[number], len(state.histories[number]), ITEMS[number]

        def by(worker: Worker, state: State) -> State:
            return state._replace(workers=replaced(state.workers, number, worker))

        if worker.half is not None:
            followed = self._move(state, number, *worker.half)
            yield f"the groups of {name} follow its entry", by(worker._replace(half=None), followed)
            yield f"the worker of {name} dies in between", by(worker._replace(half=None, taken=worker.saved), state)
            return
        for version in range(worker.taken + 1, made + 1):
            text = f"change {version} of {name} is taken"
            yield text, self._take(by(worker._replace(taken=version), state), number, version)
            if worker.late is None and state.pauses[0]:
                late = worker._replace(taken=worker.saved, late=Late(version, state.entries[number]))
                text = f"the worker of {name} is paused with change {version} in hand, and another takes over"
                yield text, by(late, state)._replace(pauses=(False, state.pauses[1]))
        if worker.saved < worker.taken:
            yield f"the checkpoint of {name} is saved at {worker.taken}", by(worker._replace(saved=worker.taken), state)
            died = by(worker._replace(taken=worker.saved), state)
            if self.without is Rule.DURABLE:
                died = died._replace(totals=_all_shown(died.totals))
            yield f"the worker of {name} dies, and another goes on from {worker.saved}", died
        elif self.without is Rule.CHECKPOINT and worker.taken < made:
            yield f"the checkpoint of {name} is saved at {made}", by(worker._replace(taken=made, saved=made), state)
        if worker.late is not None:
            free = by(worker._replace(late=None), state)
            version = worker.late.version
            found = worker.late.found if self.without is Rule.LOCKED_OLD else state.entries[number]
            yield f"the paused worker of {name} ends", free
            yield f"the paused worker of {name} takes change {version}", self._apply(free, number, version, found)

    def _take(self, state: State, number: int, version: int) -> State:
        if self.without is not Rule.ONE_TRANSACTION:
            return self._apply(state, number, version, state.entries[number])
        found = state.entries[number]
        if not self._newer(version, found):
            return state
        after, entry = self._replace_entry(state, number, version)
        worker = after.workers[number]._replace(half=(found, entry))
        return after._replace(workers=replaced(after.workers, number, worker))

    def _apply(self, state: State, number: int, version: int, found: Entry | None) -> State:
        """One transaction, which goes by `found` as what the entry was."""
        if not self._newer(version, found):
            return state
        after, entry = self._replace_entry(state, number, version)
        return self._move(after, number, found, entry)

    def _newer(self, version: int, found: Entry | None) -> bool:
        return found is None or version > found.version or self.without is Rule.GUARD

    def _replace_entry(self, state: State, number: int, version: int) -> tuple[State, Entry]:
        entry = Entry(version, group_of(state.histories[number], version))
        kept = None if entry.group is None and self.without is Rule.TOMBSTONES else entry
        return state._replace(entries=replaced(state.entries, number, kept)), entry

    def _move(self, state: State, number: int, old: Entry | None, new: Entry) -> State:
        """The groups after an entry was replaced."""
        if self.without is Rule.STORED_OLD:
            before = new.version - 1
            old = Entry(before, group_of(state.histories[number], before))
        totals = state.totals
        for place, name in enumerate(NAMES):
            leaves, enters = old is not None and old.group == name, new.group == name
            if not leaves and not enters:
                continue
            group = totals[place] or Total(0 if self.without is Rule.FLOOR else state.floor, -1, ())
            give = (number, new.version) if enters else None
            take = (number, old.version) if old is not None and leaves else None
            up = 1 if enters or self.without is not Rule.BOTH_GROUPS else 0
            moved = group._replace(counter=group.counter + up, bag=counted(group.bag, give, take))
            totals = replaced(totals, place, moved)
        return state._replace(totals=totals)

    # Emitters: from the state to readers

    def _emit(self, state: State) -> Iterator[tuple[str, State]]:
        watermark = (state.workers[0].saved, state.workers[1].saved)
        going, late = state.emitter, state.late
        if going is None and (_to_show(state) or watermark != state.readers.promised):
            begun = state._replace(emitter=Pass(watermark))
            if self.without is Rule.WATERMARK_LAST:
                begun = begun._replace(readers=promised(begun.readers, watermark))
            yield f"a pass begins with watermark {watermark}", begun
        if going is not None:
            for text, after, now in self._pass(state, going):
                yield text, after._replace(emitter=now)
            if going.todo:
                yield "the emitter dies", state._replace(emitter=None)
                if late is None and state.pauses[1]:
                    paused = state._replace(emitter=None, late=going, pauses=(state.pauses[0], False))
                    yield "the emitter is paused with rows in hand, and another takes over", paused
        if late is not None:
            yield "the paused emitter ends", state._replace(late=None)
            for text, after, now in self._pass(state, late):
                yield f"the paused emitter: {text}", after._replace(late=now)

    def _pass(self, state: State, going: Pass) -> Iterator[tuple[str, State, Pass | None]]:
        if going.todo is None:
            todo = _to_show(state)
            after = self._mark(state, todo) if self.without is Rule.MARK_AFTER else state
            if self.without is Rule.ONE_SNAPSHOT:
                todo = tuple(row._replace(counter=-1) for row in todo)
            text = ", ".join(NAMES[row.place] for row in todo) or "nothing"
            yield f"{text} is found to show", after, going._replace(todo=todo, marked=not todo)
        elif any(row.counter < 0 for row in going.todo):
            todo = tuple(row._replace(counter=_counter(state.totals[row.place])) for row in going.todo)
            yield "the counters of what is to show are read", state, going._replace(todo=todo)
        elif going.todo:
            row, *rest = going.todo
            text = f"row {NAMES[row.place]} is written under counter {row.counter}"
            yield text, self._write(state, row), going._replace(todo=tuple(rest), done=(*going.done, row))
        elif not going.marked:
            marked = going._replace(done=(), marked=True)
            yield "groups are marked as shown", self._mark(state, going.done), marked
        else:
            watermark = going.watermark
            if self.without is Rule.WATERMARK_FIRST:
                watermark = (state.workers[0].saved, state.workers[1].saved)
            after = state._replace(readers=promised(state.readers, watermark))
            yield f"watermark {watermark} is published", after, None

    def _write(self, state: State, row: Row) -> State:
        stands = state.rows[row.place]
        if stands is not None and row.counter <= stands.counter and self.without is not Rule.SINK_GUARD:
            return state
        kept = None if not row.bag and self.without is Rule.SINK_TOMBSTONES else row
        return state._replace(rows=replaced(state.rows, row.place, kept))

    def _mark(self, state: State, rows: tuple[Row, ...]) -> State:
        totals = state.totals
        for row in rows:
            if (group := totals[row.place]) is not None:
                upto = group.counter if self.without is Rule.MARK_WRITTEN else row.counter
                totals = replaced(totals, row.place, group._replace(shown=max(group.shown, upto)))
        return state._replace(totals=totals)

    # What is forgotten, when nobody can have anything older in hand

    def _forget(self, state: State) -> Iterator[tuple[str, State]]:
        passes = [going for going in (state.emitter, state.late) if going is not None]
        held = {row.place for going in passes for row in (*(going.todo or ()), *going.done)}
        for place, name in enumerate(NAMES):
            group, row = state.totals[place], state.rows[place]
            if place in held:
                continue
            confirmed = group is not None and group.shown >= group.counter
            if group is not None and not group.bag and (confirmed or self.without is Rule.FORGET_SHOWN):
                floor = max(state.floor, group.counter)
                after = state._replace(totals=replaced(state.totals, place, None), floor=floor)
                yield f"the emptied group {name} is forgotten", after
            if row is not None and not row.bag:
                after = state._replace(rows=replaced(state.rows, place, None))
                yield f"the sink forgets the tombstone of {name}", after
        for number, entry in enumerate(state.entries):
            if entry is None or entry.group is not None or state.workers[number].late is not None:
                continue
            if state.workers[number].saved >= entry.version or self.without is Rule.FORGET_SAVED:
                after = state._replace(entries=replaced(state.entries, number, None))
                yield f"the tombstone of {ITEMS[number]} is forgotten", after


def _to_show(state: State) -> tuple[Row, ...]:
    return tuple(
        Row(place, group.counter, group.bag)
        for place, group in enumerate(state.totals)
        if group is not None and group.counter > group.shown
    )


def _counter(group: Total | None) -> int:
    return 0 if group is None else group.counter


def _all_shown(totals: tuple[Total | None, Total | None]) -> tuple[Total | None, Total | None]:
    first, second = totals
    return first and first._replace(shown=first.counter), second and second._replace(shown=second.counter)
