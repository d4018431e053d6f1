"""Views in a user's own tests: the rows of an item, and what a change asks of a view. Pure: no table, no store.

    from dynaview.projections.testing import change_of, rows_of

    def test_a_paid_order_has_a_label():
        (row,) = rows_of(shipping_label, {"pk": "CUSTOMER#c1", "sk": "ORDER#o1", "status": "PAID", "shipping": {...}})
        assert row.key == "label:o1"

A view is a function under `@projection`, or a view of a loaded declaration:
``load([Path("dynaview.yaml")], os.environ).views["orders"]`` (from `dynaview.views.declarations.load`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from dynaview.projections.attributes import Attr, AttributeValueError, value
from dynaview.projections.compiler.trial import SHAPE, State, Trial, fields_of
from dynaview.projections.declaration import DeclarationError, ViewDeclaration
from dynaview.projections.projection import ProjectionError
from dynaview.projections.reading.document import Document
from dynaview.projections.reading.python import PythonError, declaration_of
from dynaview.projections.reading.reader import read
from dynaview.projections.rows import RowKey, RowValues, Write

__all__ = ["Changed", "ProjectionError", "Row", "change_of", "from_dynamodb", "rows_of", "state_of", "view_of"]

View: TypeAlias = "ViewDeclaration | Callable[..., Any]"
"""A view of a loaded declaration, or a function under `@projection`."""

Item: TypeAlias = Mapping[str, Any]
"""A plain item: text, `Decimal` or int, bool, bytes, None, lists, dicts and sets; no float, as with boto3."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a view. `values` are by field, as Python values; what is missing or null is left out."""

    key: RowKey
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change asks of a view."""

    upserts: Sequence[Row]
    deletes: Sequence[RowKey]


def rows_of(view: View, item: Item) -> list[Row]:
    """The rows that `item` gives; none where it does not belong to the view.

    Raises `ProjectionError` where no row can be made of it: such a change would be a dead letter.
    """
    declared = view_of(view)
    rows = Trial(declared).bound.rows(SHAPE.pack(item))
    return [_row(declared, key, values) for key, values in rows]


def change_of(view: View, old: Item | None, new: Item | None) -> Changed:
    """What a change of an item asks of the view: `old` is None for an insert, `new` is None for a deletion.

    Raises `ProjectionError` where the change would be a dead letter.
    """
    declared = view_of(view)
    pack = SHAPE.pack
    asked = Trial(declared).change(None if old is None else pack(old), None if new is None else pack(new))
    if asked.reason:
        raise ProjectionError(asked.reason)
    return Changed(
        [_upsert(declared, write) for write in asked.writes if write.values is not None],
        [write.key for write in asked.writes if write.values is None],
    )


def state_of(view: View, item: Item) -> State:
    """The same as `rows_of` with the reason where there are none; raises nothing for what the item holds."""
    return Trial(view_of(view)).state(SHAPE.pack(item))


def from_dynamodb(item: Mapping[str, Any]) -> dict[str, Any]:
    """A plain item from DynamoDB JSON (``{"pk": {"S": "a"}}``), as exports, events and the AWS command line have it.

    Raises ValueError for what is no DynamoDB JSON.
    """
    try:
        image = msgspec.convert(dict(item), dict[str, Attr])
        return {name: value(attr) for name, attr in image.items()}
    except (msgspec.ValidationError, AttributeValueError) as error:
        raise ValueError(f"not DynamoDB JSON: {error}") from None


def view_of(view: View) -> ViewDeclaration:
    """The checked view of a function under `@projection`; a checked view itself stays what it is.

    Raises `DeclarationError` with everything that is wrong with it, TypeError for what is no view.
    """
    if isinstance(view, ViewDeclaration):
        return view
    declared = declaration_of(view) if callable(view) else None
    if declared is None:
        raise TypeError("give a view of a loaded declaration, or a function under @projection")
    source, sink = str(declared.keys.get("source", "")), str(declared.keys.get("sink", ""))
    around = Document(
        declared.file,
        {"sources": {source: {"table": source}}, "sinks": {sink: _store(declared.keys)}, "views": {}},
        {},
        first_line=declared.line,
    )
    reading = read([around], [declared], {}, _no_module)
    found = reading.declaration.views.get(declared.name)
    if reading.problems or found is None:
        raise DeclarationError(reading.problems)
    return found


def _store(keys: Mapping[str, Any]) -> dict[str, str]:
    """A store of the kind that a view's keys speak of; none is ever asked."""
    if "table" in keys:
        return {"postgres": "postgresql://localhost/tests"}
    return {"opensearch": "http://localhost:9200"} if "index" in keys else {"redis": "redis://localhost:6379"}


def _no_module(name: str, file: str) -> Any:
    raise PythonError(f"{name}: a function under @projection names no other one")


def _row(view: ViewDeclaration, key: RowKey, values: RowValues) -> Row:
    return Row(key, fields_of(view, values))


def _upsert(view: ViewDeclaration, write: Write) -> Row:
    assert write.values is not None
    return _row(view, write.key, write.values)
