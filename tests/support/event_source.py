"""AWS's event source mapping of a scripted table's stream: what a Lambda function is given, and what follows from its
answers.

    mapping = Mapping(table, function.handle, batch=100, lanes=10)
    mapping.drain()                      # as long as there are records and the function takes them

What it does is what AWS documents: shards after their parents, each in order; with a parallelization factor (`lanes`)
several batches of a shard at once, those of one partition key in order; a batch that fails is brought again, whole, in
halves, or from the lowest failed sequence number on; one that fails too often is given up (`dropped` tells of it).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import msgspec

from dynaview.projections.attributes import attribute
from tests.support.records import Item, Record
from tests.support.scripted import ScriptedTable

Event: TypeAlias = Any

Invoke: TypeAlias = Callable[[Event, Any], Any]
"""A function's handler."""


class Killed(BaseException):
    """The execution environment is gone, wherever it was."""


@dataclass(slots=True)
class Context:
    """What the runtime tells an invocation."""

    seconds: float = 60.0

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@dataclass(slots=True)
class Lane:
    """What the mapping keeps of a part of a shard."""

    shard: str
    number: int
    at: int = -1
    """The sequence number of the last record that was taken."""
    attempts: int = 0
    halves: list[int] = field(default_factory=list)
    """Sizes of what a failed batch was divided into, the next one last."""


