"""Conditional writes on what only Redis has: keys edited and made by hand, companions, expiry; and the room left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from dynaview.local import servers
from dynaview.projections.rows import Rule, Write
from dynaview.sinks.port import APPLIED, STALE, ConditionalWrite, Rejected, RejectedKind, SinkUnavailable, Stored
from dynaview.sinks.redis import RedisSink
from dynaview.sinks.redis.names import companion
from dynaview.sinks.redis.target import MEASURED
from tests.sinks.redis.keyed import TYPES, Keyed, layout

HOURS = 3600


@pytest.fixture
def next_keyed(sink: RedisSink, keyed: Keyed) -> Keyed:
    """The next generation of the same view."""
    return Keyed(sink, keyed.type, keyed.prefix, 2)


# By hand


def test_a_row_removed_by_hand_is_put_back(keyed: Keyed, next_keyed: Keyed, client: redis.Redis) -> None:
    for pipeline in (keyed, next_keyed):
        assert pipeline.put("row", 7) is APPLIED
        client.delete(f"{keyed.prefix}row", f"{keyed.prefix}all")
        assert pipeline.read("row") is None
        assert pipeline.write_if_unchanged(pipeline.row("row", 9, 2), None) is APPLIED
        assert pipeline.stands(pipeline.row("row", 0, 2))
        newer = pipeline.row("row", 6, 3)
        assert pipeline.target.write([newer]) == [APPLIED]
        assert pipeline.stands(newer)


def test_a_member_removed_by_hand_is_put_back(sink: RedisSink, prefix: str, client: redis.Redis) -> None:
    for type in ("set", "sorted_set"):
        keyed = Keyed(sink, type, f"{prefix}{type}")
        keyed.target.write([keyed.row("row", 5), keyed.row("other", 5)])
        if type == "set":
            client.srem(f"{keyed.prefix}all", "row")
        else:
            client.zrem(f"{keyed.prefix}all", "row")
        assert keyed.read("row") is None
        assert keyed.write_if_unchanged(keyed.row("row", 9, 2), None) is APPLIED
        assert keyed.stands(keyed.row("row", 0, 2))
        assert keyed.stands(keyed.row("other", 5))


def test_a_row_edited_by_hand_is_put_right(sink: RedisSink, client: redis.Redis, prefix: str) -> None:
    hashes = Keyed(sink, "hash", f"{prefix}h:")
    strings = Keyed(sink, "string", f"{prefix}s:")
    scored = Keyed(sink, "sorted_set", f"{prefix}z:")
    for keyed in (hashes, strings, scored):
        keyed.target.write([keyed.row("row", 5, 1)])
    client.hset(f"{hashes.prefix}row", mapping={"a": "edited", "b": "added", "c": "added"})
    client.set(f"{strings.prefix}row", "edited")
    client.zadd(f"{scored.prefix}all", {"row": 77})
    for keyed in (hashes, strings, scored):
        assert not keyed.stands(keyed.row("row", 5, 1))
        assert keyed.write_if_unchanged(keyed.row("row", 0, 1), keyed.read("row")) is APPLIED
        assert keyed.stands(keyed.row("row", 5, 1))
    assert client.hgetall(f"{hashes.prefix}row") == {b"_v": b"5", b"a": b"1"}


@pytest.mark.parametrize("state", ["7", "007", "7 1", "7 2", "7 1 somebody", "7somebody", "0"])
def test_a_version_edited_by_hand_is_put_right(sink: RedisSink, client: redis.Redis, prefix: str, state: str) -> None:
    keyed = Keyed(sink, "hash", prefix, 2)
    client.hset(f"{prefix}row", mapping={"_v": state, "a": "edited"})
    seen = keyed.read("row")
    assert seen is not None
    assert keyed.write_if_unchanged(keyed.row("row", 0, 2), seen) is APPLIED
    assert keyed.stands(keyed.row("row", 0 if seen.owner else seen.version, 2))


def test_a_conditional_write_that_deletes_leaves_no_ghost_but_a_tombstone_for_25_hours(
    keyed: Keyed, next_keyed: Keyed, client: redis.Redis
) -> None:
    keyed.target.write([keyed.row("row", 5)])
    assert next_keyed.write_if_unchanged(Write(keyed.key("row"), None, 0), keyed.read("row")) is APPLIED
    assert client.exists(f"{keyed.prefix}row", f"{keyed.prefix}all") == 0
    assert 24.9 * HOURS < client.ttl(keyed.beside("row")) <= 25 * HOURS
    assert next_keyed.read("row") == Stored(keyed.key("row"), 5, "", 2, None)
    # Again is allowed, and changes nothing.
    assert next_keyed.write_if_unchanged(Write(keyed.key("row"), None, 0), next_keyed.read("row")) is APPLIED
    assert next_keyed.read("row") == Stored(keyed.key("row"), 5, "", 2, None)
    assert next_keyed.write_if_unchanged(keyed.row("row", 0, 2), next_keyed.read("row")) is APPLIED
    assert client.ttl(keyed.beside("row")) < 0, "no live row loses its version"
    assert next_keyed.stands(keyed.row("row", 5, 2))


@pytest.mark.parametrize("key", ["a}b\ud800", "{}\ud800", "\ud800"])
def test_a_key_that_is_no_unicode_is_rejected_alone(keyed: Keyed, key: str) -> None:
    bad: Any = (f"{keyed.prefix}all", key) if keyed.members else f"{keyed.prefix}{key}"
    if keyed.members:
        (outcome,) = keyed.target.write([Write((f"{keyed.prefix}{key}", "m"), keyed.values(), 1)])
        assert isinstance(outcome, Rejected)
    good = [keyed.row("before", 1), keyed.row("after", 1)]
    write = Write(bad, keyed.values(), 1)
    before, middle, after = keyed.target.write([good[0], write, good[1]])
    assert (before, type(middle), after) == (APPLIED, Rejected, APPLIED)
    conditional_writes = [
        ConditionalWrite(good[0], keyed.read("before")),
        ConditionalWrite(write, None),
        ConditionalWrite(good[1], keyed.read("after")),
    ]
    before, middle, after = keyed.target.write_if_unchanged(conditional_writes)
    assert (before, type(middle), after) == (APPLIED, Rejected, APPLIED)


# Foreign keys


@pytest.mark.parametrize("type", TYPES)
def test_what_dynaview_did_not_create_is_never_written(
    sink: RedisSink, client: redis.Redis, prefix: str, type: str
) -> None:
    client.rpush(f"{prefix}list", "mine")
    client.hset(f"{prefix}hash", "mine", "1")
    client.hset(f"{prefix}versioned", mapping={"_v": "mine", "a": "mine"})
    client.set(f"{prefix}string", "mine")
    client.sadd(f"{prefix}set", "mine")
    client.zadd(f"{prefix}zset", {"mine": 1})
    names = [f"{prefix}{name}" for name in ("list", "hash", "versioned", "string", "set", "zset")]
    before = {name: client.dump(name) for name in names}
    members = type in ("set", "sorted_set")
    target = sink.open(layout(type, (prefix, "")), 2)
    keys: list[Any] = [(name, member) for name in names for member in ("mine", "new")] if members else [*names]
    values: Any = {"set": (), "sorted_set": (1.0,)}.get(type, ("a",))
    assert target.read(keys) == [None] * len(keys)
    for content in (values, None):
        for key, outcome in zip(
            keys,
            target.write_if_unchanged([ConditionalWrite(Write(key, content, 5), None) for key in keys]),
            strict=True,
        ):
            assert isinstance(outcome, Rejected), key
            assert outcome.kind is RejectedKind.CONTENT
            assert "did not create" in outcome.reason
        assert target.read(keys) == [None] * len(keys)
    # A tombstone may stand beside: the key stays as it is none the less.
    assert target.write([Write(key, None, 6) for key in keys]) == [APPLIED] * len(keys)
    gone = target.read(keys)
    assert target.write_if_unchanged([ConditionalWrite(Write(key, values, 5), None) for key in keys]) == [STALE] * len(
        keys
    )
    outcomes = target.write_if_unchanged(
        [ConditionalWrite(Write(key, values, 5), row) for key, row in zip(keys, gone, strict=True)]
    )
    assert [outcome.__class__ for outcome in outcomes] == [Rejected] * len(keys)
    assert target.read(keys) == gone
    assert {name: client.dump(name) for name in names} == before


def test_a_foreign_companion_is_never_written(keyed: Keyed, client: redis.Redis) -> None:
    client.rpush(keyed.beside("list"), "mine")
    client.set(keyed.beside("text"), "mine")
    for name in ("list", "text"):
        for write in (keyed.row(name, 5), Write(keyed.key(name), None, 5)):
            assert isinstance(keyed.write_if_unchanged(write, None), Rejected)
    assert client.lrange(keyed.beside("list"), 0, -1) == [b"mine"]
    assert client.get(keyed.beside("text")) == b"mine"
    assert client.exists(f"{keyed.prefix}list", f"{keyed.prefix}text", f"{keyed.prefix}all") == 0


def test_a_string_overlaid_by_another_type_is_left_alone(sink: RedisSink, client: redis.Redis, prefix: str) -> None:
    keyed = Keyed(sink, "string", prefix)
    keyed.target.write([keyed.row("row", 5)])
    client.delete(f"{prefix}row")
    client.rpush(f"{prefix}row", "mine")
    assert keyed.read("row") is None
    assert isinstance(keyed.write_if_unchanged(keyed.row("row", 5), None), Rejected)
    assert client.lrange(f"{prefix}row", 0, -1) == [b"mine"]


# Expiry


@pytest.mark.parametrize("type", ["hash", "string"])
@pytest.mark.parametrize("generation", [1, 2])
def test_a_row_put_right_expires_after_seconds(
    sink: RedisSink, client: redis.Redis, prefix: str, type: str, generation: int
) -> None:
    view = layout(type, expire_after=100)
    old, target = sink.open(view, 1), sink.open(view, generation)
    live, expired, new = (f"{prefix}{name}" for name in ("live", "expired", "new"))
    old.write([Write(live, ("a",), 5), Write(expired, ("a",), 5)])
    client.expire(live, 7)
    client.delete(expired)  # as expiry does
    rows = target.read([live, expired, new])
    assert rows[1:] == [Stored(expired, 5, "", 1, None), None]
    writes = [Write(key, ("b",), 0) for key in (live, expired, new)]
    assert (
        target.write_if_unchanged([ConditionalWrite(write, row) for write, row in zip(writes, rows, strict=True)])
        == [APPLIED] * 3
    )
    for write, version in zip(writes, (5, 5, 0), strict=True):
        assert target.read([write.key]) == [Stored(write.key, version, "", generation, target.content(write))]
        assert 90 < client.ttl(str(write.key)) <= 100
        assert 25 * HOURS + 90 < client.ttl(companion(str(write.key))) <= 25 * HOURS + 100
    client.delete(live)
    assert target.read([live]) == [Stored(live, 5, "", generation, None)]
    assert target.write([Write(live, ("a",), 4)]) == [STALE]


@pytest.mark.parametrize("type", ["hash", "string"])
def test_a_row_put_right_expires_when_its_item_says(
    sink: RedisSink, client: redis.Redis, prefix: str, type: str
) -> None:
    target = sink.open(layout(type, expire_field=True), 1)
    key = f"{prefix}1"
    now = int(time.time())
    target.write([Write(key, ("a", now + 1000), 5, "item1")])
    for at in (now + 5000, None, now + 2000):
        write = Write(key, ("a", at), 5, "item1")
        assert target.write_if_unchanged([ConditionalWrite(write, target.read([key])[0])]) == [APPLIED]
        assert client.expiretime(key) == (at or -1)
        assert target.read([key]) == [Stored(key, 5, "item1", 1, target.content(write))]
    # What has expired by now is not there, and leaves its version behind.
    past = Write(key, ("a", now - 10), 5, "item1")
    assert target.write_if_unchanged([ConditionalWrite(past, target.read([key])[0])]) == [APPLIED]
    assert client.exists(key) == 0
    assert target.content(past) is None
    assert target.read([key]) == [Stored(key, 5, "item1", 1, None)]
    assert 24.9 * HOURS < client.ttl(companion(key)) <= 25 * HOURS
    never = Write(f"{prefix}2", ("a", now - 10), 5)
    assert target.write_if_unchanged([ConditionalWrite(never, None)]) == [APPLIED]
    assert target.read([never.key]) == [Stored(never.key, 0, "", 1, None)]
    assert target.write([Write(never.key, ("a", None), 0, "", Rule.ABSENT)]) == [STALE]


# Room


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A server of this module's own, whose memory has an end."""
    server = servers.create("redis", tmp_path_factory.mktemp("servers"))
    server.start()
    with redis.Redis.from_url(server.url) as client:
        yield client
    server.stop()


