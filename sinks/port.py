"""The sink port: what every store promises, in words.

A `Sink` is one store; `open` gives a `Target`, one generation of one view in it. Everything a view does to a store
goes through these two, whether it follows, fills, rebuilds, verifies or previews.

Batches
    `Target.write` takes writes in any order and of any mix. The caller has coalesced them: one batch never holds a
    row key twice (a sink may raise ValueError when it does). An empty batch does nothing and answers an empty list.
Guard
    A write under `Rule.NEWER` is applied when the row and its tombstone are absent or hold a lower version; an equal
    or higher one makes it STALE. Versions are integers of any size and compared as such. Under `Rule.ABSENT` a write
    is applied only when neither row nor tombstone stands.
Owners
    Where a write names an owner and the live row belongs to another, an upsert is Rejected (kind OWNER, naming both)
    and a delete is STALE; their versions are not compared. A tombstone of another owner may be taken over by an
    upsert whatever its version, though by none of an earlier generation; a delete leaves it and is STALE.
Tombstones
    An applied delete, also of a row that was never there, leaves a tombstone with its version and owner, invisible
    to readers. It outlives the 24 hours of the stream; `purge` removes older ones.
Duplicates and order
    Applying the same writes again, in any order, from any number of threads and processes at once, ends in the state
    of the highest version of each row. `write` may be called concurrently on one target.
Conditional writes
    `Target.write_if_unchanged` is compare-and-set: a row is written only where what stands under its key is exactly
    what was seen (version, owner, generation, live or tombstone; None: nothing at all), else it is STALE. The row then
    has the target's generation, and the version that was seen where it was of the same owner, else version 0 (versions
    of different items mean nothing to each other). So a row can be put right without knowing the version of its item,
    and any change that comes between wins. One that deletes leaves a tombstone as a delete does. What a later
    generation than the target's wrote is left alone: STALE.
Generations
    Where `Sink.in_place` is false, each generation has rows of its own, and readers see the one that was published
    last. Where it is true, all generations share the row keys that readers address; a row carries the generation that
    wrote it, and under `Rule.NEWER` a write is applied when neither its version nor its generation is lower than the
    row's and one of them is higher.
Outcomes
    One for each write, in the order of the batch: APPLIED, STALE, or a `Rejected` for content that the store cannot
    hold. A rejected write changes nothing (but see `RejectedKind.UNIQUE`) and never fails its neighbours; the same
    write again is rejected again. Rows of one batch may hand unique values round as they like. What a store can only
    tell after a load, `Target.finish` tells.
Columns
    `Target.write_columns` is `write` for the batches that come by the thousand: the same in every respect, but that it
    takes a batch as `Columns` and answers only the outcomes that are not APPLIED, by the place of their write. A sink
    may do it by `write` (`exceptions`).
Durable
    When `write` returns, every APPLIED write survives a crash of the store as far as the store is configured to
    survive one. When it raises `SinkUnavailable`, any part of the batch may or may not have been applied: send the
    whole batch again. Sinks do not retry.
Visible
    `Target.read` and `Target.rows` show a write as soon as it is applied. What readers ask may show it a moment later
    (OpenSearch searches); `Target.show` ends when they see it too.
Foreign
    What dynaview did not put there is never touched by a write. `Target.foreign` lists it, `Target.remove_foreign`
    takes it away on request.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, Protocol, TypeAlias

from dynaview.projections.columns import Columns
from dynaview.projections.rows import Layout, RowKey, Write

ANEW = "fill the view anew (dynaview rebuild)"
"""What puts a view right whose place in a store is not what it was."""


class SinkError(Exception):
    """A store did not do what was asked.

    SinkError
    ├── SinkUnavailable   heals by itself: send the whole batch again
    └── SinkRefused       does not heal by itself: an operator has to act
    """


class SinkUnavailable(SinkError):
    """Unreachable, timed out, read-only, out of memory or disk, overloaded (429), or failing (5xx)."""


class SinkRefused(SinkError):
    """Wrong credentials, missing rights, or a store whose shape is not what this view made. Names the remedy."""


class Applied(enum.Enum):
    """What became of a write that the store could hold."""

    APPLIED = "applied"
    STALE = "stale"

    def __repr__(self) -> str:
        return self.name


APPLIED = Applied.APPLIED
STALE = Applied.STALE


class RejectedKind(enum.Enum):
    """Why a write was rejected."""

    CONTENT = "content"
    """The store cannot hold this value, key or size."""
    OWNER = "owner"
    """The live row under this key belongs to another item (law 10)."""
    UNIQUE = "unique"
    """A live row of another key has a value that is to be unique. The row waits in the store under its version, hidden
    from readers and not counted (to `read` it is a tombstone), and shows by itself once the value is free."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A write that was refused for its content. `reason` is for the operator and shows no row values."""

    reason: str
    kind: RejectedKind = RejectedKind.CONTENT


