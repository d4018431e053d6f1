"""Dead letters: a change (or scanned item) that cannot be applied, kept with its reason."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from dynaview.projections.attributes import Attr, item_key
from dynaview.projections.changes import SCANNED, Change
from dynaview.projections.rows import RowKey
from dynaview.sources.port import Broken
from dynaview.views.control.dead_letters import SCAN, DeadLetter

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
