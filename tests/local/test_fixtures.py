"""The servers that the other tests rely on do what these expect of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import redis
import sqlalchemy
from opensearchpy import OpenSearch

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


def test_valkey_answers(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping() is True


def test_one_postgres_url_serves_psycopg_and_sqlalchemy(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("select 1")).scalar() == 1
    engine.dispose()


def test_opensearch_is_the_version_that_is_supported(opensearch_url: str) -> None:
    client = OpenSearch(opensearch_url)
    assert client.info()["version"]["number"].startswith("3.")
    client.close()


def test_dynamodb_local_lists_tables(dynamodb: DynamoDBClient) -> None:
    assert "TableNames" in dynamodb.list_tables()
