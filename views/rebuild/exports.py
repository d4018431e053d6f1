"""Exports as what a rebuild reads instead of the table.

An export is of a time T before the rebuild was asked for. Newest first, so that what is older meets what is newer: the
pipelines' own changes; what the stream tells from T up to them (`history`); the incremental exports, last one first;
then the full one. Beside the live generation the upserts of an incremental change are inserted as scanned items are;
its deletes, under the version 1, 2, … of its export, above scanned items and below the stream's, leave tombstones that
keep older items out. In place every row of an incremental export, and every one that it takes away, is looked at, held
and fixed as a scanned item is: once it is marked as the next generation's, no older item touches it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import msgspec

from dynaview.projections.attributes import Image, Shape
from dynaview.projections.changes import SCANNED, Change
from dynaview.projections.columns import ProjectedPage
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import RowKey, RowValues, Rule, Write
from dynaview.sinks.port import STALE, ConditionalWrite, Outcome, Rejected, RejectedKind, Stored, Target
from dynaview.sources.accounts import credentials_of
from dynaview.sources.errors import AccessDenied, BadExport, CredentialsMissing, SourceRefused
from dynaview.sources.export import Export, open_export
from dynaview.sources.port import ScanFilter, ScanPage
from dynaview.views.control.records import DeadLetter, PageResult
from dynaview.views.dead_letters import item_text
from dynaview.views.reasons import RETENTION, moment, stream_made
from dynaview.views.rebuild.context import RebuildContext, RebuildFailed
from dynaview.views.rebuild.disputes import standing
from dynaview.views.rebuild.in_place import InPlace
from dynaview.views.rebuild.side_by_side import SideBySide
from dynaview.views.rebuild.view_rebuild import ViewRebuild
from dynaview.views.scanning.page_writer import FillStrategy, PendingPage
from dynaview.views.scanning.segment_reader import Scan

T = TypeVar("T")

SPARE = 3600.0
"""Seconds that are left to read the stream since an export before DynamoDB trims it."""

AHEAD = 60.0
"""Seconds by which clocks may differ."""


class Exports:
    """The exports of one job, in the order of their times. Safe to use from several threads."""

    def __init__(self, context: RebuildContext, places: Sequence[str]) -> None:
        """`places` as they were named, in any order. No I/O."""
        self._context = context
        self._places = places
        self._lock = threading.Lock()
        self._opened: list[Export] | None = None

    def admit(self, rebuild: ViewRebuild, in_place: bool) -> int:
        """See that the exports will do, before anything is begun; how many items they have. Raises `RebuildFailed` with
        what is wrong; asks an operator where AWS cannot confirm them."""
        exports = rebuild.retry(lambda: _usable(self.opened))
        self._check_reach()
        self._check_view(rebuild, exports)
        if in_place:  # there is no way back
            for export in exports:
                self._verify(rebuild, export)
        if doubt := [text for export in exports if (text := self._doubt(rebuild, export))]:
            rebuild.confirm(f"{'; '.join(doubt)}: if it is filtered or not whole, the view will lack rows")
            self._check_reach()
        return sum(export.items for export in exports)

    def opened(self) -> list[Export]:
        """The full export, and the incremental ones that go on behind it. Raises `SourceError`."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    @property
    def time(self) -> float:
        """From when on the stream has to tell, in seconds since 1970. Raises `SourceError`."""
        return self.opened()[-1].end

    def parts(self, job: str) -> Iterator[ItemsPart | ChangesPart]:
        """The exports in the order in which they are read. Raises `SourceError`."""
        exports = self.opened()
        for number in range(len(exports) - 1, 0, -1):
            export = exports[number]
            yield ChangesPart(f"{job}.{number}", export, number)
        yield ItemsPart(f"{job}.0", exports[0])

    def _open(self) -> list[Export]:
        source = self._context.kept.source
        session = credentials_of(source)
        exports = [open_export(place, region=source.region, session=session) for place in self._places]
        exports.sort(key=lambda export: (export.kind != "full", export.begin))
        for export in exports:
            export.check(self._context.factory.description)
        if exports[0].kind != "full":
            raise BadExport(
                exports[0].place,
                "is an incremental export, which tells of changes only",
                "name the full export that it goes on from as well: one more --from-export",
            )
        for before, export in itertools.pairwise(exports):
            export.follows(before)
        return exports

    def _check_reach(self) -> None:
        """See that the stream holds everything since. Raises `RebuildFailed`."""
        last, now = self.opened()[-1], time.time()
        arn = self._context.factory.description.stream_arn or ""
        if last.end > now + AHEAD:
            raise RebuildFailed(f"{last.place}: the export is of {moment(last.end)}, which has not come yet")
        if last.end < now - RETENTION + SPARE:
            raise RebuildFailed(
                f"{last.place}: the export is of {moment(last.end)}, and the stream has to be followed from there on, "
                f"but it reaches back to {moment(now - RETENTION + SPARE)} only; name an incremental export from "
                f"{moment(last.end)} on behind it (one more --from-export), or make a new full one"
            )
        made = stream_made(arn)
        if made is None or last.end < made:
            raise RebuildFailed(
                f"{last.place}: the export is of {moment(last.end)}, and the table's stream was switched on at "
                f"{moment(made)}: changes in between are in neither; export the table as it is now"
            )

    def _check_view(self, rebuild: ViewRebuild, exports: Sequence[Export]) -> None:
        key = self._context.factory.description.key
        for export in exports[1:]:
            if problems := compile_view(rebuild.declared).problems(key, export.view_type):
                raise RebuildFailed(
                    f"{export.place}: the export has no old images ({'; '.join(str(each) for each in problems)}); make "
                    f"it with the export view type NEW_AND_OLD_IMAGES"
                )

    def _verify(self, rebuild: ViewRebuild, export: Export) -> None:
        """Read it through once: damage shows at the end of a file only."""
        count = len(export.files)
        for index in range(count):
            rebuild.update(reason=f"reads the export through before a row is touched: {index} of {count} files")
            rebuild.retry(lambda index=index: _usable(lambda: export.verify(index, count)))  # type: ignore[misc]
            rebuild.check()
        rebuild.update(reason="")

    def _doubt(self, rebuild: ViewRebuild, export: Export) -> str:
        """What an operator should know of an export."""
        try:
            known = rebuild.retry(lambda: _usable(lambda: self._confirmed(export)))
        except _Denied as denied:
            return f"whether {export.place} is whole cannot be asked: {denied}"
        return "" if known else f"AWS does not know the export {export.place} (any more)"

    def _confirmed(self, export: Export) -> bool:
        try:
            return export.confirm(self._context.kept.reader)
        except AccessDenied as error:
            raise _Denied(str(error)) from error


