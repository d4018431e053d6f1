"""What dynaview makes in a database, what it never touches, and what readers see change."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psycopg
import pytest

from dynaview.projections.rows import Field, Index, Layout, PostgresOptions, Write
from dynaview.sinks.port import APPLIED, SinkRefused, SinkUnavailable
from dynaview.sinks.postgres.limits import Limits
from tests.sinks.postgres.database import FIELDS, Database, fresh, until, waiting


@pytest.fixture
def schema(database: Database) -> Iterator[str]:
    """A name; what stands there is removed afterwards."""
    name = fresh("s")
    yield name
    database.run("DROP SCHEMA IF EXISTS {} CASCADE", name)


def changed(layout: Layout, *fields: Field, indexes: tuple[Index, ...] = ()) -> Layout:
    assert isinstance(layout.options, PostgresOptions)
    options = PostgresOptions(layout.options.table, layout.options.schema, indexes)
    return Layout(layout.view, layout.key, fields or layout.fields, options)


def test_a_missing_schema_is_made(database: Database, schema: str) -> None:
    layout = database.layout(schema=schema)
    assert database.sink().problems(layout) == []
    target = database.open(layout)
    target.write([Write(("a",), ("a", "Basel", None), 1)])
    target.publish()
    assert database.rows("SELECT * FROM {}.{}", schema, layout.view) == [("a", "Basel", None)]


def test_strange_names_are_quoted_everywhere(database: Database, schema: str) -> None:
    name = f'{schema} "%s" Ä'
    fields = (Field('i"d', "text"), Field("sélect %s", "decimal"), Field("a b", "text[]"))
    layout = Layout(
        "odd 'view'",
        ('i"d',),
        fields,
        PostgresOptions('t"%', name, (Index(("sélect %s",)), Index(("a b",), method="gin"))),
    )
    target = database.open(layout)
    write = Write(("k",), ("k", 1, ["x"]), 1, "item1")
    assert target.write([write, Write(("gone",), None, 1, "item1")]) == [APPLIED] * 2
    target.prepare()
    target.publish()
    assert [row.content for row in target.rows()] == [target.content(write)]
    assert target.count() == 1
    assert database.sink().problems(layout) == []
    assert database.rows("SELECT {} FROM {}.{}", "sélect %s", name, 't"%') == [(1,)]
    target.drop()
    database.run("DROP SCHEMA {}", name)


@pytest.mark.parametrize("kind", ["TABLE {} (mine integer)", "VIEW {} AS SELECT 1 AS mine", "SEQUENCE {}"])
@pytest.mark.parametrize("suffix", ["", "__g1"])
def test_what_is_not_ours_is_left_alone(database: Database, kind: str, suffix: str) -> None:
    layout = database.layout()
    name = f"{layout.view}{suffix}"
    database.run(f"CREATE {kind}", name)
    before = database.catalog(name)
    target = database.sink().open(layout, 1)
    for step in (target.prepare, target.publish):
        with pytest.raises(SinkRefused, match=r"did not make|is not there"):
            step()
    target.drop()
    if not suffix:
        (problem,) = database.sink().problems(layout)
        assert name in problem
        assert "rename or drop it" in problem
    assert database.catalog(name) == before


def test_the_relations_of_another_view_are_left_alone(database: Database) -> None:
    theirs = database.open()
    theirs.publish()
    layout = Layout("mine", ("id",), FIELDS, PostgresOptions(theirs.layout.view))
    assert theirs.layout.view in database.sink().problems(layout)[0]
    mine = database.sink().open(layout, 1)
    with pytest.raises(SinkRefused, match=f"belongs to view {theirs.layout.view}"):
        mine.prepare()
    mine.drop()
    assert theirs.count() == 0


@pytest.mark.parametrize(
    "fields",
    [
        (*FIELDS, Field("more", "text")),
        FIELDS[:2],
        (FIELDS[0], FIELDS[1], Field("total", "text")),
        (FIELDS[0], FIELDS[1], Field("total", "decimal", "numeric(12,2)")),
        (FIELDS[0], FIELDS[1], Field("sum", "decimal")),
    ],
)
def test_other_columns_ask_for_filling_anew(database: Database, fields: tuple[Field, ...]) -> None:
    target = database.open()
    target.write([Write(("a",), ("a", "Basel", None), 1)])
    target.publish()
    layout = changed(target.layout, *fields)
    again = database.sink().open(layout, 1)
    with pytest.raises(SinkRefused, match="fill the view anew"):
        again.prepare()
    (problem,) = database.sink().problems(layout)
    assert "fill the view anew" in problem
    assert target.count() == 1
    # The order of the fields is nothing that the rows depend on.
    database.sink().open(changed(target.layout, FIELDS[2], FIELDS[0], FIELDS[1]), 1).prepare()


def test_a_column_dropped_by_hand_is_noticed(database: Database) -> None:
    target = database.open()
    target.publish()
    database.run("ALTER TABLE {} DROP COLUMN city CASCADE", f"{target.layout.view}__g1")
    with pytest.raises(SinkRefused, match="lost column city"):
        target.prepare()
    with pytest.raises(SinkRefused, match="is gone: fill the view anew"):
        target.write([Write(("a",), ("a", "Basel", None), 1)])
    database.run("DROP TABLE {} CASCADE", f"{target.layout.view}__g1")
    for call in (target.count, lambda: target.write([Write(("a",), None, 1)]), lambda: target.read([("a",)])):
        with pytest.raises(SinkRefused, match="is gone: fill the view anew"):
            call()


def test_indexes_follow_the_declaration(database: Database) -> None:
    target = database.open(database.layout(indexes=[Index(("city",)), Index(("city", "total"), unique=True)]))
    table = f"{target.layout.view}__g1"
    database.run("CREATE INDEX by_hand_" + table + " ON {} (total)", table)

    def indexes() -> list[str]:
        rows = database.admin.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", (table,)).fetchall()
        return sorted(row[0].split(" USING ")[1] for row in rows if "UNIQUE" not in row[0] or "_pkey" not in row[0])

    live, deleted = " WHERE (_deleted IS NULL)", "btree (_deleted) WHERE (_deleted IS NOT NULL)"
    assert indexes() == sorted([f"btree (city){live}", f"btree (city, total){live}", "btree (total)", deleted])
    after = changed(target.layout, indexes=(Index(("total",), method="hash"), Index(("city",))))
    database.open(after)
    assert indexes() == sorted([f"btree (city){live}", f"hash (total){live}", "btree (total)", deleted])


def test_publishing_keeps_grants_and_dependent_views(database: Database) -> None:
    old = database.open()
    old.publish()
    view, above = old.layout.view, fresh("above")
    old.write([Write(("a",), ("a", "Basel", None), 1)])
    database.run("CREATE VIEW {} AS SELECT city FROM {}", above, view)
    with database.role() as reader:
        database.run("GRANT SELECT ON {} TO {}", view, reader)
        # The field that is new stands first in the declaration, and last for readers.
        new = database.open(changed(old.layout, Field("more", "text"), *FIELDS), 2)
        new.write([Write(("b",), ("more", "b", "Bern", None), 1)])
        new.publish()
        assert database.rows("SELECT * FROM {}", view) == [("b", "Bern", None, "more")]
        assert database.rows("SELECT * FROM {}", above) == [("Bern",)]
        with psycopg.connect(database.url_with(user=reader, password=reader)) as connection:
            assert connection.execute(f"SELECT city FROM {view}").fetchall() == [("Bern",)]  # noqa: S608 - our own name


def test_publishing_other_columns_keeps_grants(database: Database) -> None:
    old = database.open()
    old.publish()
    view = old.layout.view
    with database.role() as reader:
        database.run("GRANT SELECT ON {} TO {} WITH GRANT OPTION", view, reader)
        database.run("GRANT SELECT ON {} TO PUBLIC", view)
        grants = "SELECT grantee, privilege_type, is_grantable FROM information_schema.role_table_grants "
        grants += f"WHERE table_name = '{view}' ORDER BY 1, 2"
        before = database.rows(grants)
        assert (reader, "SELECT", "YES") in before
        new = database.open(changed(old.layout, Field("id", "text"), Field("city", "integer")), 2)
        new.publish()
        assert database.rows(grants) == before
        assert database.sink().problems(new.layout) == []
        above = fresh("above")
        database.run("CREATE VIEW {} AS SELECT city FROM {}", above, view)
        with pytest.raises(SinkRefused, match=f"view public.{above} read from public.{view}: drop them first"):
            new.drop()
        assert database.rows("SELECT * FROM {}", above) == []
        database.run("DROP VIEW {}", above)


def test_readers_never_miss_the_view_while_it_is_replaced(database: Database) -> None:
    first = database.open()
    layout = first.layout
    second = database.open(layout, 2)
    for target in (first, second):
        target.write([Write(("a",), ("a", "Basel", None), 1)])
    first.publish()
    done: list[bool] = []

    def swap() -> None:
        for number in range(40):
            (second, first)[number % 2].publish()
        done.append(True)

    with ThreadPoolExecutor(1) as pool:
        swapping = pool.submit(swap)
        reads = 0
        while not done and not swapping.done():
            assert database.rows("SELECT count(*) FROM {}", layout.view) == [(1,)]
            reads += 1
        swapping.result()
    assert reads > 0


def test_a_reader_who_holds_the_view_is_waited_for_and_then_told_about(database: Database) -> None:
    first = database.open()
    first.publish()
    hasty = database.open(first.layout, 2, Limits(lock_wait=0.05, lock_attempts=2))
    second = database.open(first.layout, 2, Limits(lock_wait=0.05, lock_pause=0.05, lock_attempts=500))
    view = first.layout.view
    with ThreadPoolExecutor(1) as pool:
        with database.admin.transaction():
            database.rows("SELECT * FROM {}", view)
            with pytest.raises(SinkUnavailable, match="locked"):
                hasty.publish()
            publishing = pool.submit(second.publish)
            until(lambda: waiting(database, view) > 0)
        publishing.result()
    second.write([Write(("a",), ("a", "Basel", None), 1)])
    assert database.rows("SELECT * FROM {}", view) == [("a", "Basel", None)]


def test_missing_rights_are_named_as_grants(database: Database, schema: str) -> None:
    database.run("CREATE SCHEMA {}", schema)
    layout = database.layout(schema=schema)
    with database.role() as role:
        sink = database.sink(user=role, password=role)
        grant = f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO "{role}"'
        assert grant in sink.problems(layout)[0]
        with pytest.raises(SinkRefused) as refused:
            sink.open(layout, 1).prepare()
        assert grant in str(refused.value)
        missing = database.layout(schema=fresh("s"))
        assert "schema" in sink.problems(missing)[0]
        with pytest.raises(SinkRefused, match="GRANT CREATE ON DATABASE"):
            sink.open(missing, 1).prepare()
        database.open(layout)
        database.run("GRANT USAGE ON SCHEMA {} TO {}", schema, role)
        with pytest.raises(SinkRefused) as refused:
            sink.open(layout, 1).write([Write(("a",), ("a", "Basel", None), 1)])
        grant = f'GRANT SELECT, INSERT, UPDATE, DELETE ON "{schema}"."{layout.view}__g1" TO "{role}"'
        assert grant in str(refused.value)
        database.run("GRANT SELECT, INSERT, UPDATE, DELETE ON {}.{} TO {}", schema, f"{layout.view}__g1", role)
        assert sink.open(layout, 1).write([Write(("a",), ("a", "Basel", None), 1)]) == [APPLIED]


def test_a_type_or_method_that_the_server_does_not_have(database: Database) -> None:
    layout = database.layout([Field("id", "text"), Field("f", "text", "nosuchtype")])
    assert "nosuchtype" in database.sink().problems(layout)[0]
    with pytest.raises(SinkRefused, match="column type or index method"):
        database.open(layout)
    layout = database.layout(indexes=[Index(("city",), method="nosuch")])
    assert "nosuch" in database.sink().problems(layout)[0]
    with pytest.raises(SinkRefused, match="column type or index method"):
        database.open(layout)
    assert database.catalog(f"{layout.view}__g1") == []


def test_drop_leaves_the_generation_that_readers_see(database: Database) -> None:
    first = database.open()
    second = database.open(first.layout, 2)
    second.write([Write(("a",), ("a", "Basel", None), 1)])
    second.publish()
    first.drop()
    assert database.rows("SELECT id FROM {}", first.layout.view) == [("a",)]
    second.drop()
    assert database.catalog(f"{first.layout.view}%") == []


def test_the_highest_generation_is_that_of_this_views_tables(database: Database, schema: str) -> None:
    layout = database.layout(schema=schema)
    name, sink = layout.view, database.sink()
    assert sink.highest(layout) == 0, "not even the schema is there"
    for number in (1, 2, 3):
        database.open(layout, number)
    # A table that dynaview did not make, other views', the same view's in another schema, and one renamed.
    database.run("CREATE TABLE {}.{} (mine integer)", schema, f"{name}__g7")
    database.open(replace(layout, view="before"), 6)
    neighbour = database.open(database.layout(schema=schema, name=f"{name}__g"), 8)
    database.open(database.layout(name=name), 9)
    assert sink.highest(layout) == 3
    assert sink.highest(neighbour.layout) == 8
    database.run("ALTER TABLE {}.{} RENAME TO {}", schema, f"{name}__g3", f"{name}__g3_old")
    assert sink.highest(layout) == 2
