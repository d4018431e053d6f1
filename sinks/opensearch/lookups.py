"""What stands under row keys now: by ``_mget`` where it is current, else by updates that change nothing.

An update reads the document where it is written, past any refresh, and one with an empty ``doc`` writes nothing:
neither the document nor its sequence number changes, and a document that is not there is not made.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from dynaview.sinks.opensearch.client import Connection, path
from dynaview.sinks.opensearch.errors import ItemError
from dynaview.sinks.opensearch.values import Control


class FoundControl(msgspec.Struct, gc=False):
    """What a look at one row found."""

    found: bool = False
    sequence: int = msgspec.field(name="_seq_no", default=-1)
    term: int = msgspec.field(name="_primary_term", default=-1)
    control: Control | None = msgspec.field(name="_source", default=None)
    error: ItemError | None = None


class FoundRow(msgspec.Struct):
    """What reading one row found."""

    found: bool = False
    source: dict[str, Any] | None = msgspec.field(name="_source", default=None)
    error: ItemError | None = None


class _ControlDocs(msgspec.Struct):
    docs: list[FoundControl] = []


class _RowDocs(msgspec.Struct):
    docs: list[FoundRow] = []


class _UpdatedControl(msgspec.Struct, gc=False):
    status: int
    get: FoundControl | None = None
    error: ItemError | None = None


class _UpdatedRow(msgspec.Struct):
    status: int
    get: FoundRow | None = None
    error: ItemError | None = None


class _ControlEntry(msgspec.Struct, gc=False):
    update: _UpdatedControl


class _RowEntry(msgspec.Struct):
    update: _UpdatedRow


class _ControlUpdates(msgspec.Struct):
    items: list[_ControlEntry] = []


class _RowUpdates(msgspec.Struct):
    items: list[_RowEntry] = []


# No `filter_path` where whole documents are read: it re-writes their numbers through doubles. Of the fields of
# `Control` it lets only text and truth values pass, and is a quarter faster than `_source_includes`, which makes
# OpenSearch build the whole document first.
_CONTROL_FIELDS = "_seq_no", "_primary_term", "_source._v", "_source._o", "_source._deleted"
_LOOK = {
    "preference": "_primary",
    "filter_path": ",".join(f"docs.{name}" for name in ("found", *_CONTROL_FIELDS, "error.type")),
}
_READ = {"preference": "_primary"}
_LOOK_UPDATE = {
    "require_alias": "true",
    "filter_path": ",".join(
        f"items.*.{name}"
        for name in ("status", "error.type", "get.found", *(f"get.{each}" for each in _CONTROL_FIELDS))
    ),
}
_READ_UPDATE = {"require_alias": "true"}

_controls = msgspec.json.Decoder(_ControlDocs)
_rows = msgspec.json.Decoder(_RowDocs, float_hook=Decimal)
_control_updates = msgspec.json.Decoder(_ControlUpdates)
_row_updates = msgspec.json.Decoder(_RowUpdates, float_hook=Decimal)

_MISSING = "document_missing_exception"


def look(connection: Connection, door: str, names: Sequence[bytes], doing: str, readers: str) -> list[FoundControl]:
    """The guard's part of what stands under `names` (ids as JSON), in their order. Raises `SinkError`."""
    if connection.profile.current_gets:
        answer = _gets(connection, door, names, _LOOK, doing, readers)
        found: list[FoundControl] = _decoded(connection, _controls, answer, doing).docs
    else:
        answer = _updates(connection, door, names, _LOOK_UPDATE, b'["_v","_o","_deleted"]', doing, readers)
        entries = _decoded(connection, _control_updates, answer, doing).items
        found = [_of_update(entry.update, FoundControl) for entry in entries]
    return _each(connection, found, names, doing)


def read(connection: Connection, door: str, names: Sequence[bytes], doing: str, readers: str) -> list[FoundRow]:
    """As `look`, with whole documents. Raises `SinkError`."""
    if connection.profile.current_gets:
        answer = _gets(connection, door, names, _READ, doing, readers)
        found: list[FoundRow] = _decoded(connection, _rows, answer, doing).docs
    else:
        answer = _updates(connection, door, names, _READ_UPDATE, b"true", doing, readers)
        found = [
            _of_update(entry.update, FoundRow) for entry in _decoded(connection, _row_updates, answer, doing).items
        ]
    return _each(connection, found, names, doing)


def _gets(
    connection: Connection, door: str, names: Sequence[bytes], params: dict[str, str], doing: str, readers: str
) -> str:
    body = b'{"ids":[' + b",".join(names) + b"]}"
    return connection.send("POST", path(door, "_mget"), params=params, body=body, doing=doing, index=readers)


def _updates(
    connection: Connection,
    door: str,
    names: Sequence[bytes],
    params: dict[str, str],
    source: bytes,
    doing: str,
    readers: str,
) -> str:
    body = b"".join([b'{"update":{"_id":%b}}\n{"doc":{},"_source":%b}\n' % (name, source) for name in names])
    return connection.send("POST", path(door, "_bulk"), params=params, body=body, doing=doing, index=readers)


def _decoded(connection: Connection, decoder: msgspec.json.Decoder[Any], answer: str, doing: str) -> Any:
    try:
        return decoder.decode(answer)
    except (msgspec.DecodeError, ValueError):
        raise connection.unreadable(doing) from None


def _of_update(update: Any, kind: Any) -> Any:
    if update.error is not None:
        return kind() if update.error.type == _MISSING else kind(error=update.error)
    return update.get or kind(error=ItemError("no document in the answer"))


def _each(connection: Connection, found: list[Any], names: Sequence[bytes], doing: str) -> list[Any]:
    if len(found) != len(names):
        raise connection.unreadable(doing)
    return found
