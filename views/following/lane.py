"""A lane: one view's own way from changes to its sink, at its own pace.

Readers offer what they read (`Lane.offer`), never waiting; the lane takes it when it is the very next part of that
shard for this view and there is room. Its own thread projects, coalesces, writes under the guard and moves the
view's checkpoints. A lane whose sink is slow or down simply stops taking: whoever reads goes on for the others,
and brings this one what it missed when it has room again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

from dynaview.projections.rows import Write
from dynaview.sinks.port import Outcome, SinkError, SinkRefused, Target
from dynaview.views.control.store import (
    Checkpoint,
    ControlStore,
    ControlUnavailable,
    DeadLetter,
    LeaseLost,
    Part,
    Progress,
    Superseded,
    ViewRecord,
)
from dynaview.views.faults import FAILED, fault_reason
from dynaview.views.following.limit import OVERRUN, LetterLimit
from dynaview.views.following.output import Output
from dynaview.views.following.positions import START, Delivery, Positions, ShardPosition
from dynaview.views.gaps import GAP, OnGap, gap_reason, moment, shard_gap
from dynaview.views.policy import Backoff, anew, policy
from dynaview.views.workers.crew import Holder

log = logging.getLogger(__name__)

TOMBSTONES = 25 * 3600.0
"""Seconds for which a tombstone is kept at the least: longer than DynamoDB keeps stream records."""

ENDS = (GAP, OVERRUN, FAILED)
"""States in which no lane of a view takes anything any more, in any worker."""

T = TypeVar("T")


class Stopped(Exception):
    """The lane is to end: what it holds and has not committed will be read again."""


@dataclass(slots=True)
class LaneSettings:
    """Limits of a lane."""

    buffer: int = 3000
    """Changes that may wait; a page that arrives below the limit is still taken whole."""
    batch: int = 1000
    """Rows that are written together at the most."""
    commit_every: float = 0.25
    """Seconds between commits of the checkpoints while changes flow."""
    beat: float = 1.0
    """Seconds between commits of the watermark while nothing flows."""
    letters: int = 1000
    """Dead letters within `letters_within` above which the lane stops (the batch in hand may add some)."""
    letters_within: float = 600.0
    """Seconds."""


@dataclass
class Lane:
    """One view in motion. Readers call `track`, `offer`, `tip`, `fail`; `run` is the lane's own thread."""

    record: ViewRecord
    outputs: Sequence[Output]
    """The generations to write, in this order: what comes first never shows less than what comes after it."""
    control: ControlStore
    checkpoints: dict[str, Checkpoint]
    settings: LaneSettings = field(default_factory=LaneSettings)
    on_room: Callable[[], None] = lambda: None
    """Called whenever the lane has taken from its buffer."""
    on_gap: OnGap = "stop"
    """What the declaration asks for when changes are lost."""
    on_fail: Callable[[str, str], None] = lambda state, reason: None
    """Called once, with state and reason, when the lane takes nothing any more."""
    gone: Callable[[], str | None] = lambda: None
    """What the sink has lost of the view, if anything (`Sink.gone`)."""
    published: Callable[[], int | None] = lambda: None
    """The generation that readers see already, where the view has several (`Sink.published`)."""
    doing: tuple[str, str] = ("following", "")
    """State and reason while all is well and the first fill is complete."""
    highest: Callable[[], int] = lambda: 0
    """The highest generation of the view in its store (`Sink.highest`)."""
    trouble: Callable[[], str | None] = lambda: None
    """What stands between the readers and the stream now, if anything."""
    holder: Holder | None = None
    """Who says which shards are this process's, where workers share a stream; None: all are."""

    missing: Callable[[str, str | None], bool] = lambda shard, child: True
    """Whether a shard that is not listed any more (but a child of it, where one is named) is really unfinished in the
    view: another worker may have finished it meanwhile."""

    def __post_init__(self) -> None:
        self.name = self.record.name
        self.stop = threading.Event()
        self.prepared = threading.Event()
        """Set once the sink has what the view needs, or the lane has ended."""
        self.failed: tuple[str, str] | None = None
        """State and reason where the lane takes nothing any more (a gap), or None."""
        self._lock = threading.Condition()
        self._shards = Positions()
        self._buffer: deque[Delivery] = deque()
        self._buffered = 0
        self._limit = LetterLimit(self.settings.letters, self.settings.letters_within)
        self._progress: dict[str, Part] = {}
        self._forgotten: list[str] = []
        self._known: list[str] = []
        self._tips: dict[str, float] = {}
        """Those that were said last."""
        self._unsaved: set[str] = set()
        """Shards of which something was taken from the buffer and is not committed yet."""
        self._ended = False
        self._begun = time.time()
        self._committed = 0.0
        self._said = ("", "")
        self._watermark = self.record.watermark
        self._filling = not self.record.filled
        self.live = next((each for each in self.outputs if each.generation == self.record.generation), None)
        """The output that readers see; None where it cannot be written any more."""
        self._counted = self.live or self.outputs[0]
        for output in self.outputs:
            output.limit = self.settings.batch

    # What readers call

    def tracking(self) -> AbstractContextManager[bool]:
        """Keep still while a listing is tracked: half of it would make a watermark that the other half belies."""
        return self._lock

    def track(self, shard: str, parent: str | None) -> None:
        """Learn of a shard. `parent` is None where it has none, or has one that no longer exists."""
        with self._lock:
            if shard in self._shards:
                return
            known = self.checkpoints.get(shard)
            at = self._shards[shard] = ShardPosition(parent, mine=self.holder is None)
            if known is not None:
                at.go_to(known)
            elif self.failed is None:  # what comes after a gap must not look as if it had been followed
                self._known.append(shard)

    def position(self, shard: str) -> ShardPosition:
        """How far the lane is in a shard; one that it has forgotten it has finished."""
        return self._shards.get(shard) or ShardPosition(None, ended=True, finished=True)

    def wants(self, shard: str) -> bool:
        """Whether the lane could take more of the shard now: its parents are done, it has room and has not failed."""
        with self._lock:
            at = self._shards.get(shard)
            return at is not None and at.mine and not at.ended and self._open() and self._shards.ready(at)

    def _open(self) -> bool:
        return self.failed is None and self._buffered < self.settings.buffer and not self.stop.is_set()

    def offer(self, delivery: Delivery) -> bool:
        """Take a delivery, or what of it is new to the lane; False where something before it is missing, or where
        there is no room. Never waits."""
        with self._lock:
            at = self._shards.get(delivery.shard)
            if at is None or at.ended or not at.mine:
                return True
            if delivery.start > at.handed or not self._shards.ready(at) or not self._open():
                return False
            part = delivery.behind(at.handed)
            if not (part.changes or part.broken or part.end or part.last > at.handed):
                return True
            at.handed, at.ended = part.last, part.end
            self._buffer.append(part)
            self._buffered += len(part.changes) + len(part.broken)
            self._lock.notify()
            return True

    # Shards that change hands between workers

    def readable(self) -> dict[str, str | None]:
        """The shards that this view could be brought on in now, by whichever worker, with their parents."""
        with self._lock:
            if self.failed is not None:
                return {}
            return {s: at.parent for s, at in self._shards.items() if not at.finished and self._shards.ready(at)}

    def foreign(self) -> list[str]:
        """Unfinished shards that are not this process's."""
        with self._lock:
            return [] if self.failed else [s for s, at in self._shards.items() if not (at.mine or at.finished)]

    def adopt(self, shard: str, checkpoint: Checkpoint | None) -> None:
        """The shard is this process's from now on; `checkpoint` was read after that was so."""
        with self._lock:
            if (at := self._shards.get(shard)) is not None and not at.mine:
                at.go_to(checkpoint)
                at.mine = True

    def hear(self, shard: str, checkpoint: Checkpoint | None) -> bool:
        """Take in how far another worker has brought the shard; whether it is finished now and was not before."""
        with self._lock:
            at = self._shards.get(shard)
            if at is None or at.mine or at.finished or shard in self._unsaved:
                return False
            at.go_to(checkpoint)
            return at.finished

    def let_go(self, shard: str) -> bool:
        """Take nothing more of a shard, and drop what waits of it. Not (False) while its end was taken and is not
        durable: children of it may have been taken too, and would be ahead of it in another worker."""
        with self._lock:
            at = self._shards.get(shard)
            if at is None or not at.mine:
                return True
            if at.ended and not at.finished and not self._ended:
                return False
            at.mine = False
            kept = [delivery for delivery in self._buffer if delivery.shard != shard]
            self._buffer = deque(kept)
            self._buffered = sum(len(delivery.changes) + len(delivery.broken) for delivery in kept)
            return True

    def settled(self, shard: str) -> bool:
        """Whether nothing of a shard that was let go waits for a commit; it stands at its checkpoint then."""
        with self._lock:
            if shard in self._unsaved and not self._ended:
                return False
            if (at := self._shards.get(shard)) is not None and not at.mine:
                at.handed, at.ended = at.applied, at.finished
            return True

    def finished_shards(self) -> set[str]:
        """The shards whose end is durable in the view, those of earlier runs included."""
        with self._lock:
            now = {shard for shard, at in self._shards.items() if at.finished}
        return now | {shard for shard, checkpoint in self.checkpoints.items() if checkpoint.finished}

    def forget(self, shards: Sequence[str]) -> None:
        """Drop the checkpoints of finished shards that no longer exist, when the lane commits next."""
        if shards:
            with self._lock:
                self._forgotten += shards
                for shard in shards:
                    self.checkpoints.pop(shard, None)
                    self._shards.pop(shard, None)

    def tip(self, shard: str, position: int, at: float) -> None:
        """Hear that at that time (seconds since 1970) the shard held nothing behind `position`."""
        with self._lock:
            if self.failed is None and (here := self._shards.get(shard)) is not None and here.mine:
                here.tip = (position, at)

    def unread_since(self, shard: str) -> float | None:
        """For a shard of which the lane has nothing: the time (seconds since 1970) up to which nothing of it is
        missing. None where the lane has something of it, or takes nothing any more.

        Records of a shard are younger than those of its parents; what a new lane does not find is in its scan.
        """
        with self._lock:
            at = self._shards.get(shard)
            if at is None or not at.mine or at.ended or at.handed != START or self.failed is not None:
                return None
            parent = self._shards.parent(at)
            tips = [
                each.tip[1] for each in (at, parent) if each is not None and each.tip and each.handed >= each.tip[0]
            ]
            marks = [mark for mark in (self._watermark, self._shards.inherited(at), *tips) if mark is not None]
            return max(marks, default=self._begun)

    def drained(self, shards: Iterable[str], since: float) -> bool:
        """Whether all that these shards held at a time (seconds since 1970) is durable in the view."""
        with self._lock:
            for shard in shards:
                at = self._shards.get(shard)
                if at is None or not (at.finished or (at.by_tip() or 0.0) >= since):
                    return False
            return not self._buffer

    def lose(self, shard: str, what: str) -> None:
        """Stop, because of `what` happened to a shard: changes behind what the lane has of it are lost."""
        with self._lock:
            at = self._shards.get(shard)
            known = self.checkpoints.get(shard)
            handed = START if known is None or known.sequence is None else known.sequence
            reason = shard_gap(
                what, shard, handed if at is None else at.handed, self._watermark, self.name, self.on_gap
            )
        self.fail(GAP, reason)

    def lose_stream(self, what: str) -> None:
        """Stop, because of `what` happened to the stream: changes behind the watermark are lost."""
        self.fail(GAP, gap_reason(what, moment(self.passed), moment(time.time()), self.name, self.on_gap))

    @property
    def passed(self) -> float | None:
        """The watermark that was last said, by an earlier run perhaps."""
        return self._watermark

    def fail(self, state: str, reason: str) -> None:
        """Take nothing any more: `state` says what stands in the way (a gap, an error), `reason` what mends it."""
        with self._lock:
            if self.failed is not None:
                return
            self.failed = (state, reason)
            self._lock.notify()
        log.error("view %s: %s: %s", self.name, state, reason)
        self.on_fail(state, reason)

    def lettered(self, letters: Sequence[DeadLetter]) -> bool:
        """Hear of dead letters; True where they are too many and the lane takes nothing any more."""
        if self._limit.passed(len(letters)):
            self.fail(OVERRUN, self._limit.reason(self.name, letters[-1].reason))
        return self._overrun()

    def fault(self, error: Exception) -> None:
        """Stop, because of an error that nobody expected."""
        reason = fault_reason(error)
        if self.stop.is_set():  # connections that are taken away may look like anything
            log.warning("view %s: while it ended: %s", self.name, reason)
        else:
            self.fail(FAILED, reason)

    def _overrun(self) -> bool:
        return self.failed is not None and self.failed[0] == OVERRUN

    def end(self) -> None:
        """Ask the lane to end after the batch in hand."""
        self.stop.set()
        with self._lock:
            self._lock.notify_all()

    # The lane's own thread

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
            if self.holder is not None:
                self.holder.lose()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this view's alone (law 7)
            self.fault(error)
            self._stand_still()
        finally:
            self._ended = True
            self.prepared.set()

    def _follow(self) -> None:
        self._retry(self._prepare)
        self.prepared.set()
        while not self.stop.is_set():
            deliveries = self._take()
            self._healthy()
            if not self._overrun():  # else they are read again at the next start
                self._apply(deliveries)
            if deliveries:
                self.on_room()
            self._commit_when_due(bool(deliveries))
        self._commit()
        if self.failed is None and (self.holder is None or self.holder.alone):
            self._say("stopped")

    def _stand_still(self) -> None:
        """After a fault: hold nothing, commit nothing, let status show why."""
        with self._lock:
            self._buffer.clear()
        if self.failed is not None:
            with contextlib.suppress(Stopped, LeaseLost):
                self._say(*self.failed)

    def _prepare(self) -> None:
        # What was written before is lost with it: to make it anew would let an empty view look complete (law 4).
        begun = self.record.filled or bool(self.checkpoints)
        if begun and (gone := self.gone()) is not None:
            raise SinkRefused(f"{gone}, and the rows of the view with it: bring it back, or {anew(self.name)}")
        for output in self.outputs:
            if not output.claimed:
                self._claim(output)
            output.target.prepare(output.bulk)
        # One may have been swapped in without a record of it: readers must not be sent back, to rows that lag behind.
        if self.live is not None and self.published() is None:
            self.live.target.publish()

    def _claim(self, output: Output) -> None:
        """Begin a generation that this control store has never made: nothing of the view may stand in the store. Rows
        of another control store's would be taken for newer, or for complete, whatever the table says."""
        if not self.control.is_claimed(self.name, output.generation):
            found = self.highest()
            if found and not self.control.is_claimed(self.name, output.generation):  # by another worker meanwhile
                raise SinkRefused(
                    f"its store holds generation {found} of it, which this control store did not make: if another "
                    f"dynaview keeps this view, give it another name and other keys, index or table; if its control "
                    f"store was lost, {anew(self.name)}"
                )
            self.control.claim(self.name, output.generation)
        output.claimed = True

    def _take(self) -> list[Delivery]:
        with self._lock:
            if not self._buffer and not self.stop.is_set():
                self._lock.wait(self.settings.beat if self._committed else 0.05)
            taken: list[Delivery] = []
            changes = 0
            while self._buffer and changes < self.settings.batch:
                delivery = self._buffer.popleft()
                changes += len(delivery.changes) + len(delivery.broken)
                taken.append(delivery)
                self._unsaved.add(delivery.shard)
            self._buffered -= changes
            return taken

    def _apply(self, deliveries: Sequence[Delivery]) -> None:
        for output in self.outputs:
            letters = output.take(deliveries, self._send)
            if output is self._counted:  # what another generation cannot take is no reason to stop this one
                self.lettered(letters)
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
            before = part.checkpoint or self._shards[delivery.shard]
            when = delivery.changes[-1].body.time if delivery.changes else before.time
            part.checkpoint = Checkpoint(delivery.last if delivery.last >= 0 else None, when, delivery.end)

    def _part(self, shard: str) -> Part:
        with self._lock:
            return self._progress.setdefault(shard, Part())

    def _send(self, target: Target, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = self._retry(lambda: target.write(writes))
        self._healthy()
        return outcomes

    # Checkpoints

    def _commit_when_due(self, busy: bool) -> None:
        with self._lock:
            caught_up = not self._buffer
        due = time.monotonic() - self._committed >= (self.settings.commit_every if busy else self.settings.beat)
        if due or (caught_up and (busy or self._progress or self._known)):
            self._commit()

    def _commit(self) -> None:
        """Everything handed to `_apply` so far is durable now: say so, in one transaction."""
        with self._lock:
            progress = Progress(dict(self._progress), list(self._forgotten), list(self._known))
            self._progress.clear()
            self._forgotten.clear()
            self._known.clear()
            for shard, part in progress.parts.items():
                if (checkpoint := part.checkpoint) is None:
                    continue
                at = self._shards[shard]
                at.applied = START if checkpoint.sequence is None else checkpoint.sequence
                at.time, at.finished = checkpoint.time, checkpoint.finished
            watermark = self.watermark() if self.failed is None else None
            failed = self.failed
            if self.holder is not None:
                progress.step = self.record.step
                progress.tips = {} if self.holder.alone or failed is not None else self._new_tips()
                self._unsaved.update(progress.tips)
                if progress.parts or progress.tips:
                    progress.fence = self.holder.fence([*progress.parts, *progress.tips])
            self._watermark = self._watermark if watermark is None else watermark
        if failed is not None:  # first: no checkpoint behind a gap may be found without it
            self._say(*failed)
        self._retry(self._once(progress, watermark))
        with self._lock:
            self._unsaved.clear()
        letters = [letter for part in progress.parts.values() for letter in part.letters]
        if letters:
            log.warning(
                "view %s: %d dead letters, the first: %s; see dynaview dead-letters list",
                self.name,
                len(letters),
                letters[0].reason,
            )
        self._committed = time.monotonic()

    def _new_tips(self) -> dict[str, float]:
        """What other workers do not know yet of this one's shards at their ends."""
        tips = {s: tip for s, at in self._shards.items() if at.mine and (tip := at.by_tip()) is not None}
        new = {shard: tip for shard, tip in tips.items() if self._tips.get(shard) != tip}
        self._tips = tips
        return new

    def _once(self, progress: Progress, watermark: float | None) -> Callable[[], None]:
        """A commit that can be tried again: one whose answer was lost may have gone through, counts and all."""
        tried = False

        def commit() -> None:
            nonlocal tried
            moved = {shard: part.checkpoint for shard, part in progress.parts.items() if part.checkpoint is not None}
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

    def watermark(self) -> float | None:
        """The time up to which, inclusive, every change in the stream is in the view; None: not known now.

        See `Positions.lowest` for why. What was said before stays true, so it is never lowered.

        A first fill is something else: until it is complete, items from before the stream may be missing.
        """
        with self._lock:
            lowest, _ = self._shards.lowest()
            if lowest is not None and self._watermark is not None and lowest < self._watermark:
                return None  # records alone prove less than the tip that was seen before a restart
            return lowest

    def purgeable(self, now: float) -> float | None:
        """The age in seconds above which a tombstone may go; None where none may.

        Older than any record the stream still holds, and than what the view has not read yet: a change that is older
        than such a delete has been applied. Not beside a fill, whose scanned items only tombstones keep out.
        """
        with self._lock:
            if self._filling or self.failed is not None or self._watermark is None:
                return None
            return max(TOMBSTONES, now - self._watermark + 3600)

    # States and retries

    def filled(self) -> None:
        """Hear that the first fill is complete."""
        self._filling = False

    def _healthy(self) -> None:
        if self.failed is not None:
            self._say(*self.failed)
        elif (trouble := self.trouble()) is not None:
            self._say("waiting", trouble)
        else:
            self._say(*(("filling", "") if self._filling else self.doing))

    def resay(self) -> None:
        """Say the state once more: somebody else has said another one."""
        self._said = ("", "")

    def _say(self, state: str, reason: str = "") -> None:
        if (state, reason) == self._said:
            return
        self._said = (state, reason)
        if self.holder is None:
            self._retry(lambda: self.control.set_state(self.name, state, reason))
        elif state in ENDS:
            fence = self.holder.fence(())
            self._retry(lambda: self.control.set_state(self.name, state, reason, fence=fence))
        else:  # what one worker says of the view's end holds for all
            step = self.record.step
            self._retry(lambda: self.control.set_state(self.name, state, reason, keep=ENDS, step=step))

    def _say_if_possible(self, state: str, reason: str) -> None:
        """Say what is wrong with the control store, where it takes that much: a full disk may."""
        with contextlib.suppress(ControlUnavailable):
            self.control.set_state(self.name, state, reason)
            self._said = (state, reason)

    def _retry(self, act: Callable[[], T]) -> T:
        """Do it, however long the sink or the control store is away."""
        backoff = Backoff()
        while True:
            try:
                return act()
            except (SinkError, ControlUnavailable) as error:
                if backoff.meet(error):
                    log.warning("view %s: %s", self.name, error)
                    if isinstance(error, ControlUnavailable):
                        self._say_if_possible(policy(error).state, str(error))
                if isinstance(error, SinkError):
                    self._say(policy(error).state, str(error))
            if backoff.wait(self.stop):
                raise Stopped
