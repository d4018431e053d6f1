"""The Python form: decorated functions, and functions that YAML names."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dynaview.projections import projection
from dynaview.projections.declaration import Declaration, DeclarationError
from dynaview.projections.reading.python import PythonError, check
from dynaview.projections.rows import PostgresOptions
from dynaview.views.declarations.load import load

ENVIRON = {
    "REDIS_URL": "redis://user:hunter2@cache:6379/0",
    "OPENSEARCH_URL": "https://search:9200",
    "DATABASE_URL": "postgresql://reads/shop",
    "API_TOKEN": "t0psecret",
}

BASE = """\
sources:
  shop: {table: shop}
sinks:
  cache: {redis: "${REDIS_URL}"}
  search: {opensearch: "${OPENSEARCH_URL}"}
  reads: {postgres: "${DATABASE_URL}"}
"""

CARD = '''\
from dynaview.projections import projection

@projection(source="shop", match={"pk": "C#{id}"}, sink="cache", type="hash", key="card:{id}")
def card(item):
    """A card."""
    return {"name": item["name"].title(), "score": 1.5}
'''


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], Path]:
    def written(name: str, text: str) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    return written


Write = Callable[[str, str], Path]


def refused(*paths: Path, environ: Mapping[str, str] = ENVIRON) -> list[str]:
    with pytest.raises(DeclarationError) as error:
        load(paths, environ)
    return [str(problem) for problem in error.value.problems]


def loaded(*paths: Path) -> Declaration:
    return load(paths, ENVIRON)


def test_a_decorated_function_is_a_view(write: Write) -> None:
    view = loaded(write("base.yaml", BASE), write("views.py", CARD)).views["card"]
    assert (view.source, view.sink, view.key, view.function_name) == ("shop", "cache", "card:{id}", "views.py:card")
    assert view.function is not None
    assert view.function({"name": "ada lovelace"}) == {"name": "Ada Lovelace", "score": 1.5}
    assert (view.fields, view.layout.fields) == (None, None)
    assert (str(view.at), view.at.path) == ("views.py:3", "views.card")


def test_a_decorated_function_stays_a_function() -> None:
    @projection(source="shop", sink="cache", key="a")
    def double(item: dict[str, int]) -> dict[str, int]:
        return {"n": item["n"] * 2}

    assert double({"n": 2}) == {"n": 4}


def test_yaml_names_modules(write: Write) -> None:
    name = "shop_views_of_this_test"
    write(f"deep/{name}.py", CARD)
    write("deep/more.py", CARD.replace("card", "more"))
    main = write("deep/dynaview.yaml", BASE + f"python: [{name}, ./more.py]\n")
    try:
        views = loaded(main).views
    finally:
        sys.modules.pop(name, None)
    assert {view: found.function_name for view, found in views.items()} == {
        "card": f"{name}:card",
        "more": "more.py:more",
    }
    assert str(views["card"].at) == f"deep/{name}.py:3"


def test_a_yaml_view_names_a_function(write: Write) -> None:
    write("functions.py", "def lines(item):\n    return [{'sku': sku} for sku in item['skus']]\n")
    main = write(
        "dynaview.yaml",
        BASE
        + """\
views:
  lines:
    source: shop
    match: {pk: "O#{order}"}
    sink: reads
    table: lines
    python: ./functions.py:lines
    key: [order, sku]
    fields: {order: order, sku: {type: text}, price: {from: cost.price, type: decimal}}
""",
    )
    view = loaded(main).views["lines"]
    assert view.function is not None
    assert view.function({"skus": ["a"]}) == [{"sku": "a"}]
    assert view.function_name == "functions.py:lines"
    assert view.layout.options == PostgresOptions("lines")
    assert view.fields is not None
    assert [field.expression for field in view.fields.values()] == ["order", "sku", "cost.price"]


def test_a_file_is_read_anew_each_time_but_once_a_load(write: Write) -> None:
    base = write("base.yaml", BASE + "python: [./views.py]\n")
    views = write("views.py", CARD)
    assert list(loaded(base, views).views) == ["card"]
    write("views.py", CARD.replace("def card", "def other"))
    assert list(loaded(base).views) == ["other"]


def test_files_import_what_lies_beside_them_and_pass_it_on(write: Write) -> None:
    write("near_views_of_this_test.py", CARD)
    base = write("base.yaml", BASE)
    main = write("main.py", "from near_views_of_this_test import card\n")
    try:
        assert str(loaded(base, main).views["card"].at) == "near_views_of_this_test.py:3"
    finally:
        sys.modules.pop("near_views_of_this_test", None)


def test_both_forms_are_equal(write: Write) -> None:
    """What YAML says of a view, a decorator says with the same words and the same outcome."""
    yaml = write(
        "dynaview.yaml",
        BASE
        + """\
