"""docs/rows.md says what becomes of items, line by line."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, get_args
from uuid import uuid4

import psycopg
import pytest
import redis
import urllib3

from dynaview.projections.attributes import Shape
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.conversions import ConversionError, converter
from dynaview.projections.patterns import PatternError, parse_template
from dynaview.projections.projection import ProjectionError, ViewType
from dynaview.sinks.connect import connect
from dynaview.sinks.port import APPLIED, Outcome, Rejected
from dynaview.views.declarations.load import load

PAGE = (Path(__file__).parents[3] / "docs" / "rows.md").read_text(encoding="utf-8")
LINES = re.findall(r"^- (.*)$", PAGE, re.MULTILINE)
T = TypeVar("T", bound=Callable[..., Any])
Make = Callable[..., Any]

HELD: dict[str, str] = {}
"""The beginnings of lines, and the tests that hold them."""


def holds(*beginnings: str) -> Callable[[T], T]:
    """The test holds the lines of the page that begin so."""

    def register(test: T) -> T:
        HELD.update(dict.fromkeys(beginnings, test.__name__))
        return test

    return register


def test_every_line_is_held_by_a_test_and_every_test_holds_a_line() -> None:
    held = {line: [beginning for beginning in HELD if line.startswith(beginning)] for line in LINES}
    assert {line for line, found in held.items() if len(found) != 1} == set()
    assert {beginning for beginning in HELD if not any(line.startswith(beginning) for line in LINES)} == set()


def letter(rows: Callable[..., Any], *given: Any) -> str:
    """The reason of the dead letter that these rows are."""
    with pytest.raises(ProjectionError) as caught:
        rows(*given)
    return str(caught.value)


def test_which_stream_a_view_needs(view: Make, table: Make) -> None:
    match = {"pk": "A#{id}"}
    views = {
        "reads nothing but": view(match=match, key="{id}", fields={"s": "sk"}),
        "reads other attributes": view(match=match, key="{id}", where="b", fields={"a": "a"}),
        "has a row key that reads": view(key="{a}", fields={"a": "a"}),
        "has `each`": view(match=match, key="{id}:{i}", each="e", fields={"i": "i"}),
        "has a Python function, and a row key of captures": view(match=match, key="{id}", sink="hash", function=dict),
        "has a Python function, and a row key of what": view(match=match, key="{a}", sink="hash", function=dict),
    }
    lines = re.findall(r"^\| ((?:reads|has) .*) \|$", PAGE, re.MULTILINE)
    assert len(lines) == len(views)
    for line, (beginning, declared) in zip(lines, views.items(), strict=True):
        assert line.startswith(beginning)
        for images, cell in zip(get_args(ViewType), line.split(" | ")[1:], strict=True):
            problems = compile_view(declared).problems(("pk", "sk"), images)
            assert bool(problems) == (cell == "no"), (line, images)
            assert all("give the table a stream with NEW_AND_OLD_IMAGES" in problem.message for problem in problems)


@holds("An attribute that is NULL", "An empty text is a value")
def test_null(view: Make, table: Make, field: Make) -> None:
    made = table(view(match={"pk": "{id}"}, key="{id}", fields={"a": "a", "d": field("a", default="none")}))
    assert made.rows({"pk": "1", "sk": "s", "a": None}) == made.rows({"pk": "1", "sk": "s"}) == [("1", (None, "none"))]
    assert made.rows({"pk": "1", "sk": "s", "a": ""}) == [("1", ("", ""))]
    for type_ in ("timestamp", "date"):
        assert converter(type_)("") is converter(type_)(" \t") is None


@holds("`each` over a list", "A set comes sorted", "Null, an empty list", "An element that is no map")
def test_each(view: Make, table: Make) -> None:
    made = table(
        view(match={"pk": "{id}"}, key="{id}:{n}", each="e", fields={"n": "_index || _key", "v": "v", "el": "_element"})
    )

    def rows(each: Any) -> Any:
        return [(key, *values[1:]) for key, values in made.rows({"pk": "1", "sk": "s", "e": each})]

    assert rows([{"v": "x"}, None, "text"]) == [("1:0", "x", {"v": "x"}), ("1:2", None, "text")]
    assert rows({"a": {"v": "x"}, "b": None}) == [("1:a", "x", {"v": "x"})]
    assert rows({"b", "a"}) == [("1:0", None, "a"), ("1:1", None, "b")]
    assert rows({Decimal(10), Decimal(9)}) == [("1:0", None, 9), ("1:1", None, 10)]
    assert rows(None) == rows([]) == rows({}) == made.rows({"pk": "1", "sk": "s"}) == []
    for wrong in ("text", Decimal(1), True, b"x"):
        assert letter(rows, wrong).startswith("each: wanted a list or a map, found")


@holds("Two elements with the same row key", "An element that lacks a part")
def test_one_wrong_element(view: Make, table: Make) -> None:
    made = table(view(match={"pk": "{id}"}, key="{id}:{n}", each="e", fields={"n": "n"}))
    item = {"pk": "1", "sk": "s", "e": [{"n": "a"}, {"n": "b"}, {"n": "a"}]}
    assert "two rows of the item have the same key" in letter(made.rows, item)
    assert "{n} is missing or null" in letter(made.rows, {**item, "e": [{"n": "a"}, {"x": "b"}]})


@holds("A capture that only another", "In expressions a capture", "A capture is text")
def test_captures(view: Make, table: Make) -> None:
    made = table(view(match=[{"pk": "A#{a}"}, {"pk": "B#{b}"}], key="{pk}", fields={"a": "a", "b": "b"}))
    assert made.rows({"pk": "A#1", "sk": "s", "a": "attribute", "b": "attribute"}) == [("A#1", ("1", None))]
    assert made.rows({"pk": "A#", "sk": "s"}) == []
    numbers = table(view(match={"pk": "{id}"}, key="{id}", fields={"id": "id"}))
    assert numbers.rows({"pk": Decimal("1.50"), "sk": "s"}) == [("1.5", ("1.5",))]
    seen = table(view(match={"pk": "{id}"}, key="{id}", sink="hash", function=lambda item: {"id": item["id"]}))
    assert seen.rows({"pk": "1", "sk": "s", "id": "attribute"}) == [("1", {"id": "attribute"})]
    assert seen.rows({"pk": "1", "sk": "s"}) == [("1", {"id": "1"})]


@holds("A function of JMESPath that is given", "Where text meets a number", "`where` keeps an item")
def test_errors_and_filters(view: Make, table: Make) -> None:
    def kept(where: str, **item: Any) -> bool:
        return bool(table(view(match={"pk": "{id}"}, key="{id}", where=where)).rows({"pk": "1", "sk": "s", **item}))

    assert letter(kept, "contains(tags, 'x')").startswith("where: contains() takes array or string, found null")
    assert not kept("tags && contains(tags, 'x')")
    assert kept("tags && contains(tags, 'x')", tags={"x"})
    assert not any(kept(f"a {operator} `1`", a="2") for operator in ("<", ">", "<=", ">=", "=="))
    assert kept("a", a=Decimal(0))
    nothing: list[Any] = [False, None, "", [], {}]
    assert not any(kept("a", a=value) for value in nothing)


@holds("The item is a dict")
def test_what_a_function_gets(view: Make, table: Make) -> None:
    given: list[dict[str, Any]] = []

    def card(item: dict[str, Any]) -> dict[str, Any]:
        given.append(item)
        return {"a": "a"}

    made = table(view(match={"pk": "{id}"}, key="{id}", sink="hash", function=card))
    item = {"n": Decimal("1.50"), "b": b"x", "l": [None], "m": {"z": True, "a": "x"}, "s": {"y", "x"}}
    made.rows({"sk": "s", **item, "pk": "1"})
    assert list(given[0]) == ["id", "b", "l", "m", "n", "pk", "s", "sk"]
    assert given[0] == {"id": "1", "pk": "1", "sk": "s", **item, "s": ["x", "y"]}
    assert list(given[0]["m"]) == ["a", "z"]
    assert str(given[0]["n"]) == "1.5"


@holds("It may return", "A value may be", "A date or datetime", "A set, a tuple", "What it raises")
def test_what_a_function_returns(view: Make, table: Make, field: Make) -> None:
    def rows(returned: Any, **fields: Any) -> Any:
        declared = view(
            match={"pk": "{id}"}, key="{id}:{k}", sink="hash", function=lambda _: returned, fields=fields or None
        )
        return table(declared).rows({"pk": "1", "sk": "s"})

    assert rows({"k": "a"}) == [("1:a", {"k": "a"})]
    assert (
        rows([{"k": "a"}, {"k": "b"}]) == rows(({"k": "a"}, {"k": "b"})) == [("1:a", {"k": "a"}), ("1:b", {"k": "b"})]
    )
    assert rows(None) == rows([]) == rows(()) == []
    wrong: Any
    for wrong in ("text", 5, [None], {"k"}):
        assert "where a dict, a list of dicts or None is wanted" in letter(rows, wrong)
    good = {"k": "a", "f": 1.5, "d": Decimal("1.50"), "b": b"x", "t": True, "n": None, "l": [{"x": 0.1}]}
    assert rows(good) == [("1:a", {**good, "l": [{"x": Decimal("0.1")}]})]
    typed = {"k": "k", "at": field("at", "timestamp"), "on": field("on", "date"), "said": field("at", "text")}
    ((_, (_, at, on, said)),) = rows({"k": "a", "at": datetime(2026, 3, 1, 12), "on": date(2026, 3, 1)}, **typed)
    assert (at.isoformat(), on, said) == ("2026-03-01T12:00:00+00:00", date(2026, 3, 1), "2026-03-01T12:00:00Z")
    for wrong in ({"x"}, (1,), math.nan, object(), datetime(2026, 3, 1)):
        assert "field v" in letter(rows, {"k": "a", "v": wrong})
    assert "returned x, which the view's fields do not declare" in letter(lambda: rows({"k": "a", "x": 1}, k="k"))

    def fails(_item: dict[str, Any]) -> None:
        raise LookupError("a secret")

    made = table(view(match={"pk": "{id}"}, key="{id}", sink="hash", function=fails))
    assert re.fullmatch(r"python: shop:card raised LookupError in line \d+", letter(made.rows, {"pk": "1"}))


@holds("As `decimal` or `double`", "As `integer` or `bigint`", "Nothing else counts", "A number in a key")
def test_text_that_counts_as_a_number(view: Make, table: Make) -> None:
    def counts(text: str, *types: str) -> set[bool]:
        found = set()
        for type_ in types:
            try:
                converter(type_)(text)
                found.add(True)
            except ConversionError:
                found.add(False)
        return found

    for text in ("+5", ".5", "5.", "1e5", " 7 "):
        assert counts(text, "decimal", "double") == {True}
    assert counts("+07", "integer", "bigint") == {True}
    for text in ("5.0", " 7 ", "1e5"):
        assert counts(text, "integer", "bigint") == {False}
    for text in ("1,5", "1_000", "0x10", "NaN", "Infinity", "", "\u0661"):
        assert counts(text, "integer", "bigint", "decimal", "double") == {False}
    made = table(view(match={"pk": "{id}"}, key="{id}:{n}", fields={"n": "n"}))
    assert made.rows({"pk": "1", "sk": "s", "n": Decimal("1.50")})[0][0] == "1:1.5"


@holds("A part of a key", "A mark beyond ASCII", "A letter or digit of any script")
def test_keys(view: Make, table: Make) -> None:
    made = table(view(match={"pk": "{id}"}, key="{n}→{id}", fields={"n": "n"}))
    wrong: Any
    for wrong in (None, "", [], {}):
        assert letter(made.rows, {"pk": "1", "sk": "s", "n": wrong}).startswith("key: {n} is")
    assert made.rows({"pk": "1→", "sk": "s", "n": "x→"})[0][0] == "x%E2%86%92→1→"
    assert made.rows({"pk": "1", "sk": "s", "n": " "})[0][0] == " →1"
    for mark in ("a", "7", "é", "中"):
        with pytest.raises(PatternError, match="has to begin with a mark"):
            parse_template(f"{{a}}{mark}{{b}}")


# In the stores

ITEMS: list[dict[str, Any]] = [
    {"pk": "null"},
    {"pk": "inside", "a": None, "b": {"x": None, "l": [None]}},
    {"pk": "third", "n": Decimal("1.005")},
    {"pk": "second", "n": Decimal("1.500")},
    {"pk": "past", "a": "x", "ttl": Decimal(1_790_000_000)},
    {"pk": "never", "a": "x", "ttl": None},
]


@dataclass(frozen=True)
class Stores:
    """The stores as readers see them, after the items were written as a stream's changes."""

    run: str
    outcomes: dict[str, dict[str, Outcome]]
    redis: redis.Redis
    search: str
    postgres: psycopg.Connection[Any]

    def rows(self, columns: str, where: str = "true") -> list[tuple[Any, ...]]:
        return [*self.postgres.execute(f"SELECT {columns} FROM rows{self.run} WHERE {where}")]  # noqa: S608 - our own

    def document(self, key: str) -> Any:
        return urllib3.request("GET", f"{self.search}/rows{self.run}-g1/_doc/{key}").json()["_source"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory, redis_url: str, opensearch_url: str, postgres_url: str) -> Any:
    run, dsn = uuid4().hex[:8], postgres_url.replace("+psycopg", "")
    file = tmp_path_factory.mktemp("rows") / "dynaview.yaml"
    file.write_text(
        f"""
sources: {{t: {{table: t}}}}
sinks: {{c: {{redis: "{redis_url}"}}, s: {{opensearch: "{opensearch_url}"}}, p: {{postgres: "{dsn}"}}}}
views:
  hash: {{source: t, sink: c, match: {{pk: "{{id}}"}}, key: "h{run}:{{id}}", expire: {{from: ttl}},
         fields: {{a: a, b: b}}}}
  text: {{source: t, sink: c, type: string, match: {{pk: "{{id}}"}}, key: "s{run}:{{id}}", fields: {{a: a, b: b}}}}
  found: {{source: t, sink: s, match: {{pk: "{{id}}"}}, index: "rows{run}", key: "{{id}}",
          fields: {{a: a, b: {{type: json}}}}, settings: {{number_of_replicas: 0}}}}
  kept: {{source: t, sink: p, match: {{pk: "{{id}}"}}, table: "rows{run}", key: id,
         fields: {{id: id, a: a, b: {{type: json}}, n: {{type: decimal, column: "numeric(12,2)"}}}}}}
"""
    )
    declaration = load([file], {})
    outcomes: dict[str, dict[str, Outcome]] = {}
    for name, view in declaration.views.items():
        sink = connect(declaration.sinks[view.sink])
        target = sink.open(view.layout, 1)
        target.prepare()
        bound = compile_view(view).bind(Shape(None), ("pk",), "NEW_AND_OLD_IMAGES")
        if name == "hash":
            target.write(bound.inserts(Shape(None).pack({"pk": "past", "a": "earlier"})))
        writes = [write for item in ITEMS for write in bound.inserts(Shape(None).pack(item))]
        for write in writes:
            write.version, write.rule = 5, type(write.rule).NEWER
        outcomes[name] = dict(zip((item["pk"] for item in ITEMS), target.write(writes), strict=True))
        target.publish()
        sink.close()
    with redis.Redis.from_url(redis_url) as client, psycopg.connect(dsn, autocommit=True) as connection:
        yield Stores(run, outcomes, client, opensearch_url, connection)


