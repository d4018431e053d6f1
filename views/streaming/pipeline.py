"""A pipeline: one view's own way from changes to its sink, at its own pace.

Readers offer what they read to its `Inbox`. The pipeline's own thread takes it from there, projects, coalesces, writes
under the guard and moves the view's checkpoints. A pipeline whose sink is slow or down simply takes nothing: whoever
reads goes on for the others, and brings this one what it missed when it has room again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from dynaview.projections.columns import Columns
from dynaview.projections.rows import Write
from dynaview.sinks.port import Outcome, SinkError, Stored, Target
from dynaview.views.control.errors import ControlUnavailable, LeaseLost, Superseded
from dynaview.views.control.records import Checkpoint, DeadLetter, Part, Progress, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.meters import Meters, kind_of
from dynaview.views.policy import Backoff, Repeats, policy
from dynaview.views.reasons import fault_reason, gap_reason, moment, shard_gap
from dynaview.views.spans import NoSpans, Spans
from dynaview.views.states import ViewState
from dynaview.views.streaming.dead_letter_limit import DeadLetterLimit
from dynaview.views.streaming.inbox import Inbox
from dynaview.views.streaming.offsets import Delivery
from dynaview.views.streaming.ownership import ShardOwner, SoleOwner
from dynaview.views.streaming.plan import PipelinePlan
from dynaview.views.streaming.preparation import prepare, see_that_it_stands
from dynaview.views.streaming.signals import ReaderSignals

log = logging.getLogger(__name__)

TOMBSTONES = 25 * 3600.0
"""Seconds for which a tombstone is kept at the least: longer than DynamoDB keeps stream records."""

BATCHES = 3
"""What is taken at once, so that a batch is projected while the one before is written, and fewer are left half full.
One alone is taken where little waits, and behind a batch that has left dead letters: not many more are to follow where
these are too many."""

T = TypeVar("T")


class Stopped(Exception):
    """The pipeline is to end: what it holds and has not committed will be read again."""


@dataclass(slots=True)
class PipelineSettings:
    """Limits of a pipeline."""

    buffer: int = 3000
    """Changes that may wait; a page that arrives below the limit is still taken whole."""
    batch: int = 1000
    """Rows that are written together at the most."""
    commit_every: float = 0.25
    """Seconds between commits of the checkpoints while changes flow."""
    beat: float = 1.0
    """Seconds between commits of the watermark while nothing flows."""
    look_every: float = 30.0
    """Seconds between two looks whether the store still has what was prepared in it."""
    letters: int = 1000
    """Dead letters within `letters_within` above which the pipeline stops (what is in hand may add some: three
    batches at the most)."""
    letters_within: float = 600.0
    """Seconds."""
    says_stopped: bool = True
    """Whether the view is said to be stopped when its last worker ends: not where others write it as well."""


class ViewMonitor(Protocol):
    """Hears of views that do not run (any more)."""

    def view_refused(self, record: ViewRecord, state: ViewState, reason: str) -> None:
        """A view may not begin as its record stands. Raises `ControlUnavailable`."""

    def view_failed(self, view: str, state: ViewState, reason: str) -> None:
        """A view takes nothing any more, and says so itself."""


@dataclass(frozen=True, slots=True)
class PipelineContext:
    """What the pipelines of one stream share."""

    control: ControlStore
    settings: PipelineSettings = field(default_factory=PipelineSettings)
    signals: ReaderSignals = field(default_factory=ReaderSignals)
    """Those of the readers of the stream."""
    owner: ShardOwner = field(default_factory=SoleOwner)
    """Which shards are this process's to read."""
    monitor: ViewMonitor | None = None
    meters: Meters = field(default_factory=Meters)
    spans: Spans = field(default_factory=NoSpans)


