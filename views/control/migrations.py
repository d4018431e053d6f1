"""How a control store of an earlier dynaview becomes one of this: numbered migrations, each run once.

A change of the tables is made in two places: in `tables`, which new stores are made from, and here, under the next
number, for those that stand. A migration is a function from a connection, in the transaction that also records its
number, so a store is never between two schemas. It has to do for SQLite and Postgres.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import sqlalchemy as sa

Migrations: TypeAlias = Mapping[int, Callable[[sa.Connection], None]]
"""By the number of the schema that each leads to."""

BASELINE = 8
"""The schema that every later one can be reached from. What is older was never released, and is refused."""

MIGRATIONS: Migrations = {}


def newest(migrations: Migrations = MIGRATIONS) -> int:
    """The schema that the tables have after all of them."""
    return max(migrations, default=BASELINE)
