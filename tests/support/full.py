"""A control store whose disk is full: SQLite's own limit of pages, which any user can set and lift again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from dynaview.views.control.store import ControlStore

UNLIMITED = 2**30


@contextmanager
def full(control: ControlStore) -> Iterator[None]:
    """Until the block ends the file can't grow by one page: what needs room gets SQLITE_FULL, as on a full disk."""
    engine = control._database._engine
    limit = 1  # SQLite takes its present size instead

    def checkout(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={limit}")

    sa.event.listen(engine, "checkout", checkout)
    try:
        yield
    finally:
        limit = UNLIMITED  # connections keep the limit until they are told of another one
