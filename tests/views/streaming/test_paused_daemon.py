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
def real(tmp_path: Path, urls: dict[str, str], dynamodb: DynamoDBClient) -> Iterator[RealServers]:
    with RealServers(tmp_path, urls, dynamodb) as made:
        yield made


@pytest.mark.parametrize("ends", ["goes on", "is killed"])
def test_a_paused_daemon_loses_nothing_and_counts_nothing_twice(real: RealServers, ends: str) -> None:
    with real.process() as first:
        real.wait_following()
        real.put(0, 100, "before")
        real.wait_counted()
        with real.process() as second:
            until(lambda: real.logs[1].exists() and b"following" in real.logs[1].read_bytes(), "the second one", 60)
            with real.proxies["redis"].hold(), real.proxies["postgres"].hold(), real.proxies["opensearch"].hold():
                accepted = [real.proxies[store].held for store in STORES]
                real.put(0, 100, "while its stores hold")
                until(
                    lambda: all(
                        real.proxies[store].held > count for store, count in zip(STORES, accepted, strict=True)
                    ),
                    "writes to be on their way",
                )
                first.send_signal(signal.SIGSTOP)
            real.put(50, 100, "while it is paused")  # what it had written arrives only now
            if ends == "goes on":
                first.send_signal(signal.SIGCONT)
            else:
                first.kill()
                first.wait()
            real.put(100, 100, "afterwards")
            real.check()
            assert second.poll() is None
