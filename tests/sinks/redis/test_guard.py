"""What only Redis has: keys that readers address directly, companions, expiry, generations in place, foreign keys."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynaview.projections.rows import LONG_AGO, Rule, Write
from dynaview.sinks.port import APPLIED, STALE, Rejected, RejectedKind, Stored
from dynaview.sinks.redis import RedisSink
from dynaview.sinks.redis.names import companion
from tests.sinks.redis.keyed import TYPES, Keyed, layout

HOURS = 3600


def everything(client: redis.Redis, prefix: str) -> list[bytes]:
    return list(client.scan_iter(match=f"*{prefix}*", count=10000))


# Tombstones


def test_a_delete_leaves_no_ghost_but_a_tombstone_for_25_hours(keyed: Keyed, client: redis.Redis) -> None:
    keyed.put("row", 5)
    assert client.exists(keyed.beside("row")) == (keyed.type == "string")
    assert keyed.delete("row", 6) is APPLIED
    assert client.exists(f"{keyed.prefix}row", f"{keyed.prefix}all") == 0
    assert 24.9 * HOURS < client.ttl(keyed.beside("row")) <= 25 * HOURS
    assert keyed.put("row", 7) is APPLIED
    assert client.exists(keyed.beside("row")) == (keyed.type == "string")
    assert client.ttl(keyed.beside("row")) < 0, "no live row loses its version"


def test_a_row_costs_one_key_where_it_can(client: redis.Redis, sink: RedisSink, prefix: str) -> None:
    keyed = Keyed(sink, "hash", prefix)
    keyed.put("row", 10**20 + 5)
    assert everything(client, prefix) == [f"{prefix}row".encode()]
    assert client.hgetall(f"{prefix}row") == {b"_v": b"100000000000000000005", b"a": b"1"}


# Generations in place


def test_generations_and_versions_are_compared_component_by_component(
    sink: RedisSink, prefix: str, keyed: Keyed
) -> None:
    old, new = keyed, Keyed(sink, keyed.type, keyed.prefix, 2)
    assert old.put("row", 5) is APPLIED
    assert new.put("row", 4) is STALE, "a later generation does not take a row back"
    assert new.delete("row", 4) is STALE
    assert new.put("row", 5, 2) is APPLIED, "the same change in a later generation"
    assert new.put("row", 5) is STALE
    assert old.put("row", 6) is STALE, "an earlier generation writes no more"
    assert old.delete("row", 7) is STALE
    assert new.put("row", 6, 3) is APPLIED
    stored = new.read("row")
    assert stored is not None
    assert (stored.version, stored.generation) == (6, 2)
    assert new.delete("row", 7) is APPLIED
    assert old.put("row", 8) is STALE, "nor does it revive what a later one deleted"
    assert new.read("row") == Stored(new.key("row"), 7, "", 2, None)


state = st.tuples(st.integers(1, 3), st.integers(8, 12))


@given(st.lists(st.tuples(state, st.booleans()), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_accepted_write_never_lowers_version_or_generation(
    sink: RedisSink, keyed: Keyed, history: list[tuple[tuple[int, int], bool]]
) -> None:
    name = f"row {time.perf_counter_ns()}"
    held: tuple[int, int] | None = None
    for (generation, version), deletes in history:
        pipeline = Keyed(sink, keyed.type, keyed.prefix, generation)
        outcome = pipeline.delete(name, version) if deletes else pipeline.put(name, version)
        accepted = held is None or (generation >= held[0] and version >= held[1] and (generation, version) != held)
        assert outcome is (APPLIED if accepted else STALE)
        held = (generation, version) if accepted else held


@pytest.mark.parametrize("generation", [0, 1, 2, 10])
def test_generation_and_owner_are_read_back(sink: RedisSink, keyed: Keyed, generation: int) -> None:
    pipeline = Keyed(sink, keyed.type, keyed.prefix, generation)
    for owner in ("", "f00d"):
        pipeline.put(f"row{owner}", 5, owner=owner)
        pipeline.delete(f"gone{owner}", 5, owner=owner)
        live, gone = pipeline.read(f"row{owner}"), pipeline.read(f"gone{owner}")
        assert live is not None
        assert gone is not None
        assert (live.version, live.owner, live.generation) == (5, owner, generation)
        assert (gone.version, gone.owner, gone.generation, gone.content) == (5, owner, generation, None)


def test_drop_leaves_what_another_generation_has_taken_over(sink: RedisSink, keyed: Keyed, client: redis.Redis) -> None:
    new = Keyed(sink, keyed.type, keyed.prefix, 2)
    for name in ("both", "old", "gone"):
        keyed.put(name, 5)
    keyed.delete("gone", 6)
    new.put("both", 5)
    keyed.target.drop()
    assert keyed.read("old") is None
    assert keyed.read("gone") is None
    assert new.read("both") is not None
    assert new.target.count() == 1
    new.target.drop()
    assert everything(client, keyed.prefix) == []


# Expiry


@pytest.mark.parametrize("type", ["hash", "string"])
def test_a_row_expires_after_seconds_and_its_version_outlives_it(
    sink: RedisSink, client: redis.Redis, prefix: str, type: str
) -> None:
    target = sink.open(layout(type, expire_after=100), 1)
    key = f"{prefix}1"
    for version in (5, 6):
        assert target.write([Write(key, ("a",), version)]) == [APPLIED]
        assert 90 < client.ttl(key) <= 100
        assert 25 * HOURS + 90 < client.ttl(companion(key)) <= 25 * HOURS + 100
    client.delete(key)  # as expiry does
    assert target.write([Write(key, ("a",), 5)]) == [STALE]
    assert target.write([Write(key, ("a",), 0, "", Rule.ABSENT)]) == [STALE]
    assert client.exists(key) == 0
    assert target.read([key]) == [Stored(key, 6, "", 1, None)]
    assert target.write([Write(key, ("b",), 7)]) == [APPLIED]
    assert client.exists(key) == 1
    assert target.write([Write(key, None, 8)]) == [APPLIED]
    assert client.exists(key) == 0
    assert client.ttl(companion(key)) <= 25 * HOURS


@pytest.mark.parametrize("type", ["hash", "string"])
def test_a_row_expires_when_its_item_says(sink: RedisSink, client: redis.Redis, prefix: str, type: str) -> None:
    target = sink.open(layout(type, expire_field=True), 1)
    key = f"{prefix}1"
    now = int(time.time())
    soon = Write(key, ("a", now + 1000), 5)
    assert target.write([soon]) == [APPLIED]
    assert client.expiretime(key) == now + 1000
    assert target.read([key]) == [Stored(key, 5, "", 1, target.content(soon))]
    never = Write(key, ("a", None), 6)
    assert target.write([never]) == [APPLIED]
    assert client.ttl(key) == -1
    assert target.write([Write(key, ("a", now + 2000), 7)]) == [APPLIED]
    assert client.expiretime(key) == now + 2000
    moment = Decimal(now + 3000) + Decimal("0.123456")
    assert target.write([Write(key, ("a", moment), 8)]) == [APPLIED]
    assert client.pexpiretime(key) == (now + 3000) * 1000 + 123
    # So long ago that DynamoDB's own time to live would let the item stand.
    long_ago = Write(key, ("a", now - LONG_AGO - 1), 9)
    assert target.write([long_ago]) == [APPLIED]
    assert client.ttl(key) == -1
    assert target.content(long_ago) is not None
    assert target.content(Write(key, ("a", now - LONG_AGO + 60), 9)) is None
    outcome = target.write([Write(key, ("a", 10**18), 10)])[0]
    assert isinstance(outcome, Rejected)


@pytest.mark.parametrize("type", ["hash", "string"])
@pytest.mark.parametrize("stood", [False, True])
def test_a_row_that_has_expired_already_is_not_there(
    sink: RedisSink, client: redis.Redis, prefix: str, type: str, stood: bool
) -> None:
    target = sink.open(layout(type, expire_field=True), 1)
    key = f"{prefix}1"
    if stood:
        target.write([Write(key, ("a", None), 4)])
    for version, past in ((5, int(time.time()) - 10), (6, int(time.time() - LONG_AGO) + 60)):
        write = Write(key, ("a", past), version)
        assert target.write([write]) == [APPLIED]
        assert client.exists(key) == 0
        assert target.content(write) is None
        assert target.read([key]) == [Stored(key, version, "", 1, None)]
        assert 24.9 * HOURS < client.ttl(companion(key)) <= 25 * HOURS
        assert target.write([Write(key, ("a", None), 3)]) == [STALE]


# Foreign keys


def foreign_keys(client: redis.Redis, key: str) -> None:
    client.rpush(f"{key}:list", "mine")
    client.hset(f"{key}:hash", "mine", "1")
    client.hset(f"{key}:versioned", mapping={"_v": "mine", "a": "mine"})
    client.set(f"{key}:string", "mine")
    client.sadd(f"{key}:set", "mine")
    client.zadd(f"{key}:zset", {"mine": 1})


@pytest.mark.parametrize("type", TYPES)
def test_what_dynaview_did_not_create_is_never_touched(
    sink: RedisSink, client: redis.Redis, prefix: str, type: str
) -> None:
    members = type in ("set", "sorted_set")
    view = layout(type, (f"{prefix}", ""))
    target = sink.open(view, 1)
    assert sink.problems(view) == []
    foreign_keys(client, f"{prefix}x")
    names = [name for kind in ("list", "hash", "versioned", "string", "set", "zset") for name in [f"{prefix}x:{kind}"]]
    before = {name: client.dump(name) for name in names}
    assert f"{prefix}x:" in sink.problems(view)[0]
    keys: list[Any] = [(name, member) for name in names for member in ("mine", "new")] if members else [*names]
    values: Any = {"set": (), "sorted_set": (1.0,)}.get(type, ("a",))
    outcomes = target.write([Write(key, values, 5) for key in keys])
    for key, outcome in zip(keys, outcomes, strict=True):
        assert isinstance(outcome, Rejected), key
        assert outcome.kind is RejectedKind.CONTENT
        assert "did not create" in outcome.reason
    assert target.read(keys) == [None] * len(keys)
    assert target.count() == 0
    # A delete has nothing to remove there, but is remembered.
    assert target.write([Write(key, None, 6) for key in keys]) == [APPLIED] * len(keys)
    assert [row and row.content for row in target.read(keys)] == [None] * len(keys)
    target.drop()
    assert {name: client.dump(name) for name in names} == before


def test_a_foreign_companion_is_never_touched(keyed: Keyed, client: redis.Redis) -> None:
    client.rpush(keyed.beside("row"), "mine")
    client.set(keyed.beside("text"), "mine")
    for name in ("row", "text"):
        assert isinstance(keyed.put(name, 5), Rejected)
        assert isinstance(keyed.delete(name, 5), Rejected)
    assert client.lrange(keyed.beside("row"), 0, -1) == [b"mine"]
    assert client.get(keyed.beside("text")) == b"mine"


def test_a_row_that_someone_removed_can_be_written_again(keyed: Keyed, client: redis.Redis) -> None:
    keyed.put("row", 5)
    client.delete(f"{keyed.prefix}row", f"{keyed.prefix}all")
    assert keyed.read("row") is None
    assert keyed.put("row", 5) is APPLIED


# Families


def test_a_view_finds_its_own_rows_only(sink: RedisSink, client: redis.Redis, prefix: str) -> None:
    mine = sink.open(layout("hash", (f"{prefix}[*]:", ":card")), 1)
    other = sink.open(layout("hash", (f"{prefix}x:", "")), 1)
    mine.write([Write(f"{prefix}[*]:{name}:card", ("a",), 5) for name in ("1", "}{", "{t}", "*")])
    mine.write([Write(f"{prefix}[*]:{name}:card", None, 5) for name in ("2", "}}", "{u}")])
    other.write([Write(f"{prefix}x:1", ("a",), 5), Write(f"{prefix}x:2", None, 5)])
    assert {row.key for row in mine.rows()} == {f"{prefix}[*]:{name}:card" for name in ("1", "}{", "{t}", "*")}
    mine.drop()
    assert mine.count() == 0
    assert mine.read([f"{prefix}[*]:2:card", f"{prefix}[*]:}}}}:card", f"{prefix}[*]:{{u}}:card"]) == [None] * 3
    assert other.count() == 1
    assert other.write([Write(f"{prefix}x:2", ("a",), 4)]) == [STALE]


def test_many_rows_are_found_page_by_page(sink: RedisSink, prefix: str, keyed: Keyed) -> None:
    keyed.target.write([Write(keyed.key(f"{number}"), keyed.values(number), 5) for number in range(3000)])
    keyed.target.write([Write(keyed.key(f"{number}"), None, 6) for number in range(0, 3000, 3)])
    assert keyed.target.count() == 2000
    assert {row.key for row in keyed.target.rows()} == {keyed.key(f"{n}") for n in range(3000) if n % 3}
