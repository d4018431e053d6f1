"""What is to be done for a view, as its record says: whoever writes its rows goes by this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dynaview.views.control.records import Checkpoint, ViewRecord
from dynaview.views.reasons import OnGap
from dynaview.views.states import ViewState
from dynaview.views.streaming.generation_writer import GenerationWriter
from dynaview.views.streaming.stored_generations import StoredGenerations


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """What the pipeline of a view has to do."""

    record: ViewRecord
    outputs: Sequence[GenerationWriter]
    """The generations to write, in this order: what comes first never shows less than what comes after it."""
    checkpoints: dict[str, Checkpoint]
    """Where it begins, by shard."""
    stored: StoredGenerations = field(default_factory=StoredGenerations)
    doing: tuple[ViewState, str] = (ViewState.FOLLOWING, "")
    """State and reason while all is well and the first fill is complete."""
    on_gap: OnGap = "stop"
    """What the declaration asks for when changes are lost."""
    begun: float | None = None
    """When the view was begun with all that the stream held then (seconds since 1970); None: now."""

    @property
    def live(self) -> GenerationWriter | None:
        """The output that readers see; None where it cannot be written any more."""
        return next((each for each in self.outputs if each.generation == self.record.generation), None)
