"""What the control store knows of rebuilds: requests, phases, progress, and the moves of generations."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import sqlalchemy as sa

from dynaview.views.control import rows, tables
from dynaview.views.control.database import Database
from dynaview.views.control.dead_letters import DeadLetterStore
from dynaview.views.control.records import (
    ENDED,
    DeadLetter,
    Kind,
    Options,
    PageCost,
    PageResult,
    Rebuild,
    Request,
    Segment,
    ViewRecord,
)
from dynaview.views.control.view_states import entering
from dynaview.views.states import ViewState


class RebuildStore:
    """The rebuilds of a control store. Every method may raise `ControlUnavailable`."""

    def __init__(self, database: Database, letters: DeadLetterStore) -> None:
        self._database = database
        self._letters = letters

    def all(self, source: str | None = None) -> list[Rebuild]:
        """The last rebuild of each view, oldest request first."""
        query = sa.select(tables.rebuilds).order_by(tables.rebuilds.c.requested, tables.rebuilds.c.view)
        if source is not None:
            query = query.where(tables.rebuilds.c.source == source)
        with self._database.read() as connection:
            return [rows.rebuild(row) for row in connection.execute(query).mappings()]

    def get(self, view: str) -> Rebuild | None:
        """The last rebuild of a view, None where there was none."""
        return next((each for each in self.all() if each.view == view), None)

    def request(
        self,
        views: Sequence[str],
        source: str,
        fingerprints: Mapping[str, str],
        options: Options,
        kind: Kind = "beside",
    ) -> list[Rebuild]:
        """Ask for rebuilds of views of one source, by one scan. A view whose rebuild has not ended keeps that one; a
        rebuild takes the place of a first fill."""
        self.request_together(source, fingerprints, [Request(views, kind, options)])
        return [each for each in self.all() if each.view in views]

    def request_together(self, source: str, fingerprints: Mapping[str, str], requests: Sequence[Request]) -> None:
        """The same for several kinds at once: one scan is for all of them, or none of them is asked for."""
        job = uuid.uuid4().hex[:12]
        with self._database.write() as connection:
            column = tables.rebuilds.c
            running = {
                row.view: row
                for row in connection.execute(sa.select(column.view, column.phase, column.kind, column.job))
                if row.phase not in ENDED
            }
            for request in requests:
                for view in request.views:
                    if (last := running.get(view)) is not None:
                        if last.kind != "fill" or request.kind == "fill":
                            continue
                        self._forget_segments(connection, last.job, view)
                    self._request(connection, view, source, job, fingerprints[view], request)

    def _request(
        self, connection: sa.Connection, view: str, source: str, job: str, fingerprint: str, request: Request
    ) -> None:
        now = time.time()
        found = connection.execute(
            sa.select(tables.views.c.state, tables.views.c.reason).where(tables.views.c.name == view)
        ).one_or_none()
        values = {
            "job": job,
            "source": source,
            "kind": request.kind,
            "phase": "requested",
            "reason": "",
            "fingerprint": fingerprint,
            "generation": 0,
            "fresh": False,
            "options": msgspec.json.encode(request.options).decode(),
            "answer": "",
            "requested": now,
            "updated": now,
            "scan_began": None,
            "scan_end": None,
            "written": None,
            "items": 0,
            "of_items": 0,
            "matched": 0,
            "rows": 0,
            "swept": 0,
            "letters": 0,
            "units": 0.0,
            "before_state": ViewState.STARTING if found is None else found.state,
            "before_reason": "" if found is None else found.reason,
        }
        connection.execute(
            self._database.insert(tables.rebuilds)
            .values(view=view, **values)
            .on_conflict_do_update(index_elements=["view"], set_=values)
        )

    def ask(self, rebuild: Rebuild, question: str) -> None:
        """Wait for an operator's answer from now on."""
        where = (tables.rebuilds.c.view == rebuild.view) & (tables.rebuilds.c.answer == "")
        with self._database.write() as connection:
            connection.execute(tables.rebuilds.update().where(where).values(answer="?", reason=question))

    def answer(self, view: str, answer: Literal["yes", "cancel"]) -> bool:
        """Say yes to what a rebuild asks, or cancel it; False where none is under way."""
        where = (tables.rebuilds.c.view == view) & tables.rebuilds.c.phase.not_in(ENDED)
        with self._database.write() as connection:
            return bool(connection.execute(tables.rebuilds.update().where(where).values(answer=answer)).rowcount)

    def settle(self, rebuild: Rebuild) -> None:
        """What was asked is answered, or need not be asked any more; a cancel stays."""
        answered = tables.rebuilds.c.answer.in_(("?", "yes"))
        with self._database.write() as connection:
            where = (tables.rebuilds.c.view == rebuild.view) & (tables.rebuilds.c.job == rebuild.job) & answered
            connection.execute(tables.rebuilds.update().where(where).values(answer="", reason=""))

    def update(self, rebuild: Rebuild, **values: Any) -> Rebuild:
        """Record what changed of a rebuild (its answer is the operator's and never changed here). One that has ended
        leaves nothing of its scan, unless another view goes on with that."""
        values["updated"] = time.time()
        column = tables.rebuilds.c
        with self._database.write() as connection:
            if values.get("phase") in ENDED:  # of views that end at once the last one has to find the others ended
                of_job = sa.select(column.view).where(column.job == rebuild.job).order_by(column.view)
                connection.execute(of_job.with_for_update())
            where = (column.view == rebuild.view) & (column.job == rebuild.job)
            connection.execute(tables.rebuilds.update().where(where).values(**values))
            if values.get("phase") in ENDED:
                self._forget_segments(connection, rebuild.job, rebuild.view)
        return dataclasses.replace(rebuild, **values)

    # Segments of a job's scan. One that has several parts names each behind the job's own name

    def segments(self, job: str) -> list[Segment]:
        """The segments of a job's scan, empty where it has not begun."""
        query = sa.select(tables.scans).where(tables.scans.c.job == job).order_by(tables.scans.c.segment)
        with self._database.read() as connection:
            return [
                Segment(row["segment"], row["segments"], row["position"], row["finished"], row["scanned"])
                for row in connection.execute(query).mappings()
            ]

    def save_segment(self, job: str, segment: Segment) -> None:
        """Record how far a segment is: everything up to its position is durable in every view of the job."""
        values = {name: getattr(segment, name) for name in ("segments", "position", "finished", "scanned")}
        with self._database.write() as connection:
            connection.execute(
                self._database.insert(tables.scans)
                .values(job=job, segment=segment.segment, **values)
                .on_conflict_do_update(index_elements=["job", "segment"], set_=values)
            )

    def save_page(
        self, job: str, part: str, segment: Segment, cost: PageCost, results: Mapping[str, PageResult]
    ) -> None:
        """Record, in one transaction, how far a segment of a part of a job's scan is, and what became of its last page
        in each view, dead letters included. Done twice it changes nothing."""
        where = (tables.scans.c.job == part) & (tables.scans.c.segment == segment.segment)
        values = {"position": segment.position, "finished": segment.finished, "scanned": segment.scanned}
        column, now = tables.rebuilds.c, time.time()
        with self._database.write() as connection:
            moves = sa.or_(*(tables.scans.c[name].is_distinct_from(value) for name, value in values.items()))
            if not connection.execute(tables.scans.update().where(where, moves).values(**values)).rowcount:
                return  # the answer was lost, and it is sent again
            for view, result in results.items():
                self._letters.add(connection, result.letters, now)
                connection.execute(
                    tables.rebuilds.update()
                    .where(column.view == view, column.job == job)
                    .values(
                        items=column["items"] + cost.items,
                        matched=column.matched + result.matched,
                        rows=column.rows + result.rows,
                        letters=column.letters + len(result.letters),
                        units=column.units + cost.units,
                        updated=now,
                    )
                )

    def keep_letters(self, rebuild: Rebuild, letters: Sequence[DeadLetter]) -> None:
        """Keep dead letters of a rebuild that belong to no page of its scan."""
        column = tables.rebuilds.c
        with self._database.write() as connection:
            self._letters.add(connection, letters, time.time())
            connection.execute(
                tables.rebuilds.update()
                .where(column.view == rebuild.view, column.job == rebuild.job)
                .values(letters=column.letters + len(letters))
            )

    def drop(self, connection: sa.Connection, view: str) -> None:
        """Forget a view's rebuild, in the transaction that forgets the view."""
        column = tables.rebuilds.c
        for job in connection.execute(sa.select(column.job).where(column.view == view)).scalars().all():
            self._forget_segments(connection, job, view)
        connection.execute(tables.rebuilds.delete().where(column.view == view))

    def _forget_segments(self, connection: sa.Connection, job: str, view: str) -> None:
        """Drop the positions of a scan, with all its parts, that no other view goes on with."""
        column = tables.rebuilds.c
        others = sa.select(column.view).where(column.job == job, column.view != view, column.phase.not_in(ENDED))
        if not connection.execute(others).first():
            connection.execute(tables.scans.delete().where(_of_job(job)))

    def part(self, job: str, views: Sequence[str]) -> None:
        """Let these views of a job go on by a scan of their own from where they are: the others take no part now."""
        own = uuid.uuid4().hex[:12]
        with self._database.write() as connection:
            where = (tables.rebuilds.c.job == job) & tables.rebuilds.c.view.in_(views)
            if not connection.execute(tables.rebuilds.update().where(where).values(job=own)).rowcount:
                return
            segments = connection.execute(sa.select(tables.scans).where(_of_job(job))).mappings().all()
            if segments:
                copies = [{**segment, "job": own + segment["job"].removeprefix(job)} for segment in segments]
                connection.execute(tables.scans.insert(), copies)

    # Generations. Each of these moves the view's revision, so that its pipelines are opened anew.

    def next_number(self, view: str, above: int = 0) -> int:
        """The number that the next generation of a view will have: never one that was given up, as a late batch for it
        may be on its way, and `above` what its store has."""
        query = sa.select(tables.views.c.numbered).where(tables.views.c.name == view)
        with self._database.read() as connection:
            return max(int(connection.execute(query).scalar_one()), above) + 1

    def begin(
        self,
        rebuild: Rebuild,
        fingerprint: str,
        declaration: str,
        kind: Kind,
        *,
        number: int,
        alone: bool,
        fresh: bool,
        stream_arn: str | None,
        of_items: int,
    ) -> Rebuild:
        """Begin the next generation, and write it from now on, before the live one, or `alone`; no other one is written
        any more. `number` is the `next_number`. A `fresh` start forgets how far the view was, and what stood in its
        way. Answers the rebuild in its next phase."""
        view, now = rebuild.view, time.time()
        with self._database.write() as connection:
            row = connection.execute(sa.select(tables.views).where(tables.views.c.name == view)).mappings().one()
            connection.execute(
                tables.generations.insert().values(
                    view=view,
                    generation=number,
                    fingerprint=fingerprint,
                    declaration=declaration,
                    role="next",
                    claimed=True,
                    filled=False,
                    created=now,
                    keep_until=None,
                )
            )
            column = tables.generations.c
            is_live = (column.view == view) & (column.role == "live")
            seen = connection.execute(sa.select(column.generation).where(is_live)).scalar_one()
            live = [] if alone or seen not in map(int, row["write_order"].split()) else [seen]
            values: dict[str, Any] = {
                "numbered": number,
                "write_order": _order([number, *live]),
                **entering(ViewState.REBUILDING),
            }
            if fresh:
                another = row["stream_arn"] is not None and row["stream_arn"] != stream_arn
                values |= {
                    "stream_arn": stream_arn,
                    "stream_count": row["stream_count"] + int(another),
                    "watermark": None,
                    "seen": now,
                }
                connection.execute(tables.generations.update().where(is_live).values(filled=False))
                connection.execute(tables.checkpoints.delete().where(tables.checkpoints.c.view == view))
            self._move(connection, view, **values)
            began: dict[str, Any] = {
                "phase": "starting",
                "kind": kind,
                "generation": number,
                "fresh": fresh,
                "fingerprint": fingerprint,
                "of_items": of_items,
                "updated": now,
            }
            where = (tables.rebuilds.c.view == view) & (tables.rebuilds.c.job == rebuild.job)
            connection.execute(tables.rebuilds.update().where(where).values(**began))
        return dataclasses.replace(rebuild, **began)

    def write_in(self, record: ViewRecord, order: Sequence[int]) -> bool:
        """Let pipelines write these generations, in this order; False where the record is no longer what it was."""
        with self._database.write() as connection:
            where = (tables.views.c.name == record.name) & (tables.views.c.revision == record.revision)
            values = {"write_order": _order(order), "revision": record.revision + 1}
            return bool(connection.execute(tables.views.update().where(where).values(**values)).rowcount)

    def filled(self, rebuild: Rebuild) -> None:
        """The generation that a rebuild fills holds all that it should; its next start is an ordinary one."""
        column = tables.generations.c
        found = {"scanned": rebuild.items, "matched": rebuild.matched, "inserted": rebuild.rows}
        with self._database.write() as connection:
            connection.execute(
                tables.generations.update()
                .where(column.view == rebuild.view, column.generation == rebuild.generation)
                .values(filled=True, **found)
            )

    def swapped(
        self,
        view: str,
        generation: int,
        keep_until: float,
        *,
        filled: bool = True,
        state: tuple[ViewState, str] | None = None,
    ) -> None:
        """Readers see this generation now. The one they saw before is kept until a time (seconds since 1970). `filled`:
        whether it holds all that it should; `state` is that of the view, with its reason, where it changes with it."""
        with self._database.write() as connection:
            chosen = tables.generations.c.view == view
            connection.execute(
                tables.generations.update()
                .where(chosen, tables.generations.c.role == "live", tables.generations.c.generation != generation)
                .values(role="previous", keep_until=keep_until)
            )
            connection.execute(
                tables.generations.update()
                .where(chosen, tables.generations.c.generation == generation)
                .values(role="live", keep_until=None, filled=filled)
            )
            changed = {} if state is None else entering(*state)
            self._move(connection, view, **changed)

    def unswapped(self, view: str, state: ViewState, reason: str, generations: Sequence[int]) -> None:
        """The next generation is given up: pipelines write these generations again, from the state the view was in."""
        with self._database.write() as connection:
            self._move(connection, view, write_order=_order(generations), **entering(state, reason))

    def forget(self, view: str, generation: int) -> None:
        """Nothing of a generation is left in its store: forget it, with its dead letters."""
        with self._database.write() as connection:
            for table in (tables.generations, tables.dead_letters):
                connection.execute(table.delete().where(table.c.view == view, table.c.generation == generation))

    def _move(self, connection: sa.Connection, view: str, **values: Any) -> None:
        where = tables.views.c.name == view
        connection.execute(tables.views.update().where(where).values(revision=tables.views.c.revision + 1, **values))


def _of_job(job: str) -> sa.ColumnElement[bool]:
    return tables.scans.c.job.startswith(job, autoescape=True)


def _order(generations: Sequence[int]) -> str:
    return " ".join(map(str, generations))
