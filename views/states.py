"""The states of a view: what each says, who sets it and what ends it.

The words are public: `dynaview status` shows them, scripts compare them. `dynaview.views.control.view_states` alone
writes them.
"""

from __future__ import annotations

import enum
from typing import Self


class ViewState(enum.StrEnum):
    """What a view is doing. `set_by` and `ended_by` say who brings a view into the state, and what brings it out."""

    set_by: str
    ended_by: str

    def __new__(cls, word: str, set_by: str = "", ended_by: str = "") -> Self:
        state = str.__new__(cls, word)
        state._value_ = word
        state.set_by, state.ended_by = set_by, ended_by
        return state

    STARTING = (
        "starting",
        "the worker that records the view, or that starts again after `overrun` and `failed`; `dynaview resume`",
        "the view's pipeline, as soon as it runs",
    )
    FILLING = (
        "filling",
        "the view's pipeline, while the first scan of the table runs",
        "the end of the scan",
    )
    FOLLOWING = (
        "following",
        "the view's pipeline, when all is well",
        "whatever happens next",
    )
    REBUILDING = (
        "rebuilding",
        "a rebuild that begins the next generation, and the view's pipeline while it writes that one",
        "the end of the rebuild",
    )
    WAITING = (
        "waiting",
        "the view's pipeline or its worker, while AWS or the control store does not answer",
        "the next answer",
    )
    RETRYING = (
        "retrying",
        "the view's pipeline, while its store is unreachable, overloaded, read-only or full",
        "the store's next answer",
    )
    REFUSED = (
        "refused",
        "the view's pipeline, when its store refuses; its worker, when the stream's view type cannot serve the view",
        "the store's consent, asked for every minute; the next start",
    )
    PAUSED = (
        "paused",
        "`dynaview pause`, in whatever state the view is but those that end it",
        "`dynaview resume`",
    )
    CHANGED = (
        "changed",
        "the worker, when another declaration built the rows and nothing may be written by it",
        "a start with the earlier declaration; a rebuild",
    )
    GAP = (
        "gap",
        "the view's pipeline or its worker, when changes are lost to the view",
        "a rebuild",
    )
    OVERRUN = (
        "overrun",
        "the view's pipeline or its first fill, after too many dead letters",
        "the next start; a rebuild",
    )
    FAILED = (
        "failed",
        "the view's pipeline, its worker or its first fill, after an error that nobody expected",
        "the next start; a rebuild",
    )
    STOPPED = (
        "stopped",
        "the view's pipeline, when its last worker ends in good order; shown also where no worker gives signs of life",
        "the next start",
    )

    @property
    def ends(self) -> bool:
        """Whether no pipeline of the view takes anything any more, in any worker."""
        return self in (ViewState.GAP, ViewState.OVERRUN, ViewState.FAILED)

    @property
    def healed_by_start(self) -> bool:
        """Whether the next start tries again what put the view into it."""
        return self in (ViewState.OVERRUN, ViewState.FAILED)

    @property
    def lasts(self) -> bool:
        """Whether no time heals it, so that somebody has to act. It is shown also where nothing runs."""
        return self.ends or self in (ViewState.CHANGED, ViewState.REFUSED, ViewState.PAUSED)

    @property
    def well(self) -> bool:
        """Whether nothing stands in the view's way."""
        return self in (ViewState.FOLLOWING, ViewState.FILLING, ViewState.REBUILDING)
