"""What a verification finds: rows that are not as their items ask for, and how many there are of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec

from dynaview.projections.attributes import item_key
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import Stored
from dynaview.sources.port import Key
from dynaview.views.dead_letters import key_text

Kind: TypeAlias = Literal["missing", "extra", "different", "owner", "foreign", "dead-lettered"]

DRIFT: tuple[Kind, ...] = ("missing", "extra", "different", "owner", "foreign")
"""Kinds that nothing explains: the view is not what its table asks for."""

MEANINGS: Mapping[Kind, str] = {
    "missing": "an item asks for the row, and it does not stand",
    "extra": "the row stands, and no item asks for it",
    "different": "the row holds something else than its item asks for",
    "owner": "the row belongs to another item than the one that asks for it",
    "foreign": "something stands where a row could, and dynaview did not put it there",
    "dead-lettered": "a kept dead letter of the item explains it",
}

VALUE = "value"
"""Stands for the content of rows that have no fields (a text, a score)."""


UNKNOWN_OWNER = (
    "whether the other item asks for this row too only a whole verification can tell: dynaview verify without "
    "--sample, --key and --since"
)
CONFLICT = "both items ask for this row: give them different row keys, or remove one of them"
TOO_MANY = "more than was remembered: repair, and verify again"

REMOVE_FOREIGN = "dynaview repair --foreign removes it"


class VerifyError(Exception):
    """A view that cannot be verified as things stand, or not in the way that was asked; the text says why and what to
    do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One row that is not as it ought to be. Row values are in it: see `plain`."""

    view: str
    kind: Kind
    write: Write
    """What the table asks for: `values` is None where it asks for no row."""
    seen: Stored | None
    """What stands instead, tombstones included; None where nothing does."""
    item: Key | None = None
    """The key of the item that asks; None where none does."""
    expected: Any = None
    """The content that ought to stand, as the store would give it back."""
    fields: tuple[str, ...] = ()
    """The names of fields that differ."""
    stuck: str = ""
    """Why a repair has to leave it, and what to do; empty where it does not."""

    @property
    def key(self) -> RowKey:
        """The row's."""
        return self.write.key

    def plain(self, values: bool = False) -> dict[str, Any]:
        """As plain data: keys, versions as text, names of fields; contents only where `values` are asked for."""
        seen = self.seen
        found: dict[str, Any] = {
            "view": self.view,
            "kind": self.kind,
            "row_key": key_text(self.key),
            "key": [*self.key] if isinstance(self.key, tuple) else self.key,
            "item_key": None if self.item is None else item_key(self.item),
            "fields": [*self.fields],
            "seen": None
            if seen is None
            else {
                "version": str(seen.version),
                "owner": seen.owner,
                "generation": seen.generation,
                "live": seen.content is not None,
            },
            "stuck": self.stuck,
        }
        if values:
            found["expected"] = self.expected
            found["stored"] = None if seen is None else seen.content
        return msgspec.to_builtins(found, enc_hook=_shown)  # type: ignore[no-any-return]  # a dict stays one


@dataclass(slots=True)
class Report:
    """The result of verifying one view. Only the first findings are `listed`; the counts know all of them."""

    view: str
    generation: int
    fingerprint: str = ""
    """Of the declaration that built the rows."""
    items: int = 0
    """Items that were read."""
    rows: int = 0
    """Rows that they ask for."""
    missing: int = 0
    extra: int = 0
    different: int = 0
    owner: int = 0
    foreign: int = 0
    stale: int = 0
    """Rows that were behind at the first look and right once the view had caught up: lag, not drift."""
    changing: int = 0
    """Rows that changed at every look, so that none could be judged."""
    dead_lettered: int = 0
    """Rows, and items of which no row can be made, that dead letters explain."""
    begun: float = 0.0
    """Seconds since 1970."""
    seconds: float = 0.0
    units: float = 0.0
    """Read capacity units that the scan consumed."""
    error: str = ""
    """Why the view could not be verified; then the numbers are of what was looked at until then."""
    notes: list[str] = field(default_factory=list)
    """What could not be judged, and why."""
    listed: list[Finding] = field(default_factory=list)

    @property
    def drift(self) -> int:
        """How many rows are not as they ought to be, and nothing explains it."""
        return self.missing + self.extra + self.different + self.owner + self.foreign

    def count(self, kind: Kind) -> None:
        """One more."""
        name = kind.replace("-", "_")
        setattr(self, name, getattr(self, name) + 1)

    def note(self, text: str) -> None:
        """Say it once."""
        if text not in self.notes:
            self.notes.append(text)

    def plain(self, values: bool = False) -> dict[str, Any]:
        """As plain data. Times are seconds since 1970, `seconds` and `units` what it took."""
        numbers = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("listed", "notes")}
        found = [finding.plain(values) for finding in self.listed]
        return {**numbers, "drift": self.drift, "notes": self.notes, "differences": found}


def differing(expected: Any, stored: Any) -> tuple[str, ...]:
    """The names of fields in which two contents differ."""
    expected, stored = _fields(expected), _fields(stored)
    if expected is None or stored is None:
        return (VALUE,)
    nothing = object()
    names = dict.fromkeys([*expected, *stored])
    return tuple(str(name) for name in names if expected.get(name, nothing) != stored.get(name, nothing)) or (VALUE,)


def _fields(content: Any) -> dict[str, Any] | None:
    if isinstance(content, bytes):  # a JSON document as text
        try:
            content = msgspec.json.decode(content)
        except (msgspec.DecodeError, ValueError):
            return None
    return content if isinstance(content, dict) else None


def _shown(value: Any) -> Any:
    return str(value)
