"""How values are written in Redis, field type by field type."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import redis

from dynaview.projections.rows import EXPIRE, SCORE, Field, Layout, PostgresOptions, RedisOptions, Write
from dynaview.sinks.port import APPLIED, Rejected
from dynaview.sinks.redis import RedisSink

LONG = Decimal("12345678901234567890123456789.012345678")

FORMS: list[tuple[str, Any, bytes]] = [
    ("text", "", b""),
    ("text", "é\x00\U0001f600", "é\x00\U0001f600".encode()),
    ("integer", -7, b"-7"),
    ("bigint", 2**63 - 1, b"9223372036854775807"),
    ("decimal", LONG, b"12345678901234567890123456789.012345678"),
    ("decimal", Decimal("1E+3"), b"1000"),
    ("decimal", Decimal("-0.50"), b"-0.5"),
    ("double", 0.1, b"0.1"),
    ("double", 1e16, b"10000000000000000"),
    ("double", 5e-324, b"0." + b"0" * 323 + b"5"),
    ("boolean", True, b"true"),
    ("boolean", False, b"false"),
    ("timestamp", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), b"2026-01-02T03:04:05Z"),
    ("timestamp", datetime(2026, 1, 2, 3, 4, 5, 60, tzinfo=UTC), b"2026-01-02T03:04:05.000060Z"),
    ("timestamp", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))), b"2026-01-02T01:04:05Z"),
    ("date", date(2026, 1, 2), b"2026-01-02"),
    ("binary", b"\xff\x00\xfe", b"\xff\x00\xfe"),
    ("binary", b"x" * 70000, b"x" * 70000),
    ("json", {"a": [LONG, None, True]}, b'{"a":[12345678901234567890123456789.012345678,null,true]}'),
    ("json", "text", b'"text"'),
    ("text[]", ["a", "b"], b'["a","b"]'),
    ("binary[]", [b"\xff"], b'["/w=="]'),
    ("any", "text", b"text"),
    ("any", b"\xff", b"\xff"),
    ("any", Decimal("1.50"), b"1.5"),
    ("any", 3, b"3"),
    ("any", True, b"true"),
    ("any", 2.5, b"2.5"),
    ("any", [Decimal("1.5"), "x"], b'[1.5,"x"]'),
    ("any", {"a": {"b": None}}, b'{"a":{"b":null}}'),
    ("any", [], b"[]"),
]


@pytest.mark.parametrize(("type", "value", "text"), FORMS)
def test_a_value_in_a_hash(
    sink: RedisSink, client: redis.Redis, prefix: str, type: str, value: Any, text: bytes
) -> None:
    target = sink.open(Layout("v", (), (Field("f", type),), RedisOptions()), 1)
    write = Write(f"{prefix}1", (value,), 12)
    assert target.write([write]) == [APPLIED]
    assert client.hgetall(f"{prefix}1") == {b"f": text, b"_v": b"12"}
    assert target.content(write) == {"f": text}


def test_missing_fields_are_absent_and_a_row_without_any_still_stands(
    sink: RedisSink, client: redis.Redis, prefix: str
) -> None:
    target = sink.open(Layout("v", (), (Field("a"), Field("b"), Field("c")), RedisOptions()), 1)
    key = f"{prefix}1"
    for version, values, expected in [
        (1, ("x", "y", "z"), {b"a": b"x", b"b": b"y", b"c": b"z"}),
        (2, (None, "y2", None), {b"b": b"y2"}),
        (3, ("x3", None, "z3"), {b"a": b"x3", b"c": b"z3"}),
        (4, (None, None, None), {}),
    ]:
        assert target.write([Write(key, values, version)]) == [APPLIED]
        assert client.hgetall(key) == expected | {b"_v": str(version).encode()}
    (stored,) = target.read([key])
    assert stored is not None
    assert stored.content == {}


def test_fields_left_open_by_a_python_projection(sink: RedisSink, client: redis.Redis, prefix: str) -> None:
    target = sink.open(Layout("v", (), None, RedisOptions()), 1)
    key = f"{prefix}1"
    wide = {f"field {number}": number for number in range(6000)}
    rows: list[dict[str, Any]] = [{"a": 1, "b": None}, {"b": "x", "é": [1]}, wide, {"a": 2}, {}]
    for version, values in enumerate(rows, start=1):
        write = Write(key, values, version)
        assert target.write([write]) == [APPLIED]
        held: Any = client.hgetall(key)
        assert held.pop(b"_v") == str(version).encode()
        assert {name.decode(): value for name, value in held.items()} == target.content(write)
    bad: list[dict[Any, Any]] = [
        {"_v": 9},
        {"_x": 1},
        {1: 2},
        {"\ud800": 1},
        {"a": "\ud800"},
        {"a": object()},
        {"a": float("nan")},
    ]
    outcomes = target.write([Write(f"{prefix}bad{number}", values, 1) for number, values in enumerate(bad)])
    assert [type(outcome) for outcome in outcomes] == [Rejected] * len(bad)
    assert client.exists(*(f"{prefix}bad{number}" for number in range(len(bad)))) == 0


def test_a_string_holds_one_json_document(sink: RedisSink, client: redis.Redis, prefix: str) -> None:
    fields = (Field("a", "text"), Field("b", "decimal"), Field("c", "binary"), Field("d", "timestamp"), Field("e"))
    target = sink.open(Layout("v", (), fields, RedisOptions(type="string")), 1)
    write = Write(f"{prefix}1", ("é", LONG, b"\xff", datetime(2026, 1, 2, tzinfo=UTC), None), 5)
    assert target.write([write]) == [APPLIED]
    document = client.get(f"{prefix}1")
    assert isinstance(document, bytes)
    assert json.loads(document, parse_float=Decimal) == {"a": "é", "b": LONG, "c": "/w==", "d": "2026-01-02T00:00:00Z"}
    assert target.content(write) == document


def test_a_set_and_a_sorted_set_hold_their_members(sink: RedisSink, client: redis.Redis, prefix: str) -> None:
    plain = sink.open(Layout("s", (), (), RedisOptions(type="set")), 1)
    scored = sink.open(Layout("z", (), (Field(SCORE, "double"),), RedisOptions(type="sorted_set")), 1)
    plain.write([Write((f"{prefix}s", member), (), 1) for member in ("a", "b", "c")])
    plain.write([Write((f"{prefix}s", "b"), None, 2)])
    assert client.smembers(f"{prefix}s") == {b"a", b"c"}
    score = 0.1 + 0.2
    scored.write([Write((f"{prefix}z", "a"), (score,), 1), Write((f"{prefix}z", "b"), (2**53,), 1)])
    assert client.zrange(f"{prefix}z", 0, -1, withscores=True) == [(b"a", score), (b"b", float(2**53))]
    scored.write([Write((f"{prefix}z", "a"), (-1.5,), 2), Write((f"{prefix}z", "b"), None, 2)])
    assert client.zrange(f"{prefix}z", 0, -1, withscores=True) == [(b"a", -1.5)]
    outcomes = scored.write([Write((f"{prefix}z", "x"), (bad,), 1) for bad in (float("nan"), float("inf"), None)])
    assert [type(outcome) for outcome in outcomes] == [Rejected] * 3


def test_the_last_member_takes_the_key_with_it(sink: RedisSink, client: redis.Redis, prefix: str) -> None:
    target = sink.open(Layout("s", (), (), RedisOptions(type="set")), 1)
    key = f"{prefix}s"
    target.write([Write((key, "a"), (), 1)])
    target.write([Write((key, "a"), None, 2)])
    assert client.exists(key, f"_v{{{key}}}") == 0
    assert target.write([Write((key, "b"), (), 1)]) == [APPLIED]


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ((Field("a"),), PostgresOptions(table="t")),
        ((Field("_a"),), RedisOptions()),
        ((Field("a"),), RedisOptions(type="set")),
        ((), RedisOptions(type="sorted_set")),
        ((), RedisOptions(type="set", expire_after=5)),
        ((Field("a"),), RedisOptions(expire_field=True)),
        ((Field(EXPIRE), Field("a")), RedisOptions(expire_field=True)),
    ],
)
def test_layouts_that_are_not_for_redis(sink: RedisSink, fields: tuple[Field, ...], options: Any) -> None:
    with pytest.raises(ValueError, match=r"view v|last field"):
        sink.open(Layout("v", (), fields, options), 1)


@pytest.mark.parametrize("type", ["hash", "string"])
def test_a_row_expires_to_the_millisecond(sink: RedisSink, client: redis.Redis, prefix: str, type: Any) -> None:
    layout = Layout("v", (), (Field("a"), Field(EXPIRE)), RedisOptions(type, family=(prefix, ""), expire_field=True))
    target = sink.open(layout, 1)
    at = Decimal(2_000_000_000) + Decimal("0.123")
    assert target.write([Write(f"{prefix}a", ("x", at), 1)]) == [APPLIED]
    assert client.pexpiretime(f"{prefix}a") == 2_000_000_000_123
    assert target.write([Write(f"{prefix}a", ("x", at + Decimal("0.0009")), 2)]) == [APPLIED]
    assert client.pexpiretime(f"{prefix}a") == 2_000_000_000_123
    assert target.write([Write(f"{prefix}a", ("x", None), 3)]) == [APPLIED]
    assert client.pexpiretime(f"{prefix}a") == -1
    assert target.write([Write(f"{prefix}a", ("x", Decimal(time.time()) - 100), 4)]) == [APPLIED]
    assert not client.exists(f"{prefix}a")
