"""The views of one table as invocations write them, and what is kept between invocations.

What an invocation does to a view is never older than itself: it reads the view's record first. It writes the changes
that the record's watermark has not passed, and leaves those alone that it has: they are in the view, and one of them
that comes late, into a generation where the scan has inserted a later state of its item, would be taken for news. So
whatever an invocation writes is also written by whoever reads the shards (`rounds`), and all that follows it.

A batch counts as durable up to the first record that a view lacks. A view whose store is away holds the batch up, as
AWS brings it again. Where others of its table could take it, and rounds come (its watermark is young), it is left to
these, which bring it what it lacks from its own checkpoints: it holds up no other view (law 7).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dynaview.projections.declaration import SourceDeclaration, ViewDeclaration
from dynaview.sinks.port import Sink, SinkError
from dynaview.sources.pages import RecordsDecoder
from dynaview.sources.port import Page, TableDescription
from dynaview.views.aws_lambda.events import EventRefused, StreamBatch, StreamName, table_of
from dynaview.views.aws_lambda.view_writer import ViewWriter, ours
from dynaview.views.control.errors import ControlUnavailable, Superseded
from dynaview.views.control.records import ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.policy import policy
from dynaview.views.reasons import fault_reason
from dynaview.views.retry import Retrier
from dynaview.views.states import ViewState
from dynaview.views.streaming.dead_letter_limit import DeadLetterLimit
from dynaview.views.streaming.factory import FULL_IMAGES, PipelineFactory
from dynaview.views.streaming.pipeline import PipelineContext

log = logging.getLogger(__name__)

CHUNK = 1000
"""Records that are taken together: a batch has up to 10,000, and is durable chunk by chunk."""

PROVEN = 3600.0
"""Seconds for which a watermark shows that the rounds come."""

CUT = 1.0
"""AWS cuts creation times to the second: a change was made within so many seconds behind its time."""

REFUSED = (ViewState.REFUSED, ViewState.CHANGED)
"""What somebody can heal, so that changes ought to wait for it."""

SEEN = 5.0
"""Seconds between two signs of life."""

PATIENCE = 5.0
"""Seconds for which a store that does not answer is asked again before AWS is told to bring the batch again."""


class OutOfTime(Exception):
    """The invocation is about to end."""


class Unproven(Exception):
    """Nobody has read the shards for the views yet."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long an invocation may take."""

    deadline: float
    """By the monotonic clock: nothing is begun after it."""

    def retrier(self, subject: str) -> Retrier:
        """What gives up in time."""
        left = self.deadline - time.monotonic()
        return Retrier(None, subject, seconds=max(0.0, min(PATIENCE, left)))


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch."""

    durable: int
    """So many of its first records are in every view that has to have them before AWS goes on."""
    views: int
    """That have taken all of it."""
    why: str = ""
    """What stands in the way of the rest."""


class TableViews:
    """One table's views. Not safe to use from several threads; Lambda gives one invocation at a time to a process."""

    def __init__(
        self,
        source: SourceDeclaration,
        views: Mapping[str, ViewDeclaration],
        sinks: Mapping[str, Sink],
        control: ControlStore,
    ) -> None:
        self.source = source
        self.views = views
        self._sinks = sinks
        self._control = control
        self._factory: PipelineFactory | None = None
        self._decoder: RecordsDecoder | None = None
        self._writers: dict[str, ViewWriter] = {}
        self._refused: dict[str, str] = {}
        """Why views may not be written, as far as this invocation knows."""
        self._limits = {
            view.name: DeadLetterLimit(view.dead_letters.limit, view.dead_letters.within) for view in views.values()
        }
        self._seen = float("-inf")

    def take(self, batch: StreamBatch, limits: Limits) -> Taken:
        """Bring a batch into the views. Raises `EventRefused`, `Unproven` and `ControlUnavailable`."""
        if batch.stream is None:
            return Taken(0, 0)
        retrier = limits.retrier(f"table {self.source.table}")
        records = {each.name: each for each in retrier.insist(self._control.views) if each.name in self.views}
        self._see_whose(batch.stream, records)
        description = _described(batch.stream, batch.records)
        if description is None:  # nothing of it can be read, so who reads the shards keeps it as dead letters
            return Taken(len(batch.records), 0)
        self._opened(description)
        self._refused.clear()
        waiting = [name for name, record in records.items() if self._writes(record, batch.stream, retrier)]
        refused = {name: each.reason for name, each in records.items() if each.state in REFUSED} | self._refused
        if not waiting and refused:
            reasons = "; ".join(f"view {name}: {reason}" for name, reason in sorted(refused.items()))
            raise EventRefused(f"no view of table {self.source.table} may be written: {reasons}")
        if not waiting and any(
            (record := records.get(name)) is None or (record.watermark is None and not record.state.lasts)
            for name in self.views
        ):
            raise Unproven(
                f"no round has come to the views of table {self.source.table} yet, which alone knows where they begin: "
                "give the function its schedule, or let dynaview run"
            )
        lacking: dict[str, tuple[int, Exception]] = {}
        for start in range(0, len(batch.records), CHUNK):
            chunk = batch.records[start : start + CHUNK]
            page = self._decoded(chunk)
            for name in waiting:
                if name in lacking:
                    continue
                news = _behind(page, chunk, records[name].watermark or 0.0)
                if (error := self._take(name, news, limits)) is not None:
                    lacking[name] = (start, error)
        self._tell(records, waiting, lacking)
        return self._taken(batch, records, waiting, lacking)

    def _see_whose(self, stream: StreamName, records: Mapping[str, ViewRecord]) -> None:
        """Raises `EventRefused` for records of a table that the views are not of, such as that of another region."""
        tables = {table_of(record.stream_arn) for record in records.values() if record.stream_arn is not None}
        if tables and stream.table_arn not in tables:
            raise EventRefused(
                f"records of the table {stream.table_arn}; the views of source {self.source.name} ({self.source.at}) "
                f"are of {', '.join(sorted(tables))}: give the function a mapping of that table's stream"
            )

    # What is kept between invocations

    def _opened(self, description: TableDescription) -> None:
        """Make ready for records of a stream; again where it is another one than before."""
        factory = self._factory
        if factory is not None and factory.description == description:
            return
        self._writers.clear()
        context = PipelineContext(self._control, monitor=self)
        self._factory = PipelineFactory(self.source.table, description, self.views, self._sinks, context)
        self._decoder = RecordsDecoder(self._factory.shape, description.view_type)

    def _writes(self, record: ViewRecord, stream: StreamName, retrier: Retrier) -> bool:
        """Whether a view takes records of the stream; its writer is then as the record says."""
        name = record.name
        if record.paused is not None or record.state.ends or record.watermark is None or record.stream_arn is None:
            return False
        if StreamName.parse(record.stream_arn).label > stream.label:
            return False  # of an earlier stream: what it says is in the scan that the view began anew with
        generations = retrier.insist(lambda: ours(self._control, record))
        if not self._is_current(name, record, generations):
            self._writers.pop(name, None)
            writer = retrier.insist(lambda: self._writer(self.views[name], record, generations))
            if writer is None:
                return False
            self._writers[name] = writer
        return True

    def _is_current(self, name: str, record: ViewRecord, generations: Sequence[int]) -> bool:
        """Whether a view's writer does what its record says now."""
        known = self._writers.get(name)
        if known is None or known.generations != generations:
            return False
        made = known.record
        return (made.revision, made.filled, made.stream_arn) == (record.revision, record.filled, record.stream_arn)

    def _writer(self, view: ViewDeclaration, record: ViewRecord, generations: tuple[int, ...]) -> ViewWriter | None:
        assert self._factory is not None
        plan = self._factory.plan(view, record)
        written = () if plan is None else tuple(output.generation for output in plan.outputs)
        if plan is None or not set(generations) & set(written):
            return None
        return ViewWriter(plan, generations, self._control, self._limits[view.name])

    def view_refused(self, record: ViewRecord, state: ViewState, reason: str) -> None:
        """See `ViewMonitor`."""
        if not state.ends:
            self._refused[record.name] = reason
        if (record.state, record.reason) != (state, reason):
            log.error("view %s: %s: %s", record.name, state, reason)
            self._control.states.report(record.name, state, reason, record.revision, None)

    def view_failed(self, view: str, state: ViewState, reason: str) -> None:
        """See `ViewMonitor`: there are no pipelines here that could say so."""

    # Records

    def _decoded(self, records: Sequence[Mapping[str, Any]]) -> Page[Any]:
        """Records as every reader of the stream decodes them: one that cannot be read holds up no other."""
        assert self._decoder is not None
        return self._decoder.decode(msgspec.json.encode({"Records": records}))

    def _take(self, name: str, page: Page[Any], limits: Limits) -> Exception | None:
        """Bring one chunk into one view; what stands in its way."""
        if time.monotonic() >= limits.deadline:
            return OutOfTime("the invocation was about to reach its timeout: give it more time, or smaller batches")
        writer = self._writers.get(name)
        if writer is None:  # it has ended with an earlier chunk
            return None
        try:
            too_many = writer.take(page, limits.retrier(f"view {name}"))
        except (SinkError, ControlUnavailable, Superseded) as error:
            del self._writers[name]
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this view's alone (law 7)
            self._end(name, ViewState.FAILED, fault_reason(error))
            return None
        if too_many is not None:
            self._end(name, ViewState.OVERRUN, too_many)
        return None

    def _end(self, name: str, state: ViewState, reason: str) -> None:
        """A view takes nothing any more: its checkpoints, which only rounds move, stay before whatever it lacks."""
        log.error("view %s: %s: %s", name, state, reason)
        writer = self._writers.pop(name)
        self._control.states.report(name, state, reason, writer.record.revision, None)

    # What is said afterwards

    def _tell(
        self,
        records: Mapping[str, ViewRecord],
        waiting: Sequence[str],
        lacking: Mapping[str, tuple[int, Exception]],
    ) -> None:
        """States, where they are news, and a sign of life."""
        with contextlib.suppress(ControlUnavailable):  # what is not said now is with the next batch
            for name in waiting:
                writer = self._writers.get(name)
                if name in lacking:
                    error = lacking[name][1]
                    if not isinstance(error, SinkError):
                        continue
                    state, reason = policy(error).state or ViewState.RETRYING, str(error)
                elif writer is not None:
                    state, reason = writer.doing
                else:
                    continue
                record = records[name]
                if (record.state, record.reason) != (state, reason):
                    self._control.states.report(name, state, reason, record.revision, None)
            if waiting and time.monotonic() - self._seen >= SEEN:
                self._seen = time.monotonic()
                self._control.set_seen(waiting)

    def _taken(
        self,
        batch: StreamBatch,
        records: Mapping[str, ViewRecord],
        waiting: Sequence[str],
        lacking: Mapping[str, tuple[int, Exception]],
    ) -> Taken:
        whole = len(waiting) - len(lacking)
        held = {name: found for name, found in lacking.items() if not (whole and _proven(records[name]))}
        for name in lacking.keys() - held.keys():
            log.warning("view %s: left to the rounds: %s", name, lacking[name][1])
        if not held:
            return Taken(len(batch.records), whole)
        durable = min(start for start, _ in held.values())
        why = "; ".join(f"view {name}: {error}" for name, (_, error) in sorted(held.items()))
        return Taken(durable, whole, why)


