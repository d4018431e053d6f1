"""The step in which readers come to see another generation, and its record."""

from __future__ import annotations

import time

from dynaview.views.control.records import ViewRecord
from dynaview.views.rebuild.context import RebuildFailed
from dynaview.views.rebuild.view_rebuild import ViewRebuild


def swap(rebuild: ViewRebuild) -> None:
    """Readers see the generation, then the record says so. Between the two, doing it again changes nothing."""
    rebuild.check()
    context, number = rebuild.context, rebuild.rebuild.generation
    generation = rebuild.retry(lambda: context.generations(rebuild.view))[number]
    declared = context.factory.declared(rebuild.declared, generation)
    if declared is None:
        raise RebuildFailed(f"what built generation {number} cannot be had again")
    rebuild.retry(context.target(declared, number).publish)
    record_swap(rebuild)


def record_swap(rebuild: ViewRebuild) -> None:
    """Say that readers see the generation."""
    number, options = rebuild.rebuild.generation, rebuild.rebuild.options
    keep = rebuild.declared.keep if options.keep is None else options.keep
    if rebuild.rebuild.kind == "in place":
        keep = 0.0
        rebuild.retry_unasked(lambda: rebuild.context.store.filled(rebuild.rebuild))  # what its scan has found
    rebuild.retry_unasked(lambda: rebuild.context.store.swapped(rebuild.view, number, time.time() + keep))


def is_published(rebuild: ViewRebuild) -> bool:
    """Whether readers see the generation, as the store has it: the record of it may not have been made."""
    context, number = rebuild.context, rebuild.rebuild.generation
    generation = rebuild.retry_unasked(lambda: context.generations(rebuild.view)).get(number)
    declared = None if generation is None else context.factory.declared(rebuild.declared, generation)
    if declared is None or declared.sink not in context.kept.sinks:
        return False
    sink = context.kept.sinks[declared.sink]
    return rebuild.retry_unasked(lambda: sink.published(declared.layout)) == number


def end(rebuild: ViewRebuild) -> None:
    """Nothing is left to do."""
    rebuild.update(phase="done", reason="")


def turn_round(rebuild: ViewRebuild) -> None:
    """Write the generation to go back to first, so that it never shows less than what readers see now."""
    context, view = rebuild.context, rebuild.view
    there = rebuild.retry(lambda: context.generations(view)).values()
    previous = next((each.generation for each in there if each.role == "previous"), None)
    if previous is None:
        raise RebuildFailed("no generation before the live one is kept")
    if previous not in rebuild.retry(lambda: context.record(view)).write_order:
        raise RebuildFailed(f"generation {previous} was not written any more, so rows would be missing")
    rebuild.update(phase="starting", generation=previous)
    write_first(rebuild, previous)
    rebuild.update(written=context.wait_written(view, rebuild.check))


def write_first(rebuild: ViewRebuild, generation: int) -> None:
    """Let pipelines write a generation before the others."""

    def order(record: ViewRecord) -> list[int]:
        return [generation, *(each for each in record.write_order if each != generation)]

    rebuild.retry_unasked(lambda: rebuild.context.write_in(rebuild.view, order))
