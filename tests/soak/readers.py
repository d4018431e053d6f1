"""Readers of a table's views on real servers, and what they may see: no row ever goes back, vanishes or comes back.

Every change of an item has a number, `rev`, that its rows show. A place is an item under one of its codes; what readers
see there is a number or nothing. A `Reader` is one way to read a store; each is held to what it has shown
before, since a search may show less than a read by key.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

import psycopg
import redis
from opensearchpy import OpenSearch
from psycopg import sql

from tests.models.table import Value, shown

Place: TypeAlias = tuple[str, str]
"""An item and one of its codes."""

CODES = ("a", "b")
HIDDEN = "none"
"""The code of an item that no view shows."""

PAUSE = 0.05
"""Seconds between two looks of one reader."""


class Truth:
    """All states that the items of a table have had. Thread-safe for readers beside writers of different items."""

    def __init__(self, items: int) -> None:
        self.names = [f"p{number}" for number in range(items)]
        self.places = [(name, code) for name in self.names for code in CODES]
        self.made = 0
        """How many changes there were, each with a record in the stream."""
        self._lock = threading.Lock()
        self._codes: dict[str, str | None] = dict.fromkeys(self.names)
        self._histories: dict[Place, tuple[Value, ...]] = dict.fromkeys(self.places, ())

    def code(self, name: str) -> str | None:
        """The code of an item, None where there is no such item."""
        return self._codes[name]

    def change(self, name: str, code: str | None) -> int:
        """An item is about to be put under a code, or (None) deleted: its `rev`. Said before it is done, because
        readers may see it at once."""
        with self._lock:
            if code is not None or self._codes[name] is not None:
                self.made += 1
            self._codes[name] = code
            for each in CODES:
                self._histories[name, each] += (str(self.made) if each == code else None,)
            return self.made

    def history(self, place: Place) -> tuple[Value, ...]:
        """The states of a place so far."""
        return self._histories[place]

    def expected(self) -> dict[Place, str]:
        """What every view has to show."""
        return {place: states[-1] for place, states in self._histories.items() if states and states[-1] is not None}


class Reader(Protocol):
    """One way to look at a view. What it raises is a fault: readers must always be answered."""

    name: str

    def look(self, places: Sequence[Place]) -> list[tuple[Place, str]]:
        """All rows there are, each place with its number; a place that readers see twice comes twice."""

    def close(self) -> None:
        """Give back connections."""


class Keys:
    """Redis keys, of one type."""

    def __init__(self, url: str, prefix: str, kind: str) -> None:
        self.name = f"redis {kind}"
        self._client: redis.Redis = redis.Redis.from_url(url, decode_responses=True)
        self._prefix, self._kind = prefix, kind

    def look(self, places: Sequence[Place]) -> list[tuple[Place, str]]:
        """See `Reader.look`."""
        if self._kind == "sorted_set":
            return [((member, code), str(int(rev))) for code in CODES for member, rev in self._scores(code)]
        with self._client.pipeline(transaction=False) as pipeline:
            for name, code in places:
                key = f"{self._prefix}:{name}:{code}"
                pipeline.hget(key, "rev") if self._kind == "hash" else pipeline.get(key)
            found = pipeline.execute()
        if self._kind == "string":
            found = [row and str(json.loads(row)["rev"]) for row in found]
        return [(place, row) for place, row in zip(places, found, strict=True) if row is not None]

    def _scores(self, code: str) -> list[tuple[str, float]]:
        scores: Any = self._client.zrange(f"{self._prefix}:{code}", 0, -1, withscores=True)
        return [(member, score) for member, score in scores]

    def close(self) -> None:
        """See `Reader.close`."""
        self._client.close()


class Rows:
    """The SQL view of Postgres."""

    def __init__(self, url: str, table: str) -> None:
        self.name = "postgres"
        self._connection = psycopg.connect(url, autocommit=True)
        self._query = sql.SQL("SELECT pk, code, rev FROM {}").format(sql.Identifier(table))

    def look(self, places: Sequence[Place]) -> list[tuple[Place, str]]:
        """See `Reader.look`."""
        return [((pk, code), str(rev)) for pk, code, rev in self._connection.execute(self._query).fetchall()]

    def close(self) -> None:
        """See `Reader.close`."""
        self._connection.close()


class Hits:
    """OpenSearch's alias, searched: what was written shows with the next refresh, which nobody here asks for."""

    def __init__(self, url: str, alias: str) -> None:
        self.name = "opensearch search"
        self._client = OpenSearch(url, timeout=30)
        self._alias = alias

    def look(self, places: Sequence[Place]) -> list[tuple[Place, str]]:
        """See `Reader.look`."""
        answer: Mapping[str, Any] = self._client.search(
            index=self._alias,
            body={"size": 10_000, "query": {"match_all": {}}},
            params={"allow_partial_search_results": "false"},
        )
        rows = [hit["_source"] for hit in answer["hits"]["hits"]]
        return [((row["pk"], row["code"]), str(row["rev"])) for row in rows]

    def refresh(self) -> None:
        """Let searches show everything."""
        self._client.indices.refresh(index=self._alias)

    def close(self) -> None:
        """See `Reader.close`."""
        self._client.close()


