"""A view in a real Postgres, under a name of its own, and the look behind the sink's back."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from dynaview.projections.rows import Field, Index, Layout, PostgresOptions
from dynaview.sinks.postgres import PostgresSink
from dynaview.sinks.postgres.limits import LIMITS, Limits
from dynaview.sinks.postgres.target import PostgresTarget

FIELDS = (Field("id", "text"), Field("city", "text"), Field("total", "decimal"))
_numbers = itertools.count()


@dataclass(frozen=True)
class Database:
    """The test server, with an administrator's connection."""

    url: str
    admin: psycopg.Connection[tuple[Any, ...]]
    sinks: list[PostgresSink] = field(default_factory=list)
    """Made by this test, to be closed."""

    def sink(
        self, options: Mapping[str, Any] | None = None, limits: Limits = LIMITS, **parameters: str
    ) -> PostgresSink:
        made = PostgresSink("reads", self.url_with(**parameters), options or {}, limits)
        self.sinks.append(made)
        return made

    def url_with(self, **parameters: str) -> str:
        given = {name: str(value) for name, value in conninfo_to_dict(self.url).items()} | parameters
        return f"postgresql://?{urlencode(given)}"

    def layout(
        self,
        fields: Sequence[Field] = FIELDS,
        key: Sequence[str] = ("id",),
        indexes: Sequence[Index] = (),
        schema: str = "public",
        name: str = "",
    ) -> Layout:
        name = name or fresh("v")
        return Layout(name, tuple(key), tuple(fields), PostgresOptions(name, schema, tuple(indexes)))

    def open(self, layout: Layout | None = None, generation: int = 1, limits: Limits = LIMITS) -> PostgresTarget:
        target = self.sink(limits=limits).open(layout or self.layout(), generation)
        target.prepare()
        return target

    def rows(self, query: str, *names: str) -> list[tuple[Any, ...]]:
        return self.admin.execute(sql.SQL(query).format(*map(sql.Identifier, names))).fetchall()

    def catalog(self, name: str) -> list[tuple[Any, ...]]:
        """The relations whose name is like `name`."""
        return self.admin.execute("SELECT * FROM pg_class WHERE relname LIKE %s", (name,)).fetchall()

    def run(self, statement: str, *names: str) -> None:
        self.admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    @contextmanager
    def role(self) -> Iterator[str]:
        """A role that may log in and nothing else; its name is also its password."""
        name = fresh("role")
        self.admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(name)))
        try:
            yield name
        finally:
            self.run("DROP OWNED BY {}", name)
            self.run("DROP ROLE {}", name)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    deadline = monotonic() + 20
    pause = threading.Event()
    while not condition():
        assert monotonic() < deadline, "what the test waits for does not happen"
        pause.wait(0.01)


def waiting(database: Database, table: str) -> int:
    """How many connections wait for a lock in a statement on the table."""
    # The administrator's own snapshot of the statistics would not change within a transaction.
    database.admin.execute("SELECT pg_stat_clear_snapshot()")
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
    return len(database.admin.execute(query, (f"%{table}%",)).fetchall())


def fresh(kind: str) -> str:
    """A name that no other test has."""
    return f"{kind}_{uuid4().hex[:10]}_{next(_numbers)}"
