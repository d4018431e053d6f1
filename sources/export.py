"""DynamoDB exports to S3 as a source: the scan of a rebuild that costs the table nothing.

A full export is read like a table (`Export.scan`); incremental ones behind it bring the view up to the time from which
the stream can be followed (`Export.changes`). A data file proves whole only at its end, so a position behind a file is
given out only when the file was, and a segment ends only when all of its files were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import boto3
import msgspec

from dynaview.projections.attributes import Attr, Shape
from dynaview.projections.changes import Body, Change
from dynaview.sources.datafile import LONGEST, lines
from dynaview.sources.errors import BadExport
from dynaview.sources.items import check_shape
from dynaview.sources.manifest import DataFile, ExportView, Kind, filtered, read_manifest
from dynaview.sources.pages import decoder_of
from dynaview.sources.port import (
    Broken,
    Key,
    ScanFilter,
    ScanPage,
    ScanPosition,
    TableDescription,
    TableReader,
)
from dynaview.sources.storage import Storage, open_storage

I = TypeVar("I")  # noqa: E741 - an image


@dataclass(frozen=True, slots=True)
class ExportLimits:
    """How much of an export is taken at once. The defaults suit every export; tests take smaller ones."""

    page_items: int = 1000
    page_bytes: int = 1024 * 1024
    """Of lines, as they stand in the file."""
    line_bytes: int = LONGEST
    attempts: int = 2
    """Requests to S3 before an error is the caller's, who paces what follows."""


LIMITS = ExportLimits()

_COMPLETED = "COMPLETED"


class ChangePage(msgspec.Struct, Generic[I]):
    """Up to about 1000 changes or 1 MB of an incremental export, in no order: it tells of an item only once."""

    changes: list[Change[I]]
    """With an empty sequence number, as exports have none, and the time of the item's last write."""
    broken: list[Broken]
    """Lines that could not be read; usually empty."""
    position: ScanPosition | None
    """Where to go on after this page; None at the segment's end."""


class _Line(msgspec.Struct, Generic[I]):
    item: I = msgspec.field(name="Item")


class _Metadata(msgspec.Struct):
    written: Attr | str | int = msgspec.field(name="WriteTimestampMicros", default=0)

    @property
    def seconds(self) -> float:
        written = (self.written.N or 0) if isinstance(self.written, Attr) else self.written
        return int(written) / 1_000_000


class _ChangeLine(msgspec.Struct, Generic[I]):
    key: dict[str, Attr] = msgspec.field(name="Keys")
    metadata: _Metadata = msgspec.field(name="Metadata", default_factory=_Metadata)
    new: I | None = msgspec.field(name="NewImage", default=None)
    old: I | None = msgspec.field(name="OldImage", default=None)


class _Position(msgspec.Struct):
    file: str
    line: int
    """How many lines of the file are done."""


_position = msgspec.json.Decoder(_Position)
_raw_line = msgspec.json.Decoder(_Line[msgspec.Raw])

T = TypeVar("T")


