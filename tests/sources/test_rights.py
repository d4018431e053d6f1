"""Each action that following and filling need is tried once, and what is missing is named."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dynaview.sources.errors import AccessDenied, SourceError, TableMissing
from dynaview.sources.rights import Rights, try_rights
from dynaview.sources.session import Session
from tests.sources.bodies import ARN
from tests.sources.stub import Answer, Stub

DESCRIBED = {
    "Table": {
        "TableName": "shop",
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "LatestStreamArn": ARN,
    }
}
SCANNED = {"Items": [{"pk": {"S": "a"}, "total": {"N": "1"}}]}
ANSWERS: dict[str, Any] = {
    "DescribeTable": DESCRIBED,
    "Scan": SCANNED,
    "BatchGetItem": {"Responses": {}},
    "DescribeStream": {"StreamDescription": {"Shards": [{"ShardId": "shard-1"}]}},
    "GetShardIterator": {"ShardIterator": "it"},
    "GetRecords": {"Records": []},
}


def tried(stub: Stub, session: Session, **replaced: Answer) -> Rights:
    answers = {name: Answer.of(body) for name, body in ANSWERS.items()} | replaced
    stub.say(*answers.values())
    return try_rights(session, "shop")


def told(rights: Rights) -> dict[str, SourceError | None]:
    return {each.action.removeprefix("dynamodb:"): each.error for each in rights.tried}


def test_all_are_tried_at_the_least_price(stub: Stub, session: Session) -> None:
    assert told(tried(stub, session)) == dict.fromkeys(ANSWERS)
    asked = {each.operation: each.parameters for each in stub.asked}
    assert asked["Scan"] == {"TableName": "shop", "Limit": 1, "ConsistentRead": True}
    assert asked["BatchGetItem"]["RequestItems"]["shop"]["Keys"] == [{"pk": {"S": "a"}}]
    assert asked["GetRecords"] == {"ShardIterator": "it", "Limit": 1}


@pytest.mark.parametrize("denied", ANSWERS)
def test_one_that_is_denied_is_named_with_its_resource(stub: Stub, session: Session, denied: str) -> None:
    rights = tried(stub, session, **{denied: Answer.error("AccessDeniedException")})
    error = told(rights)[denied]
    assert isinstance(error, AccessDenied)
    assert error.action == f"dynamodb:{denied}"
    stream = denied in ("DescribeStream", "GetShardIterator", "GetRecords")
    assert error.resource.endswith("/stream/*" if stream else "table/shop")


def test_where_there_is_no_table_nothing_else_is_tried(stub: Stub, session: Session) -> None:
    rights = tried(stub, session, DescribeTable=Answer.error("ResourceNotFoundException"))
    assert list(told(rights)) == ["DescribeTable"]
    assert isinstance(told(rights)["DescribeTable"], TableMissing)


def test_what_needs_an_item_a_stream_or_a_shard_is_left_out_without_one(stub: Stub, session: Session) -> None:
    stub.say(Answer.of({"Table": {"KeySchema": []}}), Answer.of({"Items": []}))
    assert list(told(try_rights(session, "shop"))) == ["DescribeTable", "Scan"]
    stub.say(Answer.of(DESCRIBED), Answer.of({}), Answer.of({"StreamDescription": {}}))
    assert list(told(try_rights(session, "shop"))) == ["DescribeTable", "Scan", "DescribeStream"]


def test_an_answer_that_is_none_is_no_stack_trace(stub: Stub, session: Session) -> None:
    stub.say(Answer(b"<html>"))
    assert set(told(try_rights(session, "shop"))) >= {"DescribeTable"}


@pytest.mark.parametrize("ahead", [90.0, -400.0, 0.0])
def test_how_far_clocks_differ(stub: Stub, session: Session, ahead: float) -> None:
    stub.say(*map(Answer.of, ANSWERS.values()))  # each is sent with the stub's own time
    skew = try_rights(session, "shop", now=lambda: time.time() + ahead).skew
    assert skew is not None
    assert abs(skew - ahead) < 3