class _Denied(Exception):
    pass


def _usable(act: Callable[[], T]) -> T:
    """What an operator has to fix ends the rebuild before it is begun; all else heals by itself."""
    try:
        return act()
    except (BadExport, AccessDenied, CredentialsMissing, SourceRefused) as error:
        raise RebuildFailed(str(error)) from error


# A full export


@dataclass(frozen=True, slots=True)
class ItemsPart:
    """A full export, as what is scanned."""

    name: str
    source: Export

    @property
    def segments(self) -> int:
        """See `shared_scan.Part`."""
        return len(self.source.files)

    def strategy(self, rebuild: ViewRebuild) -> FillStrategy:
        """See `shared_scan.Part`."""
        return _Standing(rebuild, rebuild.strategy())


@dataclass(frozen=True, slots=True)
class _Standing:
    """A strategy for old items: those that have lost their row to another item since are no dead letters."""

    rebuild: ViewRebuild
    strategy: FillStrategy

    def take(self, page: ScanPage[Any]) -> PendingPage:
        pending = self.strategy.take(page)

        def settled() -> PageResult:
            taken = pending.settle()
            taken.letters = standing(self.rebuild, taken.letters)
            return taken

        return PendingPage(settled, pending.held)


# Incremental exports


@dataclass(frozen=True, slots=True)
class _Changing:
    """The same from changes."""

    standing: _Standing

    def take(self, page: ScanPage[Any]) -> PendingPage:
        pending, news = self.standing.take(page), _News.of(page)

        def settled() -> PageResult:
            taken = pending.settle()
            taken.letters = news.as_items(taken.letters)
            return taken

        return PendingPage(settled, pending.held and pending.held + news.size)


@dataclass(frozen=True, slots=True)
class _Changes:
    """An incremental export as something to scan: in place of its images a page has changes."""

    export: Export

    def scan(
        self, segment: int, segments: int, after: str | None, shape: Shape, only: ScanFilter | None = None
    ) -> Iterator[ScanPage[Any]]:
        """See `Export.changes`."""
        for page in self.export.changes(segment, segments, after, shape):
            keys = [change.body.key for change in page.changes]
            yield ScanPage(list(page.changes), keys, page.broken, page.position, 0.0)


