"""Canonical bytes of hashes, as a script makes them of what stands and as we make them of what ought to."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from dynaview.projections.rows import Field, Layout, RedisOptions, Write
from dynaview.sinks.port import APPLIED
from dynaview.sinks.redis import RedisSink
from dynaview.sinks.redis.target import RedisTarget
from tests.sinks.redis.test_content import FORMS

LENGTHS = (0, 1, 31, 32, 255, 256, 65_535, 65_536)


def opened(sink: RedisSink, prefix: str, *types: str) -> RedisTarget:
    fields = tuple(Field(f"f{number}", type) for number, type in enumerate(types))
    return sink.open(Layout("v", (), fields, RedisOptions(family=(prefix, ""))), 1)


def canonical_rows(target: RedisTarget) -> dict[Any, bytes]:
    return {
        key: one for page in target.canonical_rows() for key, one in zip(page.keys, page.canonical_rows, strict=True)
    }


@pytest.mark.parametrize(("type", "value"), [(type, value) for type, value, _ in FORMS])
def test_every_type(sink: RedisSink, prefix: str, type: str, value: Any) -> None:
    target = opened(sink, prefix, type, "text")
    writes = [Write(f"{prefix}1", (value, "x"), 12), Write(f"{prefix}2", (None, "x"), 12)]
    assert target.write(writes) == [APPLIED] * 2
    assert canonical_rows(target) == {write.key: target.canonical(write) for write in writes}


@pytest.mark.parametrize("length", LENGTHS)
def test_texts_and_bytes_of_any_length(sink: RedisSink, prefix: str, length: int) -> None:
    target = opened(sink, prefix, "text", "binary")
    write = Write(f"{prefix}}}1", ("x" * length, b"\xff" * length), 12)  # a key with a brace has another companion
    assert target.write([write]) == [APPLIED]
    assert canonical_rows(target) == {write.key: target.canonical(write)}


def test_what_a_hand_has_done_shows(sink: RedisSink, client: redis.Redis, prefix: str) -> None:
    target = opened(sink, prefix, "text", "text")
    writes = [Write(f"{prefix}{number}", ("a", "b"), 12) for number in range(5)]
    target.write(writes)
    client.hset(f"{prefix}0", "f0", "A")
    client.hset(f"{prefix}1", "more", "x")
    client.hdel(f"{prefix}2", "f1")
    client.hdel(f"{prefix}3", "f1")
    client.hset(f"{prefix}3", "more", "b")
    found = canonical_rows(target)
    assert {key for key, canonical in found.items() if canonical == target.canonical(writes[4])} == {f"{prefix}4"}


def test_states_that_a_hand_has_written_are_those_of_the_rows(
    sink: RedisSink, client: redis.Redis, prefix: str
) -> None:
    target = opened(sink, prefix, "text")
    target.write([Write(f"{prefix}{number}", ("a",), 12) for number in range(4)])
    client.hset(f"{prefix}0", "_v", "0012 2 item1")
    client.hset(f"{prefix}1", "_v", "none")
    client.hset(f"{prefix}2", "_v", "0")
    client.hset(f"{prefix}\udcff".encode(errors="surrogateescape"), "_v", "12")  # nobody's of ours
    states = {key: state for page in target.canonical_rows() for key, state in zip(page.keys, page.states, strict=True)}
    assert states == {f"{prefix}0": "12 2 item1", f"{prefix}2": "0 1 ", f"{prefix}3": "12 1 "}
    client.delete(f"{prefix}\udcff".encode(errors="surrogateescape"))


def test_what_stands_beside_rows_is_none(sink: RedisSink, client: redis.Redis, prefix: str) -> None:
    """A family of all keys has companions of sets among its hashes."""
    client.hset(f"_v{{{prefix}set}}", "_v", "12")
    target = sink.open(Layout("v", (), (Field("f"),), RedisOptions(family=("", prefix, ""))), 1)
    target.write([Write(f"a{prefix}", ("a",), 12)])
    assert [*canonical_rows(target)] == [f"a{prefix}"]
    client.delete(f"_v{{{prefix}set}}", f"a{prefix}")
