"""Rows: what a view holds, and the writes that bring it there.

A projection turns item states into rows; a `Write` is one guarded upsert or delete of one row. `Layout` tells a sink
all that it needs to know of a view, without any knowledge of DynamoDB.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

RowKey: TypeAlias = "str | tuple[Any, ...]"
"""Redis hash or string and OpenSearch: the rendered text. Redis set or sorted set: (key, member). Postgres: the typed
values of the key columns, in the order of `Layout.key`. Never empty, hashable, equal exactly when the rows are one."""

RowValues: TypeAlias = "tuple[Any, ...] | dict[str, Any]"
"""A tuple aligned with `Layout.fields` (None: missing or NULL), or, where a Python projection left its fields open
(`Layout.fields` is None), the dict it returned."""


class Rule(enum.IntEnum):
    """When a sink may apply a write."""

    NEWER = 0
    """The row and its tombstone are absent or older (the stream)."""
    ABSENT = 1
    """Neither row nor tombstone stands (a scan)."""


class Write(msgspec.Struct, gc=False):
    """One upsert (`values` given) or delete (`values` None) of the row under `key`.

    `version` is the change's (`SCANNED` for a scan). `owner` names the item that writes, as a short hash, where the
    row key does not hold the whole item key; it is empty otherwise and then not checked.
    """

    key: RowKey
    values: RowValues | None
    version: int
    owner: str = ""
    rule: Rule = Rule.NEWER


SCALARS = ("any", "text", "integer", "bigint", "decimal", "double", "boolean", "timestamp", "date", "json", "binary")
"""Field types. ``any`` keeps the natural value. Each but ``any`` and ``json`` has an array form: ``text[]``."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a row as sinks see it.

    Python values by type: text str; integer, bigint int (checked against 32 and 64 bits); decimal Decimal; double
    float; boolean bool; timestamp datetime in UTC; date date; binary bytes; json and any the natural value
    (None, bool, Decimal, int, float, str, bytes, list, dict); arrays a list of these. None is missing or NULL.
    """

    name: str
    type: str = "any"
    column: str | None = None
    """Postgres: the SQL type to use instead of the derived one, such as ``numeric(12,2)``."""
    mapping: Mapping[str, Any] | None = None
    """OpenSearch: the mapping to use instead of the derived one."""


EXPIRE = "_expire"
"""The hidden last field of a Redis view with ``expire: {from: …}``: seconds since 1970 as a Decimal, exact to the
microsecond, or None for no expiry. `ends_at` tells what it means at a moment."""

LONG_AGO = 1826 * 86_400.0
"""Seconds after which DynamoDB's time to live lets an item stand that should have ended: five years."""

SCORE = "score"
"""The only field of a Redis sorted set (double)."""


def ends_at(expire: Any, now: float) -> Any:
    """When a row ends that has this `EXPIRE`; None for never, also where it lies so long ago that DynamoDB would not
    delete the item."""
    return None if expire is None or expire <= now - LONG_AGO else expire


@dataclass(frozen=True, slots=True)
class RedisOptions:
    """Where and how a Redis view keeps its rows."""

    type: Literal["hash", "string", "set", "sorted_set"] = "hash"
    expire_after: int | None = None
    """Seconds a row lives after it was written; None for ever (or see `EXPIRE`)."""
    expire_field: bool = False
    """Whether the last field is `EXPIRE`."""
    family: tuple[str, ...] = ("", "")
    """The literal text of the key template around its captures: ``customer:{id}:card`` is ("customer:", ":card"). By
    it the sink finds the view's keys again, so no two views of one store may share keys that fit both. The default
    is every key of the database."""


@dataclass(frozen=True, slots=True)
class OpenSearchOptions:
    """Where an OpenSearch view keeps its documents. `index` is the name readers use (an alias)."""

    index: str
    settings: Mapping[str, Any]
    mappings: Mapping[str, Any]
    """Explicit ``properties`` that win over what field types derive."""


@dataclass(frozen=True, slots=True)
class Index:
    """A Postgres index on columns of a view."""

    columns: tuple[str, ...]
    unique: bool = False
    method: str = "btree"


@dataclass(frozen=True, slots=True)
class PostgresOptions:
    """Where a Postgres view keeps its rows. `table` is the name readers use (a SQL view)."""

    table: str
    schema: str = "public"
    indexes: tuple[Index, ...] = ()


Options: TypeAlias = "RedisOptions | OpenSearchOptions | PostgresOptions"


@dataclass(frozen=True, slots=True)
class Layout:
    """What a sink knows of a view. `key` names the fields of the row key (Postgres), else is empty."""

    view: str
    key: tuple[str, ...]
    fields: tuple[Field, ...] | None
    options: Options
