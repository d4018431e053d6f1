"""Reading pages: what it costs beyond splitting their envelopes."""

from __future__ import annotations

import msgspec

from benchmarks.timing import Clock, Contender, Figure, Group, clock
from benchmarks.workload import IMAGES, Workload
from dynaview.projections.attributes import Attr, Shape
from dynaview.projections.changes import version_of
from dynaview.sources.pages import RecordsDecoder

_RAW = msgspec.Raw()


class _Body(msgspec.Struct, gc=False):
    sequence: str = msgspec.field(name="SequenceNumber")
    key: dict[str, Attr] = msgspec.field(name="Keys")
    time: float = msgspec.field(name="ApproximateCreationDateTime", default=0.0)
    new: msgspec.Raw = msgspec.field(name="NewImage", default=_RAW)
    old: msgspec.Raw = msgspec.field(name="OldImage", default=_RAW)


class _Record(msgspec.Struct, gc=False):
    """A record of which both images are left as they came."""

    event: str = msgspec.field(name="eventName")
    body: _Body = msgspec.field(name="dynamodb")


class _Page(msgspec.Struct):
    records: list[_Record] = msgspec.field(name="Records")
    next: str | None = msgspec.field(name="NextShardIterator", default=None)


_ENVELOPES = "envelope split only"


def group(workload: Workload) -> Group:
    """Decoding, against splitting envelopes only."""
    bodies, count = workload.bodies(), workload.count
    view = workload.view("redis")
    whole = Shape(None)
    split = msgspec.json.Decoder(_Page)

    def envelopes() -> Clock:
        with clock(count) as timed:
            for body in bodies:
                split.decode(body)
        return timed

    def needed() -> Clock:
        decoder = RecordsDecoder(view.shape, IMAGES)
        with clock(count) as timed:
            for body in bodies:
                decoder.decode(body)
        return timed

    def projected() -> Clock:
        decoder, page = RecordsDecoder(view.shape, IMAGES), view.bound.page
        with clock(count) as timed:
            for body in bodies:
                changes = decoder.decode(body).changes
                page(changes, [version_of(0, change.body.sequence) for change in changes])
        return timed

    def exact() -> Clock:
        decoder, unpack = RecordsDecoder(whole, IMAGES), whole.unpack
        with clock(count) as timed:
            for body in bodies:
                for change in decoder.decode(body).changes:
                    unpack(change.body.new)
                    unpack(change.body.old)
        return timed

    return Group(
        "decode",
        [
            Contender(_ENVELOPES, envelopes),
            Contender("needed fields", needed),
            Contender("needed fields + project", projected),
            Contender("both images, exact", exact),
        ],
        [
            Figure("needed fields + project", _ENVELOPES, 0.95),
            Figure("needed fields", _ENVELOPES),
            Figure("both images, exact", _ENVELOPES, 0.25),
        ],
    )
