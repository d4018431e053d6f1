"""A DynamoDB table in memory whose stream does what a script says: the source of all tests that need no server.

    table = ScriptedTable(key=("pk", "sk"))
    table.put({"pk": "a", "sk": "b", "total": Decimal("12.50")})
    table.split("shard-0")                      # two children; later changes go to them
    table.delete({"pk": "a", "sk": "b"})
    table.fail("read", Throttled, times=3)      # the next three reads are refused
    table.expire_iterators()
    reader = table.stream(table.arn, shape)     # a StreamReader

It keeps the table's state as well, so `scan` and `get` answer consistently with the stream. Keys belong to ranges of a
hash, as in DynamoDB: a shard's children divide its range, so that the changes of one key go down one path of the tree.
Time is virtual (`advance`). Safe to use from several threads; nothing here ever sleeps.
"""

from __future__ import annotations

import bisect
import copy
import itertools
import random
import threading
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dynaview.projections.attributes import Attr, Image, Shape, attribute, item_key
from dynaview.projections.projection import ViewType
from dynaview.sources.errors import IteratorExpired, SourceRefused, StreamGone, TableMissing, Trimmed
from dynaview.sources.port import ExportStatus, Key, Page, ScanFilter, ScanPage, ScanPosition, Shard, TableDescription
from tests.support.calls import Calls
from tests.support.records import Item, Record, ShardRecords, StreamRecords, broken
from tests.support.scripted_stream import ScriptedStream, parts

ITERATOR_LIFE = 15 * 60


