"""Rows as OpenSearch documents: exact JSON out, exact values back."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import repeat
from math import isfinite
from typing import Any

import msgspec

from dynaview.projections.canonical import json_encoder
from dynaview.projections.columns import Columns
from dynaview.projections.rows import Field, Layout, RowKey, RowValues, Write
from dynaview.sinks.port import Stored

VERSION = "_v"
OWNER = "_o"
DELETED = "_deleted"
DELETED_AT = "_deleted_at"
CONTROL = frozenset({VERSION, OWNER, DELETED, DELETED_AT})
"""Fields of dynaview's own in every document."""

LIVE = {"bool": {"must_not": {"term": {DELETED: True}}}}
"""Rows, not tombstones: the filter of the alias that readers use."""

KEY_BYTES = 512
"""OpenSearch's limit for a document's id."""

UNKNOWN_VERSION = -1
"""The version of a document that somebody else put in: any change wins over it."""


_FLOATS = ("any", "json", "double", "double[]")
"""Field types whose values may be floats, or hold some."""


HEAD = b'{"_v":"'
"""How every document begins that dynaview writes; the version follows."""


class Unstorable(ValueError):
    """A key or value that cannot become JSON. Shows no values."""


class Tombstone(msgspec.Struct, gc=False, omit_defaults=True):
    """What a delete leaves behind."""

    version: str = msgspec.field(name=VERSION)
    deleted_at: int = msgspec.field(name=DELETED_AT)
    """Milliseconds since 1970 by the store's clock."""
    deleted: bool = msgspec.field(name=DELETED)
    owner: str | None = msgspec.field(name=OWNER, default=None)


class Control(msgspec.Struct, gc=False):
    """The part of a document that the guard looks at."""

    version: str = msgspec.field(name=VERSION, default="")
    owner: str = msgspec.field(name=OWNER, default="")
    deleted: bool = msgspec.field(name=DELETED, default=False)


class Documents:
    """Encodes the rows of one layout."""

    def __init__(self, layout: Layout) -> None:
        self._fields = layout.fields
        self._width = len(layout.fields or ())
        self._document = None if layout.fields is None else _document_type(layout.fields)
        self._floats = layout.fields is None or any(field.type in _FLOATS for field in layout.fields)

    def encode(self, write: Write, milliseconds: Callable[[], int]) -> bytes:
        """The document that `write` asks for; `milliseconds` dates a tombstone. Raises `Unstorable`."""
        values, version, owner = write.values, str(write.version), write.owner or None
        if values is None:
            return json_encoder.encode(Tombstone(version, milliseconds(), True, owner))
        if self._document is not None and len(values) != self._width:
            raise AssertionError(f"a row of {len(values)} values for {self._width} fields")
        try:
            if self._document is not None:
                body = json_encoder.encode(self._document(version, owner, *values))
            else:
                body = _open_document(version, owner, values)
        except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._explained(values, error) from None
        # msgspec writes a float that is not a number as null, which a row hardly ever holds otherwise.
        if self._floats and b"null" in body and not _finite(values):
            raise Unstorable("a number is infinite or not a number")
        return body

    def encode_columns(self, columns: Columns) -> list[bytes] | None:
        """The documents of the upserts as `encode` writes them, at the price of few. None where they have to be looked
        at one by one."""
        if self._document is None or len(columns.values) != self._width:
            return None
        try:
            documents = map(self._document, map(str, columns.versions), repeat(None), *columns.values)
            lines = json_encoder.encode_lines([*documents])
        except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
            return None
        if self._floats and b"null" in lines:
            return None
        return lines.split(b"\n")[:-1]  # within a document line feeds are escaped

    def content(self, write: Write) -> Any:
        """What reading back the row would show. Raises `Unstorable`."""
        return None if write.values is None else content(decoder.decode(self.encode(write, lambda: 0)))

    def _explained(self, values: RowValues, error: Exception) -> Unstorable:
        if isinstance(error, Unstorable):
            return error
        named = (
            values if isinstance(values, dict) else dict(zip((f.name for f in self._fields or ()), values, strict=True))
        )
        for name, value in named.items():
            try:
                json_encoder.encode(value)
            except UnicodeEncodeError:
                return Unstorable(f"field {name} holds text that is not Unicode")
            except RecursionError:
                return Unstorable(f"field {name} is nested too deeply")
            except (TypeError, ValueError, OverflowError):
                return Unstorable(f"field {name} holds a {type(value).__name__}, which cannot be written as JSON")
        return Unstorable("the row cannot be written as JSON")


decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
"""Documents as they are kept: numbers exact."""


def key(row: RowKey) -> bytes:
    """A row key as the JSON of a document's id. Raises `Unstorable`."""
    if not isinstance(row, str):
        raise Unstorable("the key of an OpenSearch row is one text")
    try:
        encoded = json_encoder.encode(row)
    except UnicodeEncodeError:
        raise Unstorable("the key holds text that is not Unicode") from None
    if len(encoded) > KEY_BYTES + 2 and len(row.encode()) > KEY_BYTES:
        raise Unstorable(f"the key is longer than the {KEY_BYTES} bytes that OpenSearch allows")
    return encoded


def keys(rows: list[RowKey]) -> list[bytes]:
    """`key` of many, at the price of few. Raises `Unstorable` where one of them cannot be a document's id."""
    encode = json_encoder.encode
    try:
        encoded = [encode(row) for row in rows]
    except UnicodeEncodeError:
        raise Unstorable("a key holds text that is not Unicode") from None
    if len(max(encoded, key=len)) > KEY_BYTES or set(map(type, rows)) != {str}:
        raise Unstorable("a key may be too long, or is no text")
    return encoded


def content(source: dict[str, Any]) -> Any:
    """A document without dynaview's own fields; None for a tombstone."""
    if source.get(DELETED):
        return None
    return {name: value for name, value in source.items() if name not in CONTROL}


def stored(row: RowKey, generation: int, source: dict[str, Any]) -> Stored:
    """A document as the port shows it."""
    return Stored(row, version_of(source.get(VERSION)), str(source.get(OWNER, "")), generation, content(source))


def version_of(text: object) -> int:
    """The version that a document holds, `UNKNOWN_VERSION` where dynaview did not write it."""
    return int(text) if isinstance(text, str) and text.isdecimal() else UNKNOWN_VERSION


def _document_type(fields: tuple[Field, ...]) -> Callable[..., Any]:
    """A struct of version, owner and a row's values, which encodes as a document without its missing fields, in C."""
    names = {"version": VERSION, "owner": OWNER} | {f"f{index}": field.name for index, field in enumerate(fields)}
    return msgspec.defstruct(
        "Document",
        [("version", str), ("owner", str | None, None), *((f"f{index}", Any, None) for index in range(len(fields)))],
        rename=names,
        omit_defaults=True,
        gc=False,
    )


def _open_document(version: str, owner: str | None, values: RowValues) -> bytes:
    """A document of fields that are the projection's own, behind version and owner as in any other."""
    if not isinstance(values, dict):
        raise TypeError("a row without declared fields is a dict")
    if not CONTROL.isdisjoint(values):
        raise Unstorable(f"the names {', '.join(sorted(CONTROL))} are dynaview's own in an index")
    fields = json_encoder.encode({name: value for name, value in values.items() if value is not None})
    head = b'%b%b"' % (HEAD, version.encode())
    if owner is not None:
        head += b',"_o":' + json_encoder.encode(owner)
    return head + (b"}" if fields == b"{}" else b"," + fields[1:])


def _finite(value: Any) -> bool:
    """Whether no float in `value` is infinite or not a number."""
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return True
