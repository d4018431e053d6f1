"""One generation of one view in OpenSearch."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import msgspec

from dynaview.projections.columns import Columns
from dynaview.projections.rows import Layout, RowKey, Write
from dynaview.sinks.opensearch.bulk import Bulk, fault
from dynaview.sinks.opensearch.canonical import canonical, canonical_of, owned_canonical
from dynaview.sinks.opensearch.client import Connection, path
from dynaview.sinks.opensearch.errors import IndexMissing, ItemError
from dynaview.sinks.opensearch.generation import Generation
from dynaview.sinks.opensearch.limits import LIMITS, Limits
from dynaview.sinks.opensearch.listing import Hit, Listing
from dynaview.sinks.opensearch.lookups import read
from dynaview.sinks.opensearch.probe import Probe
from dynaview.sinks.opensearch.values import (
    DELETED,
    DELETED_AT,
    LIVE,
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


class _Purged(msgspec.Struct):
    deleted: int
    conflicts: int = msgspec.field(name="version_conflicts")
    failures: list[Any] = []
    timed_out: bool = False


_purged = msgspec.json.Decoder(_Purged)


T = TypeVar("T")


class OpenSearchTarget:
    """See `dynaview.sinks.port.Target`."""

    def __init__(self, connection: Connection, layout: Layout, generation: int, limits: Limits = LIMITS) -> None:
        self.layout = layout
        self.generation = generation
        self._connection = connection
        self._limits = limits
        self._generation = Generation(connection, layout, generation, limits)
        self._documents = Documents(layout)
        self._lock = threading.Lock()
        self._bulk: Bulk | None = None

    def prepare(self, bulk: bool = False) -> None:
        self._prove(self._enter(self._generation.prepare(bulk)))

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
        self._prove(bulk)
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
        for page in self._pages(LIVE):
            for hit in page:
                yield stored(hit.key, self.generation, decoder.decode(hit.source))

    def rows_of(self, owners: Collection[str]) -> Iterator[Stored]:
        chosen, most = [*owners], self._limits.page_rows
        for start in range(0, len(chosen), most):
            theirs = {"terms": {OWNER: chosen[start : start + most]}}
            for page in self._pages({"bool": {"filter": [LIVE, theirs]}}):
                for hit in page:
                    yield stored(hit.key, self.generation, decoder.decode(hit.source))

    def earlier(self) -> Iterator[Stored]:
        return iter(())

    def canonical_rows(self) -> Iterator[CanonicalRows]:
        after = f" {self.generation} "
        for page in self._pages(LIVE):
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

    def _pages(self, query: Mapping[str, Any]) -> Iterator[list[Hit]]:
        with self._leaving() as bulk:
            yield from self._listing(bulk).pages(query)

    def show(self) -> None:
        """Refreshes the index, or waits until it is."""
        with self._leaving() as bulk:
            self._listing(bulk).show()

    def foreign(self) -> Iterator[Foreign]:
        """The index is dynaview's own, see the port."""
        return iter(())

    def remove_foreign(self, foreign: Sequence[Foreign]) -> int:
        return 0

    def count(self) -> int:
        with self._leaving() as bulk:
            return self._listing(bulk).count(LIVE)

    def purge(self, older_than: timedelta) -> int:
        age = math.ceil(older_than.total_seconds())
        old = {"bool": {"filter": [{"term": {DELETED: True}}, {"range": {DELETED_AT: {"lte": f"now-{age}s"}}}]}}
        with self._leaving() as bulk:
            if self._connection.profile.deletes_by_query:
                return self._purge(bulk, old)
            self._prove(bulk)
            removed = 0
            for page in self._listing(bulk).pages(old):
                removed += bulk.remove_tombstones({hit.key: hit.sort[0] for hit in page})
            return removed

    def _purge(self, bulk: Bulk, old: dict[str, Any]) -> int:
        # A tombstone that is taken over between being found and being removed is a conflict, and stays.
        self._listing(bulk).show()
        body = msgspec.json.encode({"query": old})
        most = self._limits.purge_rows
        parameters = {"conflicts": "proceed", "refresh": "true", "max_docs": str(most)}
        removed = 0
        while True:
            answer = self._connection.send(
                "POST",
                path(bulk.door, "_delete_by_query"),
                doing=f"purging {self._generation.index}",
                index=self._generation.readers,
                params=parameters,
                body=body,
            )
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
        generation = self._generation
        with self._leaving(bulk):
            doing = f"reading {generation.index}"
            found = read(self._connection, bulk.door, [*names.values()], doing, generation.readers)
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

    @contextlib.contextmanager
    def _leaving(self, bulk: Bulk | None = None) -> Iterator[Bulk]:
        """The way into the index, which is looked for again where it turns out to be gone."""
        bulk = bulk or self._entered()
        try:
            yield bulk
        except IndexMissing:
            self._leave(bulk)
            raise

    def _listing(self, bulk: Bulk) -> Listing:
        generation = self._generation
        return Listing(self._connection, bulk.door, generation.index, generation.readers, self._limits)

    def _prove(self, bulk: Bulk) -> None:
        """Nothing is written before it is known that the guard holds."""
        generation = self._generation
        self._connection.prove(Probe(self._connection, bulk.door, generation.index, generation.readers).run)

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
