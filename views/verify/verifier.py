"""Verifying views of one table: the parts of `ViewCheck` put together over a scan, over some items, or over a stream.

reports = Verification(table, subjects, shape).whole()            # every row of every item, and rows too many
reports = Verification(table, subjects, shape).sample(0.01)       # about a hundredth of the items
reports = Verification(table, subjects, shape).items(keys)        # these items
reports = Verification(table, subjects, shape).since(moment)      # what the stream says has changed since
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from dynaview.projections.attributes import Image, Shape
from dynaview.projections.rows import Write
from dynaview.sinks.port import SinkError
from dynaview.sources.port import Key, ScanFilter, ScanPage, TableReader
from dynaview.views.budget import Budget
from dynaview.views.control.errors import ControlError
from dynaview.views.control.records import PageCost, PageResult, Segment
from dynaview.views.replay import leavings
from dynaview.views.retry import Retrier, Stopped
from dynaview.views.scanning.page_writer import PendingPage
from dynaview.views.scanning.parallel_scan import SEGMENT_BYTES, ParallelScan
from dynaview.views.scanning.segment_reader import SegmentPages
from dynaview.views.verify.caught_up import Overtaken
from dynaview.views.verify.changed_since import Recent
from dynaview.views.verify.findings import Report, VerifyError
from dynaview.views.verify.items import ItemReader
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.selection import Named, standing
from dynaview.views.verify.subject import Subject
from dynaview.views.verify.view_check import ViewCheck
from dynaview.views.waiting import WaitError

MOST_SEGMENTS = 4

SAMPLED = 20
"""At least so many small segments make a sample: items of one segment are neighbours, not a random choice."""

SAMPLE_BYTES = 256 * 1024
"""About how large these are."""

MOST_SAMPLE_SEGMENTS = 100_000
"""AWS allows a million; each costs a request of its own."""

NO_EXTRA = "rows that no item asks for are only found by verifying the whole view"

Feed: TypeAlias = Callable[[], None]


class Verification:
    """The verification of some views of one table. Use each only once."""

    def __init__(
        self,
        table: TableReader,
        subjects: Sequence[Subject],
        shape: Shape,
        *,
        retrier: Retrier | None = None,
        limits: Limits | None = None,
        only: ScanFilter | None = None,
        progress: Callable[[int, int], None] = lambda items, of: None,
    ) -> None:
        """`shape` keeps what all the subjects' projections read, and the key. `only` is a filter that leaves out
        nothing they match. The verification sets `retrier.stop` when it ends, so that whatever waits with it ends too.
        `progress` hears how many items are read, and of about how many. Reads the table's description; raises
        `SourceError`, and ValueError for a share of a capacity that there is not.
        """
        self._limits = limits or Limits()
        self._table = table
        self._only = only
        self.retrier = retrier or Retrier(seconds=60.0)
        """What tries everything again."""
        self._items = ItemReader(table, shape, self.retrier)
        self._halt = self.retrier.stop
        self._progress = progress
        self._description = self.retrier.insist(table.describe)
        self._budget = Budget(self._limits.capacity.rate(self._description), self._halt.wait)
        self._checks = [ViewCheck(subject, self._items, self._description.key, self._limits) for subject in subjects]
        self._lock = threading.Lock()
        self._read = 0

    def whole(self) -> list[Report]:
        """Every row. Raises `SourceError` and `Stopped`; what else ends the verification of one view stands in its
        report."""
        count = self._limits.segments or max(1, min(MOST_SEGMENTS, self._description.size // SEGMENT_BYTES))
        return self._run(partial(self._scan, [(index, count) for index in range(count)], count), listing=True)

    def sample(self, share: float, chance: random.Random | None = None) -> list[Report]:
        """About a share (above 0, up to 1) of the items, for about that share of the read units."""
        count = min(MOST_SAMPLE_SEGMENTS, max(int(SAMPLED / share), self._description.size // SAMPLE_BYTES))
        chosen = (chance or random.Random()).sample(range(count), max(1, round(count * share)))
        for check in self._checks:
            check.report.note(f"a sample of {share:.2%} of the items; {NO_EXTRA}")
        segments = self._limits.segments or MOST_SEGMENTS
        return self._run(partial(self._scan, [(index, count) for index in chosen], segments), listing=False)

    def items(
        self,
        keys: Sequence[Key],
        rows: Sequence[tuple[str, Key, Write]] = (),
        named: Mapping[str, Sequence[Named]] | None = None,
    ) -> list[Report]:
        """These items. `rows` are (view, item key, delete) of rows to judge even where their items ask for none;
        `named` are rows by view that an earlier verification of the whole found."""

        def feed() -> None:
            self._get(keys)
            for check in self._working():
                name = check.subject.view
                left = [(key, write) for view, key, write in rows if view == name]
                self._guard(check, partial(check.look_at_rows, left))
                self._guard(check, partial(self._look_again, check, (named or {}).get(name, ())))

        for check in self._checks:
            check.report.note(f"only the rows that were named; {NO_EXTRA}")
        return self._run(feed, listing=False)

    def since(self, at: float) -> list[Report]:
        """The items that were changed since then (seconds since 1970), as the table's stream has kept it, and the rows
        that they had before.

        Raises `VerifyError` where the stream does not reach back so far.
        """
        recent = Recent(self._table, self._description, self._items.shape, self.retrier)
        if obstacle := recent.obstacle(at):
            raise VerifyError(obstacle)

        def feed() -> None:
            for keys, states in recent.changed(at):
                self._get(keys)
                for check in self._working():
                    left = [
                        (key, write) for key, image in states for write in leavings(check.subject.bound, key, image)
                    ]
                    self._guard(check, partial(check.look_at_rows, left))

        for check in self._checks:
            check.report.note(f"only the rows of items that the stream says have changed since then; {NO_EXTRA}")
        return self._run(feed, listing=False)

    def _look_again(self, check: ViewCheck, named: Sequence[Named]) -> None:
        for findings in standing(named, check.subject, self._items):
            check.tell(findings)

    # How it goes

    def _run(self, feed: Feed, *, listing: bool) -> list[Report]:
        try:
            if listing:
                self._together([partial(self._guard, check, check.list_store) for check in self._checks])
            judges = [threading.Thread(target=self._guard, args=(check, check.judge)) for check in self._checks]
            for judge in judges:
                judge.start()
            try:
                feed()
                for check in self._checks:
                    self._guard(check, check.end)
            except BaseException:
                self._halt.set()
                raise
            finally:
                for judge in judges:
                    judge.join()
            self._together([partial(self._guard, check, check.finish) for check in self._working()])
        finally:
            self._halt.set()
        return [self._reported(check) for check in self._checks]

    def _reported(self, check: ViewCheck) -> Report:
        if check.failed is not None and not isinstance(check.failed, _ITS_OWN):
            raise check.failed
        check.report.error = "" if check.failed is None else str(check.failed)
        return check.report

    def _working(self) -> list[ViewCheck]:
        return [check for check in self._checks if check.failed is None]

    def _guard(self, check: ViewCheck, act: Callable[[], object]) -> None:
        """Do something for one view; what goes wrong ends its own check only (law 7)."""
        if check.failed is not None:
            return
        try:
            act()
        except Exception as error:  # noqa: BLE001 - looked at in `_reported`
            check.failed = check.failed or error

    def _together(self, acts: Sequence[Callable[[], object]]) -> None:
        threads = [threading.Thread(target=act) for act in acts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _scan(self, segments: Sequence[tuple[int, int]], workers: int) -> None:
        """Scan segments (each: its index, of how many), some at the same time."""
        scanned = _Scanned(self, len(segments) / segments[0][1])
        reader = SegmentPages(self._table, self._items.shape, self._only, [scanned])
        for start in range(0, len(segments), workers):
            part = [Segment(index, of) for index, of in segments[start : start + workers]]
            # The budget is of the whole verification, so each page is paid for here.
            scan = ParallelScan(reader, _Positions(self, part), None)
            try:
                scan.run(len(part))
            except Stopped:
                if self._halt.is_set():
                    raise
                return  # there is no view left to verify

    def check(self) -> None:
        """Raises `Stopped` where the scan is to end."""
        if self._halt.is_set() or not self._working():
            raise Stopped

    def look(self, page: ScanPage[Any], share: float) -> None:
        """Hold a page of the scan against the views. `share` is how much of the table is read altogether."""
        self._show([*zip(page.keys, page.images, strict=True)], len(page.broken))
        with self._lock:
            self._read += len(page.images)
            self._progress(self._read, int(self._description.items * share))
            for check in self._checks:
                check.report.units += page.consumed
        self._budget.spend(page.consumed)

    def _get(self, keys: Sequence[Key]) -> None:
        most = self._limits.read
        for start in range(0, len(keys), most):
            part = keys[start : start + most]
            pairs = [*zip(part, self._items.get(part), strict=True)]
            self._show([(key, image) for key, image in pairs if image is not None], 0)
            gone = [key for key, image in pairs if image is None]
            for check in self._working():
                left = [(key, write) for key in gone for write in leavings(check.subject.bound, key, None)]
                self._guard(check, partial(check.look_at_rows, left))

    def _show(self, items: Sequence[tuple[Key, Image]], unreadable: int) -> None:
        for check in self._working():
            self._guard(check, partial(check.look, items, unreadable))


@dataclass(frozen=True, slots=True)
class _Scanned:
    """A verification as what takes part in a scan: a page is done with as soon as it was looked at."""

    verification: Verification
    share: float
    view: str = ""

    def take(self, page: ScanPage[Any]) -> None:
        """See `Participant.take`."""
        self.verification.look(page, self.share)

    def settle(self, page: PendingPage) -> None:
        """See `Participant.settle`."""


@dataclass(frozen=True, slots=True)
class _Positions:
    """How far a scan is; nobody goes on with one that ended."""

    verification: Verification
    planned: list[Segment]

    def segments(self, count: int) -> list[Segment]:
        """See `Journal.segments`."""
        return self.planned

    def save(self, segment: Segment, cost: PageCost, results: Mapping[str, PageResult]) -> None:
        """See `Journal.save`."""

    def check(self) -> None:
        """See `Journal.check`."""
        self.verification.check()

    def retrier(self, end: threading.Event) -> Retrier:
        """See `Journal.retrier`."""
        return self.verification.retrier.until(end)


_ITS_OWN = SinkError | ControlError | WaitError | Overtaken
"""What ends the verification of one view, and no other."""
