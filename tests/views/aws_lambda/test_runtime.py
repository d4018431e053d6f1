"""The runtime's own client runs the handler, on real stores: what it is given and answers is AWS's contract."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis
from opensearchpy import OpenSearch
from psycopg.sql import SQL, Identifier

from dynaview.views.control.records import Progress
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from dynaview.views.streaming.admission import registered
from tests.support.runtime_api import InvocationFailed, Runtime

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("awslambdaric") is None, reason="needs awslambdaric, which is for Linux"
)

HANDLER = "dynaview.views.aws_lambda.handler"

COLD = 2.5
"""Seconds of processor time until a first batch is in one view, at the most. It takes about 1.3 where other tests run
beside this one (docs/how-to/lambda.md)."""

ONE = """
sources: {shop: {table: NAME, endpoint: "${ENDPOINT}", lambda_timeout: 30s}}
sinks: {cache: {redis: "${REDIS_URL}"}}
control: "${CONTROL_URL}"
views:
  NAME_card: {source: shop, sink: cache, type: hash, key: "NAME:card:{pk}", fields: {pk: pk, name: name, raw: raw}}
"""

ALL = """
sources: {shop: {table: NAME, endpoint: "${ENDPOINT}", lambda_timeout: 30s}}
sinks:
  cache: {redis: "${REDIS_URL}"}
  reads: {postgres: "${DATABASE_URL}"}
  search: {opensearch: "${OPENSEARCH_URL}"}
control: "${CONTROL_URL}"
views:
  NAME_card: {source: shop, sink: cache, type: hash, key: "NAME:card:{pk}", fields: {pk: pk, name: name}}
  NAME_people:
    source: shop
    sink: reads
    table: NAME_people
    key: pk
    fields: {pk: {from: pk, type: text}, name: {from: name, type: text}, raw: {from: raw, type: binary}}
  NAME_found: {source: shop, sink: search, index: NAME_found, key: "{pk}", fields: {pk: pk, name: name}}
