"""A rebuild beside the live view (OpenSearch, Postgres), for one item: generation 2 fills, readers are swapped to it,
and generation 1 is kept for a rollback.

The controller makes generation 2; turns the write order to (2, 1): the next generation before the one that readers
see; waits until all workers have acknowledged that; scans the table and inserts where nothing stands; holds until the
checkpoint has passed the scan's end; swaps; and records that. From then on generation 1 is written second, until it is
either dropped or swapped back to: then the order is turned round to (1, 2), acknowledged, and held for, first. A
rebuild and a rollback can be cancelled until their swap. The controller may die between any two steps and goes on from
what is recorded.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

from tests.models.pipeline import Habits, Hand, Order, ViewPipeline, Write, pipeline_steps
from tests.models.table import History, Value, changes, item, shown


class Rule(enum.Enum):
    """What the protocol rests on. Without any one of these there is a history that goes wrong."""

    GUARD = "a write that is older than the row is refused"
    TOMBSTONES = "a delete leaves a tombstone"
    CHECKPOINT = "a checkpoint moves only past writes that are confirmed"
    LATE_CHECKPOINT = "a worker that lost its office saves no checkpoint"
    LATE_STOPS = "a worker that lost its office finishes at most the batch in its hands"
    ORDER_BEFORE_SCAN = "pipelines write the next generation before the scan starts"
    ALL_WRITE_BOTH = "all workers have acknowledged writing both before the scan starts"
    NEXT_FIRST = "the next generation is written before the one that readers see"
    STRONG_SCAN = "the scan's reads are strongly consistent"
    SCAN_INSERTS = "the scan only inserts where nothing stands"
    HOLD = "the swap waits until the watermark has passed the scan's end"
    DURABLE_HOLD = "a hold asks the watermark that was saved with the checkpoint, not how far a worker is in memory"
    CANCEL_ASKS_STORE = "a cancel asks the store which generation readers see, not only the record"
    ONE_CONTROLLER = "a controller that was replaced never swaps"
    KEPT_IS_WRITTEN = "the previous generation goes on being written after the swap"
    ROLLBACK_TURNS = "before a rollback the write order is turned round"
    ROLLBACK_ACKNOWLEDGED = "a rollback waits until all workers have acknowledged the turned order"
    ROLLBACK_HOLD = "a rollback waits until the watermark has passed that acknowledgement"
    NEW_NUMBER = "every rebuild takes a generation number that was never used"
    DROP_ACKNOWLEDGED = "a generation is dropped only when all workers have acknowledged not to write it"
    INVOCATIONS_END = "an order is acknowledged only when invocations that know an older one have ended"
    INVOCATIONS_LOOK = "an invocation reads the order when it begins"
    INVOCATIONS_ABOVE = "an invocation writes no change that the watermark has passed"
    INVOCATIONS_LATER = (
        "an invocation writes the next generation once the watermark has passed what makes workers write it"
    )
    INVOCATIONS_HOLD = (
        "the swap waits until the watermark has passed what invocations that write one generation may have"
    )


class Row(NamedTuple):
    """A row of one generation; `value` is None for a tombstone. The scan inserts at version 0."""

    version: int
    value: Value


GONE: Literal["gone"] = "gone"
"""A generation that was not made yet, or was dropped."""
Slot: TypeAlias = Row | Literal["gone"] | None

Phase = Literal[
    "idle",
    "made",
    "turning to both",
    "scanning",
    "holding",
    "holding for invocations",
    "swapping",  # in memory: the hold is over
    "swapped",  # in memory: not recorded yet
    "kept",
    "retiring",
    "cancelling",
    "turning round",
    "holding for rollback",
    "swapping back",  # in memory
    "swapped back",  # in memory
    "rolled back",
    "dropping",
    "ended",
]

RECORDED: dict[Phase, Phase] = {
    "holding for invocations": "holding",
    "swapping": "holding",
    "swapped": "holding",
    "swapping back": "holding for rollback",
    "swapped back": "holding for rollback",
}
"""Where a new controller goes on after its predecessor died; everywhere else, where it was."""


UNFILLED: tuple[Phase, ...] = ("made", "turning to both", "scanning")
BUILDING: tuple[Phase, ...] = (
    *UNFILLED,
    "holding",
    "holding for invocations",
    "swapping",
    "swapped",
)
"""While generation 2 is the next one on record."""


class State(NamedTuple):
    """All there is. `seen`: the change as of which readers know the item, from what they saw or a wait promised."""

    history: History
    slots: tuple[Slot, Slot]
    pipeline: ViewPipeline
    order: Order
    published: int
    phase: Phase
    until: int
    """What the hold waits for."""
    page: int | None
    """The moment as of which the scan has read the item, and not yet written it."""
    late_page: int | None
    """The same in the hands of a controller that was replaced."""
    late_swap: bool
    again: bool
    """Whether a second rebuild was begun, behind one that was cancelled or rolled back."""
    seen: int
    fault: str | None
    invocation: Hand | None = None
    """A change in the hands of an invocation of a Lambda function."""
    cached: Order = (1,)
    """The order that an execution environment has seen last, as far as one goes by that."""
    both: int | None = None
    """The change as of which all workers were known to write generation 2; None: they are not known to."""


@dataclass(frozen=True)
class SideBySide:
    """The protocol with up to `changes` changes of the table, and `without` one of its rules."""

    changes: int
    without: Rule | None = None
    regrets: bool = False
    """Whether a rollback may be cancelled, too, and another rebuild begin where one was cancelled or rolled back."""
    invoked: bool = False
    """Whether invocations of a Lambda function write the view beside the workers."""

    @cached_property
    def _habits(self) -> Habits:
        return Habits(
            late_writer_saves=self.without is Rule.LATE_CHECKPOINT,
            late_writer_goes_on=self.without is Rule.LATE_STOPS,
            saves_what_is_unwritten=self.without is Rule.CHECKPOINT,
        )

    def start(self) -> State:
        """A view that follows an empty table."""
        pipeline = ViewPipeline(0, 0, (1,), (1,))
        return State((), (None, GONE), pipeline, (1,), 1, "idle", 0, None, None, False, False, 0, None)

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Table, workers and controller, in any order; readers look after each step."""
        for text, after in self._steps(state):
            yield text, after if after.fault else _read(after)

    def wrong(self, state: State) -> str | None:
        """Readers' laws at any time; at rest, every generation that is written shows the table."""
        if state.fault is not None:
            return state.fault
        if self._quiet(state) and state.phase in ("kept", "ended"):
            for generation in state.order:
                if _visible(state.slots[generation - 1]) != item(state.history, len(state.history)):
                    return f"at rest generation {generation} does not show the table"
        return None

    def finished(self, state: State) -> bool:
        """At rest, with all changes made and the rebuild ended in one way or another."""
        return state.phase == "ended" and self._quiet(state) and len(state.history) == self.changes

    def _quiet(self, state: State) -> bool:
        pipeline = state.pipeline
        rests = pipeline.rests(len(state.history)) and pipeline.acknowledged(state.order)
        return rests and state.late_page is None and state.invocation is None

    def _acknowledged(self, state: State) -> bool:
        """Whether everybody who may write goes by the newest order."""
        late = state.invocation is not None and state.invocation.order != state.order
        return state.pipeline.acknowledged(state.order) and (not late or self.without is Rule.INVOCATIONS_END)

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        if len(state.history) < self.changes:
            for text, history in changes(state.history):
                yield text, state._replace(history=history)
        for text, pipeline, write in pipeline_steps(state.pipeline, len(state.history), state.order, self._habits):
            after = state._replace(pipeline=pipeline)
            yield text, after if write is None else self._written(after, write)
        if self.invoked:
            yield from self._invocations(state)
        yield from self._rebuild(state)
        yield from self._after_the_swap(state)
        yield from self._troubles(state)

    # What invocations do: any change may come to one at any time, also again. It ends with the batch, or is killed

    def _invocations(self, state: State) -> Iterator[tuple[str, State]]:
        if (hand := state.invocation) is None:
            order = state.cached if self.without is Rule.INVOCATIONS_LOOK else self._open(state)
            above = 0 if self.without is Rule.INVOCATIONS_ABOVE else state.pipeline.saved
            for version in range(above + 1, len(state.history) + 1) if order else ():
                text = f"an invocation begins with change {version}, for {order}"
                cached = self._open(state) if self.without is Rule.INVOCATIONS_LOOK else state.cached
                yield text, state._replace(invocation=Hand(version, order, order), cached=cached)
            return
        yield "the invocation is killed", state._replace(invocation=None)
        generation, *left = hand.left
        after = state._replace(invocation=hand._replace(left=tuple(left)) if left else None)
        text = f"an invocation writes change {hand.version} to {generation}"
        yield text, self._written(after, Write(hand.version, generation, False))

    def _open(self, state: State) -> Order:
        """The generations that an invocation that begins now writes."""
        if state.phase not in BUILDING or self.without is Rule.INVOCATIONS_LATER:
            return state.order
        opened = state.phase not in UNFILLED and state.both is not None and state.pipeline.saved >= state.both
        return state.order if opened else tuple(each for each in state.order if each != 2)

    # What is written

    def _written(self, state: State, write: Write) -> State:
        old = state.slots[write.generation - 1]
        if old == GONE:
            fault = None if write.late else "somebody in office writes to a generation that is not there"
            return state._replace(fault=fault)
        if old is not None and write.version <= old.version and self.without is not Rule.GUARD:
            return state
        row: Row | None = Row(write.version, item(state.history, write.version))
        if row is not None and row.value is None and self.without is Rule.TOMBSTONES:
            row = None
        return _put(state, write.generation, row)

    def _inserted(self, state: State, moment: int) -> State:
        value = item(state.history, moment)
        old = state.slots[1]
        free = old is None or (self.without is Rule.SCAN_INSERTS and old != GONE)
        return _put(state, 2, Row(0, value)) if free and value is not None else state

    # What the controller does

    def _rebuild(self, state: State) -> Iterator[tuple[str, State]]:
        """From the beginning to the swap and its record."""
        now = len(state.history)
        both = (1, 2) if self.without is Rule.NEXT_FIRST else (2, 1)
        scan_first = self.without is Rule.ORDER_BEFORE_SCAN
        match state.phase:
            case "idle":
                yield "the controller makes generation 2", _put(state, 2, None)._replace(phase="made")
            case "made" if scan_first:
                yield "the controller begins to scan", state._replace(phase="scanning")
            case "made":
                yield f"the controller turns the order to {both}", state._replace(order=both, phase="turning to both")
            case "turning to both" if self.without is Rule.ALL_WRITE_BOTH or self._acknowledged(state):
                phase: Phase = "holding" if scan_first else "scanning"
                yield "the controller goes on", state._replace(phase=phase, both=now)
            case "scanning" if state.page is None:
                for moment in range(0 if self.without is Rule.STRONG_SCAN else now, now + 1):
                    yield f"the scan reads the item as of change {moment}", state._replace(page=moment)
            case "scanning" if state.page is not None:
                after = self._inserted(state, state.page)._replace(page=None, until=now, phase="holding")
                if scan_first:
                    after = after._replace(order=both, phase="turning to both")
                yield f"the scan inserts what it read as of change {state.page}, and ends", after
            case "holding" if self._passed(state) or self.without is Rule.HOLD:
                phase = "holding for invocations" if self.invoked else "swapping"
                yield "the controller finds the watermark past the scan", state._replace(phase=phase, until=now)
            case "holding for invocations" if self._passed(state) or self.without is Rule.INVOCATIONS_HOLD:
                yield (
                    "the controller finds the watermark past all that invocations had",
                    state._replace(phase="swapping"),
                )
            case "swapping":
                yield "the controller swaps readers to 2", state._replace(published=2, phase="swapped")
            case "swapped":
                order = (2,) if self.without is Rule.KEPT_IS_WRITTEN else state.order
                yield "the controller records the swap", state._replace(phase="kept", order=order)

    def _begun_again(self, state: State) -> State:
        """Another rebuild. Its generation takes the place of the dropped one in this model; where it has a number of
        its own, what is late for the dropped one never comes to it."""
        again = state._replace(phase="idle", again=True)
        if self.without is Rule.NEW_NUMBER:
            return again
        pipeline = state.pipeline
        if pipeline.late is not None:
            left = tuple(generation for generation in pipeline.late.left if generation != 2)
            late = pipeline.late._replace(left=left) if left else None
            pipeline = pipeline._replace(late=late, other=None if left else state.order)
        return again._replace(pipeline=pipeline, late_page=None)

    def _after_the_swap(self, state: State) -> Iterator[tuple[str, State]]:
        """The end of the previous generation, or the rollback to it."""
        acknowledged = self._acknowledged(state)
        may_drop = acknowledged or self.without is Rule.DROP_ACKNOWLEDGED
        match state.phase:
            case "kept":
                yield "the time of generation 1 is over", state._replace(order=(2,), phase="retiring")
                order = (2, 1) if self.without is Rule.ROLLBACK_TURNS else (1, 2)
                yield f"rollback: the order is turned to {order}", state._replace(order=order, phase="turning round")
            case "retiring" if may_drop:
                yield "generation 1 is dropped", _put(state, 1, GONE)._replace(phase="ended")
            case "turning round" if acknowledged or self.without is Rule.ROLLBACK_ACKNOWLEDGED:
                until = len(state.history)
                yield "the controller goes on", state._replace(phase="holding for rollback", until=until)
            case "holding for rollback" if self._passed(state) or self.without is Rule.ROLLBACK_HOLD:
                yield "the controller finds the watermark past the turn", state._replace(phase="swapping back")
            case "swapping back":
                yield "the controller swaps readers to 1", state._replace(published=1, phase="swapped back")
            case "swapped back":
                yield "the controller records the rollback", state._replace(phase="rolled back")
            case "rolled back":
                yield "the order is turned to (1,)", state._replace(order=(1,), phase="dropping")
            case "dropping" | "cancelling" if may_drop:
                yield "generation 2 is dropped", _put(state, 2, GONE)._replace(phase="ended")

    def _troubles(self, state: State) -> Iterator[tuple[str, State]]:
        """What comes between: cancels, deaths of the controller, and what a replaced one does late."""
        if state.phase in (*UNFILLED[1:], "holding", "holding for invocations") and (
            state.published == 1 or self.without is Rule.CANCEL_ASKS_STORE
        ):
            yield "the rebuild is cancelled", state._replace(order=(1,), phase="cancelling", page=None)
        if (self.regrets and state.phase in ("turning round", "holding for rollback")) and (
            state.published == 2 or self.without is Rule.CANCEL_ASKS_STORE
        ):
            yield "the rollback is cancelled: the order is turned to (2, 1)", state._replace(order=(2, 1), phase="kept")
        if state.phase == "ended" and state.published == 1 and self.regrets and not state.again:
            yield "another rebuild begins", self._begun_again(state)
        recorded = RECORDED.get(state.phase, state.phase)
        if recorded != state.phase or state.page is not None:
            swap = state.phase == "swapping" and self.without is Rule.ONE_CONTROLLER
            dead = state._replace(phase=recorded, page=None, late_swap=state.late_swap or swap)
            yield "the controller dies; another goes on from the record", dead
            if state.page is not None and state.late_page is None:
                text = f"the controller is paused with the item as of change {state.page}; another goes on"
                yield text, dead._replace(late_page=state.page)
        if state.late_page is not None:
            text = f"the replaced controller inserts the item as of change {state.late_page}"
            yield text, self._inserted(state, state.late_page)._replace(late_page=None)
        if state.late_swap and state.slots[1] != GONE:  # no store publishes what is not there
            yield "the replaced controller swaps readers to 2", state._replace(published=2, late_swap=False)

    def _passed(self, state: State) -> bool:
        pipeline = state.pipeline
        return (pipeline.at if self.without is Rule.DURABLE_HOLD else pipeline.saved) >= state.until


def _put(state: State, generation: int, slot: Slot) -> State:
    first, second = state.slots
    return state._replace(slots=(slot, second) if generation == 1 else (first, slot))


def _visible(slot: Slot) -> Value:
    return slot.value if isinstance(slot, Row) else None


def _read(state: State) -> State:
    """Readers look, also those who waited for the watermark: what it has passed they must see."""
    slot = state.slots[state.published - 1]
    if slot == GONE:
        return state._replace(fault="readers are led to a generation that is not there")
    seen = shown(state.history, max(state.seen, state.pipeline.saved), _visible(slot))
    if seen is None:
        what = _visible(slot) or "no row"
        fault = (
            f"readers see {what}, older than change {max(state.seen, state.pipeline.saved)} that they saw or waited for"
        )
        return state._replace(fault=fault)
    return state if seen == state.seen else state._replace(seen=seen)
