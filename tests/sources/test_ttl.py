"""A delete by TTL, as a real server writes it."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING

from dynaview.local import servers
from dynaview.projections.attributes import Shape
from dynaview.sources.session import Session
from dynaview.sources.table import DynamoTable
from tests.support.shop import create_table, wire
from tests.support.until import until

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


def test_a_ttl_delete_is_a_delete_that_says_who_made_it(dynamodb: DynamoDBClient, dynamodb_endpoint: str) -> None:
    name = f"ttl{uuid.uuid4().hex}"
    create_table(dynamodb, name)
    dynamodb.put_item(TableName=name, Item=wire({"pk": "a", "sk": "b", "ttl": int(time.time()) - 5}))
    table = DynamoTable(Session(servers.REGION, dynamodb_endpoint), name)
    stream = table.stream(table.describe().stream_arn or "", Shape(["pk", "sk"]))
    (shard,) = stream.shards()
    iterator = stream.open(shard.id, None)
    until(lambda: len(stream.read(iterator).changes) == 2, "DynamoDB Local to delete what has expired", 60)
    page = stream.read(iterator)
    assert page.broken == []
    assert [(change.event, change.by_ttl) for change in page.changes] == [("INSERT", False), ("REMOVE", True)]
    dynamodb.delete_table(TableName=name)