def _described(stream: StreamName, records: Sequence[Mapping[str, Any]]) -> TableDescription | None:
    """The table as its records show it, so that nobody has to be asked; None where none can be read."""
    for record in records:
        body = record.get("dynamodb")
        key = body.get("Keys") if isinstance(body, dict) else None
        if isinstance(body, dict) and isinstance(key, dict) and key:
            view_type = body.get("StreamViewType", FULL_IMAGES)
            names = tuple(sorted(key))
            return TableDescription(stream.table, stream.table_arn, names, stream.arn, view_type, 0, 0, "ACTIVE")
    return None


def _behind(page: Page[Any], records: Sequence[Mapping[str, Any]], passed: float) -> Page[Any]:
    """What of a page may have been made behind a watermark. Of records that cannot be read nobody may know when they
    were made, or which change they are: those are left to whoever reads the shards."""
    changes = page.changes
    if any(change.body.time + CUT <= passed for change in changes):
        changes = [change for change in changes if change.body.time + CUT > passed]
    broken = [each for each in page.broken if each.sequence is not None and _made(records[each.index]) + CUT > passed]
    return Page(changes, broken, None)


def _made(record: Mapping[str, Any]) -> float:
    body = record.get("dynamodb")
    made = body.get("ApproximateCreationDateTime") if isinstance(body, dict) else None
    return float(made) if isinstance(made, int | float) else 0.0


def _proven(record: ViewRecord) -> bool:
    """Whether rounds come for a view, so that what it lacks is read for it from its own checkpoints."""
    return record.watermark is not None and time.time() - record.watermark < PROVEN


def serves(source: SourceDeclaration, stream: StreamName) -> bool:
    """Whether a source is the table of a stream, as far as its declaration tells."""
    table, region = source.table, source.region
    if table.startswith("arn:"):
        return table == stream.table_arn
    return table == stream.table and (region is None or region == stream.region)
