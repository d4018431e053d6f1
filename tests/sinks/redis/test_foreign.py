"""What stands under a view's template and is not dynaview's: listed, told from rows, and removed on request only."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import redis

from dynaview.sinks.port import APPLIED, Foreign
from dynaview.sinks.redis import RedisSink
from dynaview.sinks.redis.names import companion
from tests.sinks.redis.keyed import TYPES, Keyed


@pytest.fixture(params=TYPES)
def kept(request: pytest.FixtureRequest, sink: RedisSink) -> Keyed:
    return Keyed(sink, request.param, f"{uuid4().hex}:")


def by_hand(client: redis.Redis, kept: Keyed, key: str) -> None:
    """A key of the view's own Redis type that somebody made."""
    made: Any = {
        "hash": lambda: client.hset(key, "a", "mine"),
        "string": lambda: client.set(key, "mine"),
        "set": lambda: client.sadd(key, "mine"),
        "sorted_set": lambda: client.zadd(key, {"mine": 1.0}),
    }
    made[kept.type]()


def test_rows_and_tombstones_are_not_foreign(kept: Keyed) -> None:
    for name in ("a", "b", "gone"):
        assert kept.put(name, 5) is APPLIED
    assert kept.delete("gone", 6) is APPLIED
    assert list(kept.target.foreign()) == []
    assert kept.target.remove_foreign([Foreign(kept.key(name), "") for name in ("a", "b", "gone", "never")]) == 0
    assert kept.target.count() == 2


def test_a_key_put_there_by_hand_is_listed_and_goes_on_request_only(kept: Keyed, client: redis.Redis) -> None:
    key = f"{kept.prefix}all" if kept.members else f"{kept.prefix}hand"
    by_hand(client, kept, key)
    (found,) = kept.target.foreign()
    assert found.key == key
    assert found.what.endswith("without a version")
    assert client.exists(key)
    assert kept.target.remove_foreign([found]) == 1
    assert not client.exists(key)
    assert kept.target.remove_foreign([found]) == 0
    assert list(kept.target.foreign()) == []


def test_a_key_of_another_type_is_foreign_whole(kept: Keyed, client: redis.Redis) -> None:
    key = f"{kept.prefix}all" if kept.members else f"{kept.prefix}hand"
    client.rpush(key, "mine", "mine too")
    assert list(kept.target.foreign()) == [Foreign(key, "a list")]
    assert kept.target.remove_foreign([Foreign(key, "a list")]) == 1
    assert not client.exists(key)


@pytest.mark.parametrize("type", ["set", "sorted_set"])
def test_a_member_put_there_by_hand_goes_and_its_neighbours_stay(
    sink: RedisSink, client: redis.Redis, type: str
) -> None:
    kept = Keyed(sink, type, f"{uuid4().hex}:")
    key = f"{kept.prefix}all"
    assert kept.put("a", 5) is APPLIED
    by_hand(client, kept, key)
    found = list(kept.target.foreign())
    assert found == [Foreign((key, "mine"), "a member without a version")]
    assert kept.target.remove_foreign(found) == 1
    assert list(kept.target.foreign()) == []
    assert [row.key for row in kept.target.rows()] == [(key, "a")]


def test_what_became_a_row_meanwhile_is_not_removed(kept: Keyed, client: redis.Redis) -> None:
    key = f"{kept.prefix}all" if kept.members else kept.key("hand")
    by_hand(client, kept, key)
    (found,) = kept.target.foreign()
    client.delete(key)
    assert kept.put("hand", 5) is APPLIED
    assert kept.target.remove_foreign([found]) == 0
    assert kept.target.count() == 1


def test_a_version_in_our_form_makes_a_row_of_it(sink: RedisSink, client: redis.Redis) -> None:
    kept = Keyed(sink, "hash", f"{uuid4().hex}:")
    client.hset(kept.key("hand"), mapping={"_v": "7", "a": "mine"})
    assert list(kept.target.foreign()) == []
    assert [row.key for row in kept.target.rows()] == [kept.key("hand")]


def test_a_string_whose_version_was_evicted_is_foreign(sink: RedisSink, client: redis.Redis) -> None:
    kept = Keyed(sink, "string", f"{uuid4().hex}:")
    assert kept.put("a", 5) is APPLIED
    client.delete(companion(kept.key("a")))
    assert list(kept.target.foreign()) == [Foreign(kept.key("a"), "a string without a version")]


def test_keys_beyond_the_family_are_nobodys_business(kept: Keyed, client: redis.Redis) -> None:
    by_hand(client, kept, f"other{kept.prefix}")
    assert list(kept.target.foreign()) == []
    client.delete(f"other{kept.prefix}")
