"""Bodies of GetRecords and Scan into changes and images, at the speed of msgspec.

A whole page is decoded in one go by a type made for the shape: what no view needs is skipped without being built.
Only when that fails is the page split into its records, so that one odd record never holds up its neighbours.
"""

from __future__ import annotations

import threading
from typing import Any, Generic, TypeVar

import msgspec

from dynaview.projections.attributes import Attr, Shape
from dynaview.projections.changes import STREAM_SPAN, TTL_PRINCIPAL, Change, Identity, change_type
from dynaview.projections.narrow import Kinds
from dynaview.projections.projection import ViewType
from dynaview.sources.errors import BadPage
from dynaview.sources.port import Broken, Key, Page, ScanPage

I = TypeVar("I")  # noqa: E741 - an image

LOCAL_TTL_DELETE = "UNKNOWN_TO_SDK_VERSION"
_EVENTS = frozenset({"INSERT", "MODIFY", "REMOVE"})
_PROMISE_NEW = frozenset({"NEW_IMAGE", "NEW_AND_OLD_IMAGES"})
_PROMISE_OLD = frozenset({"OLD_IMAGE", "NEW_AND_OLD_IMAGES"})
_DIGITS = len(str(STREAM_SPAN)) - 1


class _Records(msgspec.Struct, Generic[I]):
    """A GetRecords answer. `Records` is always there, so an answer without it is a broken one, not an empty one."""

    records: list[I] = msgspec.field(name="Records")
    next: str | None = msgspec.field(name="NextShardIterator", default=None)


class _Capacity(msgspec.Struct):
    units: float = msgspec.field(name="CapacityUnits", default=0.0)


class _Items(msgspec.Struct, Generic[I]):
    """A Scan answer."""

    items: list[I] = msgspec.field(name="Items")
    last: msgspec.Raw = msgspec.field(name="LastEvaluatedKey", default=msgspec.Raw())
    read: int = msgspec.field(name="ScannedCount", default=0)
    capacity: _Capacity | None = msgspec.field(name="ConsumedCapacity", default=None)


class _GlanceBody(msgspec.Struct):
    sequence: str | None = msgspec.field(name="SequenceNumber", default=None)
    view_type: ViewType | None = msgspec.field(name="StreamViewType", default=None)


class _Glance(msgspec.Struct):
    """As little of a record as tells which one it is and what it promises."""

    body: _GlanceBody = msgspec.field(name="dynamodb")


_raw_records = msgspec.json.Decoder(_Records[msgspec.Raw])
_raw_items = msgspec.json.Decoder(_Items[msgspec.Raw])
_glance = msgspec.json.Decoder(_Glance)


_making = threading.Lock()


def decoder_of(type: Any) -> msgspec.json.Decoder[Any]:
    """A decoder for a type made at run time, of which msgspec knows nothing yet. One thread at a time: msgspec 0.22
    lets another one find what it knows of a type half made, and crashes the process as soon as that one decodes."""
    with _making:
        return msgspec.json.Decoder(type)


