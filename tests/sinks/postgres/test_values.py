"""Law 11 on a real server: what goes in comes out, for every field type."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynaview.projections.rows import Field, Layout, Write
from dynaview.sinks.port import APPLIED, SinkRefused
from dynaview.sinks.postgres.target import PostgresTarget
from tests.sinks.postgres.database import Database, fresh

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["NULL", "null", "", "{}", '"', "\\", '{"a","b"}', "a,b", "\\N", "\n\t\x01\x02", "'", "%s", "\\u0000", " a "]
)
NUMBER = st.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent),
    st.integers(-(10**38) + 1, 10**38 - 1),
    st.integers(-120, 80),
)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "any": JSON,
    "text": TEXT,
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "decimal": NUMBER,
    "double": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "date": st.dates(),
    "json": JSON,
    "binary": st.binary(max_size=12),
}
ARRAYS = {f"{type}[]": st.lists(made, max_size=3) for type, made in VALUES.items() if type not in ("any", "json")}
FIELDS = tuple(Field(f"f {type}%", type) for type in [*VALUES, *ARRAYS])
ROWS = st.tuples(*(st.none() | made for made in [*VALUES.values(), *ARRAYS.values()]))


ALL_TYPES, KEY_TYPES = fresh("all"), fresh("keys")


def emptied(database: Database, layout: Layout) -> PostgresTarget:
    """One table for all examples of a property."""
    if not database.sinks:
        database.sink()
    target = database.sinks[0].open(layout, 1)
    target.prepare()
    database.run("TRUNCATE {}", f"{layout.view}__g1")
    return target


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(ROWS, min_size=1, max_size=5))
def test_every_type_comes_back_as_it_went_in(database: Database, rows: list[tuple[Any, ...]]) -> None:
    target = emptied(database, database.layout((Field("id", "text"), *FIELDS), name=ALL_TYPES))
    writes = [Write((str(number),), (str(number), *row), 1) for number, row in enumerate(rows)]
    assert target.write(writes) == [APPLIED] * len(writes)
    stored = target.read([write.key for write in writes])
    for write, found in zip(writes, stored, strict=True):
        assert found is not None
        assert found.content == target.content(write)
        assert write.values is not None
        for field, given_value in zip(FIELDS, tuple(write.values)[1:], strict=True):
            assert found.content[field.name] == given_value
    assert {row.key: row for row in target.rows()} == {row.key: row for row in stored if row is not None}


KEYS = st.tuples(TEXT, NUMBER, VALUES["timestamp"], VALUES["binary"], VALUES["boolean"])
KEY_FIELDS = tuple(
    Field(name, type) for name, type in zip("abcde", ("text", "decimal", "timestamp", "binary", "boolean"), strict=True)
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(keys=st.lists(KEYS, min_size=1, max_size=6, unique=True))
def test_keys_of_many_columns_are_found_again(database: Database, keys: list[tuple[Any, ...]]) -> None:
    target = emptied(database, database.layout(KEY_FIELDS, "edcba", name=KEY_TYPES))
    writes = [Write(key[::-1], key, number) for number, key in enumerate(keys, 1)]
    assert target.write(writes) == [APPLIED] * len(keys)
    found = target.read([key[::-1] for key in keys])
    assert [row and (row.key, row.version) for row in found] == [(w.key, w.version) for w in writes]
    gone = [Write(write.key, None, 100) for write in writes]
    assert target.write(gone) == [APPLIED] * len(keys)
    assert target.count() == 0


def test_declared_column_types_come_back_as_promised(database: Database) -> None:
    noon = datetime(2026, 1, 2, 12, 0, 0, 123000, UTC)
    enum = fresh("mood")
    database.run("CREATE TYPE {} AS ENUM ('calm', 'busy')", enum)
    fields = [
        (Field("money", "decimal", "numeric(12,2)"), Decimal("5.5")),
        (Field("monies", "decimal[]", "numeric(12,2)[]"), [Decimal("5.50"), None]),
        (Field("whole", "decimal", "bigint"), Decimal("1E+3")),
        (Field("short", "text", "varchar(5)"), "äöüß "),
        (Field("shorts", "text[]", "varchar(5)[]"), ["a", "b,c"]),
        (Field("padded", "text", "char(5)"), "ab"),
        (Field("unit", "text", "uuid"), "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"),
        (Field("units", "text[]", "uuid[]"), ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"]),
        (Field("mood", "text", f"public.{enum}"), "busy"),
        (Field("naive", "timestamp", "timestamp"), noon),
        (Field("milli", "timestamp", "timestamp(3) with time zone"), noon),
        (Field("small", "integer", "smallint"), 7),
        (Field("plain", "json", "json"), {"a": [Decimal("1.10"), None]}),
    ]
    target = database.open(database.layout([Field("id", "text"), *(field for field, _ in fields)]))
    write = Write(("a",), ("a", *(value for _, value in fields)), 1)
    assert target.write([write]) == [APPLIED]
    (found,) = target.read([("a",)])
    assert found is not None
    assert found.content == target.content(write)
    lower = {"unit": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "units": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]}
    assert found.content == {"id": "a", **{field.name: value for field, value in fields}, **lower}
    target.drop()
    database.run("DROP TYPE {}", enum)


def test_times_do_not_depend_on_the_settings_of_the_role(database: Database) -> None:
    with database.role() as role:
        for setting in ("TimeZone = 'America/New_York'", "DateStyle = 'SQL, DMY'", "extra_float_digits = -5"):
            database.run(f"ALTER ROLE {{}} SET {setting}", role)
        schema = fresh("s")
        database.run("CREATE SCHEMA {} AUTHORIZATION {}", schema, role)
        fields = [Field("id", "timestamp"), Field("day", "date"), Field("x", "double")]
        target = database.sink(user=role, password=role).open(database.layout(fields, schema=schema), 1)
        target.prepare()
        write = Write((datetime.max.replace(tzinfo=UTC),), (datetime.max.replace(tzinfo=UTC), date(1, 1, 1), 0.1), 1)
        assert target.write([write]) == [APPLIED]
        (found,) = target.read([write.key])
        assert found is not None
        assert (found.key, found.content) == (write.key, target.content(write))
        assert [row.content for row in target.rows()] == [found.content]
        database.run("DROP SCHEMA {} CASCADE", schema)


COLUMNS = (
    Field("id", "text"),
    Field("plain", "timestamp", "timestamp(3)"),
    Field("times", "timestamp[]", "timestamp without time zone[]"),
    Field("scaled", "decimal[]", "numeric(12,2)[]"),
    Field("doubles", "double[]", "float(53)[]"),
    Field("short", "text[]", "varchar(3)[]"),
    Field("padded", "text[]", "char(3)[]"),
)


def test_declared_columns_give_back_what_went_in(database: Database) -> None:
    noon = datetime(2026, 1, 2, 12, 0, 0, 123000, UTC)
    target = database.open(database.layout(COLUMNS))
    values = ("a", noon, [noon, None], [Decimal("1.5"), None], [0.1, 5e-324, None], ["abc", " a"], ["ab", None])
    write = Write(("a",), values, 1)
    assert target.write([write]) == [APPLIED]
    (stored,) = target.read([("a",)])
    assert stored is not None
    assert stored.content == target.content(write)
    assert [bytes(one) for page in target.canonical_rows() for one in page.canonical_rows] == [target.canonical(write)]


def test_a_key_with_a_collation_that_takes_two_texts_for_one_is_refused(database: Database) -> None:
    name = fresh("anycase")
    # Only ICU can make one, which not every server has.
    database.run('CREATE COLLATION {} FROM "C"', name)
    database.admin.execute("UPDATE pg_collation SET collisdeterministic = false WHERE collname = %s", (name,))
    fields = (Field("id", "text", f'text COLLATE public."{name}"'), Field("city", "text"))
    with pytest.raises(SinkRefused, match=r"column id of view .*declare another collation"):
        database.open(database.layout(fields))
    database.run("DROP COLLATION {}", name)
