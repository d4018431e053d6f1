"""Where rebuilds of one table happen: what its worker lends them, and how they wait."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.families import overlap
from dynaview.projections.rows import RedisOptions
from dynaview.sinks.port import Sink, Target
from dynaview.views.budget import Capacity
from dynaview.views.control.errors import ControlUnavailable
from dynaview.views.control.rebuilds import RebuildStore
from dynaview.views.control.records import Generation, Rebuild, ViewRecord
from dynaview.views.kept_table import KeptTable
from dynaview.views.retry import Retrier, Stopped
from dynaview.views.streaming.factory import PipelineFactory
from dynaview.views.workers.coordinator import ShardCoordinator

log = logging.getLogger(__name__)

T = TypeVar("T")


class Interrupted(Exception):
    """The process is to end; the rebuild goes on at the next start, or in another worker."""


class Cancelled(Exception):
    """An operator took the rebuild back."""


class RebuildFailed(Exception):
    """The rebuild cannot go on as things stand; the text says why and what to do."""


class Stalled(Exception):
    """The view holds up others: it goes on by a scan of its own."""


class Paused(Stalled):
    """The view is paused: it alone goes on later, by a scan of its own where others go on meanwhile."""


@dataclass(frozen=True, slots=True)
class RebuildSettings:
    """What a run may be told about rebuilds. Times in seconds."""

    capacity: Capacity = field(default_factory=Capacity)
    """What scans that dynaview begins by itself may take of the table's read capacity."""
    look_every: float = 0.5
    """Between two looks for new requests."""
    wait_every: float = 0.1
    """Between two looks at what is waited for."""
    check_every: float = 0.2
    """Between two looks whether a rebuild is to go on."""
    refused_for: float = 30.0
    """For which a store may refuse what a rebuild asks (rights that are being changed) before the rebuild fails."""
    stalled_after: float = 30.0
    """After which a view whose store does not answer holds up no other view of the same scan any longer."""
    again_after: float = 600.0
    """After a failed (or cancelled) rebuild, before a declaration asks for another one."""
    catch_up_every: float = 0.5
    """Between two reads of an open shard by a rebuild from an export: its other two readers have the right of way (AWS
    allows five reads a second)."""
    catch_up_spare: float = 300.0
    """Before records are trimmed, by which such a rebuild must have asked for them."""
    sample: int = 500
    """About how many items are read again before a swap."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether the rebuilds of a table are this process's to do, among all that keep its views."""

    coordinator: ShardCoordinator
    stop: threading.Event
    """Set when the process is to end."""
    left: threading.Event
    """Set when the table's stream is no longer the one that pipelines follow."""

    def mine(self) -> bool:
        """Whether they are; what nobody does is taken over. False also while the control store is away."""
        try:
            return self.coordinator.hold("rebuild")
        except ControlUnavailable as error:
            log.warning("whose turn rebuilds are is not known: %s", error)
            return False

    def check(self) -> None:
        """Raises `Interrupted` where somebody else goes on."""
        if self.stop.is_set() or self.left.is_set() or not self.mine():
            raise Interrupted


@dataclass(frozen=True, slots=True)
class RebuildContext:
    """What the worker of a table lends to its rebuilds."""

    kept: KeptTable
    factory: PipelineFactory
    turn: Turn
    settings: RebuildSettings = field(default_factory=RebuildSettings)
    _retriers: dict[str, Retrier] = field(default_factory=dict)
    """By subject, for what is waited with more than once."""

    @property
    def store(self) -> RebuildStore:
        """The rebuilds of the control store."""
        return self.kept.control.rebuilds

    def retrier(self, subject: str, check: Callable[[], None]) -> Retrier:
        """One that asks `check` between two tries whether it is to go on."""
        return Retrier(self.turn.stop, subject, lambda error, times: check())

    def retry(self, act: Callable[[], T], subject: str) -> T:
        """Do it, however long a store, the table or the control store is away. Raises `Interrupted`."""
        found = self._retriers.get(subject)
        if found is None:
            found = self._retriers.setdefault(subject, self.retrier(subject, self.turn.check))
        return finished(found, act)

    def pause(self, seconds: float | None = None) -> None:
        """Wait; raises `Interrupted`."""
        self.turn.stop.wait(self.settings.wait_every if seconds is None else seconds)
        self.turn.check()

    def record(self, view: str) -> ViewRecord:
        """The view's record now."""
        record = self.kept.control.view(view)
        if record is None:
            raise RebuildFailed("the view was dropped meanwhile")
        return record

    def check(self, view: str) -> None:
        """Raises `Interrupted` where nothing is to be done for a view now: somebody else goes on, or it is paused."""
        self.turn.check()
        record = self.kept.control.view(view)
        if record is not None and record.paused is not None:
            raise Interrupted

    def generations(self, view: str) -> dict[int, Generation]:
        """The generations of a view that stand, by number."""
        return {each.generation: each for each in self.kept.control.generations(view)}

    def live(self, view: str) -> tuple[Generation, ViewDeclaration | None]:
        """The generation that readers see, and what built it (None where that cannot be had again)."""
        live = next(each for each in self.generations(view).values() if each.role == "live")
        return live, self.factory.declared(self.kept.views[view], live)

    def target(self, declared: ViewDeclaration, generation: int) -> Target:
        """A generation in its store. Raises `RebuildFailed` where the store is declared no more."""
        sink = self.kept.sinks.get(declared.sink)
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
        """Wait until every live worker, and every invocation of a Lambda function, does what the view's revision asks;
        when that was, in seconds since 1970.

        Invocations say nothing: each reads the revision when it begins, so those that may know an older one have ended
        once the function's timeout has passed. It is waited for behind the workers, so that what they were known to do
        lies at least so long before the answer. Nobody knows an older revision than the first.
        """
        subject = f"view {view}"
        revision = self.retry(lambda: self.record(view), subject).revision
        while True:
            check()
            taken = self.retry(lambda: self.kept.control.adopted(view), subject)
            if all(taken.get(worker, -1) >= revision for worker in self.kept.control.leases.sharing(view)):
                break
            self.pause()
        ended = time.monotonic() + (self.kept.source.lambda_timeout or 0.0 if revision else 0.0)
        while time.monotonic() < ended:
            check()
            self.pause()
        return time.time()


def finished(retrier: Retrier, act: Callable[[], T]) -> T:
    """Do it, at least once. Raises `Interrupted` where the process is to end."""
    try:
        return retrier.finish(act)
    except Stopped:
        raise Interrupted from None


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
    what = {"rollback": "rollback", "fill": "first fill"}.get(rebuild.kind, "rebuild")
    return f"{what} of view {rebuild.view}"
