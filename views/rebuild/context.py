"""Where rebuilds of one table happen: what its worker lends them, and how they wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dynaview.projections.declaration import SourceDeclaration, ViewDeclaration
from dynaview.projections.families import overlap
from dynaview.projections.rows import RedisOptions
from dynaview.sinks.port import Sink, SinkError, Target
from dynaview.sources.errors import SourceError
from dynaview.sources.port import TableReader
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.rebuilds import RebuildStore
from dynaview.views.control.records import Generation, Rebuild, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.policy import Backoff
from dynaview.views.streaming.factory import PipelineFactory

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK = 0.1
"""Seconds between two looks at what is waited for."""


class Interrupted(Exception):
    """The process is to end; the rebuild goes on at the next start, or in another worker."""


class Cancelled(Exception):
    """An operator took the rebuild back."""


class RebuildFailed(Exception):
    """The rebuild cannot go on as things stand; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class RebuildContext:
    """What the worker of a table lends to its rebuilds."""

    source: SourceDeclaration
    views: Mapping[str, ViewDeclaration]
    table: TableReader
    sinks: Mapping[str, Sink]
    control: ControlStore
    opening: PipelineFactory
    workers: Callable[[str], Sequence[str]]
    """The identities of live workers that run a view."""
    mine: Callable[[], bool]
    """Whether rebuilds of this source are this process's to do."""
    stop: threading.Event
    """Set when the process is to end."""
    left: threading.Event
    """Set when the table's stream is no longer the one that pipelines follow."""

    @property
    def store(self) -> RebuildStore:
        """The rebuilds of the control store."""
        return self.control.rebuilds

    def insist(self, act: Callable[[], T], what: str, check: Callable[[], None] = lambda: None) -> T:
        """Do it, however long a store, the table or the control store is away. Raises `Interrupted`, and what `check`
        does between two tries."""
        backoff = Backoff()
        while True:
            try:
                return act()
            except (SinkError, SourceError, ControlUnavailable) as error:
                if backoff.meet(error):
                    log.warning("%s: %s", what, error)
            if backoff.wait(self.stop):
                raise Interrupted
            self.check()
            check()

    def check(self) -> None:
        """Raises `Interrupted` where somebody else goes on."""
        if self.stop.is_set() or self.left.is_set() or not self.mine():
            raise Interrupted

    def pause(self, seconds: float | None = None) -> None:
        """Wait; raises `Interrupted`."""
        self.stop.wait(LOOK if seconds is None else seconds)
        self.check()

    def record(self, view: str) -> ViewRecord:
        """The view's record now."""
        record = self.control.view(view)
        if record is None:
            raise RebuildFailed("the view was dropped meanwhile")
        return record

    def generations(self, view: str) -> dict[int, Generation]:
        """The generations of a view that stand, by number."""
        return {each.generation: each for each in self.control.generations(view)}

    def live(self, view: str) -> tuple[Generation, ViewDeclaration | None]:
        """The generation that readers see, and what built it (None where that cannot be had again)."""
        live = next(each for each in self.generations(view).values() if each.role == "live")
        return live, self.opening.declared(self.views[view], live)

    def target(self, declared: ViewDeclaration, generation: int) -> Target:
        """A generation in its store. Raises `RebuildFailed` where the store is declared no more."""
        sink = self.sinks.get(declared.sink)
        if sink is None:
            raise RebuildFailed(f"sink {declared.sink} of generation {generation} is declared no more")
        return sink.open(declared.layout, generation)

    def write_in(self, view: str, order: Callable[[ViewRecord], Sequence[int]]) -> None:
        """Let pipelines write what `order` makes of the view's record."""
        while True:
            record = self.record(view)
            wanted = order(record)
            if tuple(wanted) == record.write_order or self.store.write_in(record, wanted):
                return

    def wait_written(self, view: str, check: Callable[[], None]) -> float:
        """Wait until every live worker does what the view's revision asks; when that was, in seconds since 1970."""
        revision = self.insist(lambda: self.record(view), f"view {view}").revision
        while True:
            check()
            taken = self.insist(lambda: self.control.adopted(view), f"view {view}")
            if all(taken.get(worker, -1) >= revision for worker in self.workers(view)):
                return time.time()
            self.pause()


def in_place(sinks: Mapping[str, Sink], before: ViewDeclaration | None, after: ViewDeclaration) -> bool:
    """Whether the rows of two declarations of a view stand under the same keys, so that one replaces the other."""
    if not sinks[after.sink].in_place:
        return False
    if before is None:
        return True
    old, new = before.layout.options, after.layout.options
    address = ("type", "family")
    return before.sink == after.sink and all(getattr(old, name, None) == getattr(new, name, None) for name in address)


def collide(sinks: Mapping[str, Sink], before: ViewDeclaration, after: ViewDeclaration) -> bool:
    """Whether rows of two declarations meet under the same keys though they cannot replace each other."""
    old, new = before.layout.options, after.layout.options
    if before.sink != after.sink or not (isinstance(old, RedisOptions) and isinstance(new, RedisOptions)):
        return False
    return old.type != new.type and overlap(old.family, new.family)


def describe(rebuild: Rebuild) -> str:
    """A rebuild in the log's words."""
    what = "rollback" if rebuild.kind == "rollback" else "rebuild"
    return f"{what} of view {rebuild.view}"
