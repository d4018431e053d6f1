"""Long work that was asked for over HTTP, as the control store keeps it: any process can say how far it is."""

from __future__ import annotations

import time
import uuid
from typing import Any

import msgspec
import sqlalchemy as sa

from dynaview.views.control import tables
from dynaview.views.control.database import Database
from dynaview.views.control.records import OPEN_TASKS, LongTask, TaskState

KEPT = 100
"""So many tasks are remembered."""

LOST = 30.0
"""Seconds without a sign of life after which the process that did a task counts as gone."""

_column = tables.tasks.c


class TaskStore:
    """Tasks, newest first. Every method may raise `ControlUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, kind: str, view: str) -> LongTask:
        """A task that somebody has asked for; the oldest ones that have ended are forgotten."""
        now = time.time()
        made = LongTask(uuid.uuid4().hex[:12], kind, view, "queued", False, now, now, 0, 0, "", None)
        values = {name: getattr(made, name) for name in LongTask.__dataclass_fields__}
        with self._database.write() as connection:
            connection.execute(tables.tasks.insert().values(**values))
            newest = sa.select(_column.id).order_by(_column.asked.desc(), _column.id).limit(KEPT)
            kept = connection.execute(newest).scalars().all()
            gone = _column.id.not_in(kept) & (_column.state.not_in(OPEN_TASKS) | (_column.updated < now - LOST))
            connection.execute(tables.tasks.delete().where(gone))
        return made

    def beat(self, task: str, done: int, expected: int, state: TaskState = "running") -> bool:
        """Say that a task is being done, and how far it is; whether it is to end."""
        values = {"state": state, "updated": time.time(), "done": done, "expected": expected}
        where = (_column.id == task) & _column.state.in_(OPEN_TASKS)
        with self._database.write() as connection:
            connection.execute(tables.tasks.update().where(where).values(**values))
            return bool(connection.execute(sa.select(_column.cancelled).where(_column.id == task)).scalar())

    def end(self, task: str, state: TaskState, error: str = "", result: Any = None) -> None:
        """Say how a task has ended."""
        text = None if result is None else msgspec.json.encode(result).decode()
        with self._database.write() as connection:
            values = {"state": state, "error": error, "result": text, "updated": time.time()}
            connection.execute(tables.tasks.update().where(_column.id == task).values(**values))

    def cancel(self, task: str) -> bool:
        """Ask for the end of a task; False where it has ended."""
        where = (_column.id == task) & _column.state.in_(OPEN_TASKS)
        with self._database.write() as connection:
            return bool(connection.execute(tables.tasks.update().where(where).values(cancelled=True)).rowcount)

    def find(self, task: str) -> LongTask | None:
        """A task; None where there is none (any more)."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(tables.tasks).where(_column.id == task)).mappings().first()
        return None if row is None else _task(row, time.time())

    def all(self) -> list[LongTask]:
        """All that are remembered, newest first, without their results."""
        columns = [column for column in _column if column.name != "result"]
        with self._database.read() as connection:
            rows = connection.execute(sa.select(*columns).order_by(_column.asked.desc(), _column.id)).mappings().all()
        now = time.time()
        return [_task({**row, "result": None}, now) for row in rows]


def _task(row: Any, now: float) -> LongTask:
    values = {name: row[name] for name in LongTask.__dataclass_fields__}
    if values["result"] is not None:
        values["result"] = msgspec.json.decode(values["result"])
    if values["state"] in OPEN_TASKS and now - values["updated"] > LOST:
        values |= {"state": "lost", "error": "the process that did it is gone; ask for it again"}
    return LongTask(**values)
