"""The daemon on real servers, killed while changes flow: nothing lost, nothing counted twice, nothing ahead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.soak import run

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


def test_a_daemon_that_is_killed_again_and_again_loses_nothing(
    dynamodb: DynamoDBClient,
    dynamodb_endpoint: str,
    redis_url: str,
    postgres_url: str,
    opensearch_url: str,
    tmp_path: Path,
) -> None:
    environment = {
        "DYNAMODB_ENDPOINT": dynamodb_endpoint,
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_url,
        "OPENSEARCH_URL": opensearch_url,
    }
    # No items that expire: when a delete meets one by TTL, DynamoDB Local may forget the old image.
    report = run(
        dynamodb, environment, tmp_path, changes=2000, items=200, kills=3, seed=20261123, sample=10**9, ttl_share=0.0
    )
    assert report.faults == [], (tmp_path / "daemon.log").read_text()[-3000:]
    assert report.kills == 3
    assert report.checkpoint_checks > 0
    assert sum(report.rows.values()) > 0