class ScriptedTable(Calls):
    """A `TableReader` and the script of its table. Settings may be changed at any time.

    `page` is the most records of a page, `cut` (shard id, records available) -> how many a page has (0 for an empty
    one); `scan_page` the most items that a scan page reads, before its filter; `behind` how many changes a scan does
    not see yet, as one that is not strongly consistent. With `late_end` a closed shard ends with an empty page of its
    own instead of together with its last records. `arrange` puts listings into another order.
    `hollow` is the chance that a page is empty although there are records, which then stay hidden for as many pages as
    `hollow_run` says; `flicker` is the chance that a listing leaves a shard out.
    `read_units` is the table's provisioned read capacity, `exports` what AWS says of exports by their ARNs.
    """

    def __init__(
        self,
        name: str = "shop",
        key: tuple[str, ...] = ("pk", "sk"),
        *,
        view_type: ViewType = "NEW_AND_OLD_IMAGES",
        shards: int = 1,
        streaming: bool = True,
        first_sequence: int = 10**20,
        clock: Callable[[], float] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.key = key
        self.page = 1000
        self.cut: Callable[[str, int], int] | None = None
        self.scan_page = 100
        self.behind = 0
        self.late_end = False
        self.arrange: Callable[[list[Shard]], list[Shard]] = list
        self.hollow = 0.0
        self.hollow_run = 1
        self.flicker = 0.0
        self.read_units: int | None = None
        self.exports: dict[str, ExportStatus] = {}
        self.made = 0
        """How many records were ever made."""
        self._clock = clock or (lambda: 1_700_000_000.0)
        self._advanced = 0.0
        self._lock = threading.RLock()
        self._first_sequence = first_sequence
        self._initial = shards
        self._items: dict[str, Item] = {}
        self._before: deque[tuple[str, Item | None]] = deque(maxlen=20_000)
        """What each item was before its last changes."""
        self._order: list[tuple[int, str]] = []
        self._streams: list[StreamRecords] = []
        self._live: StreamRecords | None = None
        self._missing = False
        self._chance = random.Random(0)
        self._hidden: Counter[str] = Counter()
        """How many more pages of a shard are empty."""
        self._made = 0
        self._epoch = 0
        if streaming:
            self._switch_on(view_type)

    # ---- what the table's users do

    def put(self, item: Mapping[str, Any]) -> str | None:
        """Write a whole item; answers the change's sequence number, None where nothing changed (as AWS does)."""
        with self._lock:
            new = copy.deepcopy(dict(item))
            typed = _typed(new)
            identity = self._identity(new)
            old = self._items.get(identity)
            if old == new and _typed(old) == typed:  # Python takes 1 for True
                return None
            self._before.append((identity, old))
            self._items[identity] = new
            if old is None:
                bisect.insort(self._order, (self._hash(new), identity))
            return self._record("INSERT" if old is None else "MODIFY", new, old)

    def delete(self, item: Mapping[str, Any], *, by_ttl: bool = False) -> str | None:
        """Delete the item with the key attributes of `item`; None where there was none."""
        with self._lock:
            identity = self._identity(item)
            old = self._items.pop(identity, None)
            if old is None:
                return None
            self._order.remove((self._hash(old), identity))
            self._before.append((identity, old))
            return self._record("REMOVE", None, old, by_ttl=by_ttl)

    def break_record(self, item: Mapping[str, Any], reason: str = "scripted") -> str | None:
        """Put a record into the stream that cannot be read; the table stays as it is."""
        with self._lock:
            return self._record("MODIFY", dict(item), dict(item), broken=reason)

    def items(self) -> list[Item]:
        """What the table holds now."""
        with self._lock:
            return [dict(item) for item in self._items.values()]

    # ---- what AWS does to its stream

    @property
    def arn(self) -> str:
        """The newest stream's, on or off."""
        return self._stream.arn

    @property
    def leaves(self) -> list[str]:
        """The shards to which changes go."""
        with self._lock:
            return [shard.id for shard in self._stream.shards.values() if shard.leaf and shard.last is None]

    def shard_of(self, item: Mapping[str, Any]) -> str:
        """The shard to which the next change of this key goes."""
        with self._lock:
            return self._stream.leaf(self._hash(item)).id

    def split(self, shard_id: str, ways: int = 2, *, linger: bool = False, listed: bool = True) -> list[str]:
        """Continue a leaf by `ways` children. With `linger` the parent is still listed as open and answers empty pages
        until `close`; without `listed` the children are there but not listed until `reveal`."""
        with self._lock:
            return self._stream.divide(shard_id, ways, linger=linger, listed=listed)

    def roll(self, shard_id: str, *, linger: bool = False, listed: bool = True) -> str:
        """Continue a leaf by one child, as happens about every four hours."""
        return self.split(shard_id, 1, linger=linger, listed=listed)[0]

    def grow(self, text: str) -> None:
        """Split and roll as a line of text says: ``0>1,2 1>3`` splits shard-0, then rolls shard-1.

        Children are numbered in the order of their making, so the names have to come out so.
        """
        for word in text.split():
            left, _, right = word.partition(">")
            wanted = [f"shard-{child}" for child in right.split(",")]
            made = self.split(f"shard-{left}", len(wanted))
            if made != wanted:
                raise ValueError(f"{word} made {made}")

    def close(self, shard_id: str) -> None:
        """End a shard: one that lingers, or a leaf, whose child is made but not listed until `reveal`."""
        with self._lock:
            shard = self._stream.shards[shard_id]
            if shard.leaf:
                self.roll(shard_id, listed=False)
            else:
                self._stream.end(shard)

    def reveal(self, *shard_ids: str) -> None:
        """List these shards (again); without ids all that can be read."""
        with self._lock:
            for shard in self._chosen(shard_ids):
                shard.listed = True

    def hide(self, *shard_ids: str) -> None:
        """List these shards no more, though they can still be read."""
        with self._lock:
            for shard in self._chosen(shard_ids):
                shard.listed = False

    def trim(self, shard_id: str, count: int | None = None) -> None:
        """Remove a shard's oldest records, all of them without `count`."""
        with self._lock:
            self._stream.shard(shard_id).trim(count)

    def exhaust(self, shard_id: str) -> None:
        """Remove all records of a shard that stays listed: from now on every read of it, also from its oldest record,
        answers that the data was trimmed."""
        with self._lock:
            shard = self._stream.shards[shard_id]
            shard.trim(None)
            shard.exhausted = True

    def expire(self, shard_id: str) -> None:
        """Remove a shard with all its records; `reveal` lists it once more, as DynamoDB sometimes does."""
        with self._lock:
            shard = self._stream.shards[shard_id]
            shard.trim(None)
            shard.listed = False
            shard.gone = True

    def expire_iterators(self) -> None:
        """No iterator that was handed out until now works any more."""
        with self._lock:
            self._epoch += 1

    def disable_stream(self) -> None:
        """Switch the stream off: its shards are closed and stay readable, changes leave no records."""
        with self._lock:
            if self._live is not None:
                for shard in self._live.shards.values():
                    self._live.end(shard)
            self._live = None

    def forget_stream(self, arn: str) -> None:
        """A stream that was switched off more than 24 hours ago."""
        with self._lock:
            for stream in self._streams:
                if stream.arn == arn:
                    stream.shards.clear()

    def drop(self) -> None:
        """Delete the table."""
        with self._lock:
            self.disable_stream()
            self._missing = True
            self._items.clear()
            self._order.clear()

    def recreate(self, view_type: ViewType = "NEW_AND_OLD_IMAGES") -> None:
        """Delete the table and make it anew, empty, with a stream of its own."""
        with self._lock:
            self.drop()
            self._missing = False
            self._made += 1
            self._switch_on(view_type)

    def advance(self, seconds: float) -> None:
        """Let virtual time pass; iterators older than 15 minutes expire."""
        with self._lock:
            self._advanced += seconds

    @property
    def now(self) -> float:
        """Virtual time in seconds since 1970: `clock`'s, or a fixed one, and what was advanced."""
        return self._clock() + self._advanced

    # ---- the port

    def describe(self) -> TableDescription:
        """See `TableReader.describe`."""
        self.enter("describe")
        with self._lock:
            return self._describe()

    def enable_stream(self, view_type: ViewType) -> TableDescription:
        """See `TableReader.enable_stream`."""
        self.enter("enable")
        with self._lock:
            self._describe()
            if self._live is not None and self._live.view_type != view_type:
                raise SourceRefused(f"the stream is on with view type {self._live.view_type}")
            if self._live is None:
                self._switch_on(view_type)
            return self._describe()

    def stream(self, arn: str, shape: Shape) -> ScriptedStream:
        """See `TableReader.stream`."""
        if f":table/{self.name}/stream/" not in arn:
            raise SourceRefused(f"not a stream of {self.name}: {arn}")
        return ScriptedStream(self, arn, shape)

    def scan(
        self,
        segment: int,
        segments: int,
        after: ScanPosition | None,
        shape: Shape,
        only: ScanFilter | None = None,
    ) -> Iterator[ScanPage[Any]]:
        """See `TableReader.scan`; each page is of the moment when it is asked for."""
        if not 0 <= segment < segments:
            raise SourceRefused(f"no segment {segment} of {segments}")
        position = after
        while True:
            self.enter("scan")
            page = self._scan(segment, segments, position, shape, only)
            yield page
            position = page.position
            if position is None:
                return

    def get(self, keys: Sequence[Mapping[str, Attr]], shape: Shape) -> list[Image | None]:
        """See `TableReader.get`."""
        self.enter("get")
        with self._lock:
            self._describe()
            found = [self._items.get(item_key(key)) for key in keys]
            return [None if item is None else shape.pack(item) for item in found]

    def exported(self, arn: str) -> ExportStatus | None:
        """See `TableReader.exported`: what the script has put into `exports`."""
        self.enter("exported")
        return self.exports.get(arn)

    # ---- what a ScriptedStream asks

    def listing(self, arn: str) -> list[Shard]:
        """What DescribeStream shows of a stream."""
        with self._lock:
            listing = self._find(arn).listing()
            if self.flicker:
                listing = [shard for shard in listing if self._chance.random() >= self.flicker]
            return self.arrange(listing)

    def held(self, arn: str) -> list[tuple[Shard, list[Record]]]:
        """The shards of a stream with what each still holds, for whoever reads the stream on AWS's side of it."""
        with self._lock:
            stream = self._find(arn)
            return [(shard, list(stream.shards[shard.id].records)) for shard in stream.listing()]

    def iterator(self, arn: str, shard_id: str, after: str | None) -> str:
        """What GetShardIterator answers."""
        with self._lock:
            return self._token(shard_id, self._find(arn).shard(shard_id).position(after))

    def records(self, arn: str, iterator: str, limit: int, shape: Shape) -> Page[Any]:
        """What GetRecords answers."""
        epoch, born, position, shard_id = parts(iterator)
        with self._lock:
            if int(epoch) != self._epoch or self.now - float(born) > ITERATOR_LIFE:
                raise IteratorExpired(f"shard {shard_id}")
            stream = self._find(arn)
            shard = stream.shard(shard_id)
            start = int(position) - shard.trimmed
            if start < 0:
                raise Trimmed(f"shard {shard_id}")
            available = len(shard.records) - start
            size = min(limit, available, self.page if self.cut is None else self.cut(shard_id, available))
            if available and self._hides(shard_id):
                size = 0
            records = shard.records[start : start + size]
            ended = shard.last is not None and size == available and not (self.late_end and size)
            return Page(
                changes=[record.change(shape, stream.view_type) for record in records if record.broken is None],
                broken=[broken(index, record) for index, record in enumerate(records) if record.broken is not None],
                next=None if ended else self._token(shard_id, shard.trimmed + start + size),
            )

    # ---- inside

    def _hides(self, shard_id: str) -> bool:
        if not self._hidden[shard_id] and self._chance.random() < self.hollow:
            self._hidden[shard_id] = self.hollow_run
        if not self._hidden[shard_id]:
            return False
        self._hidden[shard_id] -= 1
        return True

    @property
    def _stream(self) -> StreamRecords:
        return self._streams[-1]

    def _find(self, arn: str) -> StreamRecords:
        for stream in self._streams:
            if stream.arn == arn and stream.shards:
                return stream
        raise StreamGone(f"stream {arn}")

    def _token(self, shard_id: str, position: int) -> str:
        return f"{self._epoch}/{self.now}/{position}/{shard_id}"

    def _switch_on(self, view_type: ViewType) -> None:
        label = f"2026-01-01T00:00:00.{len(self._streams):03d}"
        arn = f"arn:aws:dynamodb:eu-west-1:000000000000:table/{self.name}/stream/{label}"
        self._live = StreamRecords(arn, view_type, self._initial, self._first_sequence)
        self._streams.append(self._live)

    def _record(
        self, event: str, new: Item | None, old: Item | None, *, by_ttl: bool = False, broken: str | None = None
    ) -> str | None:
        if self._live is None:
            return None
        item = new if new is not None else old
        assert item is not None
        key = {name: item[name] for name in self.key}
        sequence = next(self._live.sequences)
        record = Record(sequence, event, key, new, old, int(self.now), by_ttl, broken)
        self._live.leaf(self._hash(item)).records.append(record)
        self.made += 1
        return str(sequence)

    def _chosen(self, shard_ids: Sequence[str]) -> list[ShardRecords]:
        shards = self._stream.shards
        return [shards[each] for each in shard_ids] or [shard for shard in shards.values() if not shard.gone]

    def _identity(self, item: Mapping[str, Any]) -> str:
        return item_key(self._key(item))

    def _key(self, item: Mapping[str, Any]) -> Key:
        return {name: attribute(item[name]) for name in self.key}

    def _hash(self, item: Mapping[str, Any]) -> int:
        return _hash(self.key[0], attribute(item[self.key[0]]))

    def _describe(self) -> TableDescription:
        if self._missing:
            raise TableMissing(f"table {self.name}")
        live = self._live
        return TableDescription(
            name=self.name,
            arn=f"arn:aws:dynamodb:eu-west-1:000000000000:table/{self.name}",
            key=self.key,
            stream_arn=None if live is None else live.arn,
            view_type=None if live is None else live.view_type,
            items=len(self._items),
            size=100 * len(self._items),
            status="ACTIVE",
            id=f"table-{self._made}",
            read_units=self.read_units,
        )

    def _scan(
        self, segment: int, segments: int, after: ScanPosition | None, shape: Shape, only: ScanFilter | None
    ) -> ScanPage[Any]:
        with self._lock:
            self._describe()
            items, order = self._seen_by_scans()
            start = 0
            if after is not None:
                last = msgspec.json.decode(after, type=Key)
                start = bisect.bisect_right(order, (_hash(self.key[0], last[self.key[0]]), item_key(last)))
            found: list[Item] = []
            position = None
            for hashed, identity in itertools.islice(order, start, None):
                if hashed % segments != segment:
                    continue
                found.append(items[identity])
                if len(found) == self.scan_page:  # full, whether more follows or not: the last page may be empty
                    position = msgspec.json.encode(self._key(found[-1])).decode()
                    break
            wanted = [item for item in found if only is None or only.accepts(_typed(item).get)]
            images = [shape.pack(item) for item in wanted]
            keys = [self._key(item) for item in wanted]
            return ScanPage(images, keys, [], position, float(len(found)), len(found))

    def _seen_by_scans(self) -> tuple[dict[str, Item], list[tuple[int, str]]]:
        if not self.behind:
            return self._items, self._order
        items = dict(self._items)
        for identity, old in itertools.islice(reversed(self._before), self.behind):
            if old is None:
                items.pop(identity, None)
            else:
                items[identity] = old
        return items, sorted((self._hash(item), identity) for identity, item in items.items())


def _hash(name: str, partition: Attr) -> int:
    """Where a partition key lies in the ring."""
    return zlib.crc32(item_key({name: partition}).encode())


def _typed(item: Item) -> dict[str, Attr]:
    return {name: attribute(plain) for name, plain in item.items()}
