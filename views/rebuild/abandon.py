"""A rebuild that is cancelled or fails: the live view as it was, and nothing left of what was begun beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import SinkError
from dynaview.views.control.records import GIVEN_UP, Generation, Phase, ViewRecord
from dynaview.views.declarations.codec import decode
from dynaview.views.reasons import gap_reason, moment
from dynaview.views.rebuild.context import RebuildContext, describe, in_place
from dynaview.views.rebuild.swap import end, is_published, record_swap, write_first
from dynaview.views.rebuild.view_rebuild import ViewRebuild
from dynaview.views.states import ViewState

log = logging.getLogger(__name__)


def give_up(rebuild: ViewRebuild, phase: Phase, reason: str) -> None:
    """Take back what was begun: `phase` is "cancelling" or "failing". Recorded first, as the rest may be
    interrupted."""
    if rebuild.rebuild.phase == "swapping" and is_published(rebuild):
        record_swap(rebuild)  # too late to take it back: readers see it already
        end(rebuild)
        return
    log.warning("%s: %s%s", describe(rebuild.rebuild), phase, f": {reason}" if reason else "")
    rebuild.update(phase=phase, reason=reason)
    leave(rebuild)


def leave(rebuild: ViewRebuild) -> None:
    """Leave the live view as it was, and remove what was begun beside it. In place there is no way back: the view goes
    on as it is, and a row that was not reached keeps its earlier form until it changes. A first fill leaves what it has
    brought in: changes go on coming to it."""
    context = rebuild.context
    record = rebuild.retry_unasked(lambda: context.kept.control.view(rebuild.view))
    number, kind = rebuild.rebuild.generation, rebuild.rebuild.kind
    if record is not None and not number:
        _drop_prepared(rebuild)
    elif record is not None and kind != "fill":
        if kind == "rollback":
            write_first(rebuild, record.generation)
        elif kind == "in place":
            _stay(rebuild, record)
        else:
            _take_back(rebuild, record)
    rebuild.update(phase=GIVEN_UP[rebuild.rebuild.phase])


def _drop_prepared(rebuild: ViewRebuild) -> None:
    """Drop what may have been prepared for a generation that was not begun, where its store lets us."""
    if rebuild.prepared is None:
        return
    try:
        rebuild.prepared.drop()
    except SinkError as error:
        log.warning("%s: what was prepared may be left: %s", describe(rebuild.rebuild), error)


def _stay(rebuild: ViewRebuild, record: ViewRecord) -> None:
    found = rebuild.rebuild
    state = _gap(rebuild, record) if found.fresh or record.state is ViewState.GAP else None
    whole = record.filled and not found.fresh
    swapped = rebuild.context.store.swapped
    rebuild.retry_unasked(lambda: swapped(rebuild.view, found.generation, time.time(), filled=whole, state=state))
    told = f"rows that were not reached stay as they were; dynaview rebuild {rebuild.view} ends it"
    rebuild.update(reason=found.reason or told)


def _take_back(rebuild: ViewRebuild, record: ViewRecord) -> None:
    context, view, found = rebuild.context, rebuild.view, rebuild.rebuild
    state, reason = found.before
    if record.state is ViewState.GAP or found.fresh or record.generation not in record.write_order:
        state, reason = _gap(rebuild, record)
    if record.write_order != (record.generation,) or record.state == "rebuilding":
        rebuild.retry_unasked(lambda: context.store.unswapped(view, state, reason, [record.generation]))
    context.wait_written(view, partial(context.check, view))
    retire(context, view, found.generation, partial(context.retry, subject=describe(found)))


def _gap(rebuild: ViewRebuild, record: ViewRecord) -> tuple[ViewState, str]:
    """The state of a view whose rows lack changes."""
    found = rebuild.rebuild
    if record.state is ViewState.GAP:
        return record.state, record.reason
    if found.before[0] is ViewState.GAP:
        return found.before
    what = "a rebuild that had stopped the writing of what readers see was given up"
    begun, now = moment(found.written or found.requested), moment(time.time())
    return ViewState.GAP, gap_reason(what, begun, now, rebuild.view, rebuild.declared.on_gap)


def retire(context: RebuildContext, view: str, generation: int, retry: Callable[[Callable[[], Any]], Any]) -> None:
    """Remove a generation that nothing writes any more. Where its rows stand under the keys of the live one, they are
    the live one's."""
    there = retry(lambda: context.generations(view))
    found = there.get(generation)
    if found is None:
        return
    declared = _built(context, view, found)
    if declared is not None and declared.sink in context.kept.sinks:
        others = [_built(context, view, each) for each in there.values() if each is not found]
        if not any(each is not None and in_place(context.kept.sinks, each, declared) for each in others):
            retry(context.target(declared, generation).drop)
    retry(lambda: context.store.forget(view, generation))
    log.info("view %s: generation %d is dropped", view, generation)


def _built(context: RebuildContext, view: str, generation: Generation) -> ViewDeclaration | None:
    """The declaration that built a generation, if only to know where its rows are."""
    declared = context.factory.declared(context.kept.views[view], generation)
    if declared is not None:
        return declared
    try:
        return decode(generation.declaration)
    except ValueError:
        return None
