"""dynaview validate --online, against real servers."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis
import urllib3

from dynaview.views.declarations.load import load
from dynaview.views.declarations.online import Found, check

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

Ask = Callable[..., Found]


@pytest.fixture
def name() -> str:
    """A name that no other test uses."""
    return f"online{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make_table(dynamodb: DynamoDBClient, name: str) -> Callable[[str | None], None]:
    def made(view_type: Any) -> None:
        dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification=(
                {"StreamEnabled": True, "StreamViewType": view_type} if view_type else {"StreamEnabled": False}
            ),
        )

    return made


@pytest.fixture
def ask(
    folder: Path,
    name: str,
    dynamodb_endpoint: str,
    redis_url: str,
    opensearch_url: str,
    postgres_url: str,
) -> Ask:
    """Check a declaration with views in all stores, called by the test's name; `words` are replaced in its text."""
    text = """\
sources: {shop: {table: "${NAME}", region: us-east-1, endpoint: "${DYNAMODB_ENDPOINT}"}}
sinks:
  cache: {redis: "${REDIS_URL}"}
  search: {opensearch: "${OPENSEARCH_URL}"}
  reads: {postgres: "${DATABASE_URL}"}
views:
  card:
    {source: shop, sink: cache, match: {pk: "C#{id}"}, key: "NAME:{id}", fields: {a: a}}
  found:
    {source: shop, sink: search, match: {pk: "C#{id}"}, index: NAME, key: "{id}", fields: {a: a}}
  rows:
    {source: shop, sink: reads, match: {pk: "C#{id}"}, table: NAME, key: [id, a], fields: {id: id, a: a}}
"""
    environ = {
        "NAME": name,
        "DYNAMODB_ENDPOINT": dynamodb_endpoint,
        "REDIS_URL": redis_url,
        "OPENSEARCH_URL": opensearch_url,
        "DATABASE_URL": postgres_url,
    }

    def asked(words: tuple[str, str] = ("", "")) -> Found:
        Path("dynaview.yaml").write_text(
            text.replace("NAME:", f"{name}:").replace(": NAME", f": {name}").replace(*words)
        )
        return check(load([Path("dynaview.yaml")], environ))

    return asked


def lines(found: Found) -> list[str]:
    return [f"{problem.at.path}: {problem.message}" for problem in found.problems]


def test_what_is_right(ask: Ask, make_table: Callable[[str | None], None], name: str) -> None:
    make_table("NEW_AND_OLD_IMAGES")
    found = ask()
    assert lines(found) == []
    table, cache, search, reads = found.facts
    assert table == f"shop: table {name}, key pk, sk, about 0 items, stream with NEW_AND_OLD_IMAGES"
    assert cache.startswith("cache: Valkey ")
    assert search.startswith("search: OpenSearch ")
    assert reads.startswith("reads: PostgreSQL ")


def test_a_missing_table(ask: Ask, name: str) -> None:
    (line,) = lines(ask())
    assert line.startswith("sources.shop: ")
    assert name in line
    assert "check the table's name" in line


def test_a_table_without_a_stream(ask: Ask, make_table: Callable[[str | None], None], name: str) -> None:
    make_table(None)
    assert lines(ask()) == [
        f"sources.shop: table {name} has no stream: switch it on with `dynaview run --enable-stream`"
    ]


def test_a_stream_that_carries_too_little(ask: Ask, make_table: Callable[[str | None], None]) -> None:
    make_table("NEW_IMAGE")
    (line,) = lines(ask())
    assert line.startswith("views.rows.key: the row key reads a")
    assert "the stream carries NEW_IMAGE" in line


def test_a_match_on_what_is_no_key(ask: Ask, make_table: Callable[[str | None], None]) -> None:
    make_table("NEW_AND_OLD_IMAGES")
    (line,) = lines(ask(('sink: cache, match: {pk: "C#{id}"}', 'sink: cache, match: {gsi: "C#{id}"}')))
    assert line.startswith("views.card.match: gsi is not a key attribute of the table (its key is pk, sk)")


def test_names_that_others_have_taken(
    ask: Ask,
    make_table: Callable[[str | None], None],
    name: str,
    redis_url: str,
    opensearch_url: str,
    postgres_url: str,
) -> None:
    make_table("NEW_AND_OLD_IMAGES")
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{name}:1", "somebody's")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {name} (a text)".encode())
    assert urllib3.request("PUT", f"{opensearch_url}/{name}").status == 200
    card, found, rows = lines(ask())
    assert card.startswith("views.card: 1 keys of the view's family were not created by dynaview")
    assert found.startswith("views.found: ")
    assert rows.startswith("views.rows: ")
    assert name in found
    assert name in rows
