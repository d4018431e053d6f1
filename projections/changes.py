"""Changes: one stream record each, in the shape in which AWS writes it.

The structs are read straight from a page by msgspec; `I` is the image type that a `Shape` made. Lambda events and
exports are brought into the same shape by their sources.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from dynaview.projections.attributes import Attr, Shape

I = TypeVar("I")  # noqa: E741 - an image

STREAM_SPAN = 10**40
"""Versions of a table's second stream begin here: version = stream count * STREAM_SPAN + sequence number."""

SCANNED = 0
"""The version of a row that was put in by a scan: older than any change."""

TTL_PRINCIPAL = "dynamodb.amazonaws.com"


class Identity(msgspec.Struct, gc=False):
    """Who made a change, where it was not a caller: TTL deletes say so."""

    type: str = ""
    principal: str = msgspec.field(name="principalId", default="")


class Body(msgspec.Struct, Generic[I], gc=False, omit_defaults=True):
    """The ``dynamodb`` part of a record. `time` is in seconds since 1970, cut to the second by AWS."""

    sequence: str = msgspec.field(name="SequenceNumber")
    key: dict[str, Attr] = msgspec.field(name="Keys")
    time: float = msgspec.field(name="ApproximateCreationDateTime", default=0.0)
    new: I | None = msgspec.field(name="NewImage", default=None)
    old: I | None = msgspec.field(name="OldImage", default=None)


class Change(msgspec.Struct, Generic[I], gc=False, omit_defaults=True):
    """One stream record. `event` is INSERT, MODIFY or REMOVE."""

    event: str = msgspec.field(name="eventName")
    body: Body[I] = msgspec.field(name="dynamodb")
    identity: Identity | None = msgspec.field(name="userIdentity", default=None)

    @property
    def by_ttl(self) -> bool:
        """Whether DynamoDB itself deleted the item because its time to live had passed."""
        return self.identity is not None and self.identity.principal == TTL_PRINCIPAL


def change_type(shape: Shape) -> Any:
    """The type of changes whose images have a shape: what msgspec reads a page as."""
    images = [
        ("new", shape.type | None, msgspec.field(name="NewImage", default=None)),
        ("old", shape.before.type | None, msgspec.field(name="OldImage", default=None)),
    ]
    body = msgspec.defstruct("Body", images, bases=(Body,), gc=False, omit_defaults=True)
    read = [("body", body, msgspec.field(name="dynamodb"))]
    return msgspec.defstruct("Change", read, bases=(Change,), gc=False, omit_defaults=True)


def version_of(stream: int, sequence: str) -> int:
    """The version of a change: `stream` counts the table's streams from 0 as the view has met them."""
    return stream * STREAM_SPAN + int(sequence)
