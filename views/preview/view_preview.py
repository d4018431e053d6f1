"""What a view makes of items: rows, or why there are none; and what a change of an item asks of it. Nothing is written.

The rows are those that following, filling and verifying would write: of the same projection, looked at by the same
sink for what the store could not hold. No store is asked, so what only its own rows decide (a unique index, a row that
another item had before) is not seen here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dynaview.projections.attributes import Attr, AttributeValueError, value
from dynaview.projections.compiler.trial import Result, Trial, fields_of
from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import Target
from dynaview.views.preview.items import Item

Plain: TypeAlias = "dict[str, Any]"
"""What becomes a JSON object; numbers may be Decimal, moments datetime, binary bytes (see `canonical.json_encoder`)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `fault` says why it would be a dead letter; empty for a good one."""

    key: RowKey
    values: Mapping[str, Any]
    owner: str = ""
    fault: str = ""
    kind: str = ""
    """Of the dead letter: ``content`` or ``owner``."""

    def plain(self) -> Plain:
        """As ``--json`` shows it."""
        return {"key": self.key, "values": self.values, "fault": self.fault or None}


@dataclass(frozen=True, slots=True)
class ItemPreview:
    """One item and what the view makes of it."""

    item: Item
    result: Result
    rows: Sequence[Row] = ()
    reason: str = ""
    """Why there are no rows, or which of them would be a dead letter. May show values of the item."""
    kind: str = ""
    """Of a dead letter, in the words of ``dynaview dead-letters``."""

    def plain(self) -> Plain:
        """As ``--json`` shows it."""
        return {
            "origin": self.item.origin,
            "item": self.item.image,
            "result": self.result,
            "reason": self.reason or None,
            "kind": self.kind or None,
            "rows": [row.plain() for row in self.rows],
        }


@dataclass(frozen=True, slots=True)
class ChangePreview:
    """What a change from one state of an item to another asks of a view."""

    old: ItemPreview | None
    new: ItemPreview | None
    upserts: Sequence[Row]
    deletes: Sequence[RowKey]
    reason: str = ""
    """Why the change would be a dead letter."""
    kind: str = ""
    note: str = ""
    """What else goes that the two states do not tell."""

    @property
    def result(self) -> str:
        """``applied``, ``unmatched`` (nothing is asked of the view) or ``dead-letter``."""
        return "dead-letter" if self.reason else "applied" if self.upserts or self.deletes else "unmatched"

    def plain(self) -> Plain:
        """As ``--json`` shows it."""
        return {
            "result": self.result,
            "reason": self.reason or None,
            "kind": self.kind or None,
            "note": self.note or None,
            "upserts": [row.plain() for row in self.upserts],
            "deletes": list(self.deletes),
            "old": None if self.old is None else self.old.plain(),
            "new": None if self.new is None else self.new.plain(),
        }


@dataclass(slots=True)
class ViewPreview:
    """Previews of one view. It remembers who has which row: of two items with one row key, the second is told."""

    view: ViewDeclaration
    target: Target
    """As `Sink.open` gives it: nothing of it is called that would ask the store."""
    key: tuple[str, ...] | None = None
    """The table's key attributes, where they are known."""
    trial: Trial = field(init=False)
    _rows: dict[RowKey, tuple[str, str]] = field(default_factory=dict)
    """By row key the owner and the origin of the item that has it."""

    def __post_init__(self) -> None:
        self.trial = Trial(self.view, self.key)

    def item(self, item: Item) -> ItemPreview:
        """What the view makes of an item."""
        return self._item(item, remember=True)

    def _item(self, item: Item, remember: bool) -> ItemPreview:
        if item.image is None:
            return ItemPreview(item, "dead-letter", reason=item.broken, kind="unreadable")
        state = self.trial.state(item.image)
        if not state.rows:
            kind = "projection" if state.result == "dead-letter" else ""
            return ItemPreview(item, state.result, reason=state.reason, kind=kind)
        try:
            writes = self.trial.bound.inserts(item.image)
        except ProjectionError as error:  # no owner can be named
            return ItemPreview(item, "dead-letter", reason=str(error), kind="projection")
        rows = [self._row(write, item.origin, remember) for write in writes]
        bad = next((row for row in rows if row.fault), None)
        if bad is None:
            return ItemPreview(item, "rows", rows)
        return ItemPreview(item, "dead-letter", rows, bad.fault, bad.kind)

    def change(self, old: Item | None, new: Item | None) -> ChangePreview:
        """What a change asks of the view: from `old` (None: an insert) to `new` (None: a deletion)."""
        before, after = (None if each is None else self._item(each, remember=False) for each in (old, new))
        asked = self.trial.change(None if old is None else old.image, None if new is None else new.image)
        upserts = [self._row(write, "", False) for write in asked.writes if write.values is not None]
        deletes = [write.key for write in asked.writes if write.values is None]
        bad = next((row for row in upserts if row.fault), None)
        had = {row.key for row in before.rows} if before is not None else set()
        deletes += [row.key for row in upserts if row.fault and row.key in had]
        reason, kind = (bad.fault, bad.kind) if bad else (asked.reason, "projection" if asked.reason else "")
        return ChangePreview(before, after, upserts, deletes, reason, kind, asked.note)

    def _row(self, write: Write, origin: str, remember: bool) -> Row:
        assert write.values is not None
        values = fields_of(self.view, write.values)
        if fault := self.target.fault(write):
            return Row(write.key, values, write.owner, fault, "content")
        if write.owner and remember:
            owner, other = self._rows.setdefault(write.key, (write.owner, origin))
            if owner != write.owner:
                return Row(write.key, values, write.owner, f"the row belongs to another item: {other}", "owner")
        return Row(write.key, values, write.owner)


def key_of(image: Mapping[str, Attr], names: Sequence[str]) -> Plain:
    """The key attributes of an item, as plain values; those that it lacks, or that cannot be read, left out."""
    return {name: found for name, found in plain_item(image).items() if name in names}


def plain_item(image: Mapping[str, Attr]) -> Plain:
    """An item as plain values, for people; what cannot be read as None."""
    found: Plain = {}
    for name, attr in image.items():
        try:
            found[name] = value(attr)
        except AttributeValueError:
            found[name] = None
    return found
