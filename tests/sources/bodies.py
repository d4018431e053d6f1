"""Bodies as AWS writes them."""

from __future__ import annotations

import json
from typing import Any

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/shop/stream/2026-01-01T00:00:00.000"


def record(number: int = 1, event: str = "MODIFY", **changes: Any) -> dict[str, Any]:
    """One stream record; `changes` replace or (None) remove parts of its ``dynamodb``."""
    body: dict[str, Any] = {
        "ApproximateCreationDateTime": 1_700_000_000,
        "Keys": {"pk": {"S": f"p{number}"}},
        "NewImage": {"pk": {"S": f"p{number}"}, "total": {"N": "1.50"}},
        "OldImage": {"pk": {"S": f"p{number}"}},
        "SequenceNumber": str(10**20 + number),
        "SizeBytes": 100,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    }
    if event == "INSERT":
        del body["OldImage"]
    if event == "REMOVE":
        del body["NewImage"]
    body |= changes
    return {
        "eventID": "0" * 32,
        "eventName": event,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1",
        "dynamodb": {name: part for name, part in body.items() if part is not None},
    }


def page(*records: Any, following: str | None = "next") -> dict[str, Any]:
    """A GetRecords answer."""
    return {"Records": list(records)} | ({} if following is None else {"NextShardIterator": following})


def packed(body: Any) -> bytes:
    """The body as bytes."""
    return json.dumps(body, separators=(",", ":")).encode()


def shard(name: str, parent: str | None = None, last: str | None = None) -> dict[str, Any]:
    """One shard of a DescribeStream answer."""
    found: dict[str, Any] = {"ShardId": name, "SequenceNumberRange": {"StartingSequenceNumber": "1"}}
    if parent is not None:
        found["ParentShardId"] = parent
    if last is not None:
        found["SequenceNumberRange"]["EndingSequenceNumber"] = last
    return found


def stream(*shards: Any, last: str | None = None, status: str = "ENABLED") -> dict[str, Any]:
    """A DescribeStream answer."""
    described: dict[str, Any] = {
        "StreamArn": ARN,
        "StreamStatus": status,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
        "Shards": list(shards),
    }
    return {"StreamDescription": described | ({} if last is None else {"LastEvaluatedShardId": last})}


def table(view_type: str | None = "NEW_AND_OLD_IMAGES", status: str = "ACTIVE") -> dict[str, Any]:
    """A DescribeTable answer."""
    described: dict[str, Any] = {
        "TableName": "shop",
        "TableArn": ARN.partition("/stream")[0],
        "TableStatus": status,
        "KeySchema": [{"AttributeName": "sk", "KeyType": "RANGE"}, {"AttributeName": "pk", "KeyType": "HASH"}],
        "ItemCount": 7,
        "TableSizeBytes": 700,
        "LatestStreamArn": ARN,
    }
    if view_type is not None:
        described["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": view_type}
    return {"Table": described}
