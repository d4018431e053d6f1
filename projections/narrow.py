"""Attributes that are always of one type, in a quarter of the room.

An `Attr` has a place for every type that DynamoDB has. Nearly every attribute of a table is text throughout, or a
number, or a truth value. `Kinds` learns from pages which those are, and decodes them as structs of one field that are
read as an `Attr` is: they are a third of the work of decoding, and most of the memory that a waiting change takes.
A page with an attribute of another type is not readable so; then it is read as ever, and the attribute from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dynaview.projections.attributes import Attr, Shape
from dynaview.projections.changes import Body, Change

_MOST = 50
"""So many types of changes are made at the most; then attributes are taken for what they may be at all."""


def _alone(name: str, field: str, holds: type) -> type[msgspec.Struct]:
    """An `Attr` of one type: a struct of one field that answers None for the others."""
    others = dict.fromkeys(other for other in Attr.__struct_fields__ if other != field)
    return msgspec.defstruct(name, [(field, holds)], namespace=others, gc=False, forbid_unknown_fields=True)


Text = _alone("Text", "S", str)
Number = _alone("Number", "N", str)
Truth = _alone("Truth", "BOOL", bool)


class Kinds:
    """What the attributes of a stream's records were so far. Not safe to share between threads."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._attributes: dict[str, set[Any]] = {name: set() for name in shape.names or ()}
        self._keys: set[Any] = set()
        self._known: tuple[Mapping[str, Any], Any] | None = None
        self._type: Any | None = None
        self._made = 0

    def learn(self, changes: Iterable[Change[Any]]) -> Any | None:
        """The type of changes from now on, after these were decoded; None where nothing is gained by one of its own."""
        if self._shape.names is None or self._made > _MOST:
            return None
        before = self._shape.before
        for change in changes:
            body = change.body
            self._keys.update(map(_kind, body.key.values()))
            for shape, image in ((self._shape, body.new), (before, body.old)):
                if image is not None:
                    for name in shape.names or ():
                        if (attr := shape.get(image, name)) is not None:
                            self._attributes[name].add(_kind(attr))
        narrow = {name: kind for name, kinds in self._attributes.items() if (kind := _only(kinds)) is not None}
        known = narrow, _only(self._keys)
        if known != self._known:
            self._known = known
            self._made += 1
            self._type = _type(self._shape, *known)
        return self._type


def _kind(attr: Any) -> Any:
    if attr.S is not None:
        return Text
    if attr.N is not None:
        return Number
    return Attr if attr.BOOL is None else Truth


def _only(kinds: set[Any]) -> Any:
    """The struct of one field that serves for these kinds."""
    return next(iter(kinds)) if len(kinds) == 1 and Attr not in kinds else None


def _type(shape: Shape, narrow: Mapping[str, Any], key: Any) -> Any | None:
    if not narrow and key is None:
        return None
    images = [
        ("new", shape.narrowed(narrow) | None, msgspec.field(name="NewImage", default=None)),
        ("old", shape.before.narrowed(narrow) | None, msgspec.field(name="OldImage", default=None)),
    ]
    named = [] if key is None else [("key", dict[str, key], msgspec.field(name="Keys"))]
    body = msgspec.defstruct("Body", [*named, *images], bases=(Body,), gc=False, omit_defaults=True)
    read = [("body", body, msgspec.field(name="dynamodb"))]
    return msgspec.defstruct("Change", read, bases=(Change,), gc=False, omit_defaults=True)
