"""Exports of a scripted table at moments of its life, written as DynamoDB writes them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynaview.sources.port import ExportStatus
from tests.support.exports import TABLE_ARN, Change, write_changes, write_export
from tests.support.scripted import ScriptedTable

Items = dict[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Snapshot:
    """What the table held at a time."""

    at: float
    items: Items


def snapshot(table: ScriptedTable) -> Snapshot:
    """The table as it is now. A change that is made in the same millisecond may be before or behind it."""
    return Snapshot(time.time(), {tuple(item[name] for name in table.key): item for item in table.items()})


class Exporter:
    """Writes exports of one table into folders of their own; AWS knows of them."""

    def __init__(self, folder: Path, table: ScriptedTable) -> None:
        self._folder = folder
        self._table = table
        self._made = 0

    def full(self, taken: Snapshot, **summary: Any) -> str:
        """A full export of that moment."""
        name = self._name()
        said: dict[str, Any] = {"time": taken.at, "export_id": name} | summary
        return str(write_export(self._folder / name, list(taken.items.values()), **said))

    def incremental(self, before: Snapshot, after: Snapshot, **summary: Any) -> str:
        """What changed from one moment to another."""
        name = self._name()
        changes = [
            Change(
                dict(zip(self._table.key, key, strict=True)),
                new=after.items.get(key),
                old=before.items.get(key),
                micros=int(after.at * 1_000_000) - 1,
            )
            for key in before.items.keys() | after.items.keys()
            if before.items.get(key) != after.items.get(key)
        ]
        said: dict[str, Any] = {"begin": before.at, "end": after.at, "export_id": name} | summary
        return str(write_changes(self._folder / name, changes, **said))

    def _name(self) -> str:
        self._made += 1
        name = f"0170000000000{self._made}-abcdef0{self._made}"
        self._table.exports[f"{TABLE_ARN}/export/{name}"] = ExportStatus("COMPLETED", filtered=False)
        return name
