"""One DynamoDB stream through boto3: shards, iterators and pages."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from dynaview.projections.attributes import Shape
from dynaview.projections.projection import ViewType
from dynaview.sources.errors import SourceRefused, SourceUnavailable, Throttled
from dynaview.sources.pages import RecordsDecoder
from dynaview.sources.port import Page, Shard
from dynaview.sources.session import Session, decode


class _Range(msgspec.Struct):
    first: str = msgspec.field(name="StartingSequenceNumber", default="0")
    last: str | None = msgspec.field(name="EndingSequenceNumber", default=None)


class _Shard(msgspec.Struct):
    id: str = msgspec.field(name="ShardId")
    range: _Range = msgspec.field(name="SequenceNumberRange")
    parent: str | None = msgspec.field(name="ParentShardId", default=None)


class StreamDescription(msgspec.Struct):
    """One page of DescribeStream."""

    shards: list[_Shard] = msgspec.field(name="Shards")
    status: str = msgspec.field(name="StreamStatus")
    """ENABLING, ENABLED, DISABLING, DISABLED."""
    last: str | None = msgspec.field(name="LastEvaluatedShardId", default=None)
    view_type: ViewType | None = msgspec.field(name="StreamViewType", default=None)


class _Described(msgspec.Struct):
    stream: StreamDescription = msgspec.field(name="StreamDescription")


class _Opened(msgspec.Struct):
    iterator: str = msgspec.field(name="ShardIterator")


_described = msgspec.json.Decoder(_Described)
_opened = msgspec.json.Decoder(_Opened)


def describe_stream(session: Session, arn: str, **parameters: Any) -> StreamDescription:
    """One DescribeStream call."""
    body = session.ask("DescribeStream", arn, {"StreamArn": arn, **parameters})
    return decode(_described, "DescribeStream", arn, body).stream


class DynamoStream:
    """A `StreamReader` of a real stream. Safe to use from several threads."""

    def __init__(self, session: Session, arn: str, shape: Shape) -> None:
        self.arn = arn
        self._session = session
        self._decoder = RecordsDecoder(shape)
        self._lock = threading.Lock()
        self._listed: list[Shard] = []
        self._listed_to: str | None = None
        self._filter_knows = False

    def shards(self) -> list[Shard]:
        """See `StreamReader.shards`."""
        with self._lock:  # two listings at once would only throttle each other
            try:
                return self._list()
            except (Throttled, SourceUnavailable):
                raise
            except BaseException:
                self._listed, self._listed_to = [], None
                raise

    def _list(self) -> list[Shard]:
        """Go on listing from where the last call was stopped, page by page, to the end."""
        while True:
            start = {} if self._listed_to is None else {"ExclusiveStartShardId": self._listed_to}
            page = describe_stream(self._session, self.arn, **start)
            self._decoder.view_type = page.view_type or self._decoder.view_type
            self._listed += _shards(page)
            self._listed_to = page.last
            if page.last is None:
                listed, self._listed = self._listed, []
                return listed

    def children(self, shard_id: str) -> list[Shard]:
        """See `StreamReader.children`.

        A server may not know the filter: refuse it, ignore it or answer nothing (DynamoDB Local). So an empty answer is
        believed only from a server that has given a full one before.
        """
        found: list[Shard] = []
        after: dict[str, str] = {}
        try:
            while True:
                filtered = {"ShardFilter": {"Type": "CHILD_SHARDS", "ShardId": shard_id}, **after}
                page = describe_stream(self._session, self.arn, **filtered)
                found += [shard for shard in _shards(page) if shard.parent == shard_id]
                if page.last is None:
                    break
                after = {"ExclusiveStartShardId": page.last}
        except SourceRefused:
            found = []
        if found:
            self._filter_knows = True
        elif not self._filter_knows:
            found = [shard for shard in self.shards() if shard.parent == shard_id]
        return found

    def open(self, shard_id: str, after: str | None) -> str:
        """See `StreamReader.open`. Never LATEST: what a shard held before would be lost."""
        parameters = {"StreamArn": self.arn, "ShardId": shard_id}
        if after is None:
            parameters["ShardIteratorType"] = "TRIM_HORIZON"
        else:
            parameters |= {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": after}
        body = self._session.ask("GetShardIterator", self.arn, parameters)
        return decode(_opened, "GetShardIterator", self.arn, body).iterator

    def read(self, iterator: str, limit: int = 1000) -> Page[Any]:
        """See `StreamReader.read`."""
        return self.decode(self.fetch(iterator, limit))

    def fetch(self, iterator: str, limit: int = 1000) -> bytes:
        """The page at `iterator` as AWS sent it. Raises what `read` does."""
        return self._session.ask("GetRecords", self.arn, {"ShardIterator": iterator, "Limit": limit})

    def decode(self, body: bytes) -> Page[Any]:
        """A page by the stream's shape. Raises `BadPage`."""
        return self._decoder.decode(body)


def _shards(page: StreamDescription) -> list[Shard]:
    return [Shard(shard.id, shard.parent or None, shard.range.first, shard.range.last) for shard in page.shards]