class Documents:
    """OpenSearch's alias, read by key: what was written shows at once. Tombstones are no rows."""

    def __init__(self, url: str, alias: str) -> None:
        self.name = "opensearch get"
        self._client = OpenSearch(url, timeout=30)
        self._alias = alias

    def look(self, places: Sequence[Place]) -> list[tuple[Place, str]]:
        """See `Reader.look`."""
        ids = [f"{name}:{code}" for name, code in places]
        answer: Mapping[str, Any] = self._client.mget(index=self._alias, body={"ids": ids})
        if errors := [found["error"] for found in answer["docs"] if "error" in found]:
            raise LookupError(errors[0])
        rows = [found["_source"] for found in answer["docs"] if found["found"]]
        return [((row["pk"], row["code"]), str(row["rev"])) for row in rows if not row.get("_deleted")]

    def close(self) -> None:
        """See `Reader.close`."""
        self._client.close()


class Readers:
    """Read, each reader in a thread of its own, until the block ends; `faults` says what must not be seen."""

    def __init__(self, truth: Truth, readers: Sequence[Reader]) -> None:
        self.faults: list[str] = []
        self.looks: dict[str, int] = dict.fromkeys([reader.name for reader in readers], 0)
        """Of each reader."""
        self._truth, self._readers = truth, readers
        self._seen: dict[tuple[str, Place], int] = {}
        """How many changes of a place are known to a reader."""
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(reader,), name=reader.name) for reader in readers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def conclude(self) -> None:
        """With the table at rest, behind the block: every reader shows exactly what the table asks for."""
        for reader in self._readers:
            if isinstance(reader, Hits):
                reader.refresh()
            rows = reader.look(self._truth.places)
            if off := sorted({*rows} ^ {*self._truth.expected().items()}):
                self._fault(f"{reader.name}: {len(off)} rows are not those of the table: {off[:5]}")

    def _run(self, reader: Reader) -> None:
        while not self._stop.wait(PAUSE):
            try:
                rows = reader.look(self._truth.places)
            except Exception as error:  # noqa: BLE001 - whatever it is, a reader was not answered
                self._fault(f"{reader.name}: a reader was answered {type(error).__name__}: {str(error)[:200]}")
                continue
            self._note(reader.name, rows)
            self.looks[reader.name] += 1

    def _note(self, reader: str, rows: Sequence[tuple[Place, str]]) -> None:
        found = dict(rows)
        if len(found) < len(rows):
            self._fault(f"{reader}: {len(rows) - len(found)} places were seen twice at once")
        for place in self._truth.places:
            seen = self._seen.get((reader, place), 0)
            history = self._truth.history(place)
            now = shown(history, seen, found.get(place))
            if now is None:
                self._fault(
                    f"{reader}: {place} shows {found.get(place)} after change {seen} of {len(history)}, "
                    f"{history[seen - 1] if seen else None}; then came {history[seen : seen + 5]}"
                )
            else:
                self._seen[reader, place] = now

    def _fault(self, what: str) -> None:
        if what not in self.faults[-100:] and len(self.faults) < 1000:
            self.faults.append(what)