Outcome: TypeAlias = Applied | Rejected


def exceptions(outcomes: Sequence[Outcome]) -> dict[int, Outcome]:
    """The outcomes that are not APPLIED, by place, as `Target.write_columns` answers them."""
    if outcomes.count(APPLIED) == len(outcomes):
        return {}
    return {at: outcome for at, outcome in enumerate(outcomes) if outcome is not APPLIED}


@dataclass(frozen=True, slots=True)
class Stored:
    """What a store holds under one row key. `content` is None for a tombstone."""

    key: RowKey
    version: int
    owner: str
    generation: int
    content: Any


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was applied, and that the store turns out unable to hold (`Target.finish`)."""

    row: Stored
    """As it stands, with its content."""
    refused: Rejected


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something where a row of the view could stand that dynaview did not put there."""

    key: RowKey
    """Of a Redis set the key and the member; the key alone where the whole of it is meant."""
    what: str
    """For people, without its values: "a string", "a member without a version"."""


class CanonicalRows(NamedTuple):
    """Some live rows, of each the key, the state and the canonical bytes, see `dynaview.sinks.canonical`."""

    keys: Sequence[RowKey]
    states: Sequence[str]
    """As `state_of` writes them."""
    canonical_rows: Sequence[bytes]


def state_of(version: int, generation: int, owner: str) -> str:
    """The state of a row as text."""
    return f"{version} {generation} {owner}"


@dataclass(frozen=True, slots=True)
class ConditionalWrite:
    """A row as it should be, and what was seen under its key when that was decided."""

    write: Write
    """Its `version` and `rule` are not looked at."""
    seen: Stored | None
    """As `Target.read` answered it; its content is not looked at, only whether there was any."""


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes in a store."""

    used: int
    """By the generation."""
    free: int
    """On the fullest disk (or of the memory) that would hold another one."""


@dataclass(frozen=True, slots=True)
class Danger:
    """Something in a store's own health or settings that endangers rows, whatever the view."""

    what: str
    do: str


