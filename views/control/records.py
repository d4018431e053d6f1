"""What the control store keeps, as values. They do nothing and know no database. Times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from dynaview.views.budget import Capacity
from dynaview.views.states import ViewState

# Views


@dataclass(slots=True)
class Counts:
    """What became of a view's changes (law 8): read = applied + stale + unmatched + dead_lettered."""

    read: int = 0
    applied: int = 0
    stale: int = 0
    unmatched: int = 0
    dead_lettered: int = 0

    def add(self, other: Counts) -> None:
        """Add what another one counted."""
        self.read += other.read
        self.applied += other.applied
        self.stale += other.stale
        self.unmatched += other.unmatched
        self.dead_lettered += other.dead_lettered


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one shard is in one view. `sequence` is the last number whose writes are durable (None: none yet);
    `time` is that record's creation time in seconds since 1970; `finished` means the shard's end was reached.
    `tip` is the time up to which a look at the shard's end proves it read (kept where workers share a stream)."""

    sequence: int | None = None
    time: float | None = None
    finished: bool = False
    tip: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """What the control store knows of a view. Times are seconds since 1970 by the clock of the worker.

    `generation` is the one that readers see, `fingerprint` that of the declaration that built it. `write_order` are the
    generations that pipelines write, in that order; `revision` moves whenever what the pipelines have to do changes.
    """

    name: str
    source: str
    sink: str
    fingerprint: str
    generation: int
    stream_arn: str | None
    stream_count: int
    state: ViewState
    reason: str
    since: float
    seen: float
    watermark: float | None
    filled: bool
    revision: int
    write_order: tuple[int, ...]
    counts: Counts
    awaited: float | None = None
    """The latest moment that somebody waits for the watermark to pass."""
    paused: float | None = None
    """Since when nothing is to be done for the view; None: it is not paused."""


Role: TypeAlias = Literal["next", "live", "previous"]


@dataclass(frozen=True, slots=True)
class Generation:
    """One build of a view: by which declaration (as `encode` wrote it), and what it is to readers. `created` and
    `keep_until` (of a previous one) are seconds since 1970."""

    view: str
    generation: int
    fingerprint: str
    declaration: str
    role: Role
    claimed: bool
    """Whether the store was free of it when it began: what stands there now was made by this control store."""
    filled: bool
    created: float
    keep_until: float | None = None
    scanned: int | None = None
    """How many items the scan has read that filled it; None while it is filled."""
    matched: int | None = None
    """How many of them asked for a row, or for one that could not be made."""
    inserted: int | None = None
    """How many rows that has brought in: what the stream brought before is not among them."""


# Dead letters

SCAN = "scan"
"""In place of a shard: the letter is of a scanned item, which no count of changes knows."""

Outcome: TypeAlias = Literal["applied", "stale", "unmatched"]
"""What a replay that was not rejected made of a change; the words are those of the counts."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A change that could not be applied. `change` is its DynamoDB JSON, as far as the views read it."""

    view: str
    item_key: str
    row_key: str
    version: int
    shard: str
    time: float
    kind: str
    reason: str
    change: bytes
    generation: int = 1
    """The generation that could not take it."""
    counted: bool = True
    """Whether the counts of the view know it: not a scanned item, nor a change that the generation which readers see
    could take."""

    @property
    def origin(self) -> tuple[str, int, int, str, str]:
        """What letters of one change share: a change that asks for several rows may leave several."""
        return self.view, self.generation, self.version, self.shard, self.item_key


@dataclass(frozen=True, slots=True)
class KeptLetter:
    """A dead letter as it is kept. `created` is when it was, in seconds since 1970 by the worker's clock."""

    id: int
    created: float
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant: those that fit everything given."""

    view: str | None = None
    ids: Sequence[int] = ()
    key: str | None = None
    """The row key or the item key as shown, or the text of one of their parts."""
    reason: str | None = None
    """Text in the reason, whatever its case."""
    kind: str | None = None
    before: float | None = None
    """Created earlier than this, in seconds since 1970."""
    since: float | None = None
    """Created then or later."""
    last: int | None = None
    """No id above this one: what came after somebody looked is not meant."""


# What one transaction of a pipeline moves


@dataclass(frozen=True, slots=True)
class Fence:
    """What a commit rests on: that `owner` still has these leases, by resource, with the epochs it knows. Without any,
    that it is not taken for dead."""

    group: str
    owner: str
    epochs: Mapping[str, int]


@dataclass(slots=True)
class Part:
    """What moves for one shard: where its checkpoint goes (None: it stays), counts to add, dead letters."""

    checkpoint: Checkpoint | None = None
    counts: Counts = field(default_factory=Counts)
    letters: list[DeadLetter] = field(default_factory=list)


@dataclass(slots=True)
class Progress:
    """What one transaction moves, by shard."""

    parts: dict[str, Part] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    """Shards that are finished and no longer exist."""
    known: list[str] = field(default_factory=list)
    """Shards that were listed for the first time: remembered even where nothing is ever read of them."""
    tips: dict[str, float] = field(default_factory=dict)
    """See `Checkpoint.tip`, by shard."""
    fence: Fence | None = None
    """What it rests on where workers share a stream."""
    revision: int | None = None
    """The revision of the view that it belongs to (see `ViewRecord.revision`); None: whichever."""


# Scans and rebuilds


@dataclass(slots=True)
class Segment:
    """How far one segment of a scan is. `position` is the source's own text, None at the beginning."""

    segment: int
    segments: int
    position: str | None = None
    finished: bool = False
    scanned: int = 0