views:
  one:
    source: shop
    match: [{pk: "C#{id}"}, {pk: "D#{id}"}]
    where: a > `1`
    sink: reads
    python: ./both.py:rows
    schema: s
    table: t
    key: [id]
    fields: {id: id, n: {type: decimal, default: 1.5, column: "numeric(5,2)"}}
    indexes: [n, {columns: [id, n], unique: true}]
    on_gap: rebuild
    on_change: rebuild
    keep: 90s
    shrink: 5%
    verify: {every: 1h, sample: 0.5, repair: true}
""",
    )
    write("both.py", "def rows(item): return {}\n")
    python = write(
        "other.py",
        """\
        from dynaview.projections import projection

        @projection(
            name="one", source="shop", match=[{"pk": "C#{id}"}, {"pk": "D#{id}"}], where="a > `1`", sink="reads",
            schema="s", table="t", key=("id",),
            fields={"id": "id", "n": {"type": "decimal", "default": 1.5, "column": "numeric(5,2)"}},
            indexes=("n", {"columns": ["id", "n"], "unique": True}), on_gap="rebuild",
            on_change="rebuild", keep=90, shrink=0.05, verify={"every": "60m", "sample": "50%", "repair": True},
        )
        def rows(item): return {}
        """,
    )
    first = loaded(yaml).views["one"]
    second = loaded(write("base.yaml", BASE), python).views["one"]
    for name in (
        "source",
        "sink",
        "match",
        "where",
        "key",
        "layout",
        "on_gap",
        "on_change",
        "keep",
        "shrink",
        "verify",
    ):
        assert getattr(first, name) == getattr(second, name)
    assert first.fields is not None
    assert second.fields is not None
    for name, field in first.fields.items():
        other = second.fields[name]
        assert (field.expression, field.type, field.default, field.required) == (
            other.expression,
            other.type,
            other.default,
            other.required,
        )


WRONG_KEYS = {
    "unknown key": (
        'feilds={"a": "a"}, source="shop", sink="cache", key="a:{id}"',
        ["feilds: unknown key, did you mean fields?"],
    ),
    "nothing": ("", ["key is missing", "sink is missing", "source is missing"]),
    "wrong type": ('source=5, sink="cache", key="a:{id}"', ["source: expected text, found a number"]),
    "Python object": ('source=object(), sink="cache", key="a:{id}"', ["source: expected text, found a Python object"]),
    "expression": (
        'source="shop", sink="cache", key="a:{id}", where="a =="',
        ["where: wrong JMESPath: it ends too early"],
    ),
    "fields of a table": (
        'source="shop", sink="reads", key="id", table="t"',
        ["a Python view in Postgres declares its fields"],
    ),
    "fields of an index": (
        'source="shop", sink="search", key="{id}", index="i"',
        ["a Python view in OpenSearch declares its fields"],
    ),
    "function beside": (
        'source="shop", sink="cache", key="a:{id}", python="a:b"',
        ["python: the decorated function makes the rows"],
    ),
    "each": (
        'source="shop", sink="cache", key="a:{id}", each="lines"',
        ["each: a Python function makes several rows by returning a list"],
    ),
    "name": ('source="shop", sink="cache", key="a:{id}", name="1st"', ["not a name"]),
    "no number": (
        'source="shop", sink="cache", key="a:{id}", keep=float("nan"), shrink=float("inf"), verify={"every": 0.5}',
        [
            "keep: has to be a finite number",
            "shrink: has to be a finite number",
            "verify.every: has to be at least 1s",
        ],
    ),
}


@pytest.mark.parametrize("case", WRONG_KEYS)
def test_wrong_keys_are_told_at_the_decorator(case: str, write: Write) -> None:
    keys, expected = WRONG_KEYS[case]
    text = f"from dynaview.projections import projection\n\n\n@projection({keys})\ndef rows(item):\n    return None\n"
    found = refused(write("base.yaml", BASE), write("views.py", text))
    name = "1st" if case == "name" else "rows"
    assert len(found) == len(expected), found
    for line, message in zip(sorted(found), sorted(expected), strict=True):
        beginning = f"views.py:4: views.{name}"
        assert line.startswith(beginning)
        assert line.removeprefix(beginning).lstrip(".: ").startswith(message)


WRONG_FUNCTIONS = {
    "def rows(): return {}": "a projection takes exactly one argument",
    "def rows(item, more): return {}": "a projection takes exactly one argument",
    "def rows(*, item): return {}": "a projection takes exactly one argument",
    "async def rows(item): return {}": "a projection does no I/O, so it can't be async",
    "def rows(item): yield {}": "a projection returns its rows",
    "class rows: pass": "not a function",
}


@pytest.mark.parametrize("text", WRONG_FUNCTIONS)
@pytest.mark.parametrize("decorated", [True, False])
def test_functions_that_are_no_projections(text: str, decorated: bool, write: Write) -> None:
    keys = "{source: shop, sink: cache, key: 'a:{id}', python: './views.py:rows'}"
    head = "from dynaview.projections import projection\n\n@projection(source='shop', sink='cache', key='a:{id}')\n"
    base = write("base.yaml", BASE + ("" if decorated else f"views:\n  rows: {keys}\n"))
    views = write("views.py", (head if decorated else "") + text + "\n")
    (problem,) = refused(base, *([views] if decorated else []))
    place = "views.py:" if decorated else "base.yaml:8: views.rows.python: "
    assert problem.startswith(place)
    assert WRONG_FUNCTIONS[text] in problem


@pytest.mark.parametrize(
    "function", [lambda item: None, lambda item, more=1: None, lambda *items: None, dict, str.title]
)
def test_callables_with_one_argument(function: Any) -> None:
    if function is dict:
        with pytest.raises(PythonError):
            check(function)
    else:
        check(function)


MODULES = {
    "raises": (
        "import os\n\n\nraise RuntimeError('no luck')\n",
        "views.py:4: python: importing it raises RuntimeError: no luck",
    ),
    "raises inside": (
        "def deep():\n    return {}['a']\n\n\ndeep()\n",
        "views.py:2: python: importing it raises KeyError: 'a'",
    ),
    "exits": ("import sys\nsys.exit(3)\n", "views.py:2: python: importing it raises SystemExit: 3"),
    "is not Python": ("def a(:\n    pass\n", "views.py:1: python: not Python: invalid syntax"),
    "imports what is not there": (
        "\nimport nowhere\n",
        "views.py:2: python: importing it raises ModuleNotFoundError: No module named 'nowhere'",
    ),
    "takes no keys": (
        "from dynaview.projections import projection\n\n@projection\ndef rows(item): return {}\n",
        "views.py:3: python: importing it raises TypeError: projection() takes 0 positional arguments but 1 was given",
    ),
}


@pytest.mark.parametrize("case", MODULES)
@pytest.mark.parametrize("named", [True, False])
def test_modules_that_cannot_be_imported(case: str, named: bool, write: Write) -> None:
    text, expected = MODULES[case]
    base = write("base.yaml", BASE + ("python: [./views.py]\n" if named else ""))
    views = write("views.py", text)
    assert refused(base, *([] if named else [views])) == [expected]


def test_modules_that_are_not_there(write: Write) -> None:
    write("functions.py", "def rows(item): return {}\n")
    text = """\
