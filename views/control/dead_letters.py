"""The dead letters that the control store keeps: found, counted, discarded, settled after a replay.

Letters of a generation before the one that readers see are kept for a rollback only: nobody is shown them meanwhile,
unless by their ids, and they go with their generation.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from dynaview.views.control.database import Database
from dynaview.views.control.records import DeadLetter, DeadLetterFilter, KeptLetter, Outcome
from dynaview.views.control.tables import dead_letters as _letters
from dynaview.views.control.tables import generations as _generations
from dynaview.views.control.tables import views as _views


class DeadLetterStore:
    """The dead letters of all views. Every method may raise `ControlUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, connection: sa.Connection, letters: Sequence[DeadLetter], now: float) -> None:
        """Keep letters, in the transaction that counts their changes; one that is there already stays as it is.

        Of an item only the letters of its newest state are kept: it is that state that the view lacks. What a change
        overtakes moves from dead-lettered to stale; a scanned item is as old as can be, and in no count (law 8).
        """
        overtaken: set[tuple[str, int, int, str, str]] = set()
        for letter in letters:
            same = [_letters.c.view == letter.view, _letters.c.generation == letter.generation]
            columns = (_letters.c.id, _letters.c.version, _letters.c.shard, _letters.c.counted)
            kept = connection.execute(sa.select(*columns).where(*same, _letters.c.item_key == letter.item_key)).all()
            if any(int(row.version) > letter.version for row in kept):
                if letter.counted:
                    overtaken.add(letter.origin)
                continue
            older = [row for row in kept if int(row.version) < letter.version]
            if older:
                connection.execute(_letters.delete().where(_letters.c.id.in_([row.id for row in older])))
                overtaken |= {
                    (letter.view, letter.generation, int(row.version), row.shard, letter.item_key)
                    for row in older
                    if row.counted
                }
            values = _columns(letter)
            connection.execute(self._database.insert(_letters).values(**values, created=now).on_conflict_do_nothing())
        for view, number in Counter(view for view, *_ in overtaken).items():
            column = _views.c
            moved = {"dead_lettered": column.dead_lettered - number, "stale": column.stale + number}
            connection.execute(_views.update().where(column.name == view).values(moved))

    def keep(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters that no count goes with."""
        if letters:
            with self._database.write() as connection:
                self.add(connection, letters, time.time())

    def find(
        self, choice: DeadLetterFilter | None = None, limit: int | None = None, after: int = 0
    ) -> list[KeptLetter]:
        """Letters with ids above `after`, oldest first."""
        query = sa.select(_letters).where(_letters.c.id > after, *self._conditions(choice or DeadLetterFilter()))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(_letters.c.id).limit(limit)).mappings().all()
        return [_kept(row) for row in rows]

    def count(self, choice: DeadLetterFilter | None = None) -> tuple[int, int]:
        """How many there are, and the highest id among them (0 where there are none)."""
        numbers = sa.select(sa.func.count(), sa.func.coalesce(sa.func.max(_letters.c.id), 0))
        with self._database.read() as connection:
            count, last = connection.execute(numbers.where(*self._conditions(choice or DeadLetterFilter()))).one()
        return count, last

    def by_view(self) -> dict[str, int]:
        """How many each view has; views without any are not named."""
        counted = sa.select(_letters.c.view, sa.func.count().label("letters")).where(~_IS_PAST)
        query = counted.group_by(_letters.c.view)
        with self._database.read() as connection:
            return {row.view: row.letters for row in connection.execute(query)}

    def discard(self, choice: DeadLetterFilter) -> int:
        """Remove letters for good, and say how many. What was counted stays counted as dead-lettered (law 8)."""
        with self._database.write() as connection:
            return connection.execute(_letters.delete().where(*self._conditions(choice))).rowcount

    def settle(self, letter: DeadLetter, outcome: Outcome) -> bool:
        """A replay of the letter's change went through: remove all that the change left, and let the counts follow.

        The change moves from dead-lettered to `outcome` in the same transaction, so that read stays the sum of the
        rest (law 8). False, and nothing moves, where its letters are gone already. No count moves for a letter that is
        in none.
        """
        with self._database.write() as connection:
            if not connection.execute(_letters.delete().where(*_origin(letter))).rowcount:
                return False
            if letter.counted:
                columns = (_views.c.dead_lettered, _views.c[outcome])
                moved = {columns[0].name: columns[0] - 1, columns[1].name: columns[1] + 1}
                connection.execute(_views.update().where(_views.c.name == letter.view).values(moved))
        return True

    def renew(self, rejected: Sequence[DeadLetter]) -> bool:
        """A replay of one change was rejected again: its letters are now these. Their age and the counts stay.

        False, and nothing moves, where its letters are gone already.
        """
        with self._database.write() as connection:
            kept = connection.execute(sa.select(_letters).where(*_origin(rejected[0]))).mappings().all()
            if not kept:
                return False
            ids = {row["row_key"]: row["id"] for row in kept}
            now = {letter.row_key: letter for letter in rejected}
            gone = [ids[key] for key in ids.keys() - now.keys()]
            connection.execute(_letters.delete().where(_letters.c.id.in_(gone)))
            for key, letter in now.items():
                if key in ids:
                    values = {"kind": letter.kind, "reason": letter.reason}
                    connection.execute(_letters.update().where(_letters.c.id == ids[key]).values(values))
                else:
                    connection.execute(_letters.insert().values(**_columns(letter), created=kept[0]["created"]))
        return True

    def _conditions(self, choice: DeadLetterFilter) -> list[sa.ColumnElement[bool]]:
        column = _letters.c
        found: list[sa.ColumnElement[bool]] = []
        if choice.view is not None:
            found.append(column.view == choice.view)
        if choice.ids:
            found.append(column.id.in_(choice.ids))
        else:
            found.append(~_IS_PAST)
        if choice.last is not None:
            found.append(column.id <= choice.last)
        if choice.key is not None:
            found.append(self._key(choice.key))
        if choice.reason is not None:
            found.append(column.reason.icontains(choice.reason, autoescape=True))
        if choice.kind is not None:
            found.append(column.kind == choice.kind)
        if choice.before is not None:
            found.append(column.created < choice.before)
        if choice.since is not None:
            found.append(column.created >= choice.since)
        return found

    def _key(self, key: str) -> sa.ColumnElement[bool]:
        """Item keys are JSON such as ``{"pk":{"S":"a"}}``, row keys of several parts a JSON array."""
        part = msgspec.json.encode(key).decode()
        row_key, item_key = _letters.c.row_key, _letters.c.item_key
        return sa.or_(
            row_key == key,
            item_key == key,
            self._database.holds(item_key, f":{part}}}"),
            sa.and_(row_key.startswith("["), self._database.holds(row_key, part)),
        )


_IS_PAST = (
    sa.exists()
    .where(
        _generations.c.view == _letters.c.view,
        _generations.c.role == "live",
        _generations.c.generation > _letters.c.generation,
    )
    .correlate(_letters)
)
"""Whether a letter is of a generation that readers see no more."""


def _columns(letter: DeadLetter) -> dict[str, Any]:
    values = {name: getattr(letter, name) for name in DeadLetter.__dataclass_fields__}
    return values | {"version": str(letter.version)}


def _kept(row: sa.RowMapping) -> KeptLetter:
    values = {name: row[name] for name in DeadLetter.__dataclass_fields__} | {"version": int(row["version"])}
    return KeptLetter(row["id"], row["created"], DeadLetter(**values))


def _origin(letter: DeadLetter) -> list[sa.ColumnElement[bool]]:
    view, generation, version, shard, item_key = letter.origin
    column = _letters.c
    return [
        column.view == view,
        column.generation == generation,
        column.version == str(version),
        column.shard == shard,
        column.item_key == item_key,
    ]
