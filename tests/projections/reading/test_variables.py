"""Environment variables in views: in the names that stores know, and nowhere else."""

from __future__ import annotations

import textwrap

import pytest

from dynaview.projections.rows import OpenSearchOptions, PostgresOptions, RedisOptions
from tests.projections.reading.conftest import ENVIRON, FRAME, Load, Problems

STAGED = FRAME + textwrap.dedent(
    """\
    views:
      found:
        {source: shop, sink: search, match: {pk: "P#{id}"}, index: "${STAGE}-products", key: "${STAGE}:{id}",
         fields: {id: id}}
      kept:
        {source: shop, sink: cache, match: {pk: "P#{id}"}, key: "${STAGE}:$${id}", fields: {id: id}}
      rows:
        {source: shop, sink: reads, match: {pk: "P#{id}"}, schema: "${STAGE}", table: "${TABLE:-things}", key: id,
         fields: {id: id}}
    """
)


def test_variables_are_replaced_in_the_names_of_stores(load_text: Load) -> None:
    views = load_text(STAGED, {**ENVIRON, "STAGE": "dev", "TABLE": ""}).views
    found, kept, rows = (views[name].layout.options for name in ("found", "kept", "rows"))
    assert isinstance(found, OpenSearchOptions)
    assert (found.index, views["found"].key) == ("dev-products", "dev:{id}")
    assert isinstance(kept, RedisOptions)
    assert (views["kept"].key, kept.family) == ("dev:${id}", ("dev:$", ""))
    assert isinstance(rows, PostgresOptions)
    assert (rows.schema, rows.table) == ("dev", "things")


def test_braces_of_a_variable_are_braces_of_the_key(load_text: Load) -> None:
    views = load_text(STAGED.replace("${STAGE}-", "x-").replace('"${STAGE}"', "x"), {**ENVIRON, "STAGE": "{a}"}).views
    assert views["kept"].key == "{{a}}:${id}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "views.found.index: the environment variable STAGE is not set: set it, or write ${STAGE:-default}"),
        ("", "views.rows.schema: is empty: the environment variable STAGE is empty: set it"),
        ("Prod", "views.found.index: an index name is lower case only"),
    ],
)
def test_a_variable_that_gives_no_name_is_told_at_its_place(
    problems: Problems, value: str | None, message: str
) -> None:
    environ = ENVIRON if value is None else {**ENVIRON, "STAGE": value}
    assert any(line.endswith(message) for line in problems(STAGED, environ))


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("where: \"stage == '${STAGE}'\"\nfields: {n: n}", "where: ${STAGE} is not replaced here, only in sources"),
        ('fields: {n: "${STAGE}"}', "fields.n: ${STAGE} is not replaced here"),
        ('fields: {n: {from: "${A:-b}"}}', "fields.n.from: ${A:-b} is not replaced here"),
        ('match: {pk: "C#${id}"}\nfields: {n: n}', "a part of the key is captured by {id}"),
    ],
)
def test_a_variable_elsewhere_is_refused_by_name(view_problems: Problems, view: str, message: str) -> None:
    match = "" if "match" in view else "match: {pk: 'C#{id}'}\n"
    (line,) = view_problems(f"source: shop\nsink: cache\nkey: 'c:{{id}}'\n{match}{view}")[:1]
    assert message in line


def test_an_empty_variable_is_named_where_a_url_is_wanted(problems: Problems) -> None:
    text = FRAME + 'control: "${CONTROL}"\nviews: {}\n'
    lines = problems(text, {**ENVIRON, "REDIS_URL": "", "CONTROL": " "})
    assert any(
        "sinks.cache.redis: the URL is empty: the environment variable REDIS_URL is empty" in each for each in lines
    )
    assert not any("hunter2" in line for line in lines)
    table = text.replace("table: shop", 'table: "${TABLE}"')
    assert any("the environment variable TABLE is empty" in line for line in problems(table, {**ENVIRON, "TABLE": ""}))
