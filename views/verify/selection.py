"""Findings from an earlier verification (``verify --json``), to be looked at once more and repaired."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dynaview.projections.attributes import item_key
from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import Stored
from dynaview.sources.port import Key
from dynaview.views.declarations.row_keys import row_key
from dynaview.views.verify.findings import DRIFT, Finding, Kind, VerifyError
from dynaview.views.verify.items import ItemReader
from dynaview.views.verify.limits import READ
from dynaview.views.verify.origins import item_key_of
from dynaview.views.verify.subject import Subject


@dataclass(frozen=True, slots=True)
class Named:
    """One row that an earlier verification found, and the state in which it stood."""

    kind: Kind
    key: RowKey
    item: Key | None
    version: int
    owner: str
    generation: int

    def is_same(self, row: Stored | None) -> bool:
        """Whether the row stands as it was found."""
        return (
            row is not None
            and row.content is not None
            and (row.version, row.owner, row.generation)
            == (
                self.version,
                self.owner,
                self.generation,
            )
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """What a file says of one view. `more` is how many rows it counts but does not name."""

    fingerprint: str
    generation: int
    named: Sequence[Mapping[str, Any]]
    more: int


def read_file(file: Path) -> dict[str, Listed]:
    """What ``dynaview verify --json`` wrote, by view. Raises `VerifyError`."""
    try:
        reports = json.loads(file.read_text())
        return {report["view"]: _listed(report) for report in reports}
    except OSError as error:
        raise VerifyError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise VerifyError(f"{file} is not what dynaview verify --json prints") from None


def _listed(report: Mapping[str, Any]) -> Listed:
    named = [found for found in report["differences"] if found["kind"] in DRIFT]
    return Listed(str(report["fingerprint"]), int(report["generation"]), named, int(report["drift"]) - len(named))


def named_rows(listed: Listed, view: ViewDeclaration, key: tuple[str, ...]) -> list[Named]:
    """The rows that a file names. Raises `VerifyError`."""
    try:
        return [_named(found, view, key) for found in listed.named if not found["stuck"]]
    except (ValueError, TypeError, KeyError) as error:
        raise VerifyError(f"{view.name}: the file names a row that is none of the view's: {error}") from None


def _named(found: Mapping[str, Any], view: ViewDeclaration, key: tuple[str, ...]) -> Named:
    written, seen = found["key"], found["seen"] or {}
    row = row_key(view.layout, json.dumps(written) if isinstance(written, list) else written)
    item = None if found["item_key"] is None else item_key_of(found["item_key"], key)
    version, owner = int(seen.get("version", 0)), str(seen.get("owner", ""))
    return Named(found["kind"], row, item, version, owner, int(seen.get("generation", 0)))


def standing(named: Sequence[Named], subject: Subject, items: ItemReader) -> Iterator[list[Finding]]:
    """Rows that no item of their owner's asked for when all of the table was looked at, and that stand as they did.

    A row that nothing has changed since is still asked for by nobody: whoever comes to ask writes it. What it ought to
    be is asked of its item now, where there is one.
    """
    for start in range(0, len(named), READ):
        part = named[start : start + READ]
        rows = items.retrier.insist(partial(subject.target.read, [each.key for each in part]))
        still = [(each, row) for each, row in zip(part, rows, strict=True) if each.is_same(row)]
        asked = items.asked(subject.bound, [each.item for each, _ in still if each.item is not None])
        findings = []
        for each, row in still:
            write = None if each.item is None else asked[item_key(each.item)].get(each.key)
            gone = Write(each.key, None, 0, each.owner)
            findings.append(Finding(subject.view, each.kind, write or gone, row, each.item))
        yield findings