def url_of(client: redis.Redis) -> str:
    at = client.connection_pool.connection_kwargs
    return f"redis://{at['host']}:{at['port']}/0"


@pytest.mark.parametrize("type", TYPES)
def test_room_is_estimated_from_what_the_rows_take(small: redis.Redis, prefix: str, type: str) -> None:
    small.config_set("lazyfree-lazy-user-flush", "no")  # or memory is given back later
    small.flushall()
    small.config_set("maxmemory", "200mb")
    sink = RedisSink("small", url_of(small), {})
    keyed, other = Keyed(sink, type, f"{prefix}mine:"), Keyed(sink, type, f"{prefix}other:")
    keyed.put("first", 5)
    empty = small.info("memory")["used_memory"]
    keyed.target.write([keyed.row(f"{number}", 5, number) for number in range(10 * MEASURED)])
    taken = small.info("memory")["used_memory"] - empty
    other.target.write([other.row(f"{number}", 5, number) for number in range(500)])
    room = sink.room(keyed.target.layout, 1)
    assert room is not None
    assert taken / 2 < room.used < taken * 2
    held = small.info("memory")["used_memory"]
    assert abs(room.free - (200 * 2**20 - held)) < 2**20
    nothing = sink.room(layout(type, (f"{prefix}none:", "")), 1)
    assert nothing is not None
    assert nothing.used == 0
    small.config_set("maxmemory", "0")
    assert sink.room(keyed.target.layout, 1) is None
    sink.close()


def test_room_of_a_store_that_cannot_be_reached() -> None:
    sink = RedisSink("away", "redis://127.0.0.1:9/0", {"timeout": 2})
    with pytest.raises(SinkUnavailable):
        sink.room(layout("hash"), 1)
