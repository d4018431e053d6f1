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
def site(
    tmp_path_factory: pytest.TempPathFactory,
    dynamodb: DynamoDBClient,
    dynamodb_endpoint: str,
    redis_url: str,
    postgres_url: str,
    opensearch_url: str,
) -> Iterator[RealServers]:
    """One for all: each test leaves it whole, or the next one says so too."""
    urls = {"dynamodb": dynamodb_endpoint, "redis": redis_url, "postgres": postgres_url, "opensearch": opensearch_url}
    with real_servers(tmp_path_factory.mktemp("servers"), urls, dynamodb) as made:
        yield made
        assert not made.daemon.threads.crashed.is_set()


def test_connections_that_are_reset_at_random_bytes_lose_nothing(site: RealServers) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown where the test fails
    chance = random.Random(seed)
    for step in range(12):
        for proxy in site.proxies.values():
            direction: Direction = chance.choice(("up", "down"))
            proxy.cut(direction, chance.randrange(chance.choice((20, 400, 6000))))
        site.put(chance.randrange(40), 25, f"{step} {'x' * chance.randrange(400)}")
        site.delete(chance.randrange(40))
        if step % 3 == 0:
            site.wait_counted()
    resets = {name: proxy.resets for name, proxy in site.proxies.items()}
    for proxy in site.proxies.values():
        proxy.heal()
    site.check()
    assert all(count > 0 for count in resets.values()), resets


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_batch_whose_connection_is_lost_half_way_is_done_again(
    site: RealServers, store: str, direction: Direction
) -> None:
    """`up`: the store has got half of it; `down`: all of it, and its answer is lost."""
    proxy = site.proxies[store]
    site.put(0, 300, f"before {store} {direction}")
    site.wait_counted()
    with proxy.hold():
        held, resets = proxy.held, proxy.resets
        site.put(0, 300, f"{direction} {'x' * 400}")  # about 150 KB
        until(lambda: proxy.held > held, "the batch to be on its way", 90)
        proxy.cut(direction, 60_000 if direction == "up" else 100)
    until(lambda: proxy.resets > resets, "the connection to be reset", 90)
    site.put(300, 1, f"after {store} {direction}")
    site.check()


@pytest.mark.parametrize("store", STORES)
def test_an_answer_that_comes_after_the_view_has_given_up_does_no_harm(site: RealServers, store: str) -> None:
    site.put(0, 50, "first")
    site.wait_counted()
    before = site.made
    with site.proxies[store].hold():
        site.put(0, 50, "second")
        until(lambda: site.state(store) == "retrying", "the view to give up on the answer", 90)
        site.wait_counted(*(other for other in STORES if other != store))
        assert site.counts(store).read == before
        site.put(0, 50, "third")  # what was held arrives together with what is newer
    site.check()


@pytest.mark.parametrize("store", STORES)
def test_answers_that_are_lost_again_and_again_count_once(site: RealServers, store: str) -> None:
    site.put(0, 30, "first")
    site.wait_counted()
    with site.proxies[store].lose_answers():
        site.put(0, 30, "second")
        until(lambda: site.state(store) == "retrying", "the outage to show", 90)
        site.wait_counted(*(other for other in STORES if other != store))
    site.check()