class Export:
    """One export. Safe to use from several threads once `check` has found it to be of the right table."""

    def __init__(self, storage: Storage, limits: ExportLimits = LIMITS) -> None:
        self._storage = storage
        self._limits = limits
        self._manifest = read_manifest(storage)
        self._key: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"Export({self.place!r}, {self.kind}, table={self.table!r}, items={self.items})"

    @property
    def place(self) -> str:
        """Where it lies."""
        return self._storage.place()

    @property
    def kind(self) -> Kind:
        """Full (`scan` it) or incremental (read its `changes`)."""
        return self._manifest.kind

    @property
    def table(self) -> str:
        """The table's name."""
        return self._manifest.table

    @property
    def table_arn(self) -> str:
        """The table's ARN."""
        return self._manifest.table_arn

    @property
    def begin(self) -> float:
        """From when on an incremental export tells of changes (inclusive), in seconds since 1970; of a full one it is
        the same as `end`."""
        return self._manifest.begin

    @property
    def end(self) -> float:
        """The time whose state a full export holds, and up to which an incremental one brings it (exclusive), in
        seconds since 1970: from here on the stream has to be followed. By DynamoDB's own clock."""
        return self._manifest.end

    @property
    def view_type(self) -> ExportView:
        """What an incremental export tells of a change: bind projections to this, not to the stream's view type."""
        return self._manifest.view

    @property
    def items(self) -> int:
        """How many items (or changes) it holds."""
        return self._manifest.items

    @property
    def files(self) -> tuple[DataFile, ...]:
        """Its data files. More segments than there are files would have nothing to do."""
        return self._manifest.files

    def check(self, description: TableDescription) -> None:
        """See that this is an export of the described table; to be called before anything is read. Raises `BadExport`.

        A table that was deleted and made anew is another one, though its ARN is the same.
        """
        found = self._manifest
        if found.table_arn != description.arn:
            raise BadExport(
                self.place,
                f"is an export of {found.table_arn}, not of {description.arn}",
                "name an export of this table, of its own account and region",
            )
        if None not in (found.table_id, description.id) and found.table_id != description.id:
            raise BadExport(
                self.place,
                f"is an export of an earlier table {found.table}, which was deleted since",
                "export the table as it is now",
            )
        self._key = description.key

    def confirm(self, table: TableReader) -> bool:
        """Ask AWS whether the export completed and holds the whole table; False where AWS no longer knows (after 90
        days). Its manifest does not tell whether an export was filtered.

        Raises `BadExport`, and whatever `TableReader.exported` raises.
        """
        said = table.exported(self._manifest.arn) if self._manifest.arn else None
        if said is None:
            return False
        if said.status != _COMPLETED:
            raise BadExport(self.place, f"AWS says that the export is {said.status}", "use one that is COMPLETED")
        if said.filtered:
            raise filtered(self.place)
        return True

    def follows(self, before: Export) -> None:
        """See that this incremental export goes on where `before` (a full or an incremental one) ends.

        Old images are the state at the very beginning, and rows are deleted by them: an export that begins earlier
        would not delete what the state in between has yielded. What lies within one second is taken as the same time,
        as AWS takes times by the second: make the full export at a whole one (``--export-time``) to be exact.

        Raises `BadExport`.
        """
        if self.kind != "incremental":
            raise BadExport(self.place, "is a full export", "name an incremental one: --export-type INCREMENTAL_EXPORT")
        if self.table_arn != before.table_arn or self._manifest.table_id != before._manifest.table_id:
            raise BadExport(self.place, f"is an export of another table than {before.place}", "")
        apart = before.end - self.begin
        if not 0 <= apart < 1:
            raise BadExport(
                self.place,
                f"begins {abs(apart):.0f} s {'before' if apart > 0 else 'after'} the end of {before.place}",
                f'make one with "ExportFromTime": {int(before.end)}',
            )

    def verify(self, segment: int = 0, segments: int = 1) -> None:
        """Read the files of a segment through once, for nothing but to see that they are whole: as many items as the
        manifest says, and the right checksum. `scan` and `changes` see it too, but a file's end comes last there.

        Raises `BadExport`.
        """
        for file in self._share(segment, segments):
            for _ in self._lines(file):
                pass

    def scan(
        self,
        segment: int,
        segments: int,
        after: ScanPosition | None,
        shape: Shape,
        only: ScanFilter | None = None,
    ) -> Iterator[ScanPage[Any]]:
        """The items of a full export, as `TableReader.scan` gives those of a table. A segment is a share of the files;
        a page is up to 1000 items or 1 MB and costs no capacity. One data file is read at a time, and after an error
        it is read from its beginning on again, though what lies before `after` is only counted.

        Raises `BadExport`, and where the export lies in S3 `SourceUnavailable`, `Throttled`, `AccessDenied` and
        `CredentialsMissing`: then scan again from the last page's position.
        """
        key = self._begin("full", "read its changes behind a full one", shape)
        decoder = _decoder(_Line, shape)
        wanted = only if only is None or shape.names is None else only.within(shape.names)

        def page(batch: list[bytes], position: ScanPosition | None) -> ScanPage[Any]:
            found: ScanPage[Any] = ScanPage([], [], [], position, 0.0)
            for index, line in enumerate(batch):
                try:
                    image = decoder.decode(line).item
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    found.broken.append(Broken(index, _item(line), f"the item cannot be read: {error}"))
                    continue
                attributes = {name: shape.get(image, name) for name in key}
                whole = {name: attr for name, attr in attributes.items() if attr is not None}
                if len(whole) < len(key):
                    found.broken.append(Broken(index, _item(line), f"the item lacks {_lacking(key, whole)}"))
                elif wanted is None or wanted.accepts(partial(shape.get, image)):
                    found.images.append(image)
                    found.keys.append(whole)
            return found

        return self._pages(segment, segments, after, page)

    def changes(
        self, segment: int, segments: int, after: ScanPosition | None, shape: Shape
    ) -> Iterator[ChangePage[Any]]:
        """The changes of an incremental export, one an item: its state at `end` and, where `view_type` says so, at
        `begin`. For `Bound.writes` of a projection bound to `view_type`, under a version above `SCANNED` and below
        every change of the stream: 1 for the first incremental export, 2 for the next.

        Segments, positions and errors as with `scan`.
        """
        key = self._begin("incremental", "scan it", shape)
        decoder = _decoder(_ChangeLine, shape)

        def page(batch: list[bytes], position: ScanPosition | None) -> ChangePage[Any]:
            found: ChangePage[Any] = ChangePage([], [], position)
            for index, line in enumerate(batch):
                try:
                    read = decoder.decode(line)
                    time = read.metadata.seconds
                except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
                    found.broken.append(Broken(index, line, f"the change cannot be read: {error}"))
                    continue
                if any(name not in read.key for name in key):
                    found.broken.append(Broken(index, line, f"the change lacks {_lacking(key, read.key)}"))
                    continue
                body: Body[Any] = Body("", read.key, time, read.new, read.old)
                found.changes.append(Change(self._event(read), body))
            return found

        return self._pages(segment, segments, after, page)

    def _event(self, line: _ChangeLine[Any]) -> str:
        if line.new is None:
            return "REMOVE"
        # Without old images an INSERT looks as a MODIFY does, and only the latter lets a view delete what an earlier
        # state has left.
        return "INSERT" if line.old is None and self.view_type == "NEW_AND_OLD_IMAGES" else "MODIFY"

    def _begin(self, kind: Kind, instead: str, shape: Shape) -> tuple[str, ...]:
        """The key attributes. Raises `BadExport` for the wrong kind, ValueError for callers who have not checked."""
        if self.kind != kind:
            raise BadExport(self.place, f"is {'a full' if self.kind == 'full' else 'an incremental'} export", instead)
        if self._key is None:
            raise ValueError("check the export against its table first")
        check_shape(shape, self._key)
        return self._key

    def _share(self, segment: int, segments: int) -> tuple[DataFile, ...]:
        if not 0 <= segment < segments:
            raise ValueError(f"no segment {segment} of {segments}")
        return self.files[segment::segments]

    def _pages(
        self,
        segment: int,
        segments: int,
        after: ScanPosition | None,
        page: Callable[[list[bytes], ScanPosition | None], T],
    ) -> Iterator[T]:
        files = self._share(segment, segments)
        first, done = (0, 0) if after is None else self._find(files, after)
        return self._read(files[first:], done, page)

    def _read(
        self, files: tuple[DataFile, ...], done: int, page: Callable[[list[bytes], ScanPosition | None], T]
    ) -> Iterator[T]:
        """The pages of these files, from behind the first `done` lines on."""
        most_items, most_bytes = self._limits.page_items, self._limits.page_bytes
        if not files:
            yield page([], None)
        for index, file in enumerate(files):
            batch: list[bytes] = []
            size = 0
            for number, line in enumerate(self._lines(file)):
                if number < done:
                    continue
                if batch and (len(batch) == most_items or size + len(line) > most_bytes):
                    yield page(batch, _written(file, number))
                    batch, size = [], 0
                batch.append(line)
                size += len(line)
            done = 0
            last = index + 1 == len(files)
            if batch or last:
                yield page(batch, None if last else _written(files[index + 1], 0))

    def _lines(self, file: DataFile) -> Iterator[bytes]:
        return lines(self._storage, file, self._limits.line_bytes)

    def _find(self, files: tuple[DataFile, ...], after: ScanPosition) -> tuple[int, int]:
        """Which file of these a position is in, and how many of its lines are done."""
        try:
            position = _position.decode(after)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a position in an export: {error}") from error
        for index, file in enumerate(files):
            if _base(file) == position.file:
                return index, position.line
        raise BadExport(
            self.place,
            f"has no data file {position.file[:80]} in this segment, where an earlier run has stopped",
            "name the export with which the rebuild was begun, or cancel the rebuild and begin it again",
        )


