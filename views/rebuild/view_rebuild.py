"""One view of a rebuild, from the request to the swap: each phase is recorded first, and may be done twice."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from dynaview.projections.attributes import Image
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import ViewDeclaration
from dynaview.sinks.port import SinkError, SinkRefused, Target
from dynaview.sources.port import ScanPage
from dynaview.views.control.records import GIVEN_UP, Generation, Phase, Rebuild, ViewRecord
from dynaview.views.declarations.codec import decode, encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.policy import Backoff
from dynaview.views.reasons import gap_reason, moment
from dynaview.views.rebuild.checks import Checks
from dynaview.views.rebuild.context import (
    Cancelled,
    Interrupted,
    RebuildContext,
    RebuildFailed,
    collide,
    describe,
    in_place,
)
from dynaview.views.rebuild.in_place import InPlace
from dynaview.views.rebuild.side_by_side import FillStrategy, PageResult, SideBySide
from dynaview.views.states import ViewState
from dynaview.views.streaming.dead_letter_limit import DeadLetterLimit
from dynaview.views.streaming.generation_writer import GenerationWriter

log = logging.getLogger(__name__)

T = TypeVar("T")

GLANCE = 0.2
"""Seconds between two looks whether the rebuild is to go on."""

REFUSED_FOR = 30.0
"""Seconds for which a store may refuse what a rebuild asks (rights that are being changed) before the rebuild fails."""

SPARE = 1.1
"""Free room that another generation needs, as a multiple of what the live one takes."""

BESIDE: tuple[Phase, ...] = ("finishing", "waiting", "checking", "swapping")
IN_PLACE: tuple[Phase, ...] = ("waiting", "checking", "sweeping", "swapping")
ROLLBACK: tuple[Phase, ...] = ("waiting", "swapping")


class ViewRebuild:
    """The rebuild of one view, as the process that advances it sees it."""

    def __init__(
        self, site: RebuildContext, rebuild: Rebuild, admit: Callable[[ViewRebuild, bool], int] | None = None
    ) -> None:
        """`admit` looks at what is read instead of the table before anything is begun (it raises `RebuildFailed`), and
        answers how many items that has. It is told whether rows are to be replaced in place."""
        self._admit = admit
        self.site = site
        self.rebuild = rebuild
        self.view = rebuild.view
        self.declared: ViewDeclaration = site.views[rebuild.view]
        limits = self.declared.dead_letters
        self._limit = DeadLetterLimit(limits.limit, limits.within)
        self._lock = threading.Lock()
        self._looked = 0.0
        self._prepared: Target | None = None
        """A generation that was made in its store and is not begun yet."""

    # What everything below waits with

    def check(self) -> None:
        """Raises `Cancelled`, `RebuildFailed` or `Interrupted` where the rebuild is not to go on. Cheap enough to ask
        often."""
        self.site.check()
        with self._lock:
            if time.monotonic() - self._looked < GLANCE:
                return
            self._looked = time.monotonic()
        now = self.site.insist(lambda: self.site.store.get(self.view), describe(self.rebuild))
        if now is None or now.job != self.rebuild.job:
            raise RebuildFailed("the view was dropped meanwhile")
        if now.answer == "cancel":
            raise Cancelled
        if self.rebuild.phase == "requested":
            return
        record = self.site.insist(lambda: self.site.record(self.view), describe(self.rebuild))
        if record.state is ViewState.REFUSED and time.time() - record.since < self._may_refuse():
            return
        if record.state.lasts and record.state is not ViewState.CHANGED:
            raise RebuildFailed(
                f"the view stopped meanwhile ({record.state}: {record.reason}); when that is mended, "
                f"dynaview rebuild {self.view} begins again"
            )

    def insist(self, act: Callable[[], T]) -> T:
        """Do it, however long a store is away. Raises `RebuildFailed` where it refuses for long."""
        refused: list[float] = []

        def attempt() -> T:
            try:
                return act()
            except SinkRefused as error:
                refused.append(time.monotonic())
                if refused[-1] - refused[0] >= self._may_refuse():
                    raise RebuildFailed(str(error)) from None
                raise

        return self.site.insist(attempt, describe(self.rebuild), self.check)

    def _may_refuse(self) -> float:
        """Nothing is lost where a rebuild that has not scanned anything yet fails at once."""
        return 0.0 if self.rebuild.phase in ("requested", "starting") else REFUSED_FOR

    def update(self, **values: Any) -> None:
        """Record what changed."""
        with self._lock:
            self.rebuild = self.insist_once(lambda: self.site.store.update(self.rebuild, **values))

    def _add(self, **numbers: float) -> None:
        with self._lock:
            values = {name: getattr(self.rebuild, name) + number for name, number in numbers.items()}
            self.rebuild = self.insist_once(lambda: self.site.store.update(self.rebuild, **values))

    def insist_once(self, act: Callable[[], T]) -> T:
        """Do it, however long the control store is away, whatever was answered meanwhile."""
        return self.site.insist(act, describe(self.rebuild))

    def enter(self, phase: Phase) -> None:
        """Begin a phase."""
        log.info("%s: %s", describe(self.rebuild), phase)
        self.update(phase=phase, reason="")

    def hold(self, at: float) -> None:
        """Wait until the view's watermark has passed a time (seconds since 1970)."""
        self.insist(lambda: self.site.control.set_awaited(self.view, at))
        while True:
            self.check()
            watermark = self.insist(lambda: self.site.record(self.view)).watermark
            if watermark is not None and watermark > at:
                return
            self.site.pause()

    def confirm(self, question: str) -> None:
        """Ask an operator, and wait for yes."""
        if self.rebuild.options.yes:
            log.warning("%s: %s; told to go on", describe(self.rebuild), question)
            return
        backoff = Backoff(first=0.1, cap=1.0)
        log.warning("%s asks: %s; dynaview rebuild %s --yes (or --cancel)", describe(self.rebuild), question, self.view)
        self.insist(lambda: self.site.store.ask(self.rebuild, question))
        while True:
            self.check()
            now = self.insist(lambda: self.site.store.get(self.view))
            if now is not None and now.answer == "yes":
                self.insist_once(lambda: self.site.store.settle(self.rebuild))
                return
            self.site.pause(backoff.next())

    # Beginning

    def resume(self) -> None:
        """Go on where a process ended. Raises `RebuildFailed` where what was begun is not what is asked for any
        more."""
        if self.rebuild.kind == "rollback" or not self.rebuild.generation:
            return
        begun = self.insist_once(lambda: self.site.generations(self.view)).get(self.rebuild.generation)
        if begun is None:
            raise RebuildFailed(f"generation {self.rebuild.generation} is not known any more")
        if begun.fingerprint != fingerprint(self.declared, self.site.source.table):
            raise RebuildFailed(f"the declaration was changed meanwhile; dynaview rebuild {self.view} begins with it")

    def begin(self) -> None:
        """Let the view's pipelines write the next generation."""
        self.check()
        record = self.insist(lambda: self.site.record(self.view))
        live, before = self.insist(lambda: self.site.live(self.view))
        description = self.site.opening.description
        if self.insist(self.site.table.describe).stream_arn != description.stream_arn:
            raise Interrupted  # the pipelines still follow another stream
        try:
            self.rebuild.options.capacity.rate(description)
        except ValueError as error:
            raise RebuildFailed(str(error)) from error
        if problems := compile_view(self.declared).problems(description.key, description.view_type or "NEW_IMAGE"):
            raise RebuildFailed("; ".join(str(problem) for problem in problems))
        place = in_place(self.site.sinks, before, self.declared)
        if not place and before is not None and collide(self.site.sinks, before, self.declared):
            raise RebuildFailed(
                f"rows of another type stand under these keys: declare another key, or dynaview drop {self.view}, and "
                "dynaview run fills it anew"
            )
        if not place and before is not None and not self._is_gone(before, live):
            self._check_room(before, live.generation)
        items = description.items if self._admit is None else self._admit(self, place)
        fresh = record.state is ViewState.GAP or record.stream_arn != description.stream_arn
        ended = record.state.healed_by_start or record.state is ViewState.REFUSED
        stopped = fresh or ended or before is None or self._is_gone(before, live)
        number = self.insist(self._next_number)
        if not place:
            self._prepare_next(number)
        self.rebuild = self.insist_once(
            lambda: self.site.store.begin(
                self.rebuild,
                fingerprint(self.declared, self.site.source.table),
                encode(self.declared),
                "in place" if place else "beside",
                number=number,
                alone=place or stopped,
                fresh=fresh,
                stream_arn=description.stream_arn,
                of_items=items,
            )
        )
        self._prepared = None

    def start(self) -> None:
        """Wait until every worker writes the next generation, then make ready for the scan."""
        self.insist(lambda: self.target.prepare(bulk=self.rebuild.kind == "beside"))
        self.update(written=self.site.wait_written(self.view, self.check))
        self._retire_others()

    def _next_number(self) -> int:
        """Above all that stands in the store, whoever made it: a control store may have been lost."""
        highest = self.site.sinks[self.declared.sink].highest(self.declared.layout)
        return self.site.store.next_number(self.view, highest)

    def _prepare_next(self, number: int) -> None:
        """Make the next generation in its store before any pipeline has to write there: where rights are missing, or
        its name is taken, nothing has begun."""
        self._prepared = target = self.site.target(self.declared, number)
        self.insist(lambda: target.prepare(bulk=True))

    def _is_gone(self, before: ViewDeclaration, live: Generation) -> bool:
        """Whether what readers see was removed by hand: nothing can be written there any more."""
        sink = self.site.sinks.get(before.sink)
        return sink is None or self.insist(lambda: sink.gone(before.layout, live.generation)) is not None

    def _check_room(self, before: ViewDeclaration, generation: int) -> None:
        sink = self.site.sinks.get(self.declared.sink)
        if sink is None or before.sink != self.declared.sink:
            return
        room = self.insist(lambda: sink.room(before.layout, generation))
        if room is not None and room.used * SPARE > room.free:
            self.confirm(
                f"the generation that readers see takes {room.used / 1e6:,.0f} MB, and only {room.free / 1e6:,.0f} MB "
                f"are free in {sink.name} for the next one beside it"
            )

    def _retire_others(self) -> None:
        """Drop generations that are neither the live one nor this one: nothing writes them any more."""
        record = self.insist(lambda: self.site.record(self.view))
        for generation in self.insist(lambda: self.site.generations(self.view)).values():
            if generation.generation not in (record.generation, self.rebuild.generation):
                retire(self.site, self.view, generation.generation, self.insist)

    @property
    def target(self) -> Target:
        """The generation that is filled."""
        return self.site.target(self.declared, self.rebuild.generation)

    # Scanning

    def output(self) -> GenerationWriter:
        """What writes the generation."""
        generation = self.insist(lambda: self.site.generations(self.view))[self.rebuild.generation]
        count = self.insist(lambda: self.site.record(self.view)).stream_count
        return self.site.opening.output(self.declared, generation, count)

    def filling(self) -> FillStrategy:
        """How scanned rows come in."""
        output = self.output()
        if self.rebuild.kind == "in place":
            return InPlace(self.view, output.bound, output.target, self.insist, self.hold, self._again)
        return SideBySide(self.view, output.bound, output.target, self.insist)

    def _again(self, page: ScanPage[Any], places: Sequence[int]) -> list[Image | None]:
        keys, shape = [page.keys[place] for place in places], self.site.opening.shape
        return self.insist(lambda: self.site.table.get(keys, shape))

    def taken(self, taken: PageResult, items: int, units: float) -> None:
        """Hear what became of a page."""
        letters = list(taken.letters)
        self.insist(lambda: self.site.control.dead_letters.keep(letters))
        if self._limit.passed(len(letters)):
            raise RebuildFailed(self._limit.reason(self.view, letters[-1].reason))
        self._add(items=items, rows=taken.rows, letters=len(letters), units=units)

    # From the scan's end to the swap

    def finish(self) -> None:
        """All phases behind the scan, from the one that was recorded last on."""
        phases = IN_PLACE if self.rebuild.kind == "in place" else BESIDE
        self._go_through(phases)
        self._done()
        log.info("%s: readers see generation %d", describe(self.rebuild), self.rebuild.generation)

    def roll_back(self) -> None:
        """Let readers see the generation before the live one again."""
        if self.rebuild.phase in ("requested", "starting"):
            self._turn_round()
        self._go_through(ROLLBACK)
        self._done()
        log.info("%s: readers see generation %d again", describe(self.rebuild), self.rebuild.generation)

    def _done(self) -> None:
        self.insist_once(lambda: self.site.store.forget_segments(self.rebuild))
        self.update(phase="done", reason="")

    def _go_through(self, phases: tuple[Phase, ...]) -> None:
        acts = {
            "finishing": self._finish, "waiting": self._wait, "checking": self._check, "sweeping": self._sweep,
            "swapping": self._swap,
        }  # fmt: skip
        first = phases.index(self.rebuild.phase) if self.rebuild.phase in phases else 0
        for phase in phases[first:]:
            if self.rebuild.phase != phase:
                self.enter(phase)
            self._looked = 0.0  # what was said while it was recorded counts, however short the phase
            self.check()
            acts[phase]()

    def _finish(self) -> None:
        self.insist(self.target.finish)
        self.insist(lambda: self.site.store.filled(self.view, self.rebuild.generation))

    def _wait(self) -> None:
        self.hold(max(self.rebuild.scan_end or 0.0, self.rebuild.written or 0.0))

    def _check(self) -> None:
        checks = Checks(self.site, self.declared, self.rebuild, self.insist, self.hold, self.check)
        if question := checks.question():
            self.confirm(question)
        else:
            self.insist_once(lambda: self.site.store.settle(self.rebuild))

    def _sweep(self) -> None:
        def swept(rows: int) -> None:
            self._add(swept=rows)

        filling = self.filling()
        assert isinstance(filling, InPlace)
        filling.sweep(swept)

    def _swap(self) -> None:
        """Readers see the generation, then the record says so. Between the two, doing it again changes nothing."""
        self.check()
        number = self.rebuild.generation
        generation = self.insist(lambda: self.site.generations(self.view))[number]
        declared = self.site.opening.declared(self.declared, generation)
        if declared is None:
            raise RebuildFailed(f"what built generation {number} cannot be had again")
        self.insist(self.site.target(declared, number).publish)
        self._record_swap()

    def _record_swap(self) -> None:
        number, options = self.rebuild.generation, self.rebuild.options
        keep = self.declared.keep if options.keep is None else options.keep
        if self.rebuild.kind == "in place":
            keep = 0.0
        self.insist_once(lambda: self.site.store.swapped(self.view, number, time.time() + keep))

    def _is_published(self) -> bool:
        """Whether readers see the generation, as the store has it: the record of it may not have been made."""
        number = self.rebuild.generation
        generation = self.insist_once(lambda: self.site.generations(self.view)).get(number)
        declared = None if generation is None else self.site.opening.declared(self.declared, generation)
        if declared is None or declared.sink not in self.site.sinks:
            return False
        sink = self.site.sinks[declared.sink]
        return self.insist_once(lambda: sink.published(declared.layout)) == number

    def _turn_round(self) -> None:
        """Write the generation to go back to first, so that it never shows less than what readers see now."""
        there = self.insist(lambda: self.site.generations(self.view)).values()
        previous = next((each.generation for each in there if each.role == "previous"), None)
        if previous is None:
            raise RebuildFailed("no generation before the live one is kept")
        if previous not in self.insist(lambda: self.site.record(self.view)).write_order:
            raise RebuildFailed(f"generation {previous} was not written any more, so rows would be missing")
        self.update(phase="starting", generation=previous)
        self._write_first(previous)
        self.update(written=self.site.wait_written(self.view, self.check))

    def _write_first(self, generation: int) -> None:
        def order(record: ViewRecord) -> list[int]:
            return [generation, *(each for each in record.write_order if each != generation)]

        self.insist_once(lambda: self.site.write_in(self.view, order))

    # Giving up

    def give_up(self, phase: Phase, reason: str) -> None:
        """Take back what was begun: `phase` is "cancelling" or "failing". Recorded first, as the rest may be
        interrupted."""
        if self.rebuild.phase == "swapping" and self._is_published():
            self._record_swap()  # too late to take it back: readers see it already
            self._done()
            return
        log.warning("%s: %s%s", describe(self.rebuild), phase, f": {reason}" if reason else "")
        self.update(phase=phase, reason=reason)
        self.leave()

    def leave(self) -> None:
        """Leave the live view as it was, and remove what was begun beside it. In place there is no way back: the view
        goes on as it is, and a row that was not reached keeps its earlier form until it changes."""
        record = self.insist_once(lambda: self.site.control.view(self.view))
        number, kind = self.rebuild.generation, self.rebuild.kind
        if record is not None and not number:
            self._leave_nothing()
        elif record is not None:
            if kind == "rollback":
                self._write_first(record.generation)
            elif kind == "in place":
                self._stay(record)
            else:
                self._take_back(record)
        self.insist_once(lambda: self.site.store.forget_segments(self.rebuild))
        self.update(phase=GIVEN_UP[self.rebuild.phase])

    def _leave_nothing(self) -> None:
        """Drop what may have been prepared for a generation that was not begun, where its store lets us."""
        if self._prepared is None:
            return
        try:
            self._prepared.drop()
        except SinkError as error:
            log.warning("%s: what was prepared may be left: %s", describe(self.rebuild), error)

    def _stay(self, record: ViewRecord) -> None:
        rebuild = self.rebuild
        state = None
        if rebuild.fresh or record.state is ViewState.GAP:
            state = self._gap(record)
        self.insist_once(
            lambda: self.site.store.swapped(
                self.view, rebuild.generation, time.time(), filled=record.filled and not rebuild.fresh, state=state
            )
        )
        told = f"rows that were not reached stay as they were; dynaview rebuild {self.view} ends it"
        self.update(reason=rebuild.reason or told)

    def _take_back(self, record: ViewRecord) -> None:
        rebuild = self.rebuild
        state, reason = rebuild.before
        if record.state is ViewState.GAP or rebuild.fresh or record.generation not in record.write_order:
            state, reason = self._gap(record)
        if record.write_order != (record.generation,) or record.state is ViewState.REBUILDING:
            self.insist_once(lambda: self.site.store.unswapped(self.view, state, reason, [record.generation]))
        self.site.wait_written(self.view, self.site.check)
        retire(self.site, self.view, rebuild.generation, partial(self.site.insist, what=describe(rebuild)))

    def _gap(self, record: ViewRecord) -> tuple[ViewState, str]:
        """The state of a view whose rows lack changes."""
        if record.state is ViewState.GAP:
            return ViewState.GAP, record.reason
        if self.rebuild.before[0] is ViewState.GAP:
            return self.rebuild.before
        what = "a rebuild that had stopped the writing of what readers see was given up"
        start, end = moment(self.rebuild.written or self.rebuild.requested), moment(time.time())
        return ViewState.GAP, gap_reason(what, start, end, self.view, self.declared.on_gap)


def retire(site: RebuildContext, view: str, generation: int, insist: Callable[[Callable[[], Any]], Any]) -> None:
    """Remove a generation that nothing writes any more. Where its rows stand under the keys of the live one, they are
    the live one's."""
    there = insist(lambda: site.generations(view))
    found = there.get(generation)
    if found is None:
        return
    declared = _built(site, view, found)
    if declared is not None and declared.sink in site.sinks:
        others = [_built(site, view, each) for each in there.values() if each is not found]
        if not any(each is not None and in_place(site.sinks, each, declared) for each in others):
            insist(site.target(declared, generation).drop)
    insist(lambda: site.store.forget(view, generation))
    log.info("view %s: generation %d is dropped", view, generation)


def _built(site: RebuildContext, view: str, generation: Generation) -> ViewDeclaration | None:
    """The declaration that built a generation, if only to know where its rows are."""
    declared = site.opening.declared(site.views[view], generation)
    if declared is not None:
        return declared
    try:
        return decode(generation.declaration)
    except ValueError:
        return None
