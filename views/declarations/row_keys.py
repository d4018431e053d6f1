"""Row keys as people write them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from dynaview.projections.conversions import ConversionError, converter
from dynaview.projections.rows import Layout, PostgresOptions, RedisOptions, RowKey

PARTS = "write it as a JSON array"


def row_key(layout: Layout, written: str) -> RowKey:
    """The row key that `written` names in a view.

    OpenSearch, Redis hashes and strings: the text itself. Redis sets: a JSON array of key and member. Postgres: the
    values of the key columns in their order, as a JSON array or separated by commas (then no value has one).
    Raises ValueError, with what would be right.
    """
    match layout.options:
        case PostgresOptions():
            return _columns(layout, written)
        case RedisOptions(type=kind) if kind in ("set", "sorted_set"):
            parts = _array(written)
            if parts is None or len(parts) != 2 or not all(isinstance(part, str) and part for part in parts):
                raise ValueError(f"a row of {layout.view} is a key and its member: {PARTS} of two texts")
            return tuple(parts)
    if not written:
        raise ValueError("a row key is never empty")
    return written


def _columns(layout: Layout, written: str) -> RowKey:
    parts = _array(written)
    if parts is None:
        parts = written.split(",") if len(layout.key) > 1 else [written]
    if len(parts) != len(layout.key):
        raise ValueError(
            f"the key of {layout.view} is {', '.join(layout.key)}, {len(parts)} values were given: {PARTS}"
        )
    types = {field.name: field.type for field in layout.fields or ()}
    values: list[Any] = []
    for name, part in zip(layout.key, parts, strict=True):
        try:
            value = converter(types.get(name, "any"))(part)
        except ConversionError as error:
            raise ValueError(f"{name}: {error}") from error
        if value is None:
            raise ValueError(f"{name}: a key column is never null")
        values.append(value)
    return tuple(values)


def _array(written: str) -> list[Any] | None:
    if not written.lstrip().startswith("["):
        return None
    try:
        read = json.loads(written, parse_float=Decimal)
    except ValueError:
        return None
    return read if isinstance(read, list) else None
