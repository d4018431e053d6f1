"""One view of a rebuild, as the process that advances it sees it: what it fills, what it records, how it waits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from dynaview.projections.attributes import Image
from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import SinkRefused, Target
from dynaview.sources.port import Key
from dynaview.views.budget import Capacity
from dynaview.views.control.records import DeadLetter, Phase, Rebuild
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.policy import Backoff
from dynaview.views.rebuild.context import Cancelled, Paused, RebuildContext, RebuildFailed, Stalled, describe, finished
from dynaview.views.rebuild.in_place import InPlace
from dynaview.views.rebuild.side_by_side import SideBySide
from dynaview.views.scanning.page_writer import FillStrategy
from dynaview.views.states import ViewState
from dynaview.views.streaming.dead_letter_limit import DeadLetterLimit
from dynaview.views.streaming.generation_writer import GenerationWriter

log = logging.getLogger(__name__)

T = TypeVar("T")


class Company(Protocol):
    """Who else may have to wait for a view."""

    def waits_for(self, rebuild: ViewRebuild) -> bool:
        """Whether anybody does."""


class ViewRebuild:
    """The rebuild, first fill or rollback of one view. Safe to use from several threads."""

    def __init__(self, context: RebuildContext, rebuild: Rebuild, company: Company) -> None:
        self.context = context
        self.rebuild = rebuild
        self.view = rebuild.view
        self.declared: ViewDeclaration = context.kept.views[rebuild.view]
        self.prepared: Target | None = None
        """A generation that was made in its store and is not begun yet."""
        limits = self.declared.dead_letters
        self._limit = DeadLetterLimit(limits.limit, limits.within)
        self._company = company
        self._retrier = context.retrier(describe(rebuild), self.check)
        self._lock = threading.Lock()
        self._looked = 0.0
        self._busy = threading.local()

    # How everything waits

    def check(self) -> None:
        """Raises `Cancelled`, `RebuildFailed`, `Stalled` or `Interrupted` where the rebuild is not to go on. Cheap
        enough to ask often."""
        context = self.context
        context.turn.check()
        since = getattr(self._busy, "since", None)
        late = since is not None and time.monotonic() - since > context.settings.stalled_after
        if late and self._company.waits_for(self):
            raise Stalled
        with self._lock:
            if time.monotonic() - self._looked < context.settings.check_every:
                return
            self._looked = time.monotonic()
        now = context.retry(lambda: context.store.get(self.view), describe(self.rebuild))
        if now is None:
            raise RebuildFailed("the view was dropped meanwhile")
        if now.job != self.rebuild.job:
            raise Stalled  # it goes on by itself, or another one has taken its place
        record = context.retry(lambda: context.record(self.view), describe(self.rebuild))
        if record.paused is not None:
            self.look_again()
            raise Paused
        if now.answer == "cancel":
            raise Cancelled
        if self.rebuild.phase == "requested":
            return
        if not record.state.lasts or record.state is ViewState.CHANGED:
            return
        if self.rebuild.kind == "fill":
            if record.state is not ViewState.REFUSED:  # else it goes on as soon as the store takes it
                raise Stalled
        elif record.state is not ViewState.REFUSED or time.time() - record.since >= self._may_refuse():
            raise RebuildFailed(
                f"the view stopped meanwhile ({record.state}: {record.reason}); when that is fixed, "
                f"dynaview rebuild {self.view} begins again"
            )

    def look_again(self) -> None:
        """Let the next `check` ask whatever was asked just before."""
        self._looked = 0.0

    def retry(self, act: Callable[[], T]) -> T:
        """Do it, however long a store is away. Raises `RebuildFailed` where it refuses for long."""
        refused: list[float] = []

        def attempt() -> T:
            try:
                return act()
            except SinkRefused as error:
                refused.append(time.monotonic())
                if self.rebuild.kind != "fill" and refused[-1] - refused[0] >= self._may_refuse():
                    raise RebuildFailed(str(error)) from None
                raise

        return finished(self._retrier, attempt)

    def _may_refuse(self) -> float:
        """Nothing is lost where a rebuild that has not scanned anything yet fails at once."""
        return 0.0 if self.rebuild.phase in ("requested", "starting") else self.context.settings.refused_for

    def retry_unasked(self, act: Callable[[], T]) -> T:
        """Do it, however long the control store is away, whatever was answered meanwhile."""
        return self.context.retry(act, describe(self.rebuild))

    @contextmanager
    def holding_up(self) -> Iterator[None]:
        """Others may be waiting for what this thread does until the end of the block."""
        self._busy.since = time.monotonic()
        try:
            yield
        finally:
            self._busy.since = None

    def hold(self, at: float) -> None:
        """Wait until the view's watermark has passed a time (seconds since 1970)."""
        asked = False
        while True:
            self.check()
            watermark = self.retry(lambda: self.context.record(self.view)).watermark
            if watermark is not None and watermark > at:
                return
            if not asked:  # for now, not for then: whatever was looked at meanwhile need not be waited for once more
                self.retry(lambda: self.context.kept.control.set_awaited(self.view, max(at, time.time())))
                asked = True
            self.context.pause()

    def read_again(self, keys: Sequence[Key]) -> list[Image | None]:
        """These items as the table has them now."""
        return self.retry(lambda: self.context.kept.reader.get(keys, self.context.factory.shape))

    def confirm(self, question: str) -> None:
        """Ask an operator, and wait for yes."""
        if self.rebuild.options.yes:
            log.warning("%s: %s; told to go on", describe(self.rebuild), question)
            return
        backoff = Backoff(first=0.1, cap=1.0)
        log.warning("%s asks: %s; dynaview rebuild %s --yes (or --cancel)", describe(self.rebuild), question, self.view)
        self.retry(lambda: self.context.store.ask(self.rebuild, question))
        while True:
            self.check()
            now = self.retry(lambda: self.context.store.get(self.view))
            if now is not None and now.answer == "yes":
                self.retry_unasked(lambda: self.context.store.settle(self.rebuild))
                return
            self.context.pause(backoff.next())

    # What is recorded

    def update(self, **values: Any) -> None:
        """Record what changed."""
        with self._lock:
            self.rebuild = self.retry_unasked(lambda: self.context.store.update(self.rebuild, **values))

    def enter(self, phase: Phase) -> None:
        """Begin a phase."""
        log.info("%s: %s", describe(self.rebuild), phase)
        self.update(phase=phase, reason="")

    def reload(self) -> None:
        """Take over what a scan has counted."""
        found = self.retry_unasked(lambda: self.context.store.get(self.view))
        if found is not None and found.job == self.rebuild.job:
            with self._lock:
                self.rebuild = found

    def add_swept(self, rows: int) -> None:
        """Count rows that were removed because no item asks for them."""
        self.update(swept=self.rebuild.swept + rows)

    def keep(self, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters. Raises `RebuildFailed` where they are too many."""
        if letters:
            self.retry(lambda: self.context.store.keep_letters(self.rebuild, letters))
            if reason := self.too_many(letters):
                raise RebuildFailed(reason)

    def too_many(self, letters: Sequence[DeadLetter]) -> str:
        """Count dead letters; what to tell the operator where there are too many, else empty."""
        return self._limit.reason(self.view, letters[-1].reason) if self._limit.passed(len(letters)) else ""

    # What is filled

    @property
    def capacity(self) -> Capacity:
        """What its scan may take of the table's read capacity."""
        fill = self.rebuild.kind == "fill"
        return self.context.settings.capacity if fill else self.rebuild.options.capacity

    @property
    def target(self) -> Target:
        """The generation that is filled."""
        return self.context.target(self.declared, self.rebuild.generation)

    def writer(self) -> GenerationWriter:
        """What writes it."""
        generation = self.retry(lambda: self.context.generations(self.view))[self.rebuild.generation]
        count = self.retry(lambda: self.context.record(self.view)).stream_count
        return self.context.factory.output(self.declared, generation, count)

    def strategy(self) -> FillStrategy:
        """How scanned rows come in. In a first fill nothing stands that a reader could see go back."""
        writer = self.writer()
        if self.rebuild.kind == "in place":
            return InPlace(self, writer.bound, writer.target)
        return SideBySide(self, writer.bound, writer.target)

    def resume(self) -> None:
        """Go on where a process ended. Raises `RebuildFailed` where what was begun is not what is asked for any
        more."""
        if self.rebuild.kind == "rollback" or not self.rebuild.generation:
            return
        begun = self.retry_unasked(lambda: self.context.generations(self.view)).get(self.rebuild.generation)
        if begun is None:
            raise RebuildFailed(f"generation {self.rebuild.generation} is not known any more")
        if begun.fingerprint != fingerprint(self.declared, self.context.kept.source.table):
            raise RebuildFailed(f"the declaration was changed meanwhile; dynaview rebuild {self.view} begins with it")
