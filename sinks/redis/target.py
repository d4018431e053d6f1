"""One view in Redis. Readers address its keys directly, so all generations write the same ones, guarded."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import redis

from dynaview.projections.columns import Columns
from dynaview.projections.rows import Layout, RowKey, Write
from dynaview.sinks.canonical import listed, plain
from dynaview.sinks.port import (
    APPLIED,
    STALE,
    CanonicalRows,
    ConditionalWrite,
    Foreign,
    Outcome,
    RefusedRow,
    Rejected,
    RejectedKind,
    SinkRefused,
    Stored,
)
from dynaview.sinks.redis import generation as generations
from dynaview.sinks.redis import guard as scripts
from dynaview.sinks.redis import lookups
from dynaview.sinks.redis.canonical import Listing, count_hashes
from dynaview.sinks.redis.client import Call, Link
from dynaview.sinks.redis.foreign import Foreigners
from dynaview.sinks.redis.names import Family, companion, name_of
from dynaview.sinks.redis.neighbours import Neighbour, Neighbours
from dynaview.sinks.redis.packing import NO_UNICODE, ROWS_A_CALL, Packer, Row, pack, pair
from dynaview.sinks.redis.scan import Scan
from dynaview.sinks.redis.server import Server
from dynaview.sinks.redis.values import Content, Unstorable, hash_content, stored

MEASURED = 1000
"""Keys whose size is asked for, to estimate that of all."""

_WRITE = {
    "hash": scripts.WRITE_HASH,
    "string": scripts.WRITE_STRING,
    "set": scripts.WRITE_SET,
    "sorted_set": scripts.WRITE_SORTED_SET,
}
_CONDITIONAL = {
    "hash": scripts.CONDITIONAL_HASH,
    "string": scripts.CONDITIONAL_STRING,
    "set": scripts.CONDITIONAL_SET,
    "sorted_set": scripts.CONDITIONAL_SORTED_SET,
}
_READ = {
    "hash": lookups.READ_HASH,
    "string": lookups.READ_STRING,
    "set": lookups.READ_SET,
    "sorted_set": lookups.READ_SORTED_SET,
}
_REDIS_TYPE = {"hash": "hash", "string": "string", "set": "set", "sorted_set": "zset"}

_Asked = TypeVar("_Asked", Write, ConditionalWrite)


class RedisTarget:
    """One generation of one view; see `dynaview.sinks.port.Target`."""

    def __init__(self, link: Link, neighbours: Neighbours, layout: Layout, generation: int) -> None:
        self._content = Content(layout)
        if generation < 0:
            raise ValueError(f"a generation is not negative: {generation}")
        self.layout = layout
        self.generation = generation
        self._link = link
        self._neighbours = neighbours
        self._options = self._content.options
        self.family = Family(self._options.family)
        """The view's keys."""
        self._scan = Scan(link, self.family)
        self._foreigners = Foreigners(link, self._scan, _REDIS_TYPE[self._content.type])
        self._listing = Listing(link, self._content, self.family) if Listing.suits(self._content) else None
        self._packer = Packer(self._content, generation)
        self._members = self._content.type in ("set", "sorted_set")
        lasts = (self._options.expire_after or 0) * 1000
        self._head = pack((str(generation), lasts, self._content.expires, self._content.complete))

    def prepare(self, bulk: bool = False) -> None:
        """Keys need no preparation, but the view's highest generation is kept, see `RedisSink.highest`. Raises
        `SinkRefused` where keys of another view could be this one's, see `neighbours`."""
        found = self.neighbours()
        if found:
            raise SinkRefused("; ".join(map(str, found)))
        generations.lift(self._link, self.family, self.generation, self.layout.view)

    def neighbours(self) -> list[Neighbour]:
        """Views whose keys could be this one's."""
        return self._neighbours.of(self.family, self.layout.view, self.generation)

    def finish(self, kept: Sequence[RefusedRow] = ()) -> list[RefusedRow]:
        """A bulk load leaves nothing out here."""
        return []

    def publish(self) -> None:
        """Readers see keys at once."""

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        return self._run(_WRITE[self._content.type], writes, self._packer.row, writes)

    def write_columns(self, columns: Columns) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        if len(columns):
            keys = [name_of(key) for key in chain(columns.keys, columns.gone)]
            calls = self._packer.column_calls(columns, self._link.groups(keys, ROWS_A_CALL), outcomes)
            self._send(_WRITE[self._content.type], keys, calls, columns, outcomes)
        return outcomes

    def write_if_unchanged(self, conditional_writes: Sequence[ConditionalWrite]) -> list[Outcome]:
        """See the port. A key that dynaview did not create is Rejected."""
        return self._run(
            _CONDITIONAL[self._content.type],
            conditional_writes,
            self._packer.conditional_row,
            [conditional.write for conditional in conditional_writes],
        )

    def content(self, write: Write) -> Any:
        """By type: hash a dict of bytes, string its bytes, sorted set the score, set True. None once it has expired."""
        if write.values is None or self._has_expired(write):
            return None
        match self._content.type:
            case "hash":
                cells = self._content.cells(write)
                return {str(name): stored(cell) for name, cell in zip(cells[::2], cells[1::2], strict=True)}
            case "string":
                return self._content.document(write).encode()
            case "sorted_set":
                return float(self._content.score(write))
            case "set":
                return True

    def canonical(self, write: Write) -> bytes | None:
        if self._listing is None:
            content = self.content(write)
            return None if content is None else plain(write.owner, content)
        return None if write.values is None or self._has_expired(write) else self._listing.canonical(write)

    def _has_expired(self, write: Write) -> bool:
        if not self._options.expire_field:
            return False
        at = self._content.expires_at(write)
        return at is not None and at <= time.time() * 1000

    def fault(self, write: Write) -> str | None:
        try:
            pack(self._packer.row(write))
        except Unstorable as error:
            return str(error)
        except UnicodeEncodeError:
            return NO_UNICODE
        return None

    def read(self, keys: Sequence[RowKey], contents: bool = True) -> list[Stored | None]:
        return list(self._read(keys, full=contents))

    def rows(self) -> Iterator[Stored]:
        """As SCAN has it: rows that come or go meanwhile may be missed, and, while Redis resizes its table, one may
        come twice."""
        return self._live(full=True)

    def rows_of(self, owners: Collection[str]) -> Iterator[Stored]:
        """As SCAN has it, see `rows`: nothing in Redis finds keys by what is in them."""
        return (row for row in self._live(full=False) if row.owner in owners)

    def earlier(self) -> Iterator[Stored]:
        """As SCAN has it, see `rows`."""
        if self._content.type == "hash":
            return (row for _, page in count_hashes(self._link, self.family, self.generation) for row in page)
        return (row for row in self._live(full=False) if row.generation < self.generation)

    def canonical_rows(self) -> Iterator[CanonicalRows]:
        return listed(self.rows()) if self._listing is None else self._listing.pages()

    def show(self) -> None:
        """Readers see every write at once."""

    def foreign(self) -> Iterator[Foreign]:
        """As SCAN has it, see `rows` and `foreign`."""
        return (one for _, page in self._foreigners.pages() for one in page)

    def remove_foreign(self, foreign: Sequence[Foreign]) -> int:
        return self._foreigners.remove([one.key for one in foreign])

    def count(self) -> int:
        """As SCAN has it, see `rows`."""
        if self._content.type == "hash":
            return sum(live for live, _ in count_hashes(self._link, self.family, 0))
        return sum(1 for _ in self._live(full=False))

    def purge(self, older_than: timedelta) -> int:
        """Redis expires tombstones by itself, after 25 hours."""
        return 0

    def drop(self) -> None:
        """Remove the rows and tombstones that this generation wrote; those that another has taken over stay."""
        for page in self._forgettable():
            names = [name for _, name, *_ in page]
            calls = (
                (names[group[0]], (pack([str(self.generation), [page[place] for place in group]]),))
                for group in self._link.groups(names, ROWS_A_CALL * 10)
            )
            for _ in self._link.run(lookups.FORGET, calls):
                pass
        # Last, so that a drop that broke off does not hide the rows that are left.
        generations.forget(self._link, self.family, self.generation)

    def strangers(self, most: int = 1000) -> list[Foreign]:
        """What is foreign among the first `most` keys met."""
        found: list[Foreign] = []
        for met, some in self._foreigners.pages():
            found += some
            most -= met
            if most <= 0:
                break
        return found

    def bytes_used(self) -> int:
        """About how many bytes the view's keys take, with what stands beside them; see `RedisSink.room`."""
        met = measured = taken = 0
        for keys in self._scan.keys(_REDIS_TYPE[self._content.type]):
            met += len(keys)
            some = keys[: MEASURED - measured]
            measured += len(some)
            taken += self._bytes_of([*some, *map(companion, some)])
        return taken * met // measured if measured else 0

    @property
    def keeps_versions_beside(self) -> bool:
        """Whether versions of live rows stand in keys of their own."""
        return self._content.type != "hash"

    # Writing

    def _run(
        self, script: str, asked: Sequence[_Asked], build: Callable[[_Asked], Row], writes: Sequence[Write]
    ) -> list[Outcome]:
        outcomes: list[Outcome] = [APPLIED] * len(asked)
        if asked:
            keys = [name_of(write.key) for write in writes]
            calls = self._packer.calls(asked, self._link.groups(keys, ROWS_A_CALL), build, outcomes)
            self._send(script, keys, calls, writes, outcomes)
        return outcomes

    def _send(
        self,
        script: str,
        keys: Sequence[str],
        calls: Iterable[tuple[Sequence[int], bytes]],
        writes: Sequence[Write],
        outcomes: list[Outcome] | dict[int, Outcome],
    ) -> None:
        """Run a script's calls, each of which comes with the places of its writes, and note what is not APPLIED."""
        sent: deque[Sequence[int]] = deque()

        def packed() -> Iterator[Call]:
            for indexes, call in calls:
                sent.append(indexes)
                yield keys[indexes[0]], (self._head, call)

        for letters, *owners in self._link.run(script, packed(), durable=True):
            indexes = sent.popleft()
            if letters.count(b"A") != len(indexes):
                self._settle(writes, indexes, letters.decode(), owners, outcomes)

    def _settle(
        self,
        writes: Sequence[Write],
        indexes: Sequence[int],
        letters: str,
        owners: list[bytes],
        outcomes: list[Outcome] | dict[int, Outcome],
    ) -> None:
        met = iter(owners)
        for index, letter in zip(indexes, letters, strict=True):
            if letter == "S":
                outcomes[index] = STALE
            elif letter == "O":
                write = writes[index]
                outcomes[index] = Rejected(
                    f"row {write.key!r} belongs to item {next(met).decode()}, so item {write.owner} cannot have it",
                    RejectedKind.OWNER,
                )
            elif letter == "T":
                outcomes[index] = Rejected(
                    f"key {writes[index].key!r} is taken by something that dynaview did not create"
                )

    # Reading

    def _read(self, keys: Sequence[RowKey], full: bool) -> Iterator[Stored | None]:
        for start in range(0, len(keys), ROWS_A_CALL * 10):
            some = keys[start : start + ROWS_A_CALL * 10]
            groups = list(self._link.groups([name_of(key) for key in some], ROWS_A_CALL))
            calls = (
                (name_of(some[group[0]]), (pack((full, [_address(some[place]) for place in group])),))
                for group in groups
            )
            found: list[Stored | None] = [None] * len(some)
            for group, rows in zip(groups, self._link.run(_READ[self._content.type], calls), strict=True):
                for place, row in zip(group, rows, strict=True):
                    found[place] = self._stored(some[place], row, full) if row else None
            yield from found

    def _stored(self, key: RowKey, row: list[Any], full: bool) -> Stored:
        version, generation, owner = (part.decode() for part in row[:3])
        content: Any = None
        if len(row) > 3:
            content = self._loaded(row[3]) if full else True
        return Stored(key, int(version), owner, int(generation), content)

    def _loaded(self, content: Any) -> Any:
        match self._content.type:
            case "hash":
                return hash_content(content)
            case "string":
                return content
            case "sorted_set":
                return float(content)
            case "set":
                return True

    def _live(self, full: bool) -> Iterator[Stored]:
        for keys in self._row_keys():
            for row in self._read(keys, full):
                if row is not None and row.content is not None:
                    yield row

    def _bytes_of(self, keys: Sequence[str]) -> int:
        def ask(client: redis.Redis, keys: Sequence[str]) -> list[int | None]:
            with client.pipeline(transaction=False) as asked:
                for key in keys:
                    asked.memory_usage(key)
                return asked.execute()

        by_server: dict[Server, list[str]] = {}
        for key in keys:
            by_server.setdefault(self._link.of(key), []).append(key)
        sizes = (server.call(partial(ask, keys=some)) for server, some in by_server.items())
        return sum(size or 0 for size in chain.from_iterable(sizes))

    # Finding

    def _row_keys(self) -> Iterator[list[RowKey]]:
        """Pages of the row keys that may be this view's."""
        kind = _REDIS_TYPE[self._content.type]
        for keys in self._scan.keys(kind):
            if not self._members:
                yield [*keys]
                continue
            for key in keys:
                for members in self._scan.members(key, kind):
                    yield [(key, member) for member in members]

    def _forgettable(self) -> Iterator[list[list[Any]]]:
        """Pages of what `lookups.FORGET` is to look at."""
        if self._members:
            for rows in self._row_keys():
                yield [["M", key, companion(key), member] for key, member in map(pair, rows)]
            for names in self._scan.tombstones():
                yield [["C", name] for name in names]
            return
        if self._content.type == "hash":
            for rows in self._row_keys():
                yield [["H", key] for key in rows]
        for pairs in self._scan.companions():
            yield [["C", name, key if self._content.type == "string" else None] for name, key in pairs]


def _address(key: RowKey) -> tuple[str, str | None, str | None]:
    if isinstance(key, str):
        return key, companion(key) if "}" in key else None, None
    name, member = pair(key)
    return name, companion(name) if "}" in name else None, member
