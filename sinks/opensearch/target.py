"""One generation of one view in OpenSearch."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from dynaview.projections.columns import Columns
from dynaview.projections.rows import Layout, RowKey, Write
from dynaview.sinks.opensearch.bulk import Bulk, fault
from dynaview.sinks.opensearch.canonical import canonical, canonical_of, owned_canonical
from dynaview.sinks.opensearch.client import Connection, path
from dynaview.sinks.opensearch.errors import IndexMissing, ItemError
from dynaview.sinks.opensearch.generation import LIVE, Generation
from dynaview.sinks.opensearch.limits import LIMITS, Limits
from dynaview.sinks.opensearch.values import (
    DELETED,
    DELETED_AT,
    OWNER,
    Documents,
    Unstorable,
    decoder,
    key,
    stored,
)
from dynaview.sinks.port import (
    CanonicalRows,
    ConditionalWrite,
    Foreign,
    Outcome,
    RefusedRow,
    SinkError,
    SinkUnavailable,
    Stored,
)

_SCROLL = "5m"
"""How long OpenSearch keeps a listing open between two pages."""


class _Document(msgspec.Struct):
    found: bool = False
    source: dict[str, Any] | None = msgspec.field(name="_source", default=None)
    error: ItemError | None = None


class _Documents(msgspec.Struct):
    docs: list[_Document]


class _Hit(msgspec.Struct):
    key: str = msgspec.field(name="_id")
    source: msgspec.Raw = msgspec.field(name="_source")
    """As it was written: it is sent as it is kept."""


class _Total(msgspec.Struct):
    value: int


class _Hits(msgspec.Struct):
    hits: list[_Hit]
    total: _Total | None = None


class _Shards(msgspec.Struct):
    failed: int


class _Found(msgspec.Struct):
    hits: _Hits
    shards: _Shards = msgspec.field(name="_shards")
    scroll: str = msgspec.field(name="_scroll_id", default="")


class _Purged(msgspec.Struct):
    deleted: int
    conflicts: int = msgspec.field(name="version_conflicts")
    failures: list[Any] = []
    timed_out: bool = False


# No `filter_path` where whole documents are read: it re-writes their numbers through doubles.
_documents = msgspec.json.Decoder(_Documents, float_hook=Decimal)
_found = msgspec.json.Decoder(_Found, float_hook=Decimal)
_purged = msgspec.json.Decoder(_Purged)


T = TypeVar("T")


class OpenSearchTarget:
    """See `dynaview.sinks.port.Target`."""

    def __init__(self, connection: Connection, layout: Layout, generation: int, limits: Limits = LIMITS) -> None:
        self.layout = layout
        self.generation = generation
        self._connection = connection
        self._limits = limits
        self._generation = Generation(connection, layout, generation)
        self._documents = Documents(layout)
        self._lock = threading.Lock()
        self._bulk: Bulk | None = None

    def prepare(self, bulk: bool = False) -> None:
        self._enter(self._generation.prepare(bulk))

    def finish(self, kept: Sequence[RefusedRow] = ()) -> list[RefusedRow]:
        """OpenSearch indexes documents as they come, so none is refused late."""
        self._generation.finish()
        return []

    def gone(self) -> str | None:
        return None if self._generation.find() is not None else f"index {self._generation.index} is gone"

    def publish(self) -> None:
        self._generation.publish()

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        return self._guarded(lambda bulk: bulk.write(writes)) if writes else []

    def write_columns(self, columns: Columns) -> dict[int, Outcome]:
        return self._guarded(lambda bulk: bulk.write_columns(columns)) if len(columns) else {}

    def write_if_unchanged(self, conditional_writes: Sequence[ConditionalWrite]) -> list[Outcome]:
        return (
            self._guarded(lambda bulk: bulk.write_if_unchanged(conditional_writes, self.generation))
            if conditional_writes
            else []
        )

    def _guarded(self, act: Callable[[Bulk], T]) -> T:
        bulk = self._entered()
        try:
            return act(bulk)
        except IndexMissing:
            self._leave(bulk)
            raise

    def content(self, write: Write) -> Any:
        return self._documents.content(write)

    def canonical(self, write: Write) -> bytes | None:
        return None if write.values is None else canonical(self._documents, write)

    def fault(self, write: Write) -> str | None:
        return fault(self._documents, write, self._limits)

    def read(self, keys: Sequence[RowKey], contents: bool = True) -> list[Stored | None]:
        if not keys:
            return []
        bulk = self._entered()
        rows: list[Stored | None] = []
        most = self._limits.read_rows
        for start in range(0, len(keys), most):
            rows += self._read(bulk, keys[start : start + most])
        return rows

    def rows(self) -> Iterator[Stored]:
        for page in self._listed():
            for hit in page:
                yield stored(hit.key, self.generation, decoder.decode(hit.source))

    def rows_of(self, owners: Collection[str]) -> Iterator[Stored]:
        chosen, most = [*owners], self._limits.page_rows
        for start in range(0, len(chosen), most):
            theirs = {"terms": {OWNER: chosen[start : start + most]}}
            for page in self._listed({"bool": {"filter": [LIVE, theirs]}}):
                for hit in page:
                    yield stored(hit.key, self.generation, decoder.decode(hit.source))

    def earlier(self) -> Iterator[Stored]:
        return iter(())

    def canonical_rows(self) -> Iterator[CanonicalRows]:
        after = f" {self.generation} "
        for page in self._listed():
            states: list[str] = []
            canonical_rows: list[bytes] = []
            for hit in page:
                source = bytes(hit.source)
                found = canonical_of(source)
                if found is None:
                    row = stored(hit.key, self.generation, decoder.decode(source))
                    found = f"{row.version}{after}{row.owner}", owned_canonical(source)
                    states.append(found[0])
                else:
                    states.append(found[0] + after)
                canonical_rows.append(found[1])
            yield CanonicalRows([hit.key for hit in page], states, canonical_rows)

    def _listed(self, query: Mapping[str, Any] = LIVE) -> Iterator[list[_Hit]]:
        """Pages of all live documents, or of those that a query finds."""
        door = self._refreshed()
        body = {"query": query, "sort": ["_doc"], "size": self._limits.page_rows}
        page = self._search(door, {"scroll": _SCROLL}, body)
        try:
            while page.hits.hits:
                yield page.hits.hits
                more = msgspec.json.encode({"scroll": _SCROLL, "scroll_id": page.scroll})
                page = self._page(self._send("POST", "/_search/scroll", "reading", body=more))
        finally:
            # The listing ends by itself after a while; an error here must not hide one from above.
            with contextlib.suppress(SinkError):
                self._send("DELETE", "/_search/scroll", "reading", body=msgspec.json.encode({"scroll_id": page.scroll}))

    def show(self) -> None:
        """Refreshes the index."""
        self._refreshed()

    def foreign(self) -> Iterator[Foreign]:
        """The index is dynaview's own, see the port."""
        return iter(())

    def remove_foreign(self, foreign: Sequence[Foreign]) -> int:
        return 0

    def count(self) -> int:
        door = self._refreshed()
        found = self._search(door, {}, {"query": LIVE, "size": 0, "track_total_hits": True})
        if found.hits.total is None:
            raise self._connection.unreadable(f"counting {self._generation.index}")
        return found.hits.total.value

    def purge(self, older_than: timedelta) -> int:
        # A tombstone that is taken over between being found and being removed is a conflict, and stays.
        door = self._refreshed()
        age = math.ceil(older_than.total_seconds())
        old = [{"term": {DELETED: True}}, {"range": {DELETED_AT: {"lte": f"now-{age}s"}}}]
        body = msgspec.json.encode({"query": {"bool": {"filter": old}}})
        most = self._limits.purge_rows
        parameters = {"conflicts": "proceed", "refresh": "true", "max_docs": str(most)}
        removed = 0
        while True:
            answer = self._send("POST", path(door, "_delete_by_query"), "purging", parameters, body)
            try:
                purged = _purged.decode(answer)
            except (msgspec.DecodeError, ValueError):
                raise self._connection.unreadable(f"purging {self._generation.index}") from None
            if purged.failures or purged.timed_out:
                raise SinkUnavailable(f"OpenSearch did not finish purging {self._generation.index}")
            removed += purged.deleted
            if not purged.deleted or purged.deleted + purged.conflicts < most:
                return removed

    def drop(self) -> None:
        self._generation.drop()
        with self._lock:
            self._bulk = None

    def _read(self, bulk: Bulk, keys: Sequence[RowKey]) -> list[Stored | None]:
        names: dict[RowKey, bytes] = {}
        for row in keys:
            # What cannot be a key was never stored.
            with contextlib.suppress(Unstorable):
                names[row] = key(row)
        if not names:
            return [None] * len(keys)
        answer = self._send(
            "POST",
            path(bulk.door, "_mget"),
            "reading",
            {"preference": "_primary"},
            b'{"ids":[' + b",".join(names.values()) + b"]}",
        )
        try:
            found = _documents.decode(answer).docs
        except (msgspec.DecodeError, ValueError):
            raise self._connection.unreadable(f"reading {self._generation.index}") from None
        rows: dict[RowKey, Stored] = {}
        missing: list[RowKey] = []
        for row, one in zip(names, found, strict=True):
            if one.error is not None:
                raise self._failed(bulk, one.error)
            if one.found and one.source is not None:
                rows[row] = stored(row, self.generation, one.source)
            else:
                missing.append(row)
        # Where somebody removed a row by hand, its remembered version must not stand in the way of a repair.
        bulk.memory.forget(missing)
        return [rows.get(row) for row in keys]

    def _failed(self, bulk: Bulk, error: ItemError) -> SinkError:
        failure = self._connection.failed(0, error.type, f"reading {self._generation.index}", self._generation.readers)
        if isinstance(failure, IndexMissing):
            self._leave(bulk)
        return failure

    def _refreshed(self) -> str:
        """The door, with all that was written now visible to searches."""
        door = self._entered().door
        self._send("POST", path(door, "_refresh"), "refreshing")
        return door

    def _search(self, door: str, parameters: dict[str, str], query: dict[str, Any]) -> _Found:
        consistent = {"preference": "_primary", "allow_partial_search_results": "false"}
        answer = self._send(
            "POST", path(door, "_search"), "reading", consistent | parameters, msgspec.json.encode(query)
        )
        return self._page(answer)

    def _page(self, answer: str) -> _Found:
        try:
            page = _found.decode(answer)
        except (msgspec.DecodeError, ValueError):
            raise self._connection.unreadable(f"reading {self._generation.index}") from None
        if page.shards.failed:
            raise SinkUnavailable(f"{page.shards.failed} shards of {self._generation.index} do not answer")
        return page

    def _send(
        self, method: str, path: str, verb: str, parameters: dict[str, str] | None = None, body: bytes | None = None
    ) -> str:
        bulk = self._bulk
        try:
            return self._connection.send(
                method,
                path,
                doing=f"{verb} {self._generation.index}",
                index=self._generation.readers,
                params=parameters,
                body=body,
            )
        except IndexMissing:
            if bulk is not None:
                self._leave(bulk)
            raise

    def _entered(self) -> Bulk:
        return self._bulk or self._enter(self._generation.door())

    def _enter(self, door: str) -> Bulk:
        """The way into the index behind `door`; what is remembered of another index is forgotten."""
        with self._lock:
            if self._bulk is None or self._bulk.door != door:
                generation = self._generation
                self._bulk = Bulk(
                    self._connection, self._documents, door, generation.index, generation.readers, self._limits
                )
            return self._bulk

    def _leave(self, bulk: Bulk) -> None:
        """The index behind `bulk` is gone: look again the next time."""
        with self._lock:
            if self._bulk is bulk:
                self._bulk = None