@dataclass(frozen=True, slots=True)
class ChangesPart:
    """An incremental export, as what is scanned."""

    name: str
    export: Export
    version: int

    @property
    def source(self) -> Scan:
        """See `shared_scan.Part`."""
        return _Changes(self.export)

    @property
    def segments(self) -> int:
        """See `shared_scan.Part`."""
        return len(self.export.files)

    def strategy(self, rebuild: ViewRebuild) -> FillStrategy:
        """See `shared_scan.Part`."""
        strategy, factory = rebuild.strategy(), rebuild.context.factory
        bound = compile_view(rebuild.declared).bind(factory.shape, factory.description.key, self.export.view_type)
        if isinstance(strategy, InPlace):
            # Neither version nor rule is looked at there: an upsert is what its item would ask for.
            strategy = replace(strategy, bound=_Versioned(strategy.bound, bound, SCANNED))
        elif isinstance(strategy, SideBySide):
            write = partial(_insert, strategy.target)
            strategy = replace(strategy, bound=_Versioned(strategy.bound, bound, self.version), write=write)
        return _Changing(_Standing(rebuild, strategy))


@dataclass(frozen=True, slots=True)
class _Versioned:
    """What changes ask for, where a scan asks for what items do."""

    items: Bound
    changes: Bound
    version: int

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        """See `Bound.rows`."""
        return self.items.rows(image)

    def writes(self, change: Change[Any], version: int) -> list[Write]:
        """See `Bound.writes`."""
        return self.items.writes(change, version)

    def page(self, changes: Sequence[Change[Any]], versions: Sequence[int]) -> ProjectedPage | None:
        """See `Bound.page`."""
        return self.items.page(changes, versions)

    def inserts(self, image: Image) -> list[Write]:
        """Of a change as well."""
        if not isinstance(image, Change):
            return self.items.inserts(image)
        try:
            return _inserted(self.changes.writes(image, self.version))
        except ProjectionError as error:
            error.asked = _inserted(error.asked)
            raise


def _inserted(writes: Sequence[Write]) -> list[Write]:
    return [
        Write(each.key, each.values, each.version, each.owner, Rule.NEWER if each.values is None else Rule.ABSENT)
        for each in writes
    ]


def _insert(target: Target, writes: Sequence[Write]) -> list[Outcome]:
    """Write what an incremental export asks for. A row that has moved from one item to another within its time is both
    deleted and inserted, in any order; the insert has to win."""
    outcomes = target.write(writes)
    late = [index for index, write in enumerate(writes) if outcomes[index] is STALE and write.values is not None]
    if late:
        rows = target.read([writes[index].key for index in late])
        mends = {
            index: ConditionalWrite(writes[index], row)
            for index, row in zip(late, rows, strict=True)
            if row is not None and row.content is None and _same_export(writes[index], row)
        }
        for index, outcome in zip(mends, target.write_if_unchanged(list(mends.values())), strict=True):
            outcomes[index] = outcome
    # An older export must not bring in the state before one that the store cannot hold.
    refused = [write for write, outcome in zip(writes, outcomes, strict=True) if _is_content(outcome)]
    if refused:
        target.write([Write(write.key, None, write.version, write.owner) for write in refused])
    return outcomes


def _is_content(outcome: Outcome) -> bool:
    return isinstance(outcome, Rejected) and outcome.kind is RejectedKind.CONTENT


def _same_export(write: Write, row: Stored) -> bool:
    return row.version == write.version and row.owner != write.owner


@dataclass(frozen=True, slots=True)
class _News:
    """The new images of a page of changes, by item; None where it is deleted."""

    images: dict[str, bytes | None]

    @classmethod
    def of(cls, page: ScanPage[Any]) -> _News:
        """Of a page of `_Changes`."""
        pairs = zip(page.keys, page.images, strict=True)
        return cls({item_text(key): _encoded(change.body.new) for key, change in pairs})

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return sum(_ENTRY + len(key) + len(image or b"") for key, image in self.images.items())

    def as_items(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Dead letters of changes as those of scanned items; what is deleted asks for no row."""
        found: list[DeadLetter] = []
        for letter in letters:
            if letter.item_key not in self.images:  # it could not be read at all
                found.append(letter)
            elif (image := self.images[letter.item_key]) is not None:
                found.append(replace(letter, change=image))
        return found


def _encoded(image: Image | None) -> bytes | None:
    return None if image is None else msgspec.json.encode(image)


_ENTRY = 150
"""Bytes that a pair of texts takes in a dict beside their own."""
