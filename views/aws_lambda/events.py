"""What a Lambda function may be given, told apart by its shape: records of a table's stream (by an event source mapping
or by EventBridge Pipes), word of records that AWS has given up, and the schedule.

Shapes are AWS's own: https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html (records),
…/services-dynamodb-errors.html (records given up), https://docs.aws.amazon.com/eventbridge/latest/userguide/ (pipes and
schedules). Whatever is none of them is refused by name: a function on the wrong stream must not look as if it worked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

_STREAM_ARN = re.compile(r"(arn:[\w-]+:dynamodb:([\w-]+):(\d*):table/([A-Za-z0-9_.-]+))/stream/(.+)")
_KINESIS = (
    "Kinesis Data Streams for DynamoDB bring changes twice and out of order, without the numbers that order them: give "
    "the function an event source mapping of the table's own stream"
)
_SCHEDULERS = ("aws.events", "aws.scheduler")
_DYNAMODB, _VERSION = "aws:dynamodb", "1"


class EventRefused(Exception):
    """An event that is none for this function; the text says what it is and what to do."""


@dataclass(frozen=True, slots=True)
class StreamName:
    """The ARN of a table's stream, and what it says."""

    arn: str
    table_arn: str
    region: str
    table: str
    label: str
    """When the stream was switched on: labels of one table are in order."""

    @classmethod
    def parse(cls, arn: object) -> StreamName:
        """Raises `EventRefused`."""
        matched = _STREAM_ARN.fullmatch(arn) if isinstance(arn, str) else None
        if matched is None:
            raise EventRefused(f"not the stream of a DynamoDB table: {str(arn)[:200]!r}")
        return cls(matched[0], matched[1], matched[2], matched[4], matched[5])


@dataclass(frozen=True, slots=True)
class StreamBatch:
    """Records of one stream, in the order in which they are to be taken, as AWS sent them."""

    stream: StreamName | None
    """None where there are no records."""
    records: Sequence[Mapping[str, Any]]


def table_of(stream_arn: str) -> str:
    """The ARN of the table that a stream is of."""
    return stream_arn.partition("/stream/")[0]


@dataclass(frozen=True, slots=True)
class DroppedBatch:
    """Records that AWS has given up: too old, or tried too often."""

    stream: StreamName
    shard: str
    last: int
    """The sequence number of the last of them."""
    size: int
    made: float | None
    """About when the first of them was made, in seconds since 1970; None where that is not said."""
    why: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """It is time to see how far the views are, and to do what an invocation with records does not."""


Event: TypeAlias = StreamBatch | Sequence[DroppedBatch] | Schedule


def recognise(event: Any) -> Event:
    """What an event is. Raises `EventRefused`."""
    if isinstance(event, list):  # EventBridge Pipes
        return _batch(event)
    if not isinstance(event, dict):
        raise EventRefused(f"an event of type {type(event).__name__}: neither records nor a schedule")
    if "DDBStreamBatchInfo" in event or "KinesisBatchInfo" in event:
        return [_dropped(event)]
    if event.get("source") in _SCHEDULERS or "dynaview" in event:
        return Schedule()
    if not isinstance(event.get("Records"), list):
        raise EventRefused(f"neither records nor a schedule: {', '.join(sorted(map(str, event)))[:200] or 'nothing'}")
    return _records(event["Records"])


def _records(records: list[Any]) -> Event:
    sources = {_source(record) for record in records}
    if len(sources) > 1:
        raise EventRefused(f"records of several kinds in one event: {', '.join(sorted(sources))}")
    source = next(iter(sources), _DYNAMODB)
    if source == "aws:sqs":
        return [_dropped(_parsed(record.get("body"))) for record in records]
    if source == "aws:sns":
        return [_dropped(_parsed(record.get("Sns", {}).get("Message"))) for record in records]
    return _batch(records)


def _source(record: Any) -> str:
    found = record.get("eventSource", record.get("EventSource")) if isinstance(record, dict) else None
    return found if isinstance(found, str) else "none"


def _batch(records: list[Any]) -> StreamBatch:
    arns = set()
    for record in records:
        source = _source(record)
        if source == "aws:kinesis":
            raise EventRefused(f"records of a Kinesis stream. {_KINESIS}")
        if source != _DYNAMODB:
            raise EventRefused(
                f"records of {source}, not of a DynamoDB stream: give the function an event source mapping of the "
                "table's stream"
            )
        version = record.get("eventVersion", "")
        if str(version).partition(".")[0] != _VERSION:
            raise EventRefused(
                f"records of version {str(version)[:20]!r}, which this dynaview does not know (it knows 1.x): install "
                "a newer one"
            )
        arns.add(record.get("eventSourceARN"))
    if len(arns) > 1:
        raise EventRefused(f"records of several streams in one event: {', '.join(sorted(map(str, arns)))[:400]}")
    return StreamBatch(StreamName.parse(arns.pop()) if arns else None, records)


def _parsed(body: Any) -> Mapping[str, Any]:
    """The message in a queue; one that came through a topic is in an envelope of SNS."""
    try:
        message = msgspec.json.decode(body) if isinstance(body, str | bytes) else None
    except msgspec.DecodeError:
        message = None
    if isinstance(message, dict) and message.get("Type") == "Notification":
        return _parsed(message.get("Message"))
    if not isinstance(message, dict):
        raise EventRefused("a message that is no word of records given up: this queue or topic is another's")
    return message


def _dropped(message: Mapping[str, Any]) -> DroppedBatch:
    if "KinesisBatchInfo" in message:
        raise EventRefused(f"word of records of a Kinesis stream. {_KINESIS}")
    info = message.get("DDBStreamBatchInfo")
    if not isinstance(info, dict):
        raise EventRefused("a message that is no word of records given up: this queue or topic is another's")
    stream, shard, last = StreamName.parse(info.get("streamArn")), info.get("shardId"), info.get("endSequenceNumber")
    if not (isinstance(shard, str) and isinstance(last, str) and last.isdecimal()):
        raise EventRefused("word of records given up that does not say of which shard, up to where")
    context = message.get("requestContext")
    why = context.get("condition") if isinstance(context, dict) else None
    size = info.get("batchSize")
    return DroppedBatch(
        stream, shard, int(last), size if isinstance(size, int) else 0, _time(info), str(why or "given up")
    )


def _time(info: Mapping[str, Any]) -> float | None:
    text = info.get("approximateArrivalOfFirstRecord")
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).astimezone(UTC).timestamp()
    except ValueError:
        return None
