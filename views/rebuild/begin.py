"""The beginning of a rebuild: whether it can be done at all, and the next generation in its store and its records."""

from __future__ import annotations

from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import SinkRefused
from dynaview.views.control.records import Generation
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.reasons import rebuild_hint
from dynaview.views.rebuild.abandon import retire
from dynaview.views.rebuild.context import Interrupted, RebuildFailed, collide, in_place
from dynaview.views.rebuild.exports import Exports
from dynaview.views.rebuild.view_rebuild import ViewRebuild
from dynaview.views.states import ViewState

SPARE = 1.1
"""Free room that another generation needs, as a multiple of what the live one takes."""


def begin(rebuild: ViewRebuild, exports: Exports | None) -> None:
    """Let the view's pipelines write the next generation. What is to be read instead of the table, if anything, are
    the `exports`."""
    rebuild.check()
    context, view = rebuild.context, rebuild.view
    description = context.factory.description
    if rebuild.retry(context.kept.reader.describe).stream_arn != description.stream_arn:
        raise Interrupted  # the pipelines still follow another stream
    try:
        rebuild.capacity.rate(description)
    except ValueError as error:
        raise RebuildFailed(str(error)) from error
    if problems := compile_view(rebuild.declared).problems(description.key, description.view_type or "NEW_IMAGE"):
        raise RebuildFailed("; ".join(str(problem) for problem in problems))
    if rebuild.rebuild.kind == "fill":
        live = rebuild.retry(lambda: context.record(view)).generation
        rebuild.update(phase="starting", generation=live, of_items=description.items)
    else:
        _begin_next(rebuild, exports)


def _begin_next(rebuild: ViewRebuild, exports: Exports | None) -> None:
    context, view, declared = rebuild.context, rebuild.view, rebuild.declared
    description = context.factory.description
    record = rebuild.retry(lambda: context.record(view))
    live, before = rebuild.retry(lambda: context.live(view))
    place = in_place(context.kept.sinks, before, declared)
    if not place and before is not None and collide(context.kept.sinks, before, declared):
        raise RebuildFailed(
            f"rows of another type stand under these keys: declare another key, or dynaview drop {view}, and "
            "dynaview run fills it anew"
        )
    gone = before is None or _is_gone(rebuild, before, live)
    if not place and before is not None and not gone:
        _check_room(rebuild, before, live.generation)
    items = description.items if exports is None else exports.admit(rebuild, place)
    fresh = record.state is ViewState.GAP or record.stream_arn != description.stream_arn
    stopped = fresh or gone or record.state.healed_by_start or record.state is ViewState.REFUSED
    # Above all that stands in the store, whoever made it: a control store may have been lost.
    sink = context.kept.sinks[declared.sink]
    number = rebuild.retry(lambda: context.store.next_number(view, sink.highest(declared.layout)))
    if not place:  # where rights are missing, or its name is taken, nothing has begun
        rebuild.prepared = target = context.target(declared, number)
        rebuild.retry(lambda: target.prepare(bulk=True))
    rebuild.rebuild = rebuild.retry_unasked(
        lambda: context.store.begin(
            rebuild.rebuild,
            fingerprint(declared, context.kept.source.table),
            encode(declared),
            "in place" if place else "beside",
            number=number,
            alone=place or stopped,
            fresh=fresh,
            stream_arn=description.stream_arn,
            of_items=items,
        )
    )
    rebuild.prepared = None


def start(rebuild: ViewRebuild) -> None:
    """Wait until every worker writes the generation that is filled, then make ready for the scan."""
    if rebuild.rebuild.kind == "fill":
        _start_fill(rebuild)
        return
    rebuild.retry(lambda: rebuild.target.prepare(bulk=rebuild.rebuild.kind == "beside"))
    rebuild.update(written=rebuild.context.wait_written(rebuild.view, rebuild.check))
    # What is neither the live generation nor this one is written no more.
    live = rebuild.retry(lambda: rebuild.context.record(rebuild.view)).generation
    for number in rebuild.retry(lambda: rebuild.context.generations(rebuild.view)):
        if number not in (live, rebuild.rebuild.generation):
            retire(rebuild.context, rebuild.view, number, rebuild.retry)


def _start_fill(rebuild: ViewRebuild) -> None:
    """The first generation is made by the view's pipelines, which see that nothing of another's stands there."""
    context, view, number = rebuild.context, rebuild.view, rebuild.rebuild.generation
    while not rebuild.retry(lambda: context.generations(view))[number].claimed:
        context.pause()
        rebuild.check()
    if rebuild.rebuild.phase == "starting":
        rebuild.retry(rebuild.target.prepare)
    else:
        rebuild.retry(lambda: _find(rebuild))
    rebuild.update(written=context.wait_written(view, rebuild.check))


def _find(rebuild: ViewRebuild) -> None:
    """See that a store answers, and still has what was filled: removed by hand it is not made anew, empty."""
    sink = rebuild.context.kept.sinks[rebuild.declared.sink]
    sink.check()
    if (gone := sink.gone(rebuild.declared.layout, rebuild.rebuild.generation)) is not None:
        raise SinkRefused(f"{gone}, and the rows of the view with it: bring it back, or {rebuild_hint(rebuild.view)}")


def _is_gone(rebuild: ViewRebuild, before: ViewDeclaration, live: Generation) -> bool:
    """Whether what readers see was removed by hand: nothing can be written there any more."""
    sink = rebuild.context.kept.sinks.get(before.sink)
    return sink is None or rebuild.retry(lambda: sink.gone(before.layout, live.generation)) is not None


def _check_room(rebuild: ViewRebuild, before: ViewDeclaration, generation: int) -> None:
    sink = rebuild.context.kept.sinks.get(rebuild.declared.sink)
    if sink is None or before.sink != rebuild.declared.sink:
        return
    room = rebuild.retry(lambda: sink.room(before.layout, generation))
    if room is not None and room.used * SPARE > room.free:
        rebuild.confirm(
            f"the generation that readers see takes {room.used / 1e6:,.0f} MB, and only {room.free / 1e6:,.0f} MB "
            f"are free in {sink.name} for the next one beside it"
        )
