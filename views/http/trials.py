"""What a view is declared as and what it would make of items, for the page and the API. No store is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from dynaview.projections.canonical import json_encoder
from dynaview.projections.declaration import Declaration, SinkDeclaration, SourceDeclaration
from dynaview.sinks.port import Sink
from dynaview.sources.errors import SourceError, SourceUnavailable
from dynaview.sources.filters import scan_filter
from dynaview.sources.port import TableReader
from dynaview.sources.table import open_table
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.difference import described
from dynaview.views.declarations.plan import Standing, plan
from dynaview.views.http.guard import Problem
from dynaview.views.preview.items import Item, ItemsError, of_key, of_table, written
from dynaview.views.preview.open_view import previews
from dynaview.views.verify.origins import item_key_of

MOST_ITEMS = 20
"""Items of a table that are tried at once, at the most."""


class _Tried(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for a preview: exactly one of them is given. Items and keys are JSON as text, so that
    their numbers stay exact."""

    item: str | None = None
    key: str | None = None
    limit: int | None = None


class Trials:
    """Tries views out. Thread-safe. Every method may raise `Problem` and `ControlUnavailable`."""

    def __init__(self, declaration: Declaration, control: ControlStore) -> None:
        self._declaration = declaration
        self._control = control

    def declared(self, view: str) -> dict[str, Any]:
        """How a view is declared, what is otherwise than what built its rows, and what follows. Tables and stores are
        not asked: ``dynaview plan`` does, and says how large a rebuild would be."""
        records = {record.name: record for record in self._control.views()}
        declared = self._declaration.views.get(view)
        if declared is None and view not in records:
            raise Problem(404, f"there is no view {view[:60]!r}")
        standing = Standing(records, self._control.generations, _no_source, _no_sink)
        (planned,) = plan(self._declaration, standing, [view])
        lines = {} if declared is None else described(declared, self._declaration.sources[declared.source].table)
        return {
            "view": view,
            "at": None if declared is None else str(declared.at),
            "declared": [{"path": path, "value": value} for path, value in lines.items()],
            "state": planned.state,
            "do": planned.do,
            "changes": [
                {"path": each.path, "key": each.key or None, "before": each.before, "after": each.after}
                for each in planned.difference.changes
            ],
        }

    def preview(self, view: str, body: Mapping[str, Any]) -> bytes:
        """The rows that a view would make of items, as JSON: as ``dynaview preview --json`` prints it."""
        declared = self._declaration.views.get(view)
        if declared is None:
            raise Problem(
                404, f"unknown view {view[:60]!r}; declared views: {', '.join(sorted(self._declaration.views))}"
            )
        try:
            asked = msgspec.convert(body, _Tried)
        except msgspec.ValidationError as error:
            raise Problem(400, str(error)) from None
        if sum(each is not None for each in (asked.item, asked.key, asked.limit)) != 1:
            raise Problem(400, "give one of: item (JSON as text), key (JSON as text), limit (items of the table)")
        try:
            items, notes = self._items(view, asked)
            with previews(self._declaration, [view]) as made:
                shown = [made[view].item(item).plain() for item in items]
            return json_encoder.encode({"view": view, "items": shown, "notes": notes})
        except (ItemsError, ValueError, RecursionError) as error:
            raise Problem(400, str(error)) from None
        except SourceError as error:
            raise Problem(503, str(error)) from None

    def _items(self, view: str, asked: _Tried) -> tuple[list[Item], list[str]]:
        if asked.item is not None:
            if not asked.item.lstrip().startswith("{"):  # anything else would be taken for the name of a file
                raise ItemsError("item: an item is a JSON object with its attributes")
            item = written(asked.item)
            return ([] if item is None else [item]), []
        declared = self._declaration.views[view]
        table = open_table(self._declaration.sources[declared.source])
        if asked.key is not None:
            found = of_key(table, item_key_of(asked.key, table.describe().key))
            return ([found], []) if found is not None else ([], ["the table has no such item"])
        if not 1 <= (asked.limit or 0) <= MOST_ITEMS:
            raise ItemsError(f"limit: a number from 1 to {MOST_ITEMS}")
        sample = of_table(table, asked.limit or 0, scan_filter([declared.match]))
        notes = [f"reading them cost {sample.units:g} read units"] if sample.units else []
        if not sample.items:
            notes.append("no item that matches was among those read" if sample.more else "no item of the table matches")
        return list(sample.items), notes


def _no_source(source: SourceDeclaration) -> TableReader:
    raise SourceUnavailable(f"table {source.table} is not asked here", "")


def _no_sink(sink: SinkDeclaration) -> Sink:
    raise ValueError("stores are not asked here")
