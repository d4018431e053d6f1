"""Opening pipelines: from a view's record to the generations that its pipeline writes, each as it was declared."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from functools import cache, partial

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.projection import ViewType, shape_of
from dynaview.sinks.port import Sink
from dynaview.sources.errors import SourceError
from dynaview.sources.port import TableDescription
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import Generation, ViewRecord
from dynaview.views.declarations.codec import decode_runnable
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.functions import functions_of
from dynaview.views.reasons import fault_reason
from dynaview.views.states import ViewState
from dynaview.views.streaming.admission import changed, lost, of_another_table
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.pipeline import PipelineContext, PipelineSettings, ViewPipeline
from dynaview.views.streaming.plan import PipelinePlan
from dynaview.views.streaming.stored_generations import Stored, StoredGenerations

log = logging.getLogger(__name__)

FULL_IMAGES: ViewType = "NEW_AND_OLD_IMAGES"


class PipelineFactory:
    """Opens the pipelines of one table's views."""

    def __init__(
        self,
        table: str,
        description: TableDescription,
        views: Mapping[str, ViewDeclaration],
        sinks: Mapping[str, Sink],
        context: PipelineContext,
    ) -> None:
        """`views` are the declared ones, `table` as the declaration names it. Raises `ControlUnavailable`."""
        self.description = description
        self.context = context
        self._table = table
        self._views = views
        self._sinks = sinks
        self._control = context.control
        self._images: ViewType = description.view_type or FULL_IMAGES
        self._restored = cache(partial(decode_runnable, functions=functions_of(views.values())))
        earlier = [
            self.declared(view, each) for view in views.values() for each in self._control.generations(view.name)
        ]
        self.shape = self._shape([*views.values(), *filter(None, earlier)])
        """What is read of an item: all that the declared views and the generations that stand need."""

    def declared(self, view: ViewDeclaration, generation: Generation) -> ViewDeclaration | None:
        """The declaration that built a generation; None where it cannot be had again (code that is gone)."""
        if generation.fingerprint == fingerprint(view, self._table):
            return view
        return self._restored(generation.declaration)

    def pipeline(self, view: ViewDeclaration, record: ViewRecord) -> ViewPipeline | None:
        """The view's pipeline as its record says; None where there is none (see `plan`). Raises
        `ControlUnavailable`."""
        plan = self.plan(view, record)
        if plan is None:
            return None
        return ViewPipeline(plan, dataclasses.replace(self.context, settings=self._settings(view)))

    def plan(self, view: ViewDeclaration, record: ViewRecord) -> PipelinePlan | None:
        """What is to be done for a view as its record says; None where it is paused or may not run, or an error that
        nobody expected stands in its way: its state then says why. Raises `ControlUnavailable`."""
        if record.paused is not None:  # what it missed meanwhile is looked at when it goes on
            return None
        try:
            return self._plan(view, record)
        except (SourceError, ControlUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this view's alone (law 7)
            self._refuse(record, ViewState.FAILED, fault_reason(error))
            return None

    def _plan(self, view: ViewDeclaration, record: ViewRecord) -> PipelinePlan | None:
        checkpoints = self._control.checkpoints(view.name)
        generations = {each.generation: each for each in self._control.generations(view.name)}
        mark = fingerprint(view, self._table)
        other = of_another_table(view, record, self.description)
        if other is not None and mark not in {each.fingerprint for each in generations.values()}:
            self._refuse(record, ViewState.CHANGED, other)
            return None
        reason = lost(view, record, self.description, checkpoints)
        if reason is not None:
            self._refuse(record, ViewState.GAP, reason)
            return None
        outputs: list[GenerationWriter] = []
        standing: list[GenerationWriter] = []
        for number in record.write_order:
            declared = self.declared(view, generations[number])
            if declared is None or declared.sink not in self._sinks:
                continue  # it is shown as it is
            if problems := compile_view(declared).problems(self.description.key, self._images):
                self._refuse(record, ViewState.REFUSED, "; ".join(str(problem) for problem in problems))
                return None
            outputs.append(self.output(declared, generations[number], record.stream_count))
            if generations[number].role != "next" or self._was_prepared(view.name, number):
                standing.append(outputs[-1])
        if 0 < len(outputs) < len(record.write_order):  # what is missed from now on is not to look as if it were there
            self._control.rebuilds.write_in(record, [output.generation for output in outputs])
        # A view that was rolled back, or is being rebuilt, has a generation of the declaration beside it.
        is_changed = mark not in {each.fingerprint for each in generations.values()}
        if is_changed and (not outputs or view.on_change == "stop"):
            self._refuse(record, ViewState.CHANGED, changed(view))
            return None
        doing: tuple[ViewState, str] = (ViewState.FOLLOWING, "")
        if is_changed:
            doing = (ViewState.FOLLOWING, f"rows are made as they were declared before: {changed(view)}")
        elif any(generations[number].role == "next" for number in record.write_order):
            doing = (ViewState.REBUILDING, "")
        live = next((each for each in outputs if each.generation == record.generation), None)
        stored = StoredGenerations(
            None if live is None else self._stored(live), [self._stored(each) for each in standing]
        )
        begun = max(generations[output.generation].created for output in outputs)
        return PipelinePlan(record, outputs, checkpoints, stored, doing, view.on_gap, begun)

    def _settings(self, view: ViewDeclaration) -> PipelineSettings:
        limits = view.dead_letters
        return dataclasses.replace(self.context.settings, letters=limits.limit, letters_within=limits.within)

    def _stored(self, output: GenerationWriter) -> Stored:
        return self._sinks[output.sink], output.target

    def output(self, declared: ViewDeclaration, generation: Generation, stream_count: int) -> GenerationWriter:
        """What writes one generation by the declaration that built it."""
        bound = compile_view(declared).bind(self.shape, self.description.key, self._images)
        target = self._sinks[declared.sink].open(declared.layout, generation.generation)
        bulk = generation.role == "next" and not generation.filled
        output = GenerationWriter(
            declared.name, bound, target, stream_count, self.context.settings.batch, bulk, declared.sink
        )
        output.claimed = generation.claimed
        return output

    def _refuse(self, record: ViewRecord, state: ViewState, reason: str) -> None:
        if self.context.monitor is not None:
            self.context.monitor.view_refused(record, state, reason)

    def _was_prepared(self, view: str, generation: int) -> bool:
        """Whether a generation that is being built stands in its store: rows may have been scanned into it."""
        rebuild = self._control.rebuilds.get(view)
        return (
            rebuild is not None and rebuild.generation == generation and rebuild.phase not in ("requested", "starting")
        )

    def _shape(self, views: list[ViewDeclaration]) -> Shape:
        return shape_of(map(compile_view, views), self.description.key)
