"""The fingerprint of a declared view: what decides which rows it has and how they are kept (trap 19)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.rows import (
    Field,
    Index,
    Layout,
    OpenSearchOptions,
    Options,
    PostgresOptions,
)
from dynaview.views.declarations.codec import plain

NOT_PART = frozenset({"on_gap", "dead_letters", "on_change", "keep", "shrink", "verify", "python"})
"""What follows a gap, a change or too many dead letters, how long old rows are kept, and when rows are verified, do
not change them. Nor does the version of Python, beyond the code that it compiles."""


def fingerprint(view: ViewDeclaration, table: str) -> str:
    """64 hex digits that change when the view's rows, or the way they are stored, would change.

    `table` is the DynamoDB table's name or ARN. A Python projection counts by its own code (see `code_mark`).
    """
    parts = [table.rsplit("/", 1)[-1], plain(_settled(view), NOT_PART)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _settled(view: ViewDeclaration) -> ViewDeclaration:
    """The view without what does not matter to rows: the order of keys, indexes that stores make in place."""
    fields = view.fields
    return replace(
        view,
        match=tuple(_sorted(alternative) for alternative in view.match),
        fields=None if fields is None else dict(sorted(fields.items())),
        layout=_settled_layout(view.layout),
    )


def _settled_layout(layout: Layout) -> Layout:
    fields = layout.fields
    if fields is not None:
        fields = tuple(sorted((replace(field, mapping=_sorted(field.mapping)) for field in fields), key=_name))
    return replace(layout, fields=fields, options=_settled_options(layout.options))


def _settled_options(options: Options) -> Options:
    match options:
        case PostgresOptions():
            return replace(options, indexes=unique_indexes(options))
        case OpenSearchOptions():
            return replace(options, settings=_sorted(options.settings), mappings=_sorted(options.mappings))
    return options


def unique_indexes(options: PostgresOptions) -> tuple[Index, ...]:
    """The indexes that decide which rows there can be. Others are made and removed in place when a generation is
    prepared, while readers read."""
    return tuple(sorted({index for index in options.indexes if index.unique}, key=lambda index: index.columns))


def _name(field: Field) -> str:
    return field.name


def _sorted(part: Any) -> Any:
    """Mappings in the order of their keys, at every depth."""
    if isinstance(part, Mapping):
        return {name: _sorted(part[name]) for name in sorted(part)}
    if isinstance(part, list):
        return [_sorted(one) for one in part]
    return part
