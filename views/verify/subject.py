"""What is verified: one view, its rows, and what it takes to judge them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dynaview.projections.projection import Bound
from dynaview.sinks.port import Target
from dynaview.views.control.dead_letters import DeadLetterStore
from dynaview.views.verify.findings import Finding


@dataclass(frozen=True, slots=True)
class Subject:
    """One view to verify."""

    view: str
    bound: Bound
    target: Target
    caught_up: Callable[[float], None]
    """Returns once the view's watermark has passed a time (seconds since 1970); raises where it will not."""
    letters: DeadLetterStore | None = None
    found: Callable[[Sequence[Finding]], None] = lambda findings: None
    """Hears of findings as they are made, all of them, from one thread at a time."""
