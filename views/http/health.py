"""Whether every view is right and how far behind, and if not, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dynaview.views.http.snapshot import Snapshot
from dynaview.views.states import ViewState
from dynaview.views.status import UNKNOWN, endangered


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts as unhealthy. Seconds."""

    lag: float = 300.0
    """A view that is further behind the tip of its stream is unhealthy."""
    unknown: float = UNKNOWN
    """So long may it be unknown how far behind a view is, after a start say."""


@dataclass(frozen=True, slots=True)
class ViewHealth:
    """One view's health. `reason` is empty where it is well."""

    view: str
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.reason


@dataclass(frozen=True, slots=True)
class Health:
    """The health of all views. `error` says why the control store does not answer."""

    views: tuple[ViewHealth, ...]
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not self.error and all(view.ok for view in self.views)


def health(snapshot: Snapshot, limits: Limits) -> Health:
    """Judge every declared view, and every other one that the control store knows."""
    views = [ViewHealth(view["view"], _reason(view, snapshot.at, limits)) for view in snapshot.views]
    views += [ViewHealth(name, "never started: dynaview run starts it") for name in snapshot.missing]
    return Health(tuple(sorted(views, key=lambda view: view.view)), snapshot.error)


def _reason(view: dict[str, Any], now: float, limits: Limits) -> str:
    reason = _trouble(view, now, limits)
    warning = endangered(view)
    return "; ".join(filter(None, (warning, reason)))


def _trouble(view: dict[str, Any], now: float, limits: Limits) -> str:
    state, lag = ViewState(view["state"]), view["lag"]
    if state is ViewState.STOPPED:
        return "no worker keeps it: start dynaview run"
    if not state.well and state is not ViewState.STARTING:
        return f"{state}: {view['reason']}" if view["reason"] else str(state)
    if lag is None:
        unknown = now - view["since"]
        if unknown > limits.unknown:
            return f"how far it is behind has not been known for {unknown:.0f} s; see the log of dynaview run"
    elif lag > limits.lag:
        return f"{lag:.0f} s behind its stream (more than {limits.lag:g} s)"
    return ""
