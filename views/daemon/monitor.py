"""Who hears of views that cannot go on while they are kept."""

from __future__ import annotations

from typing import Protocol

from dynaview.views.states import ViewState


class RunMonitor(Protocol):
    """Hears of views that cannot go on."""

    def view_ended(self, view: str, state: ViewState, reason: str) -> None:
        """A view is in this state, and somebody has to act."""


class Unwatched:
    """A `RunMonitor` that nobody reads."""

    def view_ended(self, view: str, state: ViewState, reason: str) -> None:
        """The view's state says it."""
