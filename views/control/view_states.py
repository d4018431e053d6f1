"""The states of views in the control store: nothing else writes them."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from dynaview.views.control import tables
from dynaview.views.control.database import Database
from dynaview.views.control.leases import check
from dynaview.views.control.records import Fence
from dynaview.views.states import ViewState

_ENDS = [state for state in ViewState if state.ends]


class StateStore:
    """Says what views are doing. Every method may raise `ControlUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, view: str, state: ViewState, reason: str = "") -> None:
        """The view's state, whatever it was."""
        with self._database.write() as connection:
            _write(connection, tables.views.c.name == view, state, reason)

    def report(self, view: str, state: ViewState, reason: str, revision: int, fence: Fence | None) -> None:
        """The view's state as one of several workers sees it. Nothing is written where what pipelines of the view have
        to do is no longer what it was at `revision`: what was seen is of the past. A state that ends the view stays
        until something ends it (see `ViewState`).

        Raises `LeaseLost` where the `fence` says that the worker has nothing to say any more (None: nobody shares the
        work); asked only where the state ends the view.
        """
        where = (tables.views.c.name == view) & (tables.views.c.revision == revision)
        with self._database.write() as connection:
            if not state.ends:
                where &= tables.views.c.state.not_in(_ENDS)
            elif fence is not None:
                check(connection, view, fence)
            _write(connection, where, state, reason)

    def pause(self, view: str, reason: str) -> bool:
        """Let nothing be done for a view from now on: its pipelines end, in every worker. Its checkpoints stay. False
        where it was paused already; the reason is the new one then."""
        known = tables.views.c.name == view
        with self._database.write() as connection:
            news = connection.execute(
                tables.views.update()
                .where(known, tables.views.c.paused.is_(None))
                .values(paused=time.time(), pause_reason=reason, revision=tables.views.c.revision + 1)
            ).rowcount
            if not news and reason:
                connection.execute(tables.views.update().where(known).values(pause_reason=reason))
        return bool(news)

    def resume(self, view: str) -> bool:
        """Let a view go on where it was; False where it was not paused. What ended it before it was paused still
        does."""
        known = (tables.views.c.name == view) & tables.views.c.paused.is_not(None)
        with self._database.write() as connection:
            _write(connection, known & tables.views.c.state.not_in(_ENDS), ViewState.STARTING, "")
            return bool(
                connection.execute(
                    tables.views.update()
                    .where(known)
                    .values(paused=None, pause_reason=None, revision=tables.views.c.revision + 1)
                ).rowcount
            )


def entering(state: ViewState, reason: str = "") -> dict[str, Any]:
    """The columns of a view that enters a state, for a transaction that moves more than that."""
    return {"state": state, "reason": reason, "since": time.time()}


def _write(connection: sa.Connection, where: sa.ColumnElement[bool], state: ViewState, reason: str) -> None:
    """`since` moves only when the state changes."""
    values = entering(state, reason)
    values["since"] = sa.case((tables.views.c.state == state, tables.views.c.since), else_=values["since"])
    connection.execute(tables.views.update().where(where).values(**values, seen=time.time()))
