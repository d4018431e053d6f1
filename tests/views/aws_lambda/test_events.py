"""Events are told apart by AWS's own shapes, and whatever is none of them is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dynaview.views.aws_lambda.events import DroppedBatch, EventRefused, Schedule, StreamBatch, recognise

ARN = "arn:aws:dynamodb:us-west-2:123456789012:table/shop/stream/2026-01-01T00:00:00.000"

RECORD = {  # of the Lambda developer guide
    "eventID": "c4ca4238a0b923820dcc509a6f75849b",
    "eventName": "INSERT",
    "eventVersion": "1.1",
    "eventSource": "aws:dynamodb",
    "awsRegion": "us-west-2",
    "dynamodb": {
        "Keys": {"Id": {"N": "101"}},
        "NewImage": {"Message": {"S": "New item!"}, "Id": {"N": "101"}},
        "SequenceNumber": "111",
        "SizeBytes": 26,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    },
    "eventSourceARN": ARN,
}

WORD = {  # of the same guide
    "requestContext": {
        "requestId": "316aa6d0-8154-xmpl-9af7-85d5f4a6bc81",
        "functionArn": "arn:aws:lambda:us-west-2:123456789012:function:myfunction",
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 1,
    },
    "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
    "version": "1.0",
    "timestamp": "2026-11-14T00:13:19.717Z",
    "DDBStreamBatchInfo": {
        "shardId": "shardId-00000001573689847184-864758bb",
        "startSequenceNumber": "800000000003126276362",
        "endSequenceNumber": "800000000003126276363",
        "approximateArrivalOfFirstRecord": "2026-11-14T00:13:19Z",
        "approximateArrivalOfLastRecord": "2026-11-14T00:13:19Z",
        "batchSize": 2,
        "streamArn": ARN,
    },
}

TOPIC = {"Type": "Notification", "MessageId": "a", "TopicArn": "b", "Message": json.dumps(WORD)}
KINESIS_WORD = {"requestContext": {}, "KinesisBatchInfo": {"shardId": "shardId-000000000001"}}


def sqs(body: Any) -> dict[str, Any]:
    return {"eventSource": "aws:sqs", "messageId": "1", "body": body if isinstance(body, str) else json.dumps(body)}


def test_records_by_a_mapping_or_a_pipe() -> None:
    for event in ({"Records": [RECORD]}, [RECORD]):
        found = recognise(event)
        assert isinstance(found, StreamBatch)
        assert found.records == [RECORD]
        assert found.stream is not None
        assert (found.stream.table, found.stream.region) == ("shop", "us-west-2")
        assert found.stream.table_arn == "arn:aws:dynamodb:us-west-2:123456789012:table/shop"


def test_a_window_that_ends_without_records() -> None:
    found = recognise({"Records": [], "window": {}, "state": {}, "isFinalInvokeForWindow": True})
    assert found == StreamBatch(None, [])


@pytest.mark.parametrize(
    "event",
    [
        WORD,
        {"Records": [sqs(WORD)]},
        {"Records": [sqs(TOPIC)]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(WORD)}}]},
    ],
    ids=["straight", "by SQS", "by SNS into SQS", "by SNS"],
)
def test_word_of_records_that_were_given_up(event: Any) -> None:
    (found,) = recognise(event)  # type: ignore[misc]  # not a single value
    assert isinstance(found, DroppedBatch)
    assert (found.shard, found.last, found.size, found.why) == (
        "shardId-00000001573689847184-864758bb",
        800000000003126276363,
        2,
        "RetryAttemptsExhausted",
    )
    assert found.made == 1794615199.0


@pytest.mark.parametrize(
    "event",
    [{"dynaview": "round"}, {"source": "aws.events", "detail-type": "Scheduled Event"}, {"source": "aws.scheduler"}],
)
def test_a_schedule(event: Any) -> None:
    assert recognise(event) == Schedule()


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"Records": [{**RECORD, "eventSource": "aws:kinesis"}]}, "records of a Kinesis stream"),
        ([{"eventSource": "aws:kinesis", "data": ""}], "records of a Kinesis stream"),
        ({"Records": [{**RECORD, "eventSource": "aws:s3"}]}, "records of aws:s3, not of a DynamoDB stream"),
        ({"Records": [{**RECORD, "eventVersion": "2.0"}]}, "version '2.0', which this dynaview does not know"),
        ({"Records": [{**RECORD, "eventVersion": None}]}, "version 'None'"),
        (
            {"Records": [{**RECORD, "eventSourceARN": "arn:aws:sqs:eu-west-1:1:q"}]},
            "not the stream of a DynamoDB table",
        ),
        ({"Records": [RECORD, {**RECORD, "eventSourceARN": ARN + "1"}]}, "records of several streams"),
        ({"Records": [RECORD, sqs(WORD)]}, "records of several kinds in one event: aws:dynamodb, aws:sqs"),
        ({"Records": ["x"]}, "records of none"),
        ({"Records": [sqs("hello")]}, "this queue or topic is another's"),
        ({"Records": [sqs({"a": 1})]}, "this queue or topic is another's"),
        ({"Records": [sqs(KINESIS_WORD)]}, "word of records of a Kinesis stream"),
        (KINESIS_WORD, "word of records of a Kinesis stream"),
        ({**WORD, "DDBStreamBatchInfo": {"streamArn": ARN}}, "does not say of which shard"),
        ({"httpMethod": "GET", "path": "/"}, "neither records nor a schedule: httpMethod, path"),
        ({}, "nothing"),
        ("text", "an event of type str"),
        (None, "an event of type NoneType"),
    ],
)
def test_anything_else_is_refused(event: Any, said: str) -> None:
    with pytest.raises(EventRefused) as refused:
        recognise(event)
    assert said in str(refused.value)
