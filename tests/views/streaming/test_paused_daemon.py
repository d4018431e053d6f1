"""A daemon that is stopped for a while (SIGSTOP) and goes on later, with a second one beside it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.real_servers import STORES, RealServers
from tests.support.until import until

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def site(
    tmp_path: Path,
    dynamodb: DynamoDBClient,
    dynamodb_endpoint: str,
    redis_url: str,
    postgres_url: str,
    opensearch_url: str,
) -> Iterator[RealServers]:
    urls = {"dynamodb": dynamodb_endpoint, "redis": redis_url, "postgres": postgres_url, "opensearch": opensearch_url}
    with RealServers(tmp_path, urls, dynamodb) as made:
        yield made


@pytest.mark.parametrize("ends", ["goes on", "is killed"])
def test_a_paused_daemon_loses_nothing_and_counts_nothing_twice(site: RealServers, ends: str) -> None:
    with site.process() as first:
        site.wait_following()
        site.put(0, 100, "before")
        site.wait_counted()
        with site.process() as second:
            until(lambda: site.logs[1].exists() and b"following" in site.logs[1].read_bytes(), "the second one", 60)
            with site.proxies["redis"].hold(), site.proxies["postgres"].hold(), site.proxies["opensearch"].hold():
                accepted = [site.proxies[store].held for store in STORES]
                site.put(0, 100, "while its stores hold")
                until(
                    lambda: all(
                        site.proxies[store].held > count for store, count in zip(STORES, accepted, strict=True)
                    ),
                    "writes to be on their way",
                )
                first.send_signal(signal.SIGSTOP)
            site.put(50, 100, "while it is paused")  # what it had written arrives only now
            if ends == "goes on":
                first.send_signal(signal.SIGCONT)
            else:
                first.kill()
                first.wait()
            site.put(100, 100, "afterwards")
            site.check()
            assert second.poll() is None
