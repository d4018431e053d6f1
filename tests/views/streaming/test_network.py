"""Connections that break at any byte, in either direction: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.proxy import Direction
from tests.support.real_servers import STORES, RealServers, real_servers
from tests.support.until import until

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@pytest.fixture(scope="module")
def real(
    tmp_path_factory: pytest.TempPathFactory, urls: dict[str, str], dynamodb: DynamoDBClient
) -> Iterator[RealServers]:
    """One for all: each test leaves it whole, or the next one says so too."""
    with real_servers(tmp_path_factory.mktemp("servers"), urls, dynamodb) as made:
        yield made
        assert not made.daemon.threads.crashed.is_set()


def test_connections_that_are_reset_at_random_bytes_lose_nothing(real: RealServers) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown where the test fails
    chance = random.Random(seed)
    for step in range(12):
        for proxy in real.proxies.values():
            direction: Direction = chance.choice(("up", "down"))
            proxy.cut(direction, chance.randrange(chance.choice((20, 400, 6000))))
        real.put(chance.randrange(40), 25, f"{step} {'x' * chance.randrange(400)}")
        real.delete(chance.randrange(40))
        if step % 3 == 0:
            real.wait_counted()
    resets = {name: proxy.resets for name, proxy in real.proxies.items()}
    for proxy in real.proxies.values():
        proxy.heal()
    real.check()
    assert all(count > 0 for count in resets.values()), resets


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_batch_whose_connection_is_lost_half_way_is_done_again(
    real: RealServers, store: str, direction: Direction
) -> None:
    """`up`: the store has got half of it; `down`: all of it, and its answer is lost."""
    proxy = real.proxies[store]
    real.put(0, 300, f"before {store} {direction}")
    real.wait_counted()
    with proxy.hold():
        held, resets = proxy.held, proxy.resets
        real.put(0, 300, f"{direction} {'x' * 400}")  # about 150 KB
        until(lambda: proxy.held > held, "the batch to be on its way", 90)
        proxy.cut(direction, 60_000 if direction == "up" else 100)
    until(lambda: proxy.resets > resets, "the connection to be reset", 90)
    real.put(300, 1, f"after {store} {direction}")
    real.check()


@pytest.mark.parametrize("store", STORES)
def test_an_answer_that_comes_after_the_view_has_given_up_does_no_harm(real: RealServers, store: str) -> None:
    real.put(0, 50, "first")
    real.wait_counted()
    before = real.made
    with real.proxies[store].hold():
        real.put(0, 50, "second")
        until(lambda: real.state(store) == "retrying", "the view to give up on the answer", 90)
        real.wait_counted(*(other for other in STORES if other != store))
        assert real.counts(store).read == before
        real.put(0, 50, "third")  # what was held arrives together with what is newer
    real.check()


@pytest.mark.parametrize("store", STORES)
def test_answers_that_are_lost_again_and_again_count_once(real: RealServers, store: str) -> None:
    real.put(0, 30, "first")
    real.wait_counted()
    with real.proxies[store].lose_answers():
        real.put(0, 30, "second")
        until(lambda: real.state(store) == "retrying", "the outage to show", 90)
        real.wait_counted(*(other for other in STORES if other != store))
    real.check()
