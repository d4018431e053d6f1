"""One view as an invocation writes it: what its record said when the invocation began, and no longer."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from dynaview.sources.port import Page
from dynaview.views.control.records import Counts, DeadLetter, Part, Progress, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.retry import Retrier
from dynaview.views.states import ViewState
from dynaview.views.streaming.dead_letter_limit import DeadLetterLimit
from dynaview.views.streaming.offsets import START
from dynaview.views.streaming.plan import PipelinePlan
from dynaview.views.streaming.preparation import prepare
from dynaview.views.streaming.shard_reader import delivery_of

log = logging.getLogger(__name__)

SHARD = "lambda"
"""In place of a shard, in dead letters: records do not say which one they are of."""


def ours(control: ControlStore, record: ViewRecord) -> tuple[int, ...]:
    """The generations of a view that an invocation may write, in their order: not one in which a change that comes late
    could stand where the scan is to insert what the item is by now. So of a rebuild's it is the worker's alone until it
    is filled, and the watermark has passed the moment since when workers write it. Raises `ControlUnavailable`."""
    if all(number <= record.generation for number in record.write_order):
        return record.write_order  # what readers saw once is whole; its swap has waited for the record's watermark
    standing = {each.generation: each for each in control.generations(record.name)}
    rebuild = control.rebuilds.get(record.name)

    def may(number: int) -> bool:
        if number not in standing:
            return False
        if rebuild is None or rebuild.generation != number or rebuild.kind in ("fill", "rollback"):
            return standing[number].role != "next"
        written, passed = rebuild.written, record.watermark
        return standing[number].filled and written is not None and passed is not None and passed > written

    return tuple(filter(may, record.write_order))


class ViewWriter:
    """Writes the generations that a plan names. To be made anew after any error: what it had in hand is in doubt.

    It moves no checkpoint and no count. A checkpoint says that all before it is in the view, which nobody knows who is
    shown single batches; whoever reads the shards (`rounds`) knows it, and counts each change once (law 8).
    """

    def __init__(
        self, plan: PipelinePlan, generations: tuple[int, ...], control: ControlStore, limit: DeadLetterLimit
    ) -> None:
        """`generations` are those of the plan that an invocation may write (see `ours`)."""
        self.name = plan.record.name
        self.record = plan.record
        self.generations = generations
        self.doing = (ViewState.FILLING, "") if not plan.record.filled else plan.doing
        """State and reason of the view while all is well."""
        self._plan = plan
        self._outputs = [output for output in plan.outputs if output.generation in generations]
        self._control = control
        self._limit = limit
        self._prepared = False

    def take(self, page: Page[Any], retrier: Retrier) -> str | None:
        """Bring what records ask for into the stores; when it returns, all of it is durable, dead letters too. Answers
        why the view is to take nothing any more, where it has left too many of those.

        Raises `SinkError` and `ControlUnavailable` where `retrier` gives up, and `Superseded` where the view is to be
        written otherwise by now: the records are to be taken again as its new record says.
        """
        if not self._prepared:
            begun = self.record.filled or bool(self._plan.checkpoints)
            retrier.insist(lambda: prepare(self._plan, self._control, begun))
            self._prepared = True
        delivery = delivery_of(SHARD, START, page)
        counted = self._plan.live or self._outputs[0]
        kept: list[DeadLetter] = []
        letters: Sequence[DeadLetter] = ()
        for output in self._outputs:
            found = output.take(
                [delivery],
                lambda target, writes: retrier.insist(lambda: target.write(writes)),
                lambda target, owners: retrier.insist(lambda: list(target.rows_of(owners))),
                lambda target, columns: retrier.insist(lambda: target.write_columns(columns)),
            )
            output.drain()
            if output is counted:
                letters = found
                kept += found
            else:
                kept += [dataclasses.replace(letter, counted=False) for letter in found]
        if kept:
            self._keep(kept, retrier)
        if self._limit.passed(len(letters)):
            return self._limit.reason(self.name, letters[-1].reason)
        return None

    def _keep(self, letters: list[DeadLetter], retrier: Retrier) -> None:
        """One that is kept already stays as it is: whatever AWS repeats changes nothing."""
        progress = Progress({SHARD: Part(None, Counts(), letters)}, revision=self.record.revision)
        retrier.insist(lambda: self._control.commit(self.name, progress, None))
        log.warning(
            "view %s: %d dead letters, the first: %s; see dynaview dead-letters list",
            self.name,
            len(letters),
            letters[0].reason,
        )