class Mapping:
    """One mapping. Settings may be changed at any time; `retries` and what is divided are AWS's own."""

    def __init__(
        self,
        table: ScriptedTable,
        invoke: Invoke,
        *,
        batch: int = 100,
        lanes: int = 1,
        retries: int | None = None,
        bisect: bool = False,
        partial: bool = True,
        pipe: bool = False,
    ) -> None:
        """`partial`: whether answers are heeded (ReportBatchItemFailures); `pipe`: whether it is EventBridge Pipes,
        whose events are lists."""
        self.table = table
        self.arn = table.arn
        self.invoke = invoke
        self.batch, self.lanes, self.retries, self.bisect = batch, lanes, retries, bisect
        self.partial, self.pipe = partial, pipe
        self.context = Context()
        self.dropped: list[Any] = []
        """Messages to the OnFailure destination."""
        self.delivered: list[Event] = []
        """All events so far, also those that failed."""
        self._lanes: dict[tuple[str, int], Lane] = {}

    def drain(self, patience: int = 1000) -> None:
        """Bring everything, in so many invocations at the most."""
        for _ in range(patience):
            due = self.due()
            if not due:
                return
            self.deliver(due[0])
        if self.due():
            raise AssertionError(f"{patience} invocations did not take all records")

    def due(self) -> list[Lane]:
        """Parts of shards for which there is a batch now: shards whose parents are not taken to their ends wait."""
        found: list[Lane] = []
        held = self.table.held(self.arn)
        left = {shard.id for shard, records in held if any(self._waits(shard.id, record) for record in records)}
        for shard, _ in held:
            if shard.parent not in left and shard.id in left:
                found += [lane for lane in self._of(shard.id) if self._records(lane)]
        return found

    def deliver(self, lane: Lane) -> Event:
        """Invoke the function with the next batch of a lane, and do what follows. Answers the event."""
        records = self._next(lane)
        event = self.event(records)
        self.delivered.append(event)
        try:
            answer = self.invoke(event, self.context)
        except (Exception, Killed):  # noqa: BLE001 - as to AWS, whatever ends an invocation is a failure
            self._failed(lane, records)
            return event
        failures = answer.get("batchItemFailures") if isinstance(answer, dict) and self.partial else None
        if failures:
            self._partly(lane, records, [each["itemIdentifier"] for each in failures])
        else:
            self._done(lane, records)
        return event

    def replay(self, lane: Lane, records: int) -> None:
        """Go back: the answer to the last batches was lost."""
        taken = [each for each in self._all(lane) if each.sequence <= lane.at]
        lane.at = taken[-records - 1].sequence if len(taken) > records else -1

    def event(self, records: list[Record]) -> Event:
        """What the function is given for records."""
        found = [self.record(each) for each in records]
        return found if self.pipe else {"Records": found}

    def record(self, record: Record) -> dict[str, Any]:
        """A record as Lambda shows it."""
        view_type = self.table.describe().view_type or "NEW_AND_OLD_IMAGES"
        body: dict[str, Any] = {
            "ApproximateCreationDateTime": float(record.time),
            "Keys": wire(record.key),
            "SequenceNumber": str(record.sequence),
            "SizeBytes": 100,
            "StreamViewType": view_type,
        }
        if record.new is not None and view_type in ("NEW_IMAGE", "NEW_AND_OLD_IMAGES") and record.broken is None:
            body["NewImage"] = wire(record.new)
        if record.old is not None and view_type in ("OLD_IMAGE", "NEW_AND_OLD_IMAGES") and record.broken is None:
            body["OldImage"] = wire(record.old)
        made: dict[str, Any] = {
            "eventID": f"{record.sequence:032x}",
            "eventName": record.event,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "eu-west-1",
            "dynamodb": body,
            "eventSourceARN": self.arn,
        }
        if record.by_ttl:
            made["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
        return made

    # What follows from an answer

    def _done(self, lane: Lane, records: list[Record]) -> None:
        lane.at, lane.attempts = records[-1].sequence, 0
        if lane.halves:
            lane.halves.pop()

    def _partly(self, lane: Lane, records: list[Record], failed: list[str]) -> None:
        """What stands before the lowest number is done; a number that is none of the batch fails all of it."""
        known = {str(each.sequence) for each in records}
        if not set(failed) <= known:
            self._failed(lane, records)
            return
        lowest = min(map(int, failed))
        done = [each for each in records if each.sequence < lowest]
        if not done:
            self._failed(lane, records)
            return
        lane.at, lane.attempts, lane.halves = done[-1].sequence, 0, []

    def _failed(self, lane: Lane, records: list[Record]) -> None:
        lane.attempts += 1
        if self.bisect and len(records) > 1:
            if lane.halves:
                lane.halves.pop()
            lane.halves += [len(records) - len(records) // 2, len(records) // 2]
            lane.attempts = 0
        elif self.retries is not None and lane.attempts > self.retries:
            self.dropped.append(self.word_of(lane.shard, records))
            self._done(lane, records)

    def word_of(self, shard: str, records: list[Record]) -> dict[str, Any]:
        """What the OnFailure destination is told of records that were given up."""
        first, last = (datetime.fromtimestamp(each.time, UTC).isoformat() for each in (records[0], records[-1]))
        return {
            "requestContext": {
                "requestId": "316aa6d0-8154-xmpl-9af7-85d5f4a6bc81",
                "functionArn": "arn:aws:lambda:eu-west-1:000000000000:function:views",
                "condition": "RetryAttemptsExhausted",
                "approximateInvokeCount": 1,
            },
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": last,
            "DDBStreamBatchInfo": {
                "shardId": shard,
                "startSequenceNumber": str(records[0].sequence),
                "endSequenceNumber": str(records[-1].sequence),
                "approximateArrivalOfFirstRecord": first,
                "approximateArrivalOfLastRecord": last,
                "batchSize": len(records),
                "streamArn": self.arn,
            },
        }

    def lane(self, shard: str, number: int = 0) -> Lane:
        """One part of a shard."""
        return self._of(shard)[number]

    # What is there

    def _of(self, shard: str) -> list[Lane]:
        return [self._lanes.setdefault((shard, number), Lane(shard, number)) for number in range(self.lanes)]

    def _number(self, record: Record) -> int:
        partition = repr(record.key[self.table.key[0]])
        return zlib.crc32(partition.encode()) % self.lanes

    def _waits(self, shard: str, record: Record) -> bool:
        return record.sequence > self._of(shard)[self._number(record)].at

    def _all(self, lane: Lane) -> list[Record]:
        held = next(records for shard, records in self.table.held(self.arn) if shard.id == lane.shard)
        return [each for each in held if self._number(each) == lane.number]

    def _records(self, lane: Lane) -> list[Record]:
        return [each for each in self._all(lane) if each.sequence > lane.at]

    def _next(self, lane: Lane) -> list[Record]:
        return self._records(lane)[: lane.halves[-1] if lane.halves else self.batch]


def wire(item: Item) -> dict[str, Any]:
    """An item as Lambda's JSON has it: bytes are base64 text."""
    typed = {name: attribute(plain) for name, plain in item.items()}
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(typed))
    return found
