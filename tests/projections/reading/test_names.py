"""Names that stores allow."""

from __future__ import annotations

import pytest

from dynaview.projections.reading.names import column_problem, field_problem, identifier_problem, index_problem


@pytest.mark.parametrize(
    "sql",
    [
        "text",
        "TEXT",
        "integer",
        "numeric",
        "numeric(12,2)",
        "numeric( 12 , 2 )",
        "decimal(5)",
        "varchar(40)",
        "character varying",
        "char(3)[]",
        "text[]",
        "double precision",
        "timestamp with time zone",
        "timestamptz(3)",
        "jsonb",
        "uuid",
    ],
)
def test_column_types(sql: str) -> None:
    assert column_problem(sql) is None


@pytest.mark.parametrize(
    "sql",
    [
        "",
        " ",
        "tex",
        "text not null",
        "text default now()",
        "text); drop table a; --",
        "text /* a */",
        'text collate "C"',
        "integer(4)",
        "numeric(1,2,3)",
        "numeric()",
        "numeric(a)",
        "varchar(40,2)",
        "numeric(999999,1)",
        "(12)",
        "[]",
        "public.secret",
        "text\x00",
        "\uff54ext",
        "serial",
    ],
)
def test_what_is_no_column_type(sql: str) -> None:
    assert column_problem(sql) is not None


@pytest.mark.parametrize(
    "name", ["orders", "orders-2", "orders.a", "o", "2024", "ümläute", "a" * 200, "orders-g", "a-g1b"]
)
def test_indexes(name: str) -> None:
    assert index_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "Orders",
        "a b",
        "a/b",
        "a\\b",
        "a*",
        "a?",
        'a"',
        "a<",
        "a>",
        "a|",
        "a,b",
        "a#",
        "a:b",
        "-a",
        "_a",
        "+a",
        ".",
        "..",
        ".a",
        "a\n",
        "a\x00",
        "ü" * 101,
        "orders-g1",
        "orders-g12",
    ],
)
def test_what_is_no_index(name: str) -> None:
    assert index_problem(name) is not None


@pytest.mark.parametrize(
    ("name", "right"), [("a", True), ("A1_", True), ("a" * 63, True), ("a" * 64, False), ("1a", False)]
)
def test_identifiers(name: str, right: bool) -> None:
    assert (identifier_problem(name) is None) is right


@pytest.mark.parametrize(
    ("kind", "name", "right"),
    [
        ("redis", "order-id", True),
        ("redis", "a.b c", True),
        ("redis", "", False),
        ("redis", "_v", False),
        ("redis", "a\n", False),
        ("redis", "a" * 201, False),
        ("opensearch", "a b", True),
        ("opensearch", "a.b", False),
        ("opensearch", " a", False),
        ("postgres", "select", True),
        ("postgres", "order-id", False),
        ("postgres", 'a"', False),
        ("postgres", "ä", False),
        ("postgres", "_version", False),
    ],
)
def test_fields(kind: str, name: str, right: bool) -> None:
    assert (field_problem(name, kind) is None) is right
