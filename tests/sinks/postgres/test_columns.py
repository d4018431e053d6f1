"""Which SQL types a field may have, and which values a column refuses, without a server."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from dynaview.projections.rows import SCALARS, Field, Index, Layout, PostgresOptions, RedisOptions
from dynaview.sinks.postgres import literals
from dynaview.sinks.postgres.generation import Schema
from dynaview.sinks.postgres.values import columns_of


def layout(*fields: Field, key: tuple[str, ...] = ("id",), indexes: tuple[Index, ...] = ()) -> Layout:
    return Layout("view", key, (Field("id", "text"), *fields), PostgresOptions("table", indexes=indexes))


def sql_of(type: str, column: str | None = None) -> str:
    return columns_of(layout(Field("f", type, column)))[1].sql


def test_every_field_type_has_a_column_type() -> None:
    arrays = [f"{type}[]" for type in SCALARS if type not in ("any", "json")]
    assert ", ".join(map(sql_of, [*SCALARS, *arrays])) == (
        "jsonb, text, integer, bigint, numeric, double precision, boolean, timestamptz, date, jsonb, bytea, text[], "
        "integer[], bigint[], numeric[], double precision[], boolean[], timestamptz[], date[], bytea[]"
    )


@pytest.mark.parametrize(
    ("type", "column"),
    [
        ("decimal", "numeric(12,2)"),
        ("decimal", "NUMERIC ( 12 , 2 )"),
        ("decimal[]", "numeric(12,2)[]"),
        ("decimal", "bigint"),
        ("double", "float(25)"),
        ("double", "pg_catalog.float8"),
        ("double[]", "float(53)[]"),
        ("timestamp[]", "timestamp(3)[]"),
        ("integer", "smallint"),
        ("text", "varchar(20)"),
        ("text", "character varying(20)"),
        ("text", "uuid"),
        ("text", "public.citext"),
        ("text", 'text COLLATE "C"'),
        ("timestamp", "timestamp(3) with time zone"),
        ("timestamp", "timestamp"),
        ("json", "json"),
    ],
)
def test_a_declared_column_type_is_taken_as_it_is(type: str, column: str) -> None:
    assert sql_of(type, column) == column


@pytest.mark.parametrize(
    ("type", "column"),
    [
        ("decimal", "double precision"),
        ("decimal", "real"),
        ("decimal", "money"),
        ("double", "real"),
        ("text", "numeric(12,2)"),
        ("text", "bit(3)"),
        ("text", "inet"),
        ("timestamp", "date"),
        ("any", "text"),
        ("decimal", "numeric[]"),
        ("decimal[]", "numeric"),
        ("text", "text); DROP TABLE x; --"),
        ("text", "text DEFAULT 1"),
        ("double", "float(24)"),
        ("double", "FLOAT ( 1 )"),
        ("double[]", "float(24)[]"),
        ("double", "pg_catalog.float4"),
        ("double", "float4"),
        ("double[]", "real[]"),
        ("text", "pg_catalog.name"),
        ("text", "regclass"),
        ("text", "nummultirange"),
        ("timestamp", "time"),
        ("timestamp[]", "date[]"),
        ("decimal[]", "float8[]"),
        ("bigint", "double precision"),
    ],
)
def test_a_column_type_that_would_cut_or_round_is_refused(type: str, column: str) -> None:
    with pytest.raises(ValueError, match="field f: "):
        sql_of(type, column)


@pytest.mark.parametrize("name", ["_version", "_owner", "_deleted", "ctid", "x" * 64])
def test_taken_or_impossible_column_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"field {name}"):
        columns_of(layout(Field(name, "text")))


def test_layouts_of_other_sinks_are_refused() -> None:
    with pytest.raises(ValueError, match="not made for Postgres"):
        columns_of(Layout("view", (), (), RedisOptions()))
    with pytest.raises(ValueError, match="not made for Postgres"):
        columns_of(Layout("view", ("id",), None, PostgresOptions("table")))
    with pytest.raises(ValueError, match="key column missing"):
        columns_of(layout(key=("missing",)))
    with pytest.raises(ValueError, match="indexed column missing"):
        columns_of(layout(indexes=(Index(("missing",)),)))
    long = Layout("view", ("id",), (Field("id", "text"),), PostgresOptions("t" * 62))
    with pytest.raises(ValueError, match="63 bytes"):
        Schema(long, columns_of(long)).table(1)


@pytest.mark.parametrize("column", ["public.citext", "uuid[]", "public.mine[]"])
def test_a_key_has_no_type_that_takes_two_keys_for_one(column: str) -> None:
    field = Field("f", "text[]" if column.endswith("[]") else "text", column)
    columns_of(layout(field))
    with pytest.raises(ValueError, match=r"field f: a key column of type .* declare another type"):
        columns_of(layout(field, key=("id", "f")))


def test_a_uuid_in_a_key_is_spelled_in_one_way() -> None:
    (_, made) = columns_of(layout(Field("f", "text", "uuid"), key=("id", "f")))
    assert made.fault("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11") is None
    made.encode(["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"])
    for respelt in ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"):
        assert made.fault(respelt) is not None
        with pytest.raises(literals.Unfit):
            made.encode([respelt])


NOON = datetime(2026, 1, 2, 12, 0, 0, 123456, UTC)


@pytest.mark.parametrize(
    ("type", "column", "value"),
    [
        ("text", None, "a\0b"),
        ("text", None, "\ud800"),
        ("text", None, 5),
        ("text", "varchar(3)", "abcd"),
        ("text", "varchar(3)", "ab  "),
        ("text", "char(3)", "abcd"),
        ("text", "char(3)", "ab "),
        ("text", "char", "ab"),
        ("text", "uuid", "abc"),
        ("text[]", None, ["a", "\ud800"]),
        ("text[]", "varchar(3)[]", ["abcd"]),
        ("text[]", None, "abc"),
        ("integer", None, 2**31),
        ("integer", None, -(2**31) - 1),
        ("integer", None, "5"),
        ("integer", None, True),
        ("bigint", None, 2**63),
        ("integer", "smallint", 2**15),
        ("decimal", "integer", Decimal("1.5")),
        ("decimal", None, Decimal("NaN")),
        ("decimal", "numeric(4,2)", Decimal("1.005")),
        ("decimal", "numeric(4,2)", Decimal("100")),
        ("decimal", "numeric(4)", Decimal("0.5")),
        ("decimal[]", "numeric(4,2)[]", [Decimal("1.005")]),
        ("decimal[]", "integer[]", [Decimal("1.5")]),
        ("integer[]", "smallint[]", [2**15]),
        ("text[]", "char(3)[]", ["ab "]),
        ("timestamp[]", "timestamp(3)[]", [NOON]),
        ("double", None, Decimal(1)),
        ("boolean", None, 1),
        ("timestamp", None, "2026-01-01"),
        ("timestamp", None, NOON.replace(tzinfo=None)),
        ("timestamp", "timestamptz(3)", NOON),
        ("date", None, NOON),
        ("json", None, {"a": "\0"}),
        ("json", None, {"a": "\ud800"}),
        ("json", None, object()),
        ("binary", None, "text"),
    ],
)
def test_a_value_that_would_be_lost_has_a_fault(type: str, column: str | None, value: Any) -> None:
    (_, made) = columns_of(layout(Field("f", type, column)))
    fault = made.fault(value)
    assert fault is not None
    assert repr(value) not in fault


@pytest.mark.parametrize(
    ("type", "column", "value"),
    [
        ("text", "varchar(3)", "äöü"),
        ("text", "uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"),
        ("integer", None, 2**31 - 1),
        ("bigint", None, -(2**63)),
        ("decimal", "integer", Decimal("1E+2")),
        ("decimal", None, Decimal("9.9999999999999999999999999999999999999E+125")),
        ("decimal", "numeric(4,2)", Decimal("99.99")),
        ("decimal", "numeric(4,2)", Decimal("99.99000")),
        ("decimal", "numeric(4,2)", Decimal("0E-20")),
        ("decimal", "numeric(4)", Decimal("1E+3")),
        ("integer", "numeric(4,2)", 99),
        ("timestamp", "timestamptz(3)", NOON.replace(microsecond=123000)),
        ("date", None, date(2026, 1, 1)),
        ("json", None, {"a": r"\u0000 spelled out", "b": "\\\\u0000"}),
        ("text[]", None, []),
        ("text[]", None, [None]),
    ],
)
def test_a_value_that_fits_has_no_fault_and_can_be_written_down(type: str, column: str | None, value: Any) -> None:
    (_, made) = columns_of(layout(Field("f", type, column)))
    assert made.fault(value) is None
    made.encode([value, None])


@pytest.mark.parametrize("value", [[1, 2], "1,2", {"a": 1, "b": 2}])
def test_no_value_can_move_its_neighbours_to_other_rows(value: Any) -> None:
    encoders = [literals.plain, literals.doubles]
    for encode in encoders:
        try:
            literal = encode([1, value, 3])
        except (literals.Unfit, TypeError):
            continue
        # Quoted as a whole, it is one element that Postgres will refuse.
        assert literal == '{1,"1,2",3}'
