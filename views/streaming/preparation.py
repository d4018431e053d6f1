"""Making ready the stores of a view for whoever writes it: its pipeline, or an invocation of a Lambda function."""

from __future__ import annotations

from dynaview.sinks.port import SinkRefused
from dynaview.views.control.store import ControlStore
from dynaview.views.reasons import rebuild_hint
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.plan import PipelinePlan


def prepare(plan: PipelinePlan, control: ControlStore, begun: bool) -> None:
    """Let the stores have what the generations of a plan need. `begun`: whether rows of the view have been written
    before. May be done again. Raises `SinkError` and `ControlUnavailable`."""
    stored = plan.stored
    if begun:
        see_that_it_stands(plan)
    for output in plan.outputs:
        if not output.claimed:
            _claim(plan, control, output)
        output.target.prepare(output.bulk)
    # One may have been swapped in without a record of it: readers must not be sent back, to rows that lag behind.
    if plan.live is not None and (len(plan.outputs) == 1 or stored.published() is None):
        plan.live.target.publish()


def see_that_it_stands(plan: PipelinePlan) -> None:
    """See that the stores have not lost what was written. To make it anew would let an empty view look complete (law
    4). Raises `SinkError`."""
    if (lost := plan.stored.lost()) is not None:
        hint = rebuild_hint(plan.record.name)
        raise SinkRefused(f"{lost}, and the rows of the view with it: bring it back, or {hint}")


def _claim(plan: PipelinePlan, control: ControlStore, output: GenerationWriter) -> None:
    """Begin a generation that this control store has never made: nothing of the view may stand in the store. Rows
    of another control store's would be taken for newer, or for complete, whatever the table says."""
    name = plan.record.name
    if not control.is_claimed(name, output.generation):
        found = plan.stored.highest()
        if found and not control.is_claimed(name, output.generation):  # by another worker meanwhile
            raise SinkRefused(
                f"its store holds generation {found} of it, which this control store did not make: if another "
                f"dynaview keeps this view, give it another name and other keys, index or table; if its control "
                f"store was lost, {rebuild_hint(name)}"
            )
        control.claim(name, output.generation)
    output.claimed = True