class Target(Protocol):
    """One generation of one view in one store."""

    layout: Layout
    generation: int

    def prepare(self, bulk: bool = False) -> None:
        """Create what the generation needs (index, table) where it is missing; idempotent, safe when run twice at once.
        With `bulk`, what only slows a load down is left out of a new one (indexes, refreshing) until `finish`.

        Raises `SinkRefused` where a name is taken by something that dynaview did not create (never touched), where
        rights are missing, or where what stands there has another shape than the layout.
        """

    def finish(self, kept: Sequence[RefusedRow] = ()) -> list[RefusedRow]:
        """Make good what `prepare` left out for a bulk load, while writes go on; idempotent. When it answers an empty
        list, readers of this generation would miss nothing.

        Otherwise it names rows that stand in the way (of two with one value of a unique index the one with the higher
        key, a value too long for an index), and has changed none of them. The caller keeps dead letters of their items
        and calls again with them as `kept`: only now are they taken out, where they still stand as they were seen. So
        neither a crash nor a newer change between the two loses anything. Raises `SinkRefused` where it is not a matter
        of rows."""

    def publish(self) -> None:
        """Make this the generation that readers see, in one atomic step (no step at all where keys are direct): no
        reader sees neither or both. Idempotent."""

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Apply a batch under the guard. See the module's contract."""

    def write_columns(self, columns: Columns) -> dict[int, Outcome]:
        """`write` for a batch of columns: what did not become APPLIED. See the module's contract."""

    def write_if_unchanged(self, conditional_writes: Sequence[ConditionalWrite]) -> list[Outcome]:
        """Put rows right where they are still as they were seen. See the module's contract."""

    def content(self, write: Write) -> Any:
        """What `Stored.content` would be after `write` was applied (None for a delete). Pure; for comparing."""

    def canonical(self, write: Write) -> bytes | None:
        """The canonical bytes that `canonical bytes` would show of the row after `write` was applied; None where no row
        would stand. The same bytes only for the same owner and an equal content; mostly for all such. Pure; raises as
        `content`."""

    def fault(self, write: Write) -> str | None:
        """Why the store could not hold `write`, as far as that can be known without asking it; None where nothing
        speaks against it. Pure; for people, without values, in the words of a `Rejected`."""

    def read(self, keys: Sequence[RowKey], contents: bool = True) -> list[Stored | None]:
        """What stands under each key, tombstones included, None where nothing does. Strongly consistent. Without
        `contents`, those of live rows may be anything but None: that is cheaper where only versions are looked at."""

    def rows(self) -> Iterator[Stored]:
        """All live rows, in no order, at once visible after `write`; memory bounded whatever their number."""

    def rows_of(self, owners: Collection[str]) -> Iterator[Stored]:
        """Of the rows that `rows` lists (and of those that wait for a value, see `RejectedKind.UNIQUE`) those of these
        owners, as `read` without contents has them. For the few items of which nothing else tells the rows: it may
        look at every row."""

    def earlier(self) -> Iterator[Stored]:
        """Of the rows that `rows` lists those that an earlier generation wrote, as `read` without contents has them;
        none where each generation has rows of its own."""

    def canonical_rows(self) -> Iterator[CanonicalRows]:
        """What `rows` lists, for comparing: page by page, at the lowest price that the store allows."""

    def show(self) -> None:
        """Let whoever reads the view see what was APPLIED before the call, at once; nothing to do where readers see
        every write as it is applied. It costs the store something: not for every batch."""

    def foreign(self) -> Iterator[Foreign]:
        """What stands where rows of the view could, and was not put there by dynaview, in no order; memory bounded.
        What carries a version in dynaview's form cannot be told from a row: `rows` lists it. Where a store keeps rows
        in a table or index of dynaview's own there is nothing to list: whatever is put in there, `rows` lists."""

    def remove_foreign(self, foreign: Sequence[Foreign]) -> int:
        """Remove those of `foreign` that are still there and still not dynaview's; how many that were."""

    def count(self) -> int:
        """How many live rows readers would see."""

    def purge(self, older_than: timedelta) -> int:
        """Remove tombstones older than that by the store's own clock; how many. Stores that expire them answer 0."""

    def drop(self) -> None:
        """Remove everything this generation holds. Never touches what dynaview did not create."""


class Sink(Protocol):
    """One store. Safe to use from several threads."""

    name: str
    in_place: bool
    """Whether all generations of a view share its row keys."""

    def open(self, layout: Layout, generation: int) -> Target:
        """A handle on one generation of a view; no I/O. Raises ValueError for a layout that is not this sink's."""

    def gone(self, layout: Layout, generation: int) -> str | None:
        """What of a generation is missing as if `Target.prepare` had never been called (its index, its table), for
        people; None where it stands, or where the store needs nothing. For a generation that was prepared before, this
        is the loss of its rows, which `prepare` would hide. Changes nothing."""

    def published(self, layout: Layout) -> int | None:
        """The generation that readers of the view see; None where there is none, or where keys are direct."""

    def highest(self, layout: Layout) -> int:
        """The highest generation of the view that was ever prepared here and not dropped since; 0 where there is none.
        Changes nothing."""

    def room(self, layout: Layout, generation: int) -> Room | None:
        """What another generation of this size would need and find; None where the store does not tell."""

    def check(self) -> str:
        """Reach the store and say what it is ("PostgreSQL 18.4"). Raises `SinkError`."""

    def dangers(self) -> list[Danger]:
        """What in the store's health and settings endangers rows: it is nearly full, evicts keys, is a replica. What
        may not be asked is left out. Raises `SinkError` where it does not answer."""

    def problems(self, layout: Layout) -> list[str]:
        """What in the store stands in the way of this view (``validate --online``): taken names, missing rights,
        columns or mappings that differ. Changes nothing."""

    def close(self) -> None:
        """Give back connections."""