class RecordsDecoder:
    """Decodes the pages of one stream by one shape. Safe to share between threads.

    `view_type` is what the stream's records promise; where it is not known it is taken from the first record seen. A
    record without an image that its stream promises would look like a delete, so it counts as broken.
    """

    def __init__(self, shape: Shape, view_type: ViewType | None = None) -> None:
        self.view_type = view_type
        records: Any = _Records
        change = change_type(shape)  # made at run time, which a type checker cannot follow
        self._page: msgspec.json.Decoder[_Records[Change[Any]]] = decoder_of(records[change])
        self._record: msgspec.json.Decoder[Change[Any]] = decoder_of(change)
        self._kinds = Kinds(shape)
        self._learning = threading.Lock()
        self._narrow_change: Any | None = None
        self._narrow: msgspec.json.Decoder[_Records[Change[Any]]] | None = None
        """Reads pages whose attributes are of the types that they were of so far."""

    def decode(self, body: bytes) -> Page[Any]:
        """The page. Raises `BadPage` when the body as a whole is not one."""
        page = self._read(body)
        if page is None:
            return self._split(body)
        if page.records and (self._unpromised(body) or self._suspect(page.records)):
            return self._split(body)
        return Page(page.records, [], page.next)

    def _read(self, body: bytes) -> _Records[Change[Any]] | None:
        """The page as its records say; None where one of them cannot be read."""
        narrow = self._narrow  # another reader of the stream may change it at any moment
        try:
            if narrow is not None:
                return narrow.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # it is read as ever
        try:
            page = self._page.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if page.records:
            with self._learning:
                found = self._kinds.learn(page.records)
                if found is not self._narrow_change:
                    records: Any = _Records
                    self._narrow_change = found
                    self._narrow = None if found is None else decoder_of(records[found])
        return page

    def _unpromised(self, body: bytes) -> bool:
        """Learn what the stream's records promise, from its first page; whether that cannot be read."""
        if self.view_type is None:
            try:
                first = _raw_records.decode(body).records[0]
                self.view_type = _glance.decode(first).body.view_type
            except (msgspec.DecodeError, UnicodeDecodeError):
                return True
        return False

    def _suspect(self, changes: list[Change[Any]]) -> bool:
        """Whether any change of a page may be odd. `_reason` says which and why; this asks the same at speed."""
        new = self.view_type in _PROMISE_NEW
        old = self.view_type in _PROMISE_OLD
        for change in changes:
            body = change.body
            event = change.event
            if (
                event not in _EVENTS
                or (new and body.new is None and event != "REMOVE")
                or (old and body.old is None and event == "MODIFY")
                or not body.key
                or not body.sequence.isdecimal()
                or len(body.sequence) > _DIGITS
            ):
                return True
        return False

    def _reason(self, change: Change[Any]) -> str | None:
        """Why a change that could be decoded is still none, or None for a good one."""
        body = change.body
        if change.event not in _EVENTS:
            return f"an event that dynaview does not know: {change.event[:40]!r}"
        if not (body.sequence.isdecimal() and len(body.sequence) <= _DIGITS):
            return f"a sequence number that is not one of up to {_DIGITS} digits"
        if not body.key:
            return "the record names no key"
        if self.view_type in _PROMISE_NEW and body.new is None and change.event != "REMOVE":
            return f"a {change.event} of a stream of {self.view_type} without its NewImage"
        # A delete without its old image still names its key; what that is worth, each projection knows. (AWS always
        # sends it; DynamoDB Local forgets it when a delete meets one by TTL.)
        if self.view_type in _PROMISE_OLD and body.old is None and change.event == "MODIFY":
            return f"a {change.event} of a stream of {self.view_type} without its OldImage"
        return None

    def _named(self, change: Change[Any]) -> Change[Any]:
        """DynamoDB Local 3 calls a delete by TTL `LOCAL_TTL_DELETE`, and does not say who made it."""
        if change.event == LOCAL_TTL_DELETE and self.view_type in _PROMISE_NEW and change.body.new is None:
            return Change("REMOVE", change.body, Identity("Service", TTL_PRINCIPAL))
        return change

    def _split(self, body: bytes) -> Page[Any]:
        """The page record by record: the good ones as changes, the others as they are."""
        try:
            page = _raw_records.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadPage(f"GetRecords was answered with something else than a page ({error})") from error
        changes: list[Change[Any]] = []
        broken: list[Broken] = []
        for index, raw in enumerate(page.records):
            try:
                change = self._named(self._record.decode(raw))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                broken.append(Broken(index, bytes(raw), f"the record cannot be read: {error}", _sequence(raw)))
                continue
            reason = self._reason(change)
            if reason is None:
                changes.append(change)
            else:
                broken.append(Broken(index, bytes(raw), reason, _sequence(raw)))
        return Page(changes, broken, page.next)


class ItemsDecoder:
    """Decodes the pages of a scan by one shape, which must keep the `key` attributes. Safe to share between threads."""

    def __init__(self, shape: Shape, key: tuple[str, ...]) -> None:
        self._shape = shape
        self._key = key
        items: Any = _Items
        self._page: msgspec.json.Decoder[_Items[Any]] = decoder_of(items[shape.type])
        self._item: msgspec.json.Decoder[Any] = decoder_of(shape.type)

    def decode(self, body: bytes) -> ScanPage[Any]:
        """The page. Raises `BadPage` when the body as a whole is not one."""
        broken: list[Broken] = []
        try:
            page: _Items[Any] = self._page.decode(body)
            images = page.items
        except (msgspec.DecodeError, UnicodeDecodeError):
            page, images = self._split(body, broken)
        position = bytes(page.last).decode()
        return ScanPage(
            images=images,
            keys=[self.key(image) for image in images],
            broken=broken,
            position=None if position in ("", "null", "{}") else position,
            consumed=0.0 if page.capacity is None else page.capacity.units,
            read=max(page.read, len(images) + len(broken)),
        )

    def key(self, image: Any) -> Key:
        """The key of an image. Raises `BadPage` where it is not there, as no item lacks it."""
        found: Key = {}
        for name in self._key:
            attr = self._shape.get(image, name)
            if attr is None:
                raise BadPage(f"an item came without its key attribute {name}")
            found[name] = attr
        return found

    def _split(self, body: bytes, broken: list[Broken]) -> tuple[_Items[Any], list[Any]]:
        try:
            page = _raw_items.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadPage(f"Scan was answered with something else than a page ({error})") from error
        images: list[Any] = []
        for index, raw in enumerate(page.items):
            try:
                images.append(self._item.decode(raw))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                broken.append(Broken(index, bytes(raw), f"the item cannot be read: {error}"))
        return page, images


def _sequence(raw: msgspec.Raw) -> str | None:
    """The sequence number of a record of which the rest may be odd."""
    try:
        sequence = _glance.decode(raw).body.sequence
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return sequence if sequence and sequence.isdecimal() and len(sequence) <= _DIGITS else None


_position = msgspec.json.Decoder(dict[str, Attr])


def position_key(position: str) -> Key:
    """The key in a `ScanPosition`. Raises ValueError for text that is none."""
    try:
        return _position.decode(position)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a scan position: {error}") from error


def wire(attr: Attr) -> dict[str, Any]:
    """A key attribute as boto3's client takes it."""
    if attr.S is not None:
        return {"S": attr.S}
    if attr.N is not None:
        return {"N": attr.N}
    if attr.B is not None:
        return {"B": attr.B}
    raise ValueError("a key attribute is text, a number or bytes")