def open_export(
    location: str,
    *,
    region: str | None = None,
    endpoint: str | None = None,
    session: boto3.Session | None = None,
    limits: ExportLimits = LIMITS,
) -> Export:
    """The export in a local folder or under ``s3://bucket/prefix``: the folder named by the export's id, which holds
    manifest-summary.json. Reads its manifests and sees that its data files are there.

    `region`, `endpoint` and `session` are for S3, where they are not the usual ones. Raises `BadExport`; for S3 also
    `SourceUnavailable`, `Throttled`, `AccessDenied`, `CredentialsMissing` and `SourceRefused`.
    """
    storage = open_storage(location, region=region, endpoint=endpoint, session=session, attempts=limits.attempts)
    return Export(storage, limits)


def _decoder(line: Any, shape: Shape) -> msgspec.json.Decoder[Any]:
    return decoder_of(line[shape.type])  # a type made at run time, which a type checker cannot follow


def _item(line: bytes) -> bytes:
    """The item of a line that could not be read, as a scan would bring it; the line where there is none."""
    try:
        return bytes(_raw_line.decode(line).item)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return line


def _lacking(key: tuple[str, ...], found: Key) -> str:
    return f"its key attribute {', '.join(name for name in key if name not in found)}"


def _base(file: DataFile) -> str:
    return file.name.rpartition("/")[2]


def _written(file: DataFile, line: int) -> ScanPosition:
    return msgspec.json.encode(_Position(_base(file), line)).decode()
