"""A rebuild in place (Redis), for one item: all generations share the row key that readers address.

The pipeline turns to generation N+1, and all workers acknowledge it. The scan reads the item, looks at the row, holds
until the checkpoint has passed that look, and writes the item only where the row is still what it was and not yet of
N+1; it keeps the row's version. Where the row changed and is not of N+1 it looks again. At the end rows that are still
of an older generation are swept in the same way: look, hold, delete where unchanged, leaving a tombstone.

A rebuild may be cancelled at any time, and another one started, here or after the first has ended. Somebody edits the
row by hand once, before or between the rebuilds: a rebuild that comes to its end has repaired that.

**What a cancel is.** The pipeline stays with the number that it writes. Going back to N would lose changes: rows of N+1
refuse everything of N. A cancelled rebuild thus ends unswept (what it fixed stays fixed, what it did not reach stays
as it was), the view is followed as before under the new number, and the next rebuild takes a number above it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from tests.models.pipeline import Habits, ViewPipeline, Write, pipeline_steps
from tests.models.table import History, Value, changes, item, shown


class Rule(enum.Enum):
    """What the protocol rests on. Without any one of these there is a history that goes wrong."""

    TOMBSTONES = "a delete leaves a tombstone"
    NOT_GENERATION_FIRST = "a higher generation does not make up for a lower version"
    NOT_VERSION_FIRST = "a higher version does not make up for a lower generation"
    LATE_CHECKPOINT = "a worker that lost its office saves no checkpoint"
    ONE_LANE = "all workers have acknowledged the new generation before the scan starts: no pipeline writes the old one"
    TAKE_OVER_READS = "a worker that takes over reads then which generation it has to write"
    STRONG_SCAN = "the scan's reads are strongly consistent"
    SCAN_COMPARES = "the scan writes only where the row is as it was when looked at"
    SCAN_LOOKS_AGAIN = "where the row changed, but is not of the new generation, the scan looks again"
    SCAN_KEEPS_VERSION = "the scan keeps the row's version"
    HOLD = "what was looked at is held until the watermark has passed the look"
    DURABLE_HOLD = "a hold asks the watermark that was saved with the checkpoint, not how far a worker is in memory"
    SWEEP = "rows that are still of an older generation are deleted at the end"
    SWEEP_COMPARES = "the sweep deletes only where the row is as it was when looked at"
    END_HOLDS = "a rebuild has ended only when the watermark has passed the scan's end"
    CANCEL_KEEPS_NUMBER = "a cancelled rebuild leaves the pipeline with the new generation"
    NONE_LATE_AT_LOSS = (
        "nobody paused still has an older write in hand when a tombstone goes (by hand, or its 25 h are over)"
    )
    NEW_NUMBER = "every rebuild takes a generation above all that were ever written"


DAMAGED: Value = "damaged"


class Row(NamedTuple):
    """The row and who wrote it; `value` is None for a tombstone."""

    version: int
    generation: int
    value: Value


class Page(NamedTuple):
    """What a scan or a sweep has in its hands. A sweep has no item (`value` is None)."""

    generation: int
    value: Value
    seen: Row | None = None
    until: int | None = None
    """What the hold waits for; None: the scan has not looked at the row yet."""


class State(NamedTuple):
    """All there is. `seen`: the change as of which readers know the item, from what they saw or a wait promised."""

    history: History
    row: Row | None
    pipeline: ViewPipeline
    generation: int
    """What pipelines are to write."""
    phase: Literal["ended", "turning", "scanning", "sweeping", "ending"]
    swept: bool
    """Whether the last rebuild came to its end."""
    page: Page | None
    late_page: Page | None
    """A page in the hands of a controller that was replaced."""
    hurt: int | None
    """When the row was edited by hand, while it is not fixed: nothing is promised of it."""
    edited: bool
    seen: int
    fault: str | None


@dataclass(frozen=True)
class InPlace:
    """Up to `rebuilds` rebuilds, with up to `changes` changes of the table, and `without` one rule."""

    changes: int
    without: Rule | None = None
    rebuilds: int = 2
    edits: bool = True

    @cached_property
    def _habits(self) -> Habits:
        return Habits(
            reads_order_on_taking_over=self.without is not Rule.TAKE_OVER_READS,
            late_writer_saves=self.without is Rule.LATE_CHECKPOINT,
            late_writer_goes_on=True,  # rows of N+1 refuse what it writes
        )

    def start(self) -> State:
        """A view that follows an empty table in generation 1."""
        return State((), None, ViewPipeline(0, 0, (1,), (1,)), 1, "ended", False, None, None, None, False, 0, None)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Table, workers, controller and an operator's editor, in any order; readers look after each step."""
        for text, after in self._steps(state):
            back = _version(after.row) < _version(state.row) and after.hurt is None and after.row is not None
            yield text, after._replace(fault="the version of the row went back") if back else _read(after)

    def wrong(self, state: State) -> str | None:
        """Readers' laws at any time; at rest the row shows the table, unless it was edited and not rebuilt since."""
        if state.fault is not None:
            return state.fault
        if state.phase == "ended" and state.hurt is None and self._quiet(state):
            if _visible(state.row) != item(state.history, len(state.history)):
                return "at rest the row does not show the table"
            if state.swept and state.row is not None and state.row.value and state.row.generation != state.generation:
                return "after a rebuild a row is of an older generation"
        return None

    def finished(self, state: State) -> bool:
        """At rest, with all changes made and all rebuilds ended."""
        ended = state.phase == "ended" and state.generation > self.rebuilds
        return ended and self._quiet(state) and len(state.history) == self.changes

    def _quiet(self, state: State) -> bool:
        pipeline = state.pipeline
        return (
            pipeline.rests(len(state.history))
            and pipeline.acknowledged((state.generation,))
            and state.late_page is None
        )

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        if len(state.history) < self.changes:
            for text, history in changes(state.history):
                yield text, state._replace(history=history)
        for text, pipeline, write in pipeline_steps(
            state.pipeline, len(state.history), (state.generation,), self._habits
        ):
            after = state._replace(pipeline=pipeline)
            yield text, after if write is None else self._written(after, write)
        match state.phase:
            case "ended":
                yield from self._begun(state)
                yield from self._edited(state)
            case "turning" if state.pipeline.acknowledged((state.generation,)) or self.without is Rule.ONE_LANE:
                yield "the controller begins to scan", state._replace(phase="scanning")
            case "scanning":
                yield from self._scan(state)
            case "sweeping":
                yield from self._sweep(state)
            case "ending" if self._ends(state):
                yield "the rebuild ends", state._replace(phase="ended", page=None, swept=True, hurt=None)
        yield from self._troubles(state)

    # What is written

    def _accepts(self, row: Row | None, version: int, generation: int) -> bool:
        if row is None:
            return True
        if self.without is Rule.NOT_GENERATION_FIRST:
            return (generation, version) > (row.generation, row.version)
        if self.without is Rule.NOT_VERSION_FIRST:
            return (version, generation) > (row.version, row.generation)
        newer = (version, generation) != (row.version, row.generation)
        return newer and version >= row.version and generation >= row.generation

    def _written(self, state: State, write: Write) -> State:
        if not self._accepts(state.row, write.version, write.generation):
            return state
        row: Row | None = Row(write.version, write.generation, item(state.history, write.version))
        if row is not None and row.value is None and self.without is Rule.TOMBSTONES:
            row = None
        repaired = state.hurt is not None and write.version > state.hurt
        return state._replace(row=row, hurt=None if repaired else state.hurt)

    # What the controller does

    def _begun(self, state: State) -> Iterator[tuple[str, State]]:
        if state.generation > self.rebuilds:
            return
        again = self.without is Rule.NEW_NUMBER and state.generation > 1
        number = state.generation if again else state.generation + 1
        text = f"a rebuild begins: the pipeline is to write generation {number}"
        yield text, state._replace(phase="turning", generation=number, swept=False)

    def _scan(self, state: State) -> Iterator[tuple[str, State]]:
        page, now = state.page, len(state.history)
        if page is None:
            for moment in range(0 if self.without is Rule.STRONG_SCAN else now, now + 1):
                value = item(state.history, moment)
                text = f"the scan reads {value or 'no item'}, as of change {moment}"
                if value is None:
                    yield text, state._replace(phase="sweeping")
                else:
                    yield text, state._replace(page=Page(state.generation, value))
        elif page.until is None:
            yield "the scan looks at the row", state._replace(page=page._replace(seen=state.row, until=now))
        elif self._passed(state, page):
            after = self._scanned(state, page)
            reached = after.row is not None and after.row.generation >= page.generation
            on = reached or self.without is Rule.SCAN_LOOKS_AGAIN
            text = f"past the hold, the scan comes to write {page.value}"
            yield text, after._replace(page=None, phase="sweeping" if on else "scanning")

    def _scanned(self, state: State, page: Page) -> State:
        """The row after a scan's compare-and-set."""
        row = state.row
        if row is not None and row.generation >= page.generation:
            return state
        if not _same(row, page.seen) and self.without is not Rule.SCAN_COMPARES:
            return state
        version = 0 if row is None or self.without is Rule.SCAN_KEEPS_VERSION else row.version
        return state._replace(row=Row(version, page.generation, page.value), hurt=None)

    def _sweep(self, state: State) -> Iterator[tuple[str, State]]:
        page, row = state.page, state.row
        if page is None:
            older = row is not None and row.value is not None and row.generation < state.generation
            if older and self.without is not Rule.SWEEP:
                looked = Page(state.generation, None, row, len(state.history))
                yield "the sweep looks at a row of an older generation", state._replace(page=looked)
            else:
                ending = Page(state.generation, None, None, len(state.history))
                yield "the sweep finds nothing (more) to do", state._replace(phase="ending", page=ending)
        elif self._passed(state, page):
            yield "past the hold, the sweep comes to delete the row", self._swept(state, page)._replace(page=None)

    def _swept(self, state: State, page: Page) -> State:
        """The row after a sweep's compare-and-set."""
        row = state.row
        if row is None or not (_same(row, page.seen) or self.without is Rule.SWEEP_COMPARES):
            return state
        return state._replace(row=Row(row.version, page.generation, None), hurt=None)

    def _passed(self, state: State, page: Page) -> bool:
        durable = self.without is not Rule.DURABLE_HOLD
        reached = state.pipeline.saved if durable else state.pipeline.at
        return page.until is not None and (reached >= page.until or self.without is Rule.HOLD)

    def _ends(self, state: State) -> bool:
        return self.without is Rule.END_HOLDS or (state.page is not None and self._passed(state, state.page))

    # What comes between

    def _troubles(self, state: State) -> Iterator[tuple[str, State]]:
        """Cancels, deaths of the controller, and what a replaced one does late."""
        if state.phase != "ended":
            number = state.generation - (self.without is Rule.CANCEL_KEEPS_NUMBER)
            text = f"the rebuild is cancelled; the pipeline is to write generation {number}"
            yield text, state._replace(phase="ended", generation=number, page=None)
        if state.phase == "ending":
            yield "the controller dies; another sweeps once more", state._replace(page=None, phase="sweeping")
        elif state.page is not None:
            yield "the controller dies; another goes on from the record", state._replace(page=None)
            if state.late_page is None and state.page.until is not None:
                text = "the controller is paused with a row that it looked at; another goes on"
                yield text, state._replace(page=None, late_page=state.page)
        late = state.late_page
        if late is not None:
            yield "the replaced controller is ended", state._replace(late_page=None)
            if self._passed(state, late):
                after = self._swept(state, late) if late.value is None else self._scanned(state, late)
                text = f"late, past the hold, a replaced controller comes to {'write' if late.value else 'delete'}"
                text = f"{text} the row for generation {late.generation}"
                yield text, after._replace(late_page=None, hurt=state.hurt)  # not what fixes a row edited since

    def _edited(self, state: State) -> Iterator[tuple[str, State]]:
        """What somebody may do to the row by hand, once."""
        if state.edited or not self.edits:
            return
        row = state.row
        hurt = state._replace(hurt=len(state.history), edited=True)
        if row is None:
            yield "somebody adds a row by hand", hurt._replace(row=Row(0, state.generation, DAMAGED))
            return
        yield "somebody edits the row by hand", hurt._replace(row=row._replace(value=DAMAGED))
        if row.value is not None:
            yield "somebody removes the row by hand", hurt._replace(row=None)
        elif (state.pipeline.late is None and state.late_page is None) or self.without is Rule.NONE_LATE_AT_LOSS:
            yield "somebody removes the tombstone by hand", hurt._replace(row=None)
        if row.value is not None:
            yield "somebody makes the row a tombstone by hand", hurt._replace(row=row._replace(value=None))


def _version(row: Row | None) -> int:
    return -1 if row is None else row.version


def _visible(row: Row | None) -> Value:
    return None if row is None else row.value


def _same(row: Row | None, seen: Row | None) -> bool:
    """What a compare-and-set can tell apart: everything but the content of a live row."""
    if row is None or seen is None:
        return row is seen
    return row[:2] == seen[:2] and (row.value is None) == (seen.value is None)


def _read(state: State) -> State:
    """Readers look, also those who waited for the watermark: what it has passed they must see."""
    if state.hurt is not None:
        return state
    since = max(state.seen, state.pipeline.saved)
    seen = shown(state.history, since, _visible(state.row))
    if seen is None:
        what = _visible(state.row) or "no row"
        return state._replace(fault=f"readers see {what}, older than change {since} that they saw or waited for")
    return state if seen == state.seen else state._replace(seen=seen)
