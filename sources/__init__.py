"""Sources: DynamoDB tables and their streams, read through boto3.

`open_table` (or `DynamoTable` on a `Session`) gives a `TableReader`, `open_export` an export that was made of a table;
the protocols and what they answer with are in `dynaview.sources.port`, everything that can go wrong in
`dynaview.sources.errors`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dynaview.sources.errors import (
    AccessDenied,
    BadExport,
    BadPage,
    CredentialsMissing,
    ExportUnknown,
    IteratorExpired,
    SourceError,
    SourceRefused,
    SourceUnavailable,
    StreamDisabled,
    StreamGone,
    TableMissing,
    Throttled,
    Trimmed,
)
from dynaview.sources.port import (
    Broken,
    ExportStatus,
    Key,
    KeyTest,
    Page,
    ScanFilter,
    ScanPage,
    ScanPosition,
    Shard,
    StreamReader,
    TableDescription,
    TableReader,
)
from dynaview.sources.shards import ShardTree

if TYPE_CHECKING:
    from dynaview.sources.export import ChangePage, Export, open_export
    from dynaview.sources.filters import scan_filter
    from dynaview.sources.session import Session
    from dynaview.sources.table import DynamoTable, open_table

__all__ = [
    "AccessDenied",
    "BadExport",
    "BadPage",
    "Broken",
    "ChangePage",
    "CredentialsMissing",
    "DynamoTable",
    "Export",
    "ExportStatus",
    "ExportUnknown",
    "IteratorExpired",
    "Key",
    "KeyTest",
    "Page",
    "ScanFilter",
    "ScanPage",
    "ScanPosition",
    "Session",
    "Shard",
    "ShardTree",
    "SourceError",
    "SourceRefused",
    "SourceUnavailable",
    "StreamDisabled",
    "StreamGone",
    "StreamReader",
    "TableDescription",
    "TableMissing",
    "TableReader",
    "Throttled",
    "Trimmed",
    "open_export",
    "open_table",
    "scan_filter",
]

_AWS = {
    **dict.fromkeys(("ChangePage", "Export", "open_export"), "export"),
    "scan_filter": "filters",
    "Session": "session",
    **dict.fromkeys(("DynamoTable", "open_table"), "table"),
}
"""What brings boto3 with it, which takes a third of a second to import: only where it is used."""


def __getattr__(name: str) -> Any:
    if name not in _AWS:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_AWS[name]}"), name)
