"""The generations of a view as its stores hold them, for the pipeline that writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dynaview.sinks.port import Sink, Target

Stored: TypeAlias = tuple[Sink, Target]
"""A generation and the store that it is in."""


@dataclass(frozen=True, slots=True)
class StoredGenerations:
    """What a pipeline asks of its stores beside writing. Every method may raise `SinkError`."""

    live: Stored | None = None
    """The generation that readers see; None where it cannot be written any more."""
    standing: Sequence[Stored] = ()
    """Generations that hold rows already, as far as the control store knows."""

    def gone(self) -> str | None:
        """What a store has lost of the view, if anything (`Sink.gone`)."""
        found = (sink.gone(target.layout, target.generation) for sink, target in self.standing)
        return next((what for what in found if what is not None), None)

    def published(self) -> int | None:
        """The generation that readers see in the store (`Sink.published`)."""
        if self.live is None:
            return None
        sink, target = self.live
        return sink.published(target.layout)

    def lost(self) -> str | None:
        """What a store has lost of the view since it was prepared there, if anything. One that comes back empty takes
        writes as before, and would show what is written from then on as if it were all."""
        if (gone := self.gone()) is not None or self.live is None:
            return gone
        sink, target = self.live
        if self.highest() >= target.generation:
            return None
        return f"{sink.name} holds no mark of generation {target.generation} any more, as if its data were lost"

    def highest(self) -> int:
        """The highest generation of the view in its store, whoever made it (`Sink.highest`)."""
        if self.live is None:
            return 0
        sink, target = self.live
        return sink.highest(target.layout)
