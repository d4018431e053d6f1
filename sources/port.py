"""The source port: how everything else reads a DynamoDB table and its stream.

A `TableReader` is one table; its `stream` gives a `StreamReader` for one stream (one ARN) of it. Both are safe to use
from several threads, raise only `SourceError` (see `dynaview.sources.errors`), never retry for long by themselves
(pacing is the caller's) and never answer with less than AWS sent: an answer that cannot be trusted is a `BadPage`,
and a single record that cannot be read is a `Broken` beside the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from dynaview.projections.attributes import Attr, Image, Shape
from dynaview.projections.changes import Change
from dynaview.projections.projection import ViewType

I = TypeVar("I")  # noqa: E741 - an image

Key: TypeAlias = dict[str, Attr]
"""The key attributes of one item."""

ScanPosition: TypeAlias = str
"""Where a scan segment goes on: text to be kept and given back as it is. Of a table it is the LastEvaluatedKey as
DynamoDB JSON, of an export a file and a line."""


@dataclass(frozen=True, slots=True)
class TableDescription:
    """What DescribeTable says of a table."""

    name: str
    arn: str
    key: tuple[str, ...]
    """Names of the key attributes, the partition key first."""
    stream_arn: str | None
    """The stream that is switched on; None where none is."""
    view_type: ViewType | None
    """What that stream's records carry."""
    items: int
    """How many items, as AWS counted about six hours ago."""
    size: int
    """Bytes, counted at the same time."""
    status: str
    """ACTIVE, UPDATING, CREATING, DELETING, …"""
    id: str | None = None
    """TableId: a table that was deleted and made anew has another one under the same ARN. None on DynamoDB Local."""
    read_units: int | None = None
    """Provisioned read capacity, in units a second, as it is now (auto scaling moves it); None on demand."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard as DescribeStream lists it."""

    id: str
    parent: str | None
    """The shard it continues. The parent may have expired and be listed no more."""
    first: str
    """Starting sequence number."""
    last: str | None
    """Ending sequence number; None while the shard is open."""


@dataclass(frozen=True, slots=True)
class ExportStatus:
    """What AWS says of an export of a table."""

    status: str
    """IN_PROGRESS, COMPLETED or FAILED."""
    filtered: bool
    """Whether it leaves out items or attributes."""
    failure: str = ""
    """Why it has failed, in AWS's words."""


@dataclass(frozen=True, slots=True)
class KeyTest:
    """What a `ScanFilter` asks of one attribute: that its text is `text` (`exact`), or begins with it.

    Numbers always pass: patterns are matched on a text of their own (`number_text`), which DynamoDB cannot compare.
    """

    name: str
    text: str
    exact: bool

    def accepts(self, attr: Attr | None) -> bool:
        """Whether an item with this attribute passes; the same as what DynamoDB evaluates."""
        if attr is None or attr.S is None:
            return attr is not None and attr.N is not None
        return self.text == attr.S if self.exact else attr.S.startswith(self.text)

    def implies(self, other: KeyTest) -> bool:
        """Whether whatever passes this test passes `other` as well."""
        return self == other or (self.name == other.name and not other.exact and self.text.startswith(other.text))


@dataclass(frozen=True, slots=True)
class ScanFilter:
    """Which items a scan has to bring: those that pass every test of one of the alternatives. It may bring others too.

    `dynaview.sources.filters.scan_filter` makes one from what views match. There is at least one alternative, and each
    has at least one test.
    """

    alternatives: tuple[tuple[KeyTest, ...], ...]

    def accepts(self, attribute: Callable[[str], Attr | None]) -> bool:
        """Whether a scan has to bring the item of which `attribute` gives each attribute by its name."""
        return any(all(test.accepts(attribute(test.name)) for test in tests) for tests in self.alternatives)

    def within(self, names: Collection[str]) -> ScanFilter | None:
        """The same without tests of other attributes than these; None where nothing is left to ask."""
        left = tuple(tuple(test for test in tests if test.name in names) for tests in self.alternatives)
        return ScanFilter(left) if all(left) else None


class Broken(msgspec.Struct, frozen=True):
    """A record (or scanned item) that cannot be read; its neighbours can."""

    index: int
    """Its place among all records of the page as sent, from 0."""
    raw: bytes = msgspec.field()
    """Its JSON as AWS sent it. Holds row values: for dead letters, never for logs."""
    reason: str
    """Why, for the operator: names fields and types, shows no values."""
    sequence: str | None = None
    """Its sequence number, where that could be read."""

    def __repr__(self) -> str:
        return f"Broken(index={self.index}, reason={self.reason!r}, sequence={self.sequence!r})"


