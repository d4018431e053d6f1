"""All documents of an index, page by page, and how many there are: what was written before shows.

A scroll follows a refresh. Where neither is to be had, a point in time is opened again and again until it shows what
was written into the index just before it (see `Markers`), and then read to its end.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from dynaview.sinks.opensearch.client import Connection, path
from dynaview.sinks.opensearch.limits import Limits
from dynaview.sinks.opensearch.values import OWNER, Tombstone
from dynaview.sinks.port import SinkError, SinkUnavailable

_KEPT = "5m"
"""How long OpenSearch keeps a listing open between two pages."""


class Hit(msgspec.Struct):
    """A document that was found."""

    key: str = msgspec.field(name="_id")
    source: msgspec.Raw = msgspec.field(name="_source")
    """As it was written: it is sent as it is kept."""
    sort: list[int] = []


class _Total(msgspec.Struct):
    value: int


class _Hits(msgspec.Struct):
    hits: list[Hit]
    total: _Total | None = None


class _Shards(msgspec.Struct):
    failed: int


class _Found(msgspec.Struct):
    hits: _Hits
    shards: _Shards = msgspec.field(name="_shards")
    scroll: str = msgspec.field(name="_scroll_id", default="")


class _Opened(msgspec.Struct):
    id: str = msgspec.field(name="pit_id")


_found = msgspec.json.Decoder(_Found, float_hook=Decimal)
_opened = msgspec.json.Decoder(_Opened)


@dataclass(frozen=True, slots=True)
class Listing:
    """Searches of one index through its door."""

    connection: Connection
    door: str
    index: str
    readers: str
    limits: Limits

    def show(self) -> None:
        """Let searches find what was written before. Raises `SinkError`."""
        if self.connection.profile.refreshes:
            self._send("POST", path(self.door, "_refresh"), "refreshing")
            return
        with self._point_in_time():
            return

    def count(self, query: Mapping[str, Any]) -> int:
        """How many documents a query finds. Raises `SinkError`."""
        if self.connection.profile.refreshes:
            self.show()
            return self._total(self._search(path(self.door, "_search"), {"preference": "_primary"}, _counting(query)))
        with self._point_in_time() as point:
            return self._total(self._search("/_search", {}, _counting(query) | {"pit": {"id": point}}))

    def pages(self, query: Mapping[str, Any]) -> Iterator[list[Hit]]:
        """Pages of all documents that a query finds. Raises `SinkError`."""
        return self._scroll(query) if self.connection.profile.scrolls else self._walk(query)

    def _scroll(self, query: Mapping[str, Any]) -> Iterator[list[Hit]]:
        self.show()
        body = {"query": query, "sort": ["_doc"], "size": self.limits.page_rows}
        page = self._search(path(self.door, "_search"), {"preference": "_primary", "scroll": _KEPT}, body)
        try:
            while page.hits.hits:
                yield page.hits.hits
                more = msgspec.json.encode({"scroll": _KEPT, "scroll_id": page.scroll})
                page = self._page(self._send("POST", "/_search/scroll", "reading", body=more))
        finally:
            # The listing ends by itself after a while; an error here must not hide one from above.
            with contextlib.suppress(SinkError):
                self._send("DELETE", "/_search/scroll", "reading", body=msgspec.json.encode({"scroll_id": page.scroll}))

    def _walk(self, query: Mapping[str, Any]) -> Iterator[list[Hit]]:
        """In the order of sequence numbers, which each shard counts by itself: documents of several shards may have one
        number. So a page begins with the last number of the one before, and leaves out what that one had."""
        size = self.limits.page_rows
        with self._point_in_time() as point:
            body: dict[str, Any] = {"query": query, "sort": [{"_seq_no": "asc"}], "size": size}
            body |= {"pit": {"id": point, "keep_alive": _KEPT}, "track_total_hits": False}
            had: set[str] = set()
            while True:
                hits = self._search("/_search", {}, body).hits.hits
                if any(not hit.sort for hit in hits):
                    raise self.connection.unreadable(f"reading {self.index}")
                if fresh := [hit for hit in hits if hit.key not in had]:
                    yield fresh
                if len(hits) < body["size"]:
                    return
                last = hits[-1].sort[0]
                if hits[0].sort[0] == last:
                    # As many shards as a page has rows: a longer page shows what comes behind them.
                    body["size"] *= 2
                had = {hit.key for hit in hits if hit.sort[0] == last}
                body["search_after"] = [last - 1]

    @contextlib.contextmanager
    def _point_in_time(self) -> Iterator[str]:
        """A point in time that shows all that was written before it was asked for."""
        with Markers(self.connection, self.door, self.index, self.readers) as markers:
            deadline = time.monotonic() + self.limits.shown_within
            while True:
                point = self._open()
                try:
                    if self._total(self._search("/_search", {}, _counting(markers.query) | {"pit": {"id": point}})) >= (
                        markers.count
                    ):
                        break
                except BaseException:
                    self._close(point)
                    raise
                self._close(point)
                if time.monotonic() > deadline:
                    raise SinkUnavailable(
                        f"{self.connection.profile.title} at {self.connection.place} has not shown for "
                        f"{self.limits.shown_within:g} s what was written to {self.index}"
                    )
                time.sleep(self.limits.shown_pause)
        try:
            yield point
        finally:
            self._close(point)

    def _open(self) -> str:
        answer = self._send("POST", path(self.door, "_search", "point_in_time"), "reading", {"keep_alive": _KEPT})
        try:
            return _opened.decode(answer).id
        except msgspec.DecodeError:
            raise self.connection.unreadable(f"reading {self.index}") from None

    def _close(self, point: str) -> None:
        # It ends by itself after a while; an error here must not hide one from above.
        with contextlib.suppress(SinkError):
            self._send("DELETE", "/_search/point_in_time", "reading", body=msgspec.json.encode({"pit_id": [point]}))

    def _search(self, path: str, parameters: dict[str, str], query: Mapping[str, Any]) -> _Found:
        consistent = {"allow_partial_search_results": "false"} | parameters
        return self._page(self._send("POST", path, "reading", consistent, msgspec.json.encode(query)))

    def _page(self, answer: str) -> _Found:
        try:
            page = _found.decode(answer)
        except (msgspec.DecodeError, ValueError):
            raise self.connection.unreadable(f"reading {self.index}") from None
        if page.shards.failed:
            raise SinkUnavailable(f"{page.shards.failed} shards of {self.index} do not answer")
        return page

    def _total(self, page: _Found) -> int:
        if page.hits.total is None:
            raise self.connection.unreadable(f"counting {self.index}")
        return page.hits.total.value

    def _send(
        self, method: str, path: str, verb: str, parameters: dict[str, str] | None = None, body: bytes | None = None
    ) -> str:
        doing = f"{verb} {self.index}"
        return self.connection.send(method, path, doing=doing, index=self.readers, params=parameters, body=body)


def _counting(query: Mapping[str, Any]) -> dict[str, Any]:
    return {"query": query, "size": 0, "track_total_hits": True}


class _Entry(msgspec.Struct):
    status: int


class _Answer(msgspec.Struct):
    items: list[dict[str, _Entry]]


_written = msgspec.json.Decoder(_Answer)


class Markers:
    """Documents that are written to find out when others show: a shard that shows one shows all that was written to it
    before.

    How many shards there are, the store does not tell. Ids spread over them by their hash: with eight shards one of
    them stays without any of `count` once in three million times. They are tombstones, which no reader sees; where a
    crash leaves some, they are purged like others.
    """

    count = 128

    def __init__(self, connection: Connection, door: str, index: str, readers: str) -> None:
        self._connection = connection
        self._door = door
        self._index = index
        self._readers = readers
        self._name = f"dynaview-marker-{secrets.token_hex(12)}"
        self.query = {"term": {OWNER: self._name}}

    def __enter__(self) -> Markers:
        at = self._connection.milliseconds(self._readers)
        body = msgspec.json.encode(Tombstone("0", at, True, self._name))
        self._bulk(b"".join([b'{"create":{"_id":"%b-%d"}}\n%b\n' % (self._id, n, body) for n in range(self.count)]))
        return self

    def __exit__(self, *_: object) -> None:
        # They do no harm; an error here must not hide one from above.
        with contextlib.suppress(SinkError):
            self._bulk(b"".join([b'{"delete":{"_id":"%b-%d"}}\n' % (self._id, n) for n in range(self.count)]))

    @property
    def _id(self) -> bytes:
        return self._name.encode()

    def _bulk(self, body: bytes) -> None:
        doing = f"asking what shows of {self._index}"
        params = {"require_alias": "true", "filter_path": "items.*.status"}
        answer = self._connection.send(
            "POST", path(self._door, "_bulk"), doing=doing, index=self._readers, params=params, body=body
        )
        try:
            entries = _written.decode(answer).items
        except msgspec.DecodeError:
            raise self._connection.unreadable(doing) from None
        if len(entries) != self.count or any(one.status >= 300 for entry in entries for one in entry.values()):
            raise SinkUnavailable(f"{self._connection.profile.title} did not take what is needed for {doing}")