python:
- ./nothing.py
- nowhere
- nowhere.views
views:
  a: {source: shop, sink: cache, key: "a:{id}", python: "./functions.py:row"}
  b: {source: shop, sink: cache, key: "b:{id}", python: "./functions.py"}
  c: {source: shop, sink: cache, key: "c:{id}", python: "./nothing.py:rows"}
"""
    assert refused(write("deep/dynaview.yaml", BASE + text)) == [
        "deep/dynaview.yaml:8: python[0]: there is no file nothing.py in deep",
        "deep/dynaview.yaml:9: python[1]: there is no Python module nowhere; a file is written ./nowhere.py",
        "deep/dynaview.yaml:10: python[2]: there is no Python module nowhere.views; "
        "a file is written ./nowhere/views.py",
        "deep/dynaview.yaml:12: views.a.python: there is no file functions.py in deep",
        "deep/dynaview.yaml:13: views.b.python: names no function: write module:function or ./file.py:function",
        "deep/dynaview.yaml:14: views.c.python: there is no file nothing.py in deep",
    ]
    write("deep/functions.py", "def rows(item): return {}\n")
    assert (
        "views.a.python: the module has no function row, did you mean rows?" in refused(Path("deep/dynaview.yaml"))[3]
    )


def test_errors_of_modules_show_no_secrets(write: Write) -> None:
    text = "import os\nraise ValueError(f'cannot reach {url} with hunter2 and t0psecret')\n".replace(
        "{url}", ENVIRON["REDIS_URL"]
    )
    (problem,) = refused(write("base.yaml", BASE), write("views.py", text))
    said = "cannot reach ${REDIS_URL} with ${REDIS_URL} and ${API_TOKEN}"
    assert problem == f"views.py:2: python: importing it raises ValueError: {said}"


def test_two_functions_of_one_name_are_told(write: Write) -> None:
    found = refused(write("base.yaml", BASE), write("views.py", CARD + CARD))
    assert found == ["views.py:9: views.card: declared already at views.py:3: give it another name"]
