from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from dynaview.sinks.redis import RedisSink
from tests.sinks.redis.keyed import TYPES, Keyed


@pytest.fixture(scope="session")
def client(redis_url: str) -> Iterator[redis.Redis]:
    """The server as a reader sees it."""
    with redis.Redis.from_url(redis_url) as made:
        yield made


@pytest.fixture(scope="session")
def sink(redis_url: str) -> Iterator[RedisSink]:
    made = RedisSink("cache", redis_url, {})
    yield made
    made.close()


@pytest.fixture
def prefix() -> str:
    """The beginning of keys that no other test uses."""
    return f"t{uuid4().hex[:12]}:"


@pytest.fixture(params=TYPES)
def keyed(request: pytest.FixtureRequest, sink: RedisSink, prefix: str) -> Keyed:
    return Keyed(sink, request.param, prefix)
