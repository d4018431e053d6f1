"""A round: a worker of `dynaview run` for as long as an invocation may last. It does what batches of records cannot.

It reads the shards from the views' own checkpoints, so it brings what the event source mapping has given up, or was not
shown (a view that was paused, or whose store was away), finds what is lost (law 4), moves checkpoints, counts and
watermarks, and does first fills, rebuilds and whatever else a daemon does, piece by piece: a worker that ends in good
order leaves nothing but work for the next one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

from dynaview.projections.declaration import Declaration, SinkDeclaration, SourceDeclaration
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink
from dynaview.sources.port import TableReader
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.records import ViewRecord
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.daemon.table_worker import WorkerSettings
from dynaview.views.states import ViewState

log = logging.getLogger(__name__)

LOOK = 0.2
"""Seconds between two looks at how far the views are."""

ENDING = 0.2
"""The share of a round's time that is left for its end."""

LONGEST_END = 20.0
"""Seconds that this is at the most."""

PASSING = (ViewState.STARTING, ViewState.FILLING, ViewState.REBUILDING)
"""States that are over with what brought them about, as soon as somebody says so."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a view stands at the end of a round."""

    view: str
    state: ViewState
    reason: str
    watermark: float | None
    current: bool
    """Whether all that was written to the table before the round is in the view."""

    def plain(self) -> dict[str, Any]:
        """As the function answers it."""
        lag = None if self.watermark is None else round(max(0.0, time.time() - self.watermark), 1)
        return {"state": str(self.state), "reason": self.reason, "lag": lag, "current": self.current}

    @property
    def wrong(self) -> bool:
        """Whether somebody has to act."""
        return self.state.lasts and self.state is not ViewState.PAUSED


def make_round(
    declaration: Declaration,
    names: Collection[str],
    seconds: float,
    open_source: Callable[[SourceDeclaration], TableReader],
    settings: WorkerSettings | None = None,
    open_sink: Callable[[SinkDeclaration], Sink] = connect,
) -> list[Standing]:
    """Work until everything is done that was to be done when it began, for so many seconds at the most.

    Raises `ControlError`, and `ControlUnavailable` at its end.
    """
    began, clock = time.time(), time.monotonic()
    ending = min(LONGEST_END, seconds * ENDING)
    settings = replace(settings or WorkerSettings(), heals=False, patience=ending / 4)
    daemon = Daemon(declaration, settings, open_source, views=frozenset(names), open_sink=open_sink)
    found: list[Standing] = []
    try:
        daemon.start()
        awaited: set[str] = set()
        while time.monotonic() - clock < seconds - ending:
            if daemon.wait(LOOK):
                break
            try:
                found = _look(daemon, names, began, awaited)
            except ControlUnavailable as error:  # its pipelines say so
                log.debug("how far the views are is not known: %s", error)
                continue
            if found and not _working(daemon, names, found):
                break
        found = _look(daemon, names, began, awaited)
    finally:
        daemon.stop()
    return found


def _look(daemon: Daemon, names: Collection[str], began: float, awaited: set[str]) -> list[Standing]:
    records = {record.name: record for record in daemon.control.views() if record.name in names}
    for name in records.keys() - awaited:  # its idle shards are read more often then
        daemon.control.set_awaited(name, began)
        awaited.add(name)
    if len(records) < len(names):
        return []
    return [_standing(record, began) for _, record in sorted(records.items())]


def _standing(record: ViewRecord, began: float) -> Standing:
    current = record.filled and record.watermark is not None and record.watermark > began
    return Standing(record.name, record.state, record.reason, record.watermark, current)


def _working(daemon: Daemon, names: Collection[str], found: list[Standing]) -> bool:
    """Whether anything goes on that this round can bring further, if only to say how it has ended."""
    going_on = {each.view: each for each in daemon.control.rebuilds.all() if each.view in names and not each.ended}
    if any(each.answer != "?" for each in going_on.values()):
        return True
    left = [each for each in found if not each.state.lasts]
    return any(not each.current or (each.state in PASSING and each.view not in going_on) for each in left)