class Page(msgspec.Struct, Generic[I]):
    """One answer of GetRecords: at most 1000 records or 1 MB, in the shard's order."""

    changes: list[Change[I]]
    broken: list[Broken]
    """Records that could not be read; usually empty. `Broken.index` tells where each stood."""
    next: str | None
    """The next iterator; None when the shard has ended. The last page may carry records, and an empty page with a
    next iterator proves nothing."""


class ScanPage(msgspec.Struct, Generic[I]):
    """One answer of Scan: up to 1 MB of items, in the table's own order. With a filter it may well be empty and still
    have a position: DynamoDB counts what it has read, not what it has let through."""

    images: list[I]
    keys: list[Key]
    """The key of each image, in the same order."""
    broken: list[Broken]
    """Items that could not be read; usually empty."""
    position: ScanPosition | None
    """Where to go on after this page; None at the segment's end."""
    consumed: float
    """Read capacity units that the page cost, as AWS says: one for each 4 KB read, as strongly consistent reads go.
    Neither a filter nor a choice of attributes makes it less; they only save the way."""
    read: int = 0
    """How many items DynamoDB has read for the page, of which a filter may have let fewer through."""


class StreamReader(Protocol):
    """One stream of a table. Every method may also raise `Throttled`, `SourceUnavailable`, `AccessDenied` and
    `CredentialsMissing`."""

    arn: str

    def shards(self) -> list[Shard]:
        """All shards that DynamoDB still lists, in its order: every page of DescribeStream (100 shards each, ten calls
        a second for the account, so thousands of shards take many seconds). When it raises `Throttled` or
        `SourceUnavailable`, the next call goes on where this one stopped.

        Raises `StreamGone`.
        """

    def children(self, shard_id: str) -> list[Shard]:
        """The shards that continue `shard_id` (filter CHILD_SHARDS; a full listing where a server does not know it).

        An empty answer proves nothing: a shard's children may appear after its end. Raises `StreamGone`.
        """

    def open(self, shard_id: str, after: str | None) -> str:
        """An iterator on the shard: at its oldest record (TRIM_HORIZON) when `after` is None, else behind the record
        with the sequence number `after` (AFTER_SEQUENCE_NUMBER).

        Raises `Trimmed` when the record behind `after` is gone already, `StreamGone` for an unknown shard.
        """

    def read(self, iterator: str, limit: int = 1000) -> Page[Any]:
        """The page at `iterator`; the same iterator may be read again after an error.

        Raises `IteratorExpired`, `Trimmed`, `StreamGone`, `BadPage`.
        """


class TableReader(Protocol):
    """One table. Every method may also raise `Throttled`, `SourceUnavailable`, `AccessDenied` and
    `CredentialsMissing`."""

    name: str

    def describe(self) -> TableDescription:
        """Raises `TableMissing`."""

    def enable_stream(self, view_type: ViewType) -> TableDescription:
        """Switch the stream on and wait until it is; nothing to do where one of this view type is on already.

        Raises `SourceRefused` where a stream of another view type is on, `TableMissing`.
        """

    def stream(self, arn: str, shape: Shape) -> StreamReader:
        """A reader of one of the table's streams that decodes images as `shape` says. No I/O.

        Raises `SourceRefused` for text that is no stream ARN of this table.
        """

    def scan(
        self,
        segment: int,
        segments: int,
        after: ScanPosition | None,
        shape: Shape,
        only: ScanFilter | None = None,
    ) -> Iterator[ScanPage[Any]]:
        """The pages of one of `segments` parallel segments, strongly consistent, from `after` on (None: from its
        beginning). Each page is requested when it is asked for, so the caller sets the pace. Only the attributes that
        `shape` keeps are requested; it must keep the key attributes. With `only`, items that it does not accept may be
        left out, and which are is no promise: the projection decides (law 5).

        Raises `TableMissing`, `BadPage`. After any error, scan again from the last page's position.
        """

    def get(self, keys: Sequence[Mapping[str, Attr]], shape: Shape) -> list[Image | None]:
        """The current item under each key, strongly consistent (BatchGetItem); None where there is none.

        Raises `TableMissing`, `BadPage`; `Throttled` when DynamoDB stops processing keys.
        """

    def exported(self, arn: str) -> ExportStatus | None:
        """What AWS says of the export with this ARN; None where it knows nothing of it, as it does after 90 days."""
