"""The key that holds a view's highest generation: what it holds, and that nobody takes it for a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NoReturn

import pytest
import redis

from dynaview.local import servers
from dynaview.projections.rows import Layout, Write
from dynaview.sinks.port import APPLIED, CanonicalRows, SinkRefused
from dynaview.sinks.redis import RedisSink
from dynaview.sinks.redis.names import Family, highest
from tests.sinks.redis.keyed import TYPES, layout

KEY = "_g{*}"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this module's own: the families of its views are all keys."""
    server = servers.create("redis", tmp_path_factory.mktemp("servers"))
    server.start()
    yield server.url
    server.stop()


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as made:
        made.flushall()
        made.config_set("maxmemory", "1gb")
        yield made


@pytest.fixture
def sink(url: str, client: redis.Redis) -> Iterator[RedisSink]:
    made = RedisSink("cache", url, {})
    yield made
    made.close()


@pytest.fixture(params=TYPES)
def view(request: pytest.FixtureRequest) -> Layout:
    """A view whose family is every key there is."""
    return layout(request.param)


def row(view: Layout, name: str, version: int) -> Write:
    type: Any = view.options.type  # type: ignore[union-attr] # laid out for Redis
    values: Any = {"set": (), "sorted_set": (1.0,)}.get(type, ("a",))
    return Write(("all", name) if type in ("set", "sorted_set") else name, values, version)


def test_the_key_holds_the_number_for_ever(sink: RedisSink, client: redis.Redis, view: Layout) -> None:
    assert sink.highest(view) == 0
    assert client.keys() == [], "asking makes nothing"
    for number, held in ((2, b"2 v"), (1, b"2 v"), (10, b"10 v"), (9, b"10 v")):
        sink.open(view, number).prepare()
        assert client.get(KEY) == held
    assert client.ttl(KEY) == -1
    assert client.keys() == [KEY.encode()]


def test_the_number_is_that_of_the_keys_whatever_their_view_is_called(sink: RedisSink, client: redis.Redis) -> None:
    cards = layout("hash", ("card:", ""))
    sink.open(cards, 3).prepare()
    assert sink.highest(replace(cards, view="renamed")) == 3
    assert sink.highest(layout("hash", ("other:", ""))) == 0, (
        "a view of the same name elsewhere has nothing to do with it"
    )


def test_the_key_is_nobodys_row(sink: RedisSink, client: redis.Redis, view: Layout) -> None:
    target, later = sink.open(view, 1), sink.open(view, 3)
    target.prepare()
    later.prepare()
    room = sink.room(view, 3)
    assert room is not None
    assert room.used == 0
    assert target.count() == 0
    assert sink.problems(view) == []
    written = [row(view, "a", 5), row(view, "b", 5)]
    assert target.write(written) == [APPLIED] * 2
    assert {found.key for found in target.rows()} == {one.key for one in written}
    assert later.write([row(view, "c", 5)]) == [APPLIED]
    target.drop()
    assert client.get(KEY) == b"3 v", "an earlier generation takes the number of none but itself"
    assert [found.key for found in later.rows()] == [row(view, "c", 5).key]
    later.drop()
    assert client.keys() == []


def test_versions_beside_a_set_are_no_rows_of_hashes(sink: RedisSink, client: redis.Redis) -> None:
    members, hashes = layout("set", ("all",)), layout("hash", ("", ""))
    target = sink.open(members, 1)
    assert target.write([Write(("all", "_v"), (), 5)]) == [APPLIED]
    assert client.hget("_v{all}", "_v") is not None, "as the version of a hash would stand there"
    looking = sink.open(hashes, 2)
    assert looking.count() == 0
    assert [*looking.earlier(), *looking.rows(), *looking.canonical_rows()] == [CanonicalRows([], [], [])]


def test_what_is_left_of_a_highest_generation_counts_when_a_drop_breaks_off(
    sink: RedisSink, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = sink.open(layout("hash"), 3)
    target.prepare()
    target.write([row(layout("hash"), "a", 5)])

    def broken() -> NoReturn:
        raise ConnectionError

    monkeypatch.setattr(target, "_forgettable", broken)
    with pytest.raises(ConnectionError):
        target.drop()
    assert sink.highest(layout("hash")) == 3


def test_an_evicted_key_comes_back_with_the_next_preparation(sink: RedisSink, client: redis.Redis) -> None:
    target = sink.open(layout("hash"), 3)
    target.prepare()
    client.delete(KEY)  # as eviction does
    assert sink.highest(layout("hash")) == 0
    target.prepare()
    assert sink.highest(layout("hash")) == 3


@pytest.mark.parametrize(
    "put",
    [
        lambda client, key: client.rpush(key, "1"),
        lambda client, key: client.hset(key, "a", "1"),
        lambda client, key: client.set(key, "mine"),
        lambda client, key: client.set(key, "1.5"),
        lambda client, key: client.set(key, ""),
        lambda client, key: client.set(key, "1" * 19),
    ],
    ids=["list", "hash", "text", "number", "empty", "long"],
)
def test_a_foreign_key_of_that_name_is_refused_and_left_alone(
    sink: RedisSink, client: redis.Redis, put: Callable[[redis.Redis, str], Any]
) -> None:
    view = layout("hash", ("other:", ""))
    key = highest(Family(("other:", "")))
    put(client, key)
    before = client.dump(key)
    assert sink.highest(view) == 0
    assert any(key in problem for problem in sink.problems(view))
    target = sink.open(view, 2)
    with pytest.raises(SinkRefused, match=r"key _g\{other:\*\} was not created by dynaview.*remove it"):
        target.prepare()
    target.drop()
    assert client.dump(key) == before
    client.delete(key)
    assert sink.problems(view) == []
    target.prepare()
    assert sink.highest(view) == 2
