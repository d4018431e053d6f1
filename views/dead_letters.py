"""Dead letters: a change (or scanned item) that cannot be applied, kept with its reason; made, and read again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from dynaview.projections.attributes import Attr, AttributeValueError, Shape, item_key
from dynaview.projections.changes import SCANNED, STREAM_SPAN, Change, version_of
from dynaview.projections.rows import RowKey
from dynaview.sources.errors import BadPage
from dynaview.sources.pages import ItemsDecoder, RecordsDecoder
from dynaview.sources.port import Broken, Key
from dynaview.views.control.records import SCAN, DeadLetter, KeptLetter

LONGEST = 1000
"""Bytes of a key that are kept: two keys and a version go into one entry of a Postgres index, which holds 2704."""


def change_letter(
    view: str, shard: str, change: Change[Any], version: int, reason: str, kind: str, row_key: RowKey | None
) -> DeadLetter:
    """The dead letter of a change that a projection or a sink rejected."""
    key, body = change.body.key, msgspec.json.encode(change)
    return DeadLetter(view, item_text(key), key_text(row_key), version, shard, change.body.time, kind, reason, body)


def scanned_letter(
    view: str, key: Mapping[str, Attr], image: Any, reason: str, kind: str, row_key: RowKey | None
) -> DeadLetter:
    """The dead letter of a scanned item that a projection or a sink rejected."""
    body = msgspec.json.encode(image)
    return DeadLetter(
        view, item_text(key), key_text(row_key), SCANNED, SCAN, time.time(), kind, reason, body, counted=False
    )


def unreadable_letter(view: str, record: Broken, shard: str, version: int) -> DeadLetter:
    """The dead letter of a record or scanned item that could not be read at all."""
    # Several may stand at one version (scanned items, records without a number), so a hash tells them apart.
    name = f"unreadable {hashlib.sha256(record.raw).hexdigest()[:16]}"
    return DeadLetter(
        view, name, "", version, shard, time.time(), "unreadable", record.reason, record.raw, counted=shard != SCAN
    )


def plain_letter(kept: KeptLetter) -> dict[str, Any]:
    """A letter without its change. Times are seconds since 1970; versions are too large for JSON numbers."""
    letter = kept.letter
    return {
        "id": kept.id,
        "view": letter.view,
        "item_key": letter.item_key,
        "row_key": letter.row_key,
        "version": str(letter.version),
        "shard": letter.shard,
        "time": letter.time,
        "created": kept.created,
        "kind": letter.kind,
        "reason": letter.reason,
    }


@dataclass(frozen=True, slots=True)
class LetterContent:
    """What a letter kept. A scanned item is a state without a state before it."""

    key: Key
    new: Any
    """The image of the state that could not be applied; None where the item was deleted, or it cannot be read."""
    old: Any
    """The image of the state before; None where there was none, or none is kept."""
    version: int
    """That of the change; `SCANNED` of a scanned item."""
    trouble: str = ""
    """Why the images cannot be read; empty where they can."""


class LetterReader:
    """Reads letters of one view, as its items are read now. For one thread at a time."""

    def __init__(self, shape: Shape, key: tuple[str, ...]) -> None:
        """`key` are the names of the table's key attributes."""
        self._records = RecordsDecoder(shape)
        self._items = ItemsDecoder(shape, key)

    def read(self, letter: DeadLetter) -> LetterContent | str:
        """What it kept; or why not even its item can be told."""
        try:
            return self._scanned(letter) if letter.shard == SCAN else self._changed(letter)
        except (BadPage, AttributeValueError) as error:
            trouble = error.what if isinstance(error, BadPage) else str(error)
        except _Broken as error:
            trouble = str(error)
        key = key_of_record(letter.change)
        return trouble if key is None else LetterContent(key, None, None, letter.version, trouble)

    def _changed(self, letter: DeadLetter) -> LetterContent:
        self._records.view_type = None  # letters may be of several streams, with other promises
        page = self._records.decode(b'{"Records":[' + letter.change + b"]}")
        if page.broken:
            raise _Broken(page.broken[0].reason)
        body = page.changes[0].body
        item_key(body.key)
        version = version_of(letter.version // STREAM_SPAN, body.sequence)
        return LetterContent(body.key, body.new, body.old, version)

    def _scanned(self, letter: DeadLetter) -> LetterContent:
        page = self._items.decode(b'{"Items":[' + letter.change + b"]}")
        if page.broken:
            raise _Broken(page.broken[0].reason)
        item_key(page.keys[0])
        return LetterContent(page.keys[0], page.images[0], None, SCANNED)


class _Broken(Exception):
    pass


class _Body(msgspec.Struct):
    key: dict[str, Attr] = msgspec.field(name="Keys")


class _Record(msgspec.Struct):
    body: _Body = msgspec.field(name="dynamodb")


_record = msgspec.json.Decoder(_Record)


def key_of_record(raw: bytes) -> dict[str, Attr] | None:
    """The item key of a stream record that cannot be read as a whole; None where that cannot be read either."""
    try:
        key = _record.decode(raw).body.key
        item_key(key)
    except (msgspec.DecodeError, ValueError):  # ValueError: no text, or not what a key can be
        return None
    return key


def key_text(key: RowKey | None) -> str:
    """A row key for people: the text itself, or a JSON array of its parts."""
    if key is None:
        return ""
    return _fitting(key if isinstance(key, str) else msgspec.json.encode(key, enc_hook=str).decode())


def item_text(key: Mapping[str, Attr]) -> str:
    """An item key as letters keep it."""
    try:
        return _fitting(item_key(key))
    except ValueError:  # a key that cannot be told in the canonical way may be the very reason for the dead letter
        return _fitting(msgspec.json.encode(key).decode())


def _fitting(text: str) -> str:
    """As much of a key as any control store can hold; what is cut off is told apart by a hash."""
    data = text.replace("\0", "\\u0000").encode(errors="backslashreplace")  # Postgres has no NUL in text
    if len(data) <= LONGEST:
        return data.decode()
    return f"{data[: LONGEST - 40].decode(errors='ignore')}... ({hashlib.sha256(data).hexdigest()[:16]})"
