"""The daemon on real servers, killed while changes flow: nothing lost, nothing counted twice, nothing ahead."""

from __future__ import annotations

from pathlib import Path

from tests.soak.soak import Plan, run


def test_a_daemon_that_is_killed_again_and_again_loses_nothing(
    dynamodb_endpoint: str, redis_url: str, postgres_url: str, opensearch_url: str, tmp_path: Path
) -> None:
    environment = {
        "DYNAMODB_ENDPOINT": dynamodb_endpoint,
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_url,
        "OPENSEARCH_URL": opensearch_url,
    }
    # No items that expire: when a delete meets one by TTL, DynamoDB Local may forget the old image.
    plan = Plan(2000, 200, 3, 3, 1, seed=20261123, sample=10**9, pace=0.5, longest=1.0, ttl_share=0.0)
    report = run(environment, tmp_path, plan)
    assert report.faults == [], (tmp_path / "daemon.log").read_text()[-3000:]
    assert (report.kills, report.outages.total(), report.pauses) == (3, 3, 1)
    assert report.checkpoint_checks > 0
    assert sum(report.rows.values()) > 0
