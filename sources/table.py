"""One DynamoDB table through boto3: what it is, its stream, its items."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dynaview.projections.attributes import Attr, Image, Shape
from dynaview.projections.declaration import SourceDeclaration
from dynaview.projections.projection import ViewType
from dynaview.sources.accounts import session_of
from dynaview.sources.errors import ExportUnknown, SourceRefused, SourceUnavailable
from dynaview.sources.export_request import Destination, RequestedExport, request_export
from dynaview.sources.items import Part, check_shape, get_items, scan_pages
from dynaview.sources.page_ring import PageRing
from dynaview.sources.port import ExportStatus, ScanFilter, ScanPage, ScanPosition, StreamReader, TableDescription
from dynaview.sources.session import Session, decode
from dynaview.sources.shared_stream import SharedStream
from dynaview.sources.stream import DynamoStream, describe_stream


class _KeyPart(msgspec.Struct):
    name: str = msgspec.field(name="AttributeName")
    type: str = msgspec.field(name="KeyType")


class _StreamSpecification(msgspec.Struct):
    enabled: bool = msgspec.field(name="StreamEnabled")
    view_type: ViewType | None = msgspec.field(name="StreamViewType", default=None)


class _Throughput(msgspec.Struct):
    read: int = msgspec.field(name="ReadCapacityUnits", default=0)


class _Table(msgspec.Struct):
    name: str = msgspec.field(name="TableName")
    arn: str = msgspec.field(name="TableArn")
    key: list[_KeyPart] = msgspec.field(name="KeySchema")
    status: str = msgspec.field(name="TableStatus")
    stream: _StreamSpecification | None = msgspec.field(name="StreamSpecification", default=None)
    stream_arn: str | None = msgspec.field(name="LatestStreamArn", default=None)
    items: int = msgspec.field(name="ItemCount", default=0)
    size: int = msgspec.field(name="TableSizeBytes", default=0)
    id: str | None = msgspec.field(name="TableId", default=None)
    throughput: _Throughput | None = msgspec.field(name="ProvisionedThroughput", default=None)


class _Export(msgspec.Struct):
    status: str = msgspec.field(name="ExportStatus")
    filter: dict[str, msgspec.Raw] | None = msgspec.field(name="FilterSpecification", default=None)
    failure: str | None = msgspec.field(name="FailureCode", default=None)
    message: str | None = msgspec.field(name="FailureMessage", default=None)


class _DescribedExport(msgspec.Struct):
    export: _Export = msgspec.field(name="ExportDescription")


class _Described(msgspec.Struct):
    table: _Table = msgspec.field(name="Table")


_described = msgspec.json.Decoder(_Described)
_described_export = msgspec.json.Decoder(_DescribedExport)

_STREAM_ARN = re.compile(r"arn:[a-z0-9-]+:dynamodb:[a-z0-9-]*:\d*:table/(?P<table>[A-Za-z0-9_.-]+)/stream/[^/\s]+")
_POLL = 0.5
"""Seconds between looks at a table while a stream is being switched on."""
_PATIENCE = 300.0
"""Seconds after which switching a stream on counts as failed; AWS takes some seconds."""


class DynamoTable:
    """A `TableReader` of a real table. Safe to use from several threads; `session` may serve other tables too."""

    def __init__(
        self,
        session: Session,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
        ring: PageRing | None = None,
    ) -> None:
        """`ring`: where pages of streams are shared with other processes of this machine."""
        self.name = name
        self._ring = ring
        self._session = session
        self._clock = clock
        self._pause = pause

    def __repr__(self) -> str:
        return f"DynamoTable({self.name!r})"

    def describe(self) -> TableDescription:
        """See `TableReader.describe`."""
        body = self._session.ask("DescribeTable", self.name, {"TableName": self.name})
        table = decode(_described, "DescribeTable", self.name, body).table
        on = table.stream is not None and table.stream.enabled
        return TableDescription(
            name=table.name,
            arn=table.arn,
            # HASH before RANGE, as their names happen to sort
            key=tuple(part.name for part in sorted(table.key, key=lambda part: part.type)),
            stream_arn=table.stream_arn if on else None,
            view_type=table.stream.view_type if on and table.stream is not None else None,
            items=table.items,
            size=table.size,
            status=table.status,
            id=table.id,
            # On demand, AWS says 0
            read_units=(table.throughput.read or None) if table.throughput is not None else None,
        )

    def enable_stream(self, view_type: ViewType) -> TableDescription:
        """See `TableReader.enable_stream`. Raises `SourceUnavailable` when it takes longer than five minutes."""
        if self._view_type() is None:
            specification = {"StreamEnabled": True, "StreamViewType": view_type}
            try:
                self._session.ask(
                    "UpdateTable", self.name, {"TableName": self.name, "StreamSpecification": specification}
                )
            except SourceRefused:
                if self._view_type() is None:  # else another process was faster
                    raise
        end = self._clock() + _PATIENCE
        while True:
            found = self.describe()
            if found.view_type is not None and found.view_type != view_type:
                raise SourceRefused(
                    f"the stream of {self.name} is on with view type {found.view_type}, not {view_type}",
                    "switch it off first (it cannot be changed), which makes a gap for whoever reads it",
                )
            if found.status == "ACTIVE" and found.stream_arn is not None:
                stream = describe_stream(self._session, found.stream_arn, Limit=1)
                if stream.status == "ENABLED":
                    return found
            if self._clock() > end:
                raise SourceUnavailable(f"the stream of {self.name} is still not on after {_PATIENCE:.0f} s")
            self._pause(_POLL)

    def _view_type(self) -> ViewType | None:
        return self.describe().view_type

    def stream(self, arn: str, shape: Shape) -> StreamReader:
        """See `TableReader.stream`."""
        matched = _STREAM_ARN.fullmatch(arn)
        if matched is None:
            raise SourceRefused(f"not the ARN of a DynamoDB stream: {arn[:200]!r}")
        table = self.name.rsplit("/", 1)[-1]  # a table may be named by its ARN
        if matched["table"] != table:
            raise SourceRefused(f"{arn} is a stream of table {matched['table']}, not of {table}")
        stream = DynamoStream(self._session, arn, shape)
        return stream if self._ring is None else SharedStream(stream, self._ring)

    def scan(
        self,
        segment: int,
        segments: int,
        after: ScanPosition | None,
        shape: Shape,
        only: ScanFilter | None = None,
    ) -> Iterator[ScanPage[Any]]:
        """See `TableReader.scan`. The table is described first, for its key."""
        key = self.describe().key
        check_shape(shape, key)
        part = Part(segment, segments, after)
        return scan_pages(self._session, self.name, key, shape, part, only)

    def get(self, keys: Sequence[Mapping[str, Attr]], shape: Shape) -> list[Image | None]:
        """See `TableReader.get`."""
        if not keys:
            return []
        return get_items(self._session, self.name, tuple(keys[0]), keys, shape)

    def exported(self, arn: str) -> ExportStatus | None:
        """See `TableReader.exported`. Needs dynamodb:DescribeExport."""
        try:
            body = self._session.ask("DescribeExport", arn, {"ExportArn": arn})
        except ExportUnknown:
            return None
        found = decode(_described_export, "DescribeExport", arn, body).export
        failure = " ".join(each for each in (found.failure, found.message and f"({found.message[:300]})") if each)
        return ExportStatus(found.status, bool(found.filter), failure)

    def export(self, destination: Destination, token: str) -> RequestedExport:
        """Ask DynamoDB for an export of the table as it is now, see `request_export`."""
        return request_export(self._session, self.describe().arn, destination, token)


def open_table(source: SourceDeclaration, ring: PageRing | None = None) -> DynamoTable:
    """The reader of a declared source, on a session of its own; pages of its streams are shared in a `ring`. No I/O.

    Raises `SourceRefused` where no region is known, `CredentialsMissing` where a named profile does not exist.
    """
    return DynamoTable(session_of(source), source.table, ring=ring)
