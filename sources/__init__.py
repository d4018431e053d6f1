"""Sources: DynamoDB tables and their streams, read through boto3.

`open_table` (or `DynamoTable` on a `Session`) gives a `TableReader`, `open_export` an export that was made of a table;
the protocols and what they answer with are in `dynaview.sources.port`, everything that can go wrong in
`dynaview.sources.errors`.
"""

from __future__ import annotations

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
from dynaview.sources.export import ChangePage, Export, open_export
from dynaview.sources.filters import scan_filter
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
from dynaview.sources.session import Session
from dynaview.sources.shards import ShardTree
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
