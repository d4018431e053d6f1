"""What another role makes in a schema that is searched: functions, operators and types of it never run as this user."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dynaview.projections.rows import Field, Index, Layout, PostgresOptions, Write
from dynaview.sinks.port import APPLIED, ConditionalWrite, Rejected
from dynaview.sinks.postgres import PostgresSink
from dynaview.views.control.store import ControlStore
from tests.sinks.postgres.database import Database, fresh

TYPES = (
    "text",
    "varchar",
    "name",
    "numeric",
    "int4",
    "int8",
    "oid",
    "bool",
    "timestamptz",
    "interval",
    '"char"',
    "xid",
)
OPERATORS = ("=", "<>", "<", ">", "<=", ">=", "||", "+", "-")
FUNCTIONS: dict[str, list[tuple[str, ...]]] = {
    "hashtextextended": [("text", "int4"), ("text", "int8"), ("varchar", "int4")],
    "pg_advisory_xact_lock": [("int8",), ("int4",), ("numeric",)],
    "starts_with": [("name", "text"), ("text", "text"), ("name", "varchar")],
    "obj_description": [("oid", "text"), ("oid", "name"), ("oid", "varchar")],
    "col_description": [("oid", "int2"), ("oid", "int4")],
    "to_regtype": [("text",), ("varchar",)],
    "now": [()],
    "clock_timestamp": [()],
    "count": [()],
    "row_to_json": [("record",)],
    "strpos": [("varchar", "varchar"), ("text", "varchar")],
    "current_schema": [()],
    "max": [("numeric",), ("varchar",)],
    "length": [("varchar",)],
    "format_type": [("oid", "int4")],
    "has_schema_privilege": [("oid", "text")],
    "pg_current_xact_id": [()],
}


@pytest.fixture
def hostile(database: Database) -> Iterator[str]:
    """The URL of a database of its own, in which `public` is full of traps; each leaves a trace where it is called."""
    name, mallory = fresh("hostile"), fresh("mallory")
    database.run("CREATE DATABASE {}", name)
    database.run("CREATE ROLE {} SUPERUSER", mallory)  # so that it may name types as it likes; it owns what is made
    url = database.url_with(dbname=name)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE public.traps")
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(mallory)))
        made = 0
        trap = "RETURNS {} LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('public.traps'); RETURN NULL; END $$"
        for left, right in itertools.product(TYPES, TYPES):
            connection.execute(f"CREATE FUNCTION public.trap({left}, {right}) {trap.format('bool')}".encode())
        for operator, left, right in itertools.product(OPERATORS, TYPES, TYPES):
            arguments = f"LEFTARG = {left}, RIGHTARG = {right}"
            connection.execute(f"CREATE OPERATOR public.{operator} (FUNCTION = public.trap, {arguments})".encode())
            made += 1
        for function, overloads in FUNCTIONS.items():
            for types in overloads:
                connection.execute(
                    f"CREATE FUNCTION public.{function}({', '.join(types)}) {trap.format('text')}".encode()
                )
        for type in ("numeric", "text", "timestamptz", "jsonb", "uuid"):
            connection.execute(f"CREATE DOMAIN public.{type} AS pg_catalog.int4".encode())
        assert made == len(OPERATORS) * len(TYPES) ** 2
    yield url
    database.run("DROP DATABASE {} WITH (FORCE)", name)
    database.run("DROP ROLE {}", mallory)


def traps(url: str) -> bool:
    with psycopg.connect(url) as connection:
        (called,) = connection.execute("SELECT is_called FROM public.traps").fetchone() or (True,)
    return bool(called)


FIELDS = (
    Field("id", "text", "varchar(40)"),
    Field("city", "text", "varchar(20)"),
    Field("total", "decimal"),
    Field("tags", "text[]"),
    Field("more", "json"),
    Field("code", "text", "uuid"),
    Field("at", "timestamp"),
)


def exercise(sink: PostgresSink, layout: Layout, **values: Any) -> None:
    """Everything that a view does to its store."""
    row = ("a", 1, ["x"], {"y": 1}, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", None)

    def put(key: str, city: str, version: int = 1, owner: str = "") -> Write:
        return Write((key,), (key, city, *row[1:]), version, owner)

    sink.check()
    sink.problems(layout)
    target = sink.open(layout, 1)
    target.prepare(bulk=True)
    target.prepare(bulk=True)
    assert target.write([put("a", "Basel"), put("b", "Basel"), put("c", "Bern", owner="item")]) == [APPLIED] * 3
    named = target.finish()
    assert [one.row.key for one in named] == [("b",)]
    assert target.finish(named) == []
    target.publish()
    assert target.write([put("a", "Chur", 2), put("c", "Basel", 2, "item"), Write(("d",), None, 1)])[0] is APPLIED
    assert isinstance(target.write([put("e", "Chur")])[0], Rejected)
    (seen,) = target.read([("a",)])
    target.write_if_unchanged([ConditionalWrite(put("a", "Davos", 2), seen)])
    assert target.count() == len(list(target.rows())) == sum(len(page.keys) for page in target.canonical_rows())
    target.purge(timedelta(0))
    second = sink.open(layout, 2)
    second.prepare()
    second.write([put("a", "Basel")])
    second.publish()
    assert sink.published(layout) == sink.highest(layout) == 2
    sink.gone(layout, 1)
    target.drop()
    second.drop()


def test_a_sink_calls_nothing_of_it(hostile: str) -> None:
    sink = PostgresSink("reads", hostile, {})
    indexes = (Index(("city",), unique=True), Index(("tags",), method="gin"), Index(("total",)))
    for schema in ("public", "reads"):
        exercise(sink, Layout("v", ("id",), FIELDS, PostgresOptions("v", schema, indexes)))
    sink.close()
    assert not traps(hostile)


def test_the_control_store_calls_nothing_of_it(hostile: str) -> None:
    control = ControlStore(hostile)
    control.add_view("one", "shop", "memory", "f", "arn")
    assert control.view("one") is not None
    assert len(control.views()) == 1
    control.close()
    again = ControlStore(hostile)
    assert again.view("one") is not None
    again.close()
    assert not traps(hostile)


def test_the_traps_would_be_called(hostile: str) -> None:
    with psycopg.connect(hostile, autocommit=True) as connection:
        connection.execute("SELECT starts_with(relname, 'x'::text) FROM pg_class LIMIT 1")
    assert traps(hostile)
