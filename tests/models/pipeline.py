"""The pipeline of a view, kept by one of two workers. Shared by the models.

The worker in office takes changes and writes them to the generations of the write order that it knows, one after the
other; then it saves a checkpoint. It may die at any time: it starts anew from the checkpoint. It may also be paused
with a batch in its hands, for as long as it likes: the other worker takes over from the checkpoint, and the paused one
wakes up some day and finishes its batch in the order that it knew. A new write order reaches the workers one by one,
each between two batches; that is their acknowledgement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeAlias

Order: TypeAlias = tuple[int, ...]


class Hand(NamedTuple):
    """A batch that is being written: its version, and the generations that it has still to be written to."""

    version: int
    left: Order
    order: Order
    """All generations that it goes to."""


class ViewPipeline(NamedTuple):
    """`at` is the last change whose writes are confirmed, as the worker in office knows it; `saved` the checkpoint."""

    at: int
    saved: int
    knows: Order
    """The write order that the worker in office goes by."""
    other: Order | None
    """The one that the other worker knows; None while it is paused with a batch in its hands."""
    hand: Hand | None = None
    late: Hand | None = None

    def acknowledged(self, order: Order) -> bool:
        """Whether every worker that lives goes by this order. A paused one lost its office and is not waited for."""
        return self.knows == order and self.other in (None, order)

    def rests(self, made: int) -> bool:
        """Whether all changes are written and saved, and nobody has anything in hand."""
        return self.at == self.saved == made and self.hand is None and self.late is None


class Write(NamedTuple):
    """One write to one generation; `late` by a worker that is no longer in office."""

    version: int
    generation: int
    late: bool


@dataclass(frozen=True, slots=True)
class Habits:
    """What workers do; the models turn one round to leave a rule out."""

    reads_order_on_taking_over: bool = True
    late_writer_saves: bool = False
    saves_what_is_unwritten: bool = False
    late_writer_goes_on: bool = False
    """It takes one batch after the other, as if it were in office, until it notices."""


@cache
def pipeline_steps(
    pipeline: ViewPipeline, made: int, order: Order, habits: Habits
) -> tuple[tuple[str, ViewPipeline, Write | None], ...]:
    """Whatever the workers may do next, with the write that is done with it. (Few pipelines stand in many states.)"""
    return tuple(_steps(pipeline, made, order, habits))


def _steps(
    pipeline: ViewPipeline, made: int, order: Order, habits: Habits
) -> Iterator[tuple[str, ViewPipeline, Write | None]]:
    hand = pipeline.hand
    if hand is None:
        for version in range(pipeline.at + 1, made + 1):  # a batch may hold several changes, coalesced to the last one
            yield _write(pipeline, Hand(version, pipeline.knows, pipeline.knows))
        if pipeline.knows != order:
            yield f"the worker adopts the order {order}", pipeline._replace(knows=order), None
    else:
        yield _write(pipeline, hand)
    if pipeline.saved < pipeline.at:
        yield f"the checkpoint moves to {pipeline.at}", pipeline._replace(saved=pipeline.at), None
    if pipeline.other is not None and pipeline.other != order:
        yield f"the other worker adopts the order {order}", pipeline._replace(other=order), None

    after = pipeline.saved
    if habits.saves_what_is_unwritten and hand is not None:
        after = hand.version
    if pipeline.at > pipeline.saved or hand is not None or pipeline.knows != order:
        anew = ViewPipeline(after, after, order, pipeline.other, None, pipeline.late)
        yield f"the worker dies and starts from checkpoint {after}", anew, None
    if pipeline.other is not None:
        knows = order if habits.reads_order_on_taking_over else pipeline.other
        hands = (
            [hand]
            if hand is not None
            else [Hand(v, pipeline.knows, pipeline.knows) for v in range(pipeline.at + 1, made + 1)]
        )
        for kept in hands:
            text = f"the worker is paused with change {kept.version} for {kept.left} in its hands; the other takes over"
            yield f"{text} from checkpoint {after}", ViewPipeline(after, after, knows, None, None, kept), None
    if pipeline.late is not None:
        yield from _late_steps(pipeline, pipeline.late, made, order, habits)


def _late_steps(
    pipeline: ViewPipeline, hand: Hand, made: int, order: Order, habits: Habits
) -> Iterator[tuple[str, ViewPipeline, Write | None]]:
    """What a paused worker does when it wakes up."""
    version, left, knew = hand
    back = pipeline._replace(late=None, other=order)  # it reads the order before it takes anything again
    yield "the paused worker is ended", back, None
    write = Write(version, left[0], True)
    text = f"late, change {version} is written to {left[0]}"
    if left[1:]:
        yield text, pipeline._replace(late=hand._replace(left=left[1:])), write
        return
    if habits.late_writer_saves:
        back = back._replace(saved=version)
    yield text, back, write
    if habits.late_writer_goes_on:
        for newer in range(version + 1, made + 1):
            yield f"{text}, and change {newer} taken", pipeline._replace(late=Hand(newer, knew, knew)), write


def _write(pipeline: ViewPipeline, hand: Hand) -> tuple[str, ViewPipeline, Write]:
    """The first (or next) write of a batch."""
    version, left, _ = hand
    after = (
        pipeline._replace(hand=hand._replace(left=left[1:])) if left[1:] else pipeline._replace(hand=None, at=version)
    )
    return f"change {version} is written to {left[0]}", after, Write(version, left[0], False)
