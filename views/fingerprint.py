"""The fingerprint of a declared view: what decides which rows it has and how they are kept (trap 19)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from dynaview.projections.declaration import ViewDeclaration

_NOT_PART = frozenset({"at", "places", "on_gap", "dead_letters"})
"""Where a view stands in its file, and what follows a gap or too many dead letters, do not change its rows."""


def fingerprint(view: ViewDeclaration, table: str) -> str:
    """64 hex digits that change when the view's rows, or the way they are stored, would change.

    `table` is the DynamoDB table's name. A Python projection counts by its compiled code; what it calls does not.
    """
    parts = {"table": table, "view": _plain(view)}
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic", enc_hook=str)).hexdigest()


def _plain(part: Any) -> Any:
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        names = (field.name for field in dataclasses.fields(part))
        return {name: _plain(getattr(part, name)) for name in names if name not in _NOT_PART}
    if isinstance(part, Mapping):
        return [[str(name), _plain(inner)] for name, inner in part.items()]  # the order of fields is part of it
    if isinstance(part, list | tuple):
        return [_plain(inner) for inner in part]
    code = getattr(part, "__code__", None)
    return _code(code) if code is not None else part


def _code(code: Any) -> list[Any]:
    constants = [_code(each) if hasattr(each, "co_code") else repr(each) for each in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), constants]