"""


class Shop:
    """A table of DynamoDB Local, and its stream as Lambda would show it."""

    def __init__(self, name: str, dynamodb: DynamoDBClient, streams: DynamoDBStreamsClient) -> None:
        self.name, self._dynamodb, self._streams = name, dynamodb, streams
        made = dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self.arn = made["TableDescription"]["LatestStreamArn"]

    def put(self, key: str, **attributes: Any) -> None:
        self._dynamodb.put_item(TableName=self.name, Item={"pk": {"S": key}, **attributes})

    def delete(self, key: str) -> None:
        self._dynamodb.delete_item(TableName=self.name, Key={"pk": {"S": key}})

    def event(self) -> dict[str, Any]:
        """All records of the stream."""
        found = []
        for shard in self._streams.describe_stream(StreamArn=self.arn)["StreamDescription"]["Shards"]:
            at = self._streams.get_shard_iterator(
                StreamArn=self.arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )
            for record in self._streams.get_records(ShardIterator=at["ShardIterator"])["Records"]:
                body: dict[str, Any] = {**record["dynamodb"]}
                body["ApproximateCreationDateTime"] = float(int(time.time()))  # DynamoDB Local cuts to the minute
                found.append({**record, "dynamodb": body, "eventVersion": "1.1", "eventSourceARN": self.arn})
        text = json.dumps({"Records": found}, default=lambda raw: base64.b64encode(raw).decode())
        event: dict[str, Any] = json.loads(text)
        return event


@pytest.fixture
def shop(dynamodb: DynamoDBClient, dynamodb_streams: DynamoDBStreamsClient) -> Iterator[Shop]:
    made = Shop(f"lambda{uuid.uuid4().hex[:8]}", dynamodb, dynamodb_streams)
    yield made
    dynamodb.delete_table(TableName=made.name)


def environment(folder: Path, shop: Shop, text: str, endpoint: str, **urls: str) -> dict[str, str]:
    (folder / "dynaview.yaml").write_text(text.replace("NAME", shop.name))
    control = f"sqlite:///{folder}/control.db"
    return {**os.environ, "LAMBDA_TASK_ROOT": str(folder), "ENDPOINT": endpoint, "CONTROL_URL": control, **urls}


def test_one_view_from_a_cold_start(shop: Shop, tmp_path: Path, dynamodb_endpoint: str, redis_url: str) -> None:
    shop.put("before")
    told = environment(tmp_path, shop, ONE, dynamodb_endpoint, REDIS_URL=redis_url)
    with Runtime(told, HANDLER) as runtime:
        with pytest.raises(InvocationFailed, match="Unproven: no round has come"):
            runtime.invoke(shop.event(), 30.0)
        answer = runtime.invoke({"dynaview": "round"})
        assert answer["views"][f"{shop.name}_card"]["current"], answer
    with Runtime(told, HANDLER) as runtime, redis.Redis.from_url(redis_url) as cache:
        shop.put("a", name={"S": "Ada"}, raw={"B": b"\x00\xff"})
        assert runtime.invoke(shop.event(), 30.0) == {"batchItemFailures": []}
        took = runtime.processor()
        card = cache.hgetall(f"{shop.name}:card:a")
        assert (card[b"name"], card[b"raw"]) == (b"Ada", b"\x00\xff")
        assert cache.exists(f"{shop.name}:card:before")
        shop.delete("a")
        connections = {each["id"] for each in cache.client_list()}
        assert runtime.invoke(shop.event(), 30.0) == {"batchItemFailures": []}
        assert not cache.exists(f"{shop.name}:card:a")
        assert {each["id"] for each in cache.client_list()} - connections == set(), "connections are kept"
        with pytest.raises(InvocationFailed, match="EventRefused: records of a Kinesis stream"):
            runtime.invoke({"Records": [{"eventSource": "aws:kinesis"}]}, 30.0)
        for key in cache.scan_iter(f"*{shop.name}:*"):
            cache.delete(key)
    print(f"a first batch takes {took} s of processor time")
    assert took < COLD, f"{took} s"


def test_all_stores(
    shop: Shop, tmp_path: Path, dynamodb_endpoint: str, redis_url: str, postgres_url: str, opensearch_url: str
) -> None:
    urls = {"REDIS_URL": redis_url, "DATABASE_URL": postgres_url, "OPENSEARCH_URL": opensearch_url}
    told = environment(tmp_path, shop, ALL, dynamodb_endpoint, **urls)
    with closing(ControlStore(told["CONTROL_URL"])) as control:  # as if a first round had come long ago
        for view in load([tmp_path / "dynaview.yaml"], told).views.values():
            registered(control, view, shop.name, shop.arn)
            control.commit(view.name, Progress(), 1.0)
    with Runtime(told, HANDLER) as runtime, psycopg.connect(postgres_url, autocommit=True) as reads:
        for number in range(30):
            shop.put(f"k{number}", name={"S": f"n{number}"}, raw={"B": bytes([number])})
        shop.put("k3", name={"S": "newer"})
        shop.delete("k4")
        event = shop.event()
        assert runtime.invoke(event, 30.0) == {"batchItemFailures": []}
        assert runtime.invoke(event, 30.0) == {"batchItemFailures": []}, "and once more"
        search = OpenSearch(opensearch_url)
        search.indices.refresh(index=f"{shop.name}_found")
        found = reads.execute(
            SQL("SELECT pk, name, raw FROM {}").format(Identifier(f"{shop.name}_people".lower()))
        ).fetchall()
        assert {(pk, name) for pk, name, _ in found} == {
            (f"k{n}", "newer" if n == 3 else f"n{n}") for n in range(30) if n != 4
        }
        answer = search.search(index=f"{shop.name}_found", size=100)
        assert len(answer["hits"]["hits"]) == 29
        assert {bytes(raw) for _, _, raw in found if raw} == {bytes([n]) for n in range(30) if n not in (3, 4)}
        search.close()
    with redis.Redis.from_url(redis_url) as cache:
        for key in cache.scan_iter(f"*{shop.name}:*"):
            cache.delete(key)
