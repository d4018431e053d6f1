"""The attributes of sampled items: how often each occurs, of which types it is, and the field type that fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from dynaview.projections.attributes import Attr, AttributeValueError, number
from dynaview.projections.conversions import ConversionError, converter

_TYPES = ("S", "N", "BOOL", "M", "L", "NULL", "B", "SS", "NS", "BS")
_FIELD = {"BOOL": "boolean", "M": "json", "L": "json", "B": "binary", "SS": "text[]", "NS": "decimal[]", "BS": "json"}
_MOMENT = len("2026-01-31T12:00Z")
_DAY = len("2026-01-31")


@dataclass(slots=True)
class Seen:
    """One attribute of one kind of items."""

    name: str
    types: Counter[str] = field(default_factory=Counter)
    """How often each type of DynamoDB (``S``, ``N``, ``NULL``, …) was seen."""
    candidates: set[str] = field(default_factory=lambda: {"timestamp", "date", "bigint"})
    """Narrower field types that every value so far fits."""

    @property
    def count(self) -> int:
        """In how many items it was."""
        return self.types.total()

    @property
    def field_type(self) -> str:
        """The type of a field that holds all that was seen: the narrowest where it is plain, ``json`` for a mixture."""
        types = {type_ for type_ in self.types if type_ != "NULL"}
        if types == {"S"}:
            return next((name for name in ("timestamp", "date") if name in self.candidates), "text")
        if types == {"N"}:
            return "bigint" if "bigint" in self.candidates else "decimal"
        if len(types) == 1:
            return _FIELD[types.pop()]
        return "json"

    def add(self, attr: Attr) -> None:
        """Count one value."""
        type_ = next((name for name in _TYPES if getattr(attr, name) is not None), "M")
        self.types[type_] += 1
        if type_ != "NULL":
            self.candidates = {name for name in self.candidates if _fits(name, attr)}


def seen_in(images: Iterable[Mapping[str, Attr]]) -> dict[str, Seen]:
    """The attributes of items by name."""
    found: dict[str, Seen] = {}
    for image in images:
        for name, attr in image.items():
            found.setdefault(name, Seen(name)).add(attr)
    return found


def _fits(type_: str, attr: Attr) -> bool:
    try:
        if attr.N is not None and type_ == "bigint":
            converter("bigint")(number(attr.N))
            return True
        if attr.S is None:
            return False
        if type_ == "timestamp":
            return len(attr.S) >= _MOMENT and _converts(type_, attr.S)
        return type_ == "date" and len(attr.S) == _DAY and _converts(type_, attr.S)
    except (ConversionError, AttributeValueError):
        return False


def _converts(type_: str, text: str) -> bool:
    converter(type_)(text)
    return True
