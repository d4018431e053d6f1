"""What all processes have counted of their own work, added up (see `dynaview.views.meters`).

Processes send what they have counted since the last time, and it is added here in one transaction: a number never goes
back, whichever process ends or is killed, which monitoring would take for a restart. A process that is killed takes
along what it has not sent yet, some seconds of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import sqlalchemy as sa

from dynaview.views.control import tables
from dynaview.views.control.database import Database
from dynaview.views.meters import Subject

_column = tables.meters.c


class MeterStore:
    """Sums by subject. Every method may raise `ControlUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, news: Mapping[Subject, Mapping[str, float]]) -> None:
        """Add what a process has counted since the last time."""
        with self._database.write() as connection:
            for (kind, name), counted in sorted(news.items()):  # in one order: two processes do not wait for each other
                where = (_column.kind == kind) & (_column.name == name)
                insert = self._database.insert(tables.meters).values(kind=kind, name=name, numbers="{}")
                connection.execute(insert.on_conflict_do_nothing())
                text = connection.execute(sa.select(_column.numbers).where(where).with_for_update()).scalar_one()
                numbers = msgspec.json.decode(text, type=dict[str, float])
                for each, more in counted.items():
                    numbers[each] = numbers.get(each, 0.0) + more
                told = msgspec.json.encode(numbers).decode()
                connection.execute(tables.meters.update().where(where).values(numbers=told))

    def all(self) -> dict[Subject, dict[str, float]]:
        """All sums."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(tables.meters)).all()
        return {(row.kind, row.name): msgspec.json.decode(row.numbers, type=dict[str, float]) for row in rows}
