"""A map has no order: rows of equal values are the same bytes in every store, whoever read their items."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dynaview.projections.rows import Field, Layout, OpenSearchOptions, Options, PostgresOptions, RedisOptions, Write
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.opensearch.canonical import canonical_of
from dynaview.sinks.port import Sink, Target
from dynaview.sinks.postgres import PostgresSink
from dynaview.sinks.postgres.literals import json_texts
from dynaview.sinks.redis import RedisSink

ONE: dict[str, Any] = {"Zoll": "M\u00fcnchen", "a": [{"y": 1, "x": {"d": None, "c": True}}], "_b": "\u6771"}
OTHER: dict[str, Any] = {"_b": "\u6771", "a": [{"x": {"c": True, "d": None}, "y": 1}], "Zoll": "M\u00fcnchen"}

STORES: dict[str, Callable[[], Sink]] = {
    "memory": lambda: MemorySink("memory"),
    "redis": lambda: RedisSink("redis", "redis://127.0.0.1:9/0", {}),
    "opensearch": lambda: OpenSearchSink("opensearch", "http://127.0.0.1:9", {}),
    "postgres": lambda: PostgresSink("postgres", "postgresql://nobody@127.0.0.1:9/none", {}),
}
OPTIONS: dict[str, Callable[[], Options]] = {
    "redis": lambda: RedisOptions(),
    "string": lambda: RedisOptions(type="string"),
    "opensearch": lambda: OpenSearchOptions("one", {}, {}),
    "postgres": lambda: PostgresOptions("one"),
}
FIELDS = (Field("id", "text"), Field("m"), Field("l", "json"))


def opened(store: str, options: str, fields: tuple[Field, ...] | None) -> Target:
    layout = Layout("one", ("id",) if options == "postgres" else (), fields, OPTIONS[options]())
    return STORES[store]().open(layout, 1)


@pytest.mark.parametrize(
    ("store", "options", "fields"),
    [
        ("memory", "redis", FIELDS),
        ("memory", "redis", None),
        ("redis", "redis", FIELDS),
        ("redis", "redis", None),
        ("redis", "string", FIELDS),
        ("redis", "string", None),
        ("opensearch", "opensearch", FIELDS),
        ("opensearch", "opensearch", None),
        ("postgres", "postgres", FIELDS),
    ],
)
def test_rows_of_equal_maps_are_the_same_bytes(store: str, options: str, fields: tuple[Field, ...] | None) -> None:
    target = opened(store, options, fields)
    key: Any = ("1",) if options == "postgres" else "1"

    def row(value: Any) -> Write:
        values: Any = ("1", value, [value]) if fields else {"id": "1", "m": value, "l": [value]}
        return Write(key, values, 7)

    one, other = row(ONE), row(OTHER)
    assert target.canonical(one) == target.canonical(other)
    assert repr(target.content(one)) == repr(target.content(other))
    assert target.canonical(one) != target.canonical(row({**ONE, "_b": "other"}))


def test_open_fields_of_redis_come_in_any_order() -> None:
    target = opened("redis", "redis", None)
    plain = {name: value for name, value in ONE.items() if name != "_b"}
    reordered = dict(reversed(plain.items()))
    assert target.canonical(Write("1", plain, 7)) == target.canonical(Write("1", reordered, 7))


def test_documents_begin_with_their_version_whatever_their_fields_are_called() -> None:
    target: Any = opened("opensearch", "opensearch", None)
    write = Write("1", {"Zoll": 1, "a": 2}, 7)
    document = target._documents.encode(write, lambda: 0)
    assert document == b'{"_v":"7","Zoll":1,"a":2}'
    assert canonical_of(document) == ("7", target.canonical(write))
    owned = target._documents.encode(Write("1", {}, 7, "item"), lambda: 0)
    assert owned == b'{"_v":"7","_o":"item"}'


def test_letters_are_written_as_they_are() -> None:
    assert json_texts([ONE]).count("\u00fc") == 1
    target = opened("redis", "redis", FIELDS)
    assert target.content(Write("1", ("1", ONE, None), 7))["m"] == (
        '{"Zoll":"M\u00fcnchen","_b":"\u6771","a":[{"x":{"c":true,"d":null},"y":1}]}'.encode()
    )