class ViewPipeline:
    """One view in motion. Readers know its `inbox`, and say what is lost; `run` is the pipeline's own thread."""

    def __init__(self, plan: PipelinePlan, context: PipelineContext) -> None:
        self.record = plan.record
        self.name = plan.record.name
        self.outputs = plan.outputs
        self.control = context.control
        self.settings = context.settings
        self.on_gap = plan.on_gap
        self._plan = plan
        self._doing = plan.doing
        self._signals = context.signals
        self._owner = context.owner
        self._monitor = context.monitor
        self._repeats = Repeats()
        self._spans = context.spans
        self._meter = context.meters.view(plan.record.name)
        self.stop = threading.Event()
        self.inbox = Inbox(
            plan.checkpoints,
            self.settings.buffer,
            self.stop,
            shared=self._owner.shared,
            passed=plan.record.watermark,
            begun=plan.begun,
        )
        self.prepared = threading.Event()
        """Set once the sink has what the view needs, or the pipeline has ended."""
        self.failed: tuple[ViewState, str] | None = None
        """State and reason where the pipeline takes nothing any more (a gap), or None."""
        self._failing = threading.Lock()
        self._limit = DeadLetterLimit(self.settings.letters, self.settings.letters_within)
        self._progress: dict[str, Part] = {}
        self._committed = 0.0
        self._said: tuple[ViewState, str] | None = None
        self._filling = not self.record.filled
        self.live = plan.live
        """See `PipelinePlan.live`."""
        self._counted = self.live or self.outputs[0]
        self._most = self.settings.batch
        for output in self.outputs:
            output.limit = self.settings.batch

    # Why it may end

    def lose(self, shard: str, what: str) -> None:
        """Stop, because of `what` happened to a shard: changes behind what the pipeline has of it are lost."""
        received, passed = self.inbox.received(shard), self.inbox.passed
        self.fail(ViewState.GAP, shard_gap(what, shard, received, passed, self.name, self.on_gap))

    def lose_stream(self, what: str) -> None:
        """Stop, because of `what` happened to the stream: changes behind the watermark are lost."""
        self.fail(
            ViewState.GAP, gap_reason(what, moment(self.inbox.passed), moment(time.time()), self.name, self.on_gap)
        )

    def fail(self, state: ViewState, reason: str) -> None:
        """Take nothing any more: `state` says what stands in the way (a gap, an error), `reason` what fixes it."""
        if self._end_taking(state, reason):
            log.error("view %s: %s: %s", self.name, state, reason)

    def hear(self, state: ViewState, reason: str) -> None:
        """Take nothing any more, as another worker has said (and logged)."""
        if self._end_taking(state, reason):
            log.info("view %s: %s, as another worker has said", self.name, state)

    def _end_taking(self, state: ViewState, reason: str) -> bool:
        with self._failing:
            if self.failed is not None:
                return False
            self.failed = (state, reason)
            self.inbox.close()
        if self._monitor is not None:
            self._monitor.view_failed(self.name, state, reason)
        return True

    def lettered(self, letters: Sequence[DeadLetter]) -> bool:
        """Hear of dead letters; True where they are too many and the pipeline takes nothing any more."""
        if self._limit.passed(len(letters)):
            self.fail(ViewState.OVERRUN, self._limit.reason(self.name, letters[-1].reason))
        return self._overrun()

    def fault(self, error: Exception) -> None:
        """Stop, because of an error that nobody expected."""
        reason = fault_reason(error)
        if self.stop.is_set():  # connections that are taken away may look like anything
            log.warning("view %s: while it ended: %s", self.name, reason)
        else:
            self.fail(ViewState.FAILED, reason)

    def _overrun(self) -> bool:
        return self.failed is not None and self.failed[0] is ViewState.OVERRUN

    def end(self) -> None:
        """Ask the pipeline to end after the batch in hand."""
        self.stop.set()
        self.inbox.wake()

    # The pipeline's own thread

    def run(self) -> None:
        """Follow until `end` is called."""
        try:
            self._follow()
        except Stopped:
            log.info("view %s: ended while its sink or the control store was away; nothing is lost", self.name)
        except Superseded:
            log.info("view %s: what it has to do has changed; its last batch is read again", self.name)
        except LeaseLost as lost:
            log.warning("view %s: this worker was taken for dead, and begins anew: %s", self.name, lost)
            self._owner.lose()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this view's alone (law 7)
            self.fault(error)
            self._stand_still()
        finally:
            self.inbox.end()
            for output in self.outputs:
                output.end()
            self.prepared.set()

    def _follow(self) -> None:
        self._retry(lambda: prepare(self._plan, self.control, self.record.filled or bool(self.inbox.checkpoints)))
        self.prepared.set()
        look = time.monotonic() + self.settings.look_every
        while not self.stop.is_set():
            deliveries = self.inbox.take(self._most, self.settings.beat if self._committed else 0.05)
            if time.monotonic() >= look:
                self._retry(lambda: see_that_it_stands(self._plan))
                look = time.monotonic() + self.settings.look_every
            self._healthy()
            if not self._overrun():  # else they are read again at the next start
                self._trace(deliveries)
            if deliveries:
                self._signals.made_room()
            self._commit_when_due(bool(deliveries))
        self._commit()
        if self.failed is None and self._owner.alone and self.settings.says_stopped:
            self._say(ViewState.STOPPED)

    def _stand_still(self) -> None:
        """After a fault: hold nothing, commit nothing, let status show why."""
        self.inbox.clear()
        if self.failed is not None:
            with contextlib.suppress(Stopped, LeaseLost):
                self._say(*self.failed)

    def _trace(self, deliveries: Sequence[Delivery]) -> None:
        changes = sum(len(each.changes) for each in deliveries)
        if not changes:
            self._apply(deliveries)
            return
        with self._spans.batch(self.name, changes, [each.page for each in deliveries]):
            self._apply(deliveries)

    def _apply(self, deliveries: Sequence[Delivery]) -> None:
        batch, lettered = self.settings.batch, False
        for output in self.outputs:
            letters = output.take(deliveries, self._send, self._find, self._send_columns, ahead=True)
            if output is self._counted:  # what another generation cannot take is no reason to stop this one
                self.lettered(letters)
            lettered = lettered or bool(letters)
        full = sum(len(each.changes) for each in deliveries) >= batch
        self._most = BATCHES * batch if full and not lettered else batch
        for output in self.outputs:
            for shard, tally in output.drain().items():
                part = self._part(shard)
                if output is self._counted:
                    part.counts.add(tally.counts)
                    part.letters += tally.letters
                else:
                    part.letters += [dataclasses.replace(letter, counted=False) for letter in tally.letters]
        for delivery in deliveries:
            part = self._part(delivery.shard)
            before = part.checkpoint or self.inbox.position(delivery.shard)
            when = delivery.changes[-1].body.time if delivery.changes else before.time
            part.checkpoint = Checkpoint(delivery.last if delivery.last >= 0 else None, when, delivery.end)

    def _part(self, shard: str) -> Part:
        return self._progress.setdefault(shard, Part())

    def _send(self, target: Target, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = self._retry(lambda: self._timed(len(writes), lambda: target.write(writes)))
        self._healthy()
        return outcomes

    def _send_columns(self, target: Target, columns: Columns) -> dict[int, Outcome]:
        met = self._retry(lambda: self._timed(len(columns), lambda: target.write_columns(columns)))
        self._healthy()
        return met

    def _timed(self, rows: int, write: Callable[[], T]) -> T:
        begun = time.perf_counter()
        with self._spans.write(self.record.sink, rows):
            answer = write()
        self._meter.observe("write_seconds", time.perf_counter() - begun)
        self._meter.observe("batch_rows", rows)
        return answer

    def _find(self, target: Target, owners: Collection[str]) -> list[Stored]:
        return self._retry(lambda: list(target.rows_of(owners)))

    # Checkpoints

    def _commit_when_due(self, busy: bool) -> None:
        caught_up = not self.inbox.waiting
        due = time.monotonic() - self._committed >= (self.settings.commit_every if busy else self.settings.beat)
        if due or (caught_up and (busy or self._progress or self.inbox.has_news)):
            self._commit()

    def _commit(self) -> None:
        """Everything handed to `_apply` so far is durable now: say so, in one transaction."""
        parts, self._progress = self._progress, {}
        moved = {shard: part.checkpoint for shard, part in parts.items() if part.checkpoint is not None}
        with self.inbox.committing(moved, tell=not self._owner.alone) as news:
            progress = Progress(parts, news.forgotten, news.known, tips=news.tips, revision=self.record.revision)
            if parts or news.tips:
                progress.fence = self._owner.fence(self.name, [*parts, *news.tips])
            if news.closed and self.failed is not None:  # first: no checkpoint behind a gap may be found without it
                self._say(*self.failed)
            self._retry(self._once(progress, moved, news.watermark))
        if progress.parts:
            read = sum(part.counts.read for part in progress.parts.values())
            log.debug("view %s: %d changes are durable, its checkpoints moved", self.name, read)
        letters = [letter for part in progress.parts.values() for letter in part.letters]
        for letter in letters:
            self._meter.add("rejected", letter.kind)
        if letters:
            log.warning(
                "view %s: %d dead letters, the first: %s; see dynaview dead-letters list",
                self.name,
                len(letters),
                letters[0].reason,
            )
        self._committed = time.monotonic()

    def _once(self, progress: Progress, moved: Mapping[str, Checkpoint], watermark: float | None) -> Callable[[], None]:
        """A commit that can be tried again: one whose answer was lost may have gone through, counts and all."""
        tried = False

        def commit() -> None:
            nonlocal tried
            if tried and moved:
                kept = self.control.checkpoints(self.name)
                if all(
                    (at := kept.get(shard)) is not None
                    and (at.sequence, at.finished) == (checkpoint.sequence, checkpoint.finished)
                    for shard, checkpoint in moved.items()
                ):
                    return
            tried = True
            self.control.commit(self.name, progress, watermark)

        return commit

    def purgeable(self, now: float) -> float | None:
        """The age in seconds above which a tombstone may go; None where none may.

        Older than any record the stream still holds, and than what the view has not read yet: a change that is older
        than such a delete has been applied. Not beside a fill, whose scanned items only tombstones keep out.
        """
        passed = self.inbox.passed
        if self._filling or self.failed is not None or passed is None:
            return None
        return max(TOMBSTONES, now - passed + 3600)

    # States and retries

    def filled(self) -> None:
        """Hear that the first fill is complete."""
        self._filling = False

    def _healthy(self) -> None:
        if self.failed is not None:
            self._say(*self.failed)
        elif (trouble := self._signals.trouble) is not None:
            self._say(ViewState.WAITING, trouble)
        else:
            self._say(*((ViewState.FILLING, "") if self._filling else self._doing))

    def resay(self) -> None:
        """Say the state once more: somebody else has said another one."""
        self._said = None

    def _say(self, state: ViewState, reason: str = "") -> None:
        if (state, reason) == self._said:
            return
        self._said = (state, reason)
        fence = self._owner.fence(self.name, ())
        self._retry(lambda: self.control.states.report(self.name, state, reason, self.record.revision, fence))

    def _say_if_possible(self, state: ViewState, reason: str) -> None:
        """Say what is wrong with the control store, where it takes that much: a full disk may."""
        with contextlib.suppress(ControlUnavailable):
            self.control.states.set(self.name, state, reason)
            self._said = (state, reason)

    def _retry(self, act: Callable[[], T]) -> T:
        """Do it, however long the sink or the control store is away."""
        backoff = Backoff()
        while True:
            try:
                return act()
            except (SinkError, ControlUnavailable) as error:
                self._meter.add("retries", kind_of(error))
                news = backoff.meet(error)
                if (line := self._repeats.line("", error, news)) is not None:
                    log.warning("view %s: %s", self.name, line)
                if news and isinstance(error, ControlUnavailable):
                    self._say_if_possible(ViewState.WAITING, str(error))
                if isinstance(error, SinkError):
                    self._say(policy(error).state or ViewState.RETRYING, str(error))
            if backoff.wait(self.stop):
                raise Stopped