@holds("A Redis hash, a Redis string and", "A null inside a list", "A row whose fields are all null")
def test_nulls_in_stores(stores: Stores) -> None:
    inside = b'{"l":[null],"x":null}'
    assert stores.redis.hgetall(f"h{stores.run}:null") == {b"_v": b"5"}
    assert stores.redis.hgetall(f"h{stores.run}:inside") == {b"_v": b"5", b"b": inside}
    assert stores.redis.get(f"s{stores.run}:null") == b"{}"
    assert stores.redis.get(f"s{stores.run}:inside") == b'{"b":' + inside + b"}"
    assert stores.document("null") == {"_v": "5"}
    assert stores.document("inside") == {"_v": "5", "b": {"l": [None], "x": None}}
    rows = stores.rows("id, a, b", "id IN ('null', 'inside')")
    assert sorted(rows) == [("inside", None, {"l": [None], "x": None}), ("null", None, None)]


@holds("A number with a third decimal")
def test_a_third_decimal(stores: Stores) -> None:
    assert isinstance(stores.outcomes["kept"]["third"], Rejected)
    found = stores.rows("id, n", "n IS NOT NULL")
    assert found == [("second", Decimal("1.50"))]


@holds("`expire: {from: …}` that is null", "A time to live that has passed")
def test_rows_that_end(stores: Stores) -> None:
    assert stores.redis.ttl(f"h{stores.run}:never") == -1
    assert stores.redis.exists(f"h{stores.run}:past") == 0
    assert stores.outcomes["hash"]["past"] == APPLIED


@holds("In Redis, `_g{customer:*}`", "In OpenSearch, `products`", "In Postgres, `orders`")
def test_names_beside_the_rows(stores: Stores) -> None:
    beside = {key.decode() for key in stores.redis.scan_iter(match=f"_*{stores.run}*", count=10_000)}
    assert {f"_g{{h{stores.run}:*}}", f"_g{{s{stores.run}:*}}", f"_v{{s{stores.run}:null}}"} <= beside
    assert all(key.startswith(("_g", "_v", "_t")) for key in beside)
    aliases = urllib3.request("GET", f"{stores.search}/_alias/rows{stores.run}").json()
    assert [*aliases] == [f"rows{stores.run}-g1"]
    query = "SELECT table_name, table_type FROM information_schema.tables WHERE table_name LIKE %s ORDER BY 1"
    found = stores.postgres.execute(query, [f"rows{stores.run}%"]).fetchall()
    assert found == [(f"rows{stores.run}", "VIEW"), (f"rows{stores.run}__g1", "BASE TABLE")]
    assert len(stores.rows("*")[0]) == len(["id", "a", "b", "n"])
