"""Verify and repair of one row, edited by hand, while changes come and workers die.

The store is looked at first and the table afterwards; what differs is held until the checkpoint has passed the look at
the table; then it counts, and is repaired, only where the row is still what it was (compare-and-set): it was unchanged
while everything up to the read of the item was applied, so it ought to have shown exactly what was read. A repair keeps
the version of the row, or takes 0 where there was none or where the row belonged to another item.

That is done in two ways. An item that a scan found and whose row looked different (the scan may be as stale as it
likes: it only says whom to check) is checked by its own key: the row, then a strongly consistent read of the item. A
row that no item accounts for is found by listing the store and scanning the table afterwards: nobody can tell which
item to read for it, so the order of the two is all that keeps a new item from being taken for an orphan.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tests.models.pipeline import Habits, ViewPipeline, Write, pipeline_steps
from tests.models.table import History, Value, item, shown


class Rule(enum.Enum):
    """What the protocol rests on. Without any one of these there is a history that goes wrong."""

    ROW_BEFORE_ITEM = "the row is looked at before the item is read again"
    LISTING_BEFORE_SCAN = "the store is listed before the table is scanned"
    STRONG_READ = "the item is read again, and the table scanned for extras, strongly consistent"
    HOLD = "a difference is held until the watermark has passed the read of the item"
    HOLD_AFTER_READ = "the hold comes between the read of the item and the repair, not before the read"
    DURABLE_HOLD = "a hold asks the watermark that was saved with the checkpoint, not how far a worker is in memory"
    COMPARES = "a row is repaired, and a difference counts, only where the row is as it was when looked at"
    KEEPS_VERSION = "a repair keeps the version of the row"
    TOMBSTONES = "a repair that deletes leaves a tombstone"
    OWNER_TWICE = "a row that belonged to another item is checked again once it was repaired"
    NONE_LATE_AT_LOSS = "nobody still has an older write in hand when a row loses its version or owner by hand"


WRONG: Value = "damaged"


class Row(NamedTuple):
    """The row, whether it names the item as its owner; `value` is None for a tombstone."""

    version: int
    value: Value
    ours: bool = True


Way = Literal["by item", "by listing"]
WAYS: tuple[Way, Way] = ("by item", "by listing")


class Check(NamedTuple):
    """What a verifier has in its hands."""

    way: Way
    looked: bool = False
    seen: Row | None = None
    read: bool = False
    value: Value = None
    until: int = 0
    current: bool = True
    """Nothing was written since it began."""
    real: bool = False
    """The row was edited by hand, and not fixed, when it was looked at."""

    @property
    def complete(self) -> bool:
        """Both sides are known; what is left is to hold and to compare."""
        return self.looked and self.read


class State(NamedTuple):
    """All there is. `seen`: the change as of which readers know the item, from what they saw or a wait promised."""

    history: History
    row: Row | None
    pipeline: ViewPipeline
    check: Check | None
    late_check: Check | None
    """A check in the hands of a verifier that was replaced."""
    checked: frozenset[Way]
    """The ways in which the row was checked since anything was last written."""
    hurt: int | None
    """When the row was edited by hand, while it is not fixed: nothing is promised of it."""
    edited: bool
    seen: int
    fault: str | None


@dataclass(frozen=True)
class Repairing:
    """The protocol with up to `changes` changes of the table, and `without` one of its rules."""

    changes: int
    without: Rule | None = None
    replaced: bool = True
    """Whether a verifier may be paused with a check in its hands, while another begins."""

    def start(self) -> State:
        """A view that follows an empty table."""
        return State((), None, ViewPipeline(0, 0, (1,), (1,)), None, None, frozenset(), None, False, 0, None)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Table, workers, verifier and an operator's editor, in any order; readers look after each step."""
        for text, after in self._steps(state):
            touched = (after.history, after.row, after.pipeline.at) != (state.history, state.row, state.pipeline.at)
            if touched:
                check = after.check._replace(current=False) if after.check else None
                after = after._replace(checked=frozenset(), check=check)
            yield text, after if after.fault else _read(after)

    def wrong(self, state: State) -> str | None:
        """Readers' laws and no false alarm, at any time; at rest, once checked in both ways, row and table agree."""
        if state.fault is None and self._quiet(state) and len(state.checked) == 2:
            row = state.row
            wanted = item(state.history, len(state.history))
            if (row.value if row else None) != wanted or (row is not None and wanted is not None and not row.ours):
                return "at rest a check has not fixed the row"
        return state.fault

    def finished(self, state: State) -> bool:
        """At rest, with all changes made, edited and fixed."""
        return self._quiet(state) and len(state.history) == self.changes and state.edited and len(state.checked) == 2

    def _quiet(self, state: State) -> bool:
        return state.pipeline.rests(len(state.history)) and state.late_check is None

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        if len(state.history) < self.changes:
            for value in ("A", "B", None) if state.history else ("A",):  # a value may come again
                if value != item(state.history, len(state.history)):
                    number = len(state.history) + 1
                    text = f"the table puts {value}" if value else "the table deletes the item"
                    yield f"{text} (change {number})", state._replace(history=(*state.history, value))
        for text, pipeline, write in pipeline_steps(state.pipeline, len(state.history), (1,), Habits()):
            pauses = pipeline.late is not None and state.pipeline.late is None
            if pauses and not (state.row is None or state.row.ours or self.without is Rule.NONE_LATE_AT_LOSS):
                continue
            after = state._replace(pipeline=pipeline)
            yield text, after if write is None else _written(after, write)
        yield from self._verify(state)
        yield from self._edited(state)

    # What the verifier does

    def _verify(self, state: State) -> Iterator[tuple[str, State]]:
        check = state.check
        if check is None:
            for way in WAYS:
                if way not in state.checked:
                    for text, begun in self._looks(state, Check(way)):
                        yield f"{way}: {text}", state._replace(check=begun)
        elif check.complete:
            text = f"past the hold, the verifier compares the row with {check.value or 'no item'}"
            if self._passed(state, check):
                yield text, self._mended(state, check)._replace(check=None)
            if state.late_check is None and self.replaced:
                yield "the verifier is paused; another begins", state._replace(check=None, late_check=check)
        else:
            for text, looked in self._looks(state, check):
                yield text, state._replace(check=looked)
        if state.late_check is not None:
            yield "the replaced verifier is ended", state._replace(late_check=None)
            if self._passed(state, state.late_check):
                text = f"late, past the hold, the row is compared with {state.late_check.value or 'no item'}"
                after = self._mended(state, state.late_check)
                yield text, after._replace(late_check=None, checked=state.checked)

    def _looks(self, state: State, check: Check) -> Iterator[tuple[str, Check]]:
        """The two sides, one after the other."""
        now = len(state.history)
        by_item = check.way == "by item"
        early = self.without is Rule.HOLD_AFTER_READ
        if early and check.looked and state.pipeline.saved < check.until:
            return
        turned = self.without is (Rule.ROW_BEFORE_ITEM if by_item else Rule.LISTING_BEFORE_SCAN)
        if not check.looked and (check.read or not turned):
            text = "the verifier looks at the row" if by_item else "the verifier lists the store"
            looked = check._replace(looked=True, seen=state.row, real=state.hurt is not None)
            yield text, looked._replace(until=max(now, check.until) if early else check.until)
        else:
            for moment in range(0 if self.without is Rule.STRONG_READ else now, now + 1):
                text = f"the {'item is read' if by_item else 'table is scanned'}, as of change {moment}"
                yield (
                    text,
                    check._replace(read=True, value=item(state.history, moment), until=check.until if early else now),
                )

    def _mended(self, state: State, check: Check) -> State:
        """What becomes of the row in the end, where the two sides differ and it is still the same."""
        row, seen, value = state.row, check.seen, check.value
        done = state._replace(checked=state.checked | {check.way}) if check.current else state
        if not _differs(seen, value):
            return done._replace(hurt=None) if check.real and _same(row, seen) else done
        if (value is None) != (check.way == "by listing"):
            return done  # each way has its own findings
        if not _same(row, seen) and self.without is not Rule.COMPARES:
            return state  # whatever wrote it came between: it is checked again
        if state.hurt is None and not check.real:
            return done._replace(fault="a difference is reported that is none")
        keeps = row is not None and row.ours and self.without is not Rule.KEEPS_VERSION
        repaired: Row | None = Row(row.version if keeps and row is not None else 0, value)
        if value is None and self.without is Rule.TOMBSTONES:
            repaired = None
        twice = seen is not None and not seen.ours and self.without is not Rule.OWNER_TWICE
        return done._replace(row=repaired, hurt=state.hurt if twice else None)

    def _passed(self, state: State, check: Check) -> bool:
        reached = state.pipeline.at if self.without is Rule.DURABLE_HOLD else state.pipeline.saved
        return reached >= check.until or self.without is Rule.HOLD

    # What somebody does by hand

    def _edited(self, state: State) -> Iterator[tuple[str, State]]:
        if state.edited:
            return
        row = state.row
        hurt = state._replace(hurt=len(state.history), edited=True)
        older = [check for check in (state.check, state.late_check) if check and check.looked and check.seen is None]
        may_lose = (state.pipeline.late is None and not older) or self.without is Rule.NONE_LATE_AT_LOSS
        if row is None:
            yield "somebody adds a row by hand", hurt._replace(row=Row(0, WRONG))
            return
        yield "somebody edits the row by hand", hurt._replace(row=row._replace(value=WRONG))
        if row.value is not None:
            yield "somebody makes the row a tombstone by hand", hurt._replace(row=row._replace(value=None))
        if may_lose:
            yield "somebody removes the row (or its tombstone) by hand", hurt._replace(row=None)
        if may_lose and row.value is not None:
            yield "somebody gives the row to another item by hand", hurt._replace(row=row._replace(ours=False))


def _written(state: State, write: Write) -> State:
    row = state.row
    taken = row is not None and row.value is not None and not row.ours  # a dead letter
    if taken or (row is not None and row.version >= write.version):
        return state
    repaired = state.hurt is not None and write.version > state.hurt
    return state._replace(
        row=Row(write.version, item(state.history, write.version)), hurt=None if repaired else state.hurt
    )


def _differs(row: Row | None, value: Value) -> bool:
    if row is None or row.value is None:
        return value is not None
    return row.value != value or not row.ours


def _same(row: Row | None, seen: Row | None) -> bool:
    """What a compare-and-set can tell apart: everything but the content of a live row."""
    if row is None or seen is None:
        return row is seen
    return (row.version, row.value is None, row.ours) == (seen.version, seen.value is None, seen.ours)


def _read(state: State) -> State:
    """Readers look, also those who waited for the watermark: what it has passed they must see."""
    if state.hurt is not None:
        return state
    since = max(state.seen, state.pipeline.saved)
    value = state.row.value if state.row else None
    seen = shown(state.history, since, value)
    if seen is None:
        fault = f"readers see {value or 'no row'}, older than change {since} that they saw or waited for"
        return state._replace(fault=fault)
    return state if seen == state.seen else state._replace(seen=seen)
