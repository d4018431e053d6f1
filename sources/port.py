"""The source port: how everything else reads a DynamoDB table and its stream.

A `TableReader` is one table; its `stream` gives a `StreamReader` for one stream (one ARN) of it. Both are safe to use
from several threads, raise only `SourceError` (see `dynaview.sources.errors`), never retry for long by themselves
(pacing is the caller's) and never answer with less than AWS sent: an answer that cannot be trusted is a `BadPage`,
and a single record that cannot be read is a `Broken` beside the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
"""Where a scan segment goes on: the LastEvaluatedKey as DynamoDB JSON text, to be kept and given back as it is."""


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
    """One answer of Scan: up to 1 MB of items, in the table's own order."""

    images: list[I]
    keys: list[Key]
    """The key of each image, in the same order."""
    broken: list[Broken]
    """Items that could not be read; usually empty."""
    position: ScanPosition | None
    """Where to go on after this page; None at the segment's end."""
    consumed: float
    """Read capacity units that the page cost: one for each 4 KB read, as strongly consistent reads go."""


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

    def scan(self, segment: int, segments: int, after: ScanPosition | None, shape: Shape) -> Iterator[ScanPage[Any]]:
        """The pages of one of `segments` parallel segments, strongly consistent, from `after` on (None: from its
        beginning). Each page is requested when it is asked for, so the caller sets the pace. Only the attributes that
        `shape` keeps are requested; it must keep the key attributes.

        Raises `TableMissing`, `BadPage`. After any error, scan again from the last page's position.
        """

    def get(self, keys: Sequence[Mapping[str, Attr]], shape: Shape) -> list[Image | None]:
        """The current item under each key, strongly consistent (BatchGetItem); None where there is none.

        Raises `TableMissing`, `BadPage`; `Throttled` when DynamoDB stops processing keys.
        """