@dataclass(frozen=True, slots=True)
class PageCost:
    """What reading a page took."""

    items: int
    """Read by DynamoDB, whatever a filter let through."""
    units: float
    """Read capacity units."""


@dataclass(slots=True)
class PageResult:
    """What became of a page in one view."""

    matched: int = 0
    """Items that ask for a row, or for one that could not be made."""
    rows: int = 0
    """Rows that the page has brought in."""
    letters: Sequence[DeadLetter] = ()


Kind: TypeAlias = Literal["fill", "beside", "in place", "rollback"]
"""A fill is the rebuild of the first generation: it brings into what readers see already what is not there."""

Phase: TypeAlias = Literal[
    "requested", "starting", "scanning", "finishing", "waiting", "checking", "sweeping", "swapping",
    "cancelling", "failing", "done", "cancelled", "failed",
]  # fmt: skip

ENDED: tuple[Phase, ...] = ("done", "cancelled", "failed")

GIVEN_UP: dict[Phase, Phase] = {"cancelling": "cancelled", "failing": "failed"}
"""What is being taken back, and how it ends. Recorded before anything is: a scan must not go on behind pipelines that
have ceased to write what it fills."""


class Options(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a rebuild was asked for."""

    segments: int | None = None
    """Parallel scan segments; None: by the table's size."""
    capacity: Capacity = Capacity()
    """What the scan may take of the table's read capacity."""
    keep: float | None = None
    """Seconds for which the generation before it is kept; None: as declared."""
    yes: bool = False
    """Whether to swap whatever the checks find."""
    exports: tuple[str, ...] = ()
    """Where exports lie that are read instead of the table: a full one, and what goes on behind it."""
    asked_by: str = "dynaview rebuild"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for of some views of one source."""

    views: Sequence[str]
    kind: Kind
    options: Options


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The last rebuild (or rollback) of a view. Times are seconds since 1970; views of one `job` share a scan."""

    view: str
    job: str
    source: str
    kind: Kind
    phase: Phase
    reason: str
    """What it waits for, asks or failed of."""
    fingerprint: str
    """Of the declaration that it builds by."""
    generation: int
    """The one that it fills (of a rollback: that it goes back to)."""
    fresh: bool
    """Whether the view begins anew, behind a gap: what readers see meanwhile is not written."""
    options: Options
    answer: str
    """"?" while it asks (see `reason`), and what an operator said since: "yes" or "cancel"."""
    requested: float
    updated: float
    scan_began: float | None
    scan_end: float | None
    written: float | None
    """When every worker wrote in the order that the swap needs."""
    items: int
    """Scanned so far, of `of_items` (as DynamoDB last counted them)."""
    of_items: int
    matched: int
    """Those of them that asked for a row, or for one that could not be made."""
    rows: int
    """Inserted by the scan so far."""
    swept: int
    letters: int
    units: float
    """Read capacity units consumed so far."""
    before: tuple[ViewState, str]
    """The view's state and reason when it was asked for."""

    @property
    def ended(self) -> bool:
        """Whether nothing follows any more."""
        return self.phase in ENDED


# Work that was asked for over HTTP

TaskState: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled", "lost"]

OPEN_TASKS: tuple[TaskState, ...] = ("queued", "running")


@dataclass(frozen=True, slots=True)
class LongTask:
    """Work that takes long, and how far it is. Times are seconds since 1970; `view` is empty where it is of several."""

    id: str
    kind: str
    view: str
    state: TaskState
    """`lost`: the process that did it gave no sign of life for long."""
    cancelled: bool
    """Whether somebody has asked for its end."""
    asked: float
    updated: float
    done: int
    """How far it is, of `expected`; 0 where that is not known."""
    expected: int
    error: str
    result: Any
    """What came of it, as plain data; None before the end."""


# Workers and leases

JOB = "job: "
"""Before the name of a job, among resources that are tasks otherwise."""


class Task(NamedTuple):
    """What is given to workers: a shard, to be read for one half of the views of its table."""

    shard: str
    half: int = 0
    """0 or 1; always 0 where the views are not dealt into halves."""

    @property
    def resource(self) -> str:
        """Its name among leases. (AWS's shard ids know no number sign.)"""
        return f"{self.shard}#{self.half}" if self.half else self.shard

    @classmethod
    def of(cls, resource: str) -> Task:
        """The task of a lease that is none of a job."""
        shard, sign, half = resource.rpartition("#")
        return cls(shard, int(half)) if sign else cls(resource)


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A worker as the control store knows it. Times are seconds since 1970 by the database's clock."""

    id: str
    group: str
    source: str
    host: str
    pid: int
    sharing: bool
    started: float


@dataclass(frozen=True, slots=True)
class Lease:
    """Who has a resource (None: nobody)."""

    resource: str
    owner: str | None
    epoch: int


# Verifications


class VerificationResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a verification of one view ended. Times are seconds since 1970; see `Report` for the numbers.

    `sample` is the share of the items that was looked at, 1 for all of them. `mended` is how many rows were mended at
    once; `error` says why the view could not be verified.
    """

    view: str
    begun: float
    seconds: float
    sample: float = 1.0
    rows: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    owner: int = 0
    foreign: int = 0
    stale: int = 0
    changing: int = 0
    dead_lettered: int = 0
    mended: int = 0
    error: str = ""

    @property
    def drift(self) -> int:
        """How many rows were not as they ought to be."""
        return self.missing + self.extra + self.different + self.owner + self.foreign
