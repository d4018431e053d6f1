"""What endangers rows in a store, whatever the view."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from dynaview.local import servers
from dynaview.sinks.opensearch.sink import OpenSearchSink
from dynaview.sinks.redis.sink import RedisSink
from tests.sinks.contract.subjects import Subject


def test_a_healthy_store_is_in_no_danger(subject: Subject) -> None:
    assert [each for each in subject.sink.dangers() if "disk" not in each.what] == []


def test_a_redis_that_evicts_is_nearly_full_or_a_replica(tmp_path: Path) -> None:
    server = servers.create("redis", tmp_path)
    server.start()
    sink = RedisSink("cache", server.url, {})
    try:
        with redis.Redis.from_url(server.url) as client:
            assert sink.dangers() == []
            client.config_set("maxmemory", "1gb")
            for policy, of in (("allkeys-lru", "rows are evicted"), ("volatile-ttl", "what deletes leave behind")):
                client.config_set("maxmemory-policy", policy)
                (danger,) = sink.dangers()
                assert danger.what.startswith(f"maxmemory-policy {policy}: ")
                assert of in danger.what
                assert "noeviction" in danger.do
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", str(int(client.info("memory")["used_memory"] * 1.02)))
            (danger,) = sink.dangers()
            assert danger.what.startswith("memory is 9")
            client.config_set("maxmemory", "0")
            client.replicaof("127.0.0.1", "1")
            (danger,) = sink.dangers()
            assert "is a replica" in danger.what
    finally:
        sink.close()
        server.stop()


def test_an_opensearch_that_is_red_or_full(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = OpenSearchSink("search", "http://127.0.0.1:1", {})
    answers: dict[str, Any] = {
        "/_cluster/health": {"status": "red"},
        "/_cat/allocation": [{"disk.percent": "91"}, {"disk.percent": "20"}, {"disk.percent": None}],
    }
    monkeypatch.setattr(sink, "_ask", answers.get)
    assert [danger.what for danger in sink.dangers()] == [
        "the cluster is red: shards of some index are on no node",
        "the disk of a data node is 91% full: from 95% on indexes are read-only",
    ]
    answers.clear()  # no right to know
    assert sink.dangers() == []
