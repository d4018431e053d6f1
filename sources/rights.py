"""Whether a table and its stream may be read: each action that following and filling need, tried once.

Reads one item and one record at the most, and changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from dynaview.sources.errors import AccessDenied, SourceError
from dynaview.sources.session import Session


@dataclass(frozen=True, slots=True)
class Tried:
    """One action of IAM and what came of it."""

    action: str
    """``dynamodb:Scan``."""
    error: SourceError | None = None
    """Why it was refused; None where it was not."""


@dataclass(slots=True)
class Rights:
    """What came of all that was tried."""

    tried: list[Tried] = field(default_factory=list)
    skew: float | None = None
    """Seconds that this machine's clock is ahead of the server's, to a second; None where that did not tell."""


class _Keys(msgspec.Struct):
    name: str = msgspec.field(name="AttributeName")


class _Table(msgspec.Struct):
    key: list[_Keys] = msgspec.field(name="KeySchema")
    stream_arn: str | None = msgspec.field(name="LatestStreamArn", default=None)


class _Described(msgspec.Struct):
    table: _Table = msgspec.field(name="Table")


class _Scanned(msgspec.Struct):
    items: list[dict[str, Any]] = msgspec.field(name="Items", default_factory=list)


class _Shard(msgspec.Struct):
    id: str = msgspec.field(name="ShardId")


class _Stream(msgspec.Struct):
    shards: list[_Shard] = msgspec.field(name="Shards", default_factory=list)


class _StreamDescribed(msgspec.Struct):
    stream: _Stream = msgspec.field(name="StreamDescription")


class _Opened(msgspec.Struct):
    iterator: str = msgspec.field(name="ShardIterator", default="")


def try_rights(session: Session, table: str, now: Callable[[], float] = time.time) -> Rights:
    """Try every action on a table. What needs an item, a shard or a stream is left out where there is none. Raises
    nothing that the server answers."""
    rights = Rights()

    def hear(response_dict: dict[str, Any], **_: object) -> None:
        if date := response_dict["headers"].get("date"):
            try:
                rights.skew = now() - parsedate_to_datetime(date).timestamp()
            except ValueError:  # no date
                return

    session.tables.meta.events.register("before-parse.dynamodb", hear)
    try:
        _try(session, table, rights)
    finally:
        session.tables.meta.events.unregister("before-parse.dynamodb", hear)
    return rights


def _try(session: Session, table: str, rights: Rights) -> None:
    def ask(operation: str, resource: str, parameters: dict[str, Any], type: Any) -> Any:
        try:
            answer = msgspec.json.decode(session.ask(operation, resource, parameters), type=type)
        except SourceError as error:
            rights.tried.append(Tried(f"dynamodb:{operation}", error))
            return None
        except msgspec.DecodeError:
            answer = None
        rights.tried.append(Tried(f"dynamodb:{operation}"))
        return answer

    described = ask("DescribeTable", table, {"TableName": table}, _Described)
    if rights.tried[0].error is not None and not isinstance(rights.tried[0].error, AccessDenied):
        return  # nothing else would be told
    scanned = ask("Scan", table, {"TableName": table, "Limit": 1, "ConsistentRead": True}, _Scanned)
    if described is None:
        return
    if scanned is not None and scanned.items:
        key = {part.name: scanned.items[0].get(part.name) for part in described.table.key}
        request = {table: {"Keys": [key], "ConsistentRead": True}}
        ask("BatchGetItem", table, {"RequestItems": request}, dict)
    arn = described.table.stream_arn
    if arn is None:
        return
    stream = ask("DescribeStream", arn, {"StreamArn": arn, "Limit": 1}, _StreamDescribed)
    if stream is None or not stream.stream.shards:
        return
    shard = {"StreamArn": arn, "ShardId": stream.stream.shards[0].id, "ShardIteratorType": "TRIM_HORIZON"}
    opened = ask("GetShardIterator", arn, shard, _Opened)
    if opened is not None and opened.iterator:
        ask("GetRecords", arn, {"ShardIterator": opened.iterator, "Limit": 1}, dict)
