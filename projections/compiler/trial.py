"""A view tried on items in hand: the rows that they give, and where they give none, why.

The rows come from the same compiled projection as everywhere. What is said beside them (which pattern does not fit,
what the filter saw) is asked of small views that are compiled by the same compiler, so it cannot tell another story.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from dynaview.projections.attributes import Attr, AttributeValueError, Image, Shape
from dynaview.projections.canonical import json_encoder
from dynaview.projections.changes import Body, Change
from dynaview.projections.compiler.analysis import plan_view
from dynaview.projections.compiler.compiler import compile_view, names_owner
from dynaview.projections.compiler.runtime import key_text
from dynaview.projections.declaration import FieldExpression, ViewDeclaration
from dynaview.projections.expressions import Path, parse
from dynaview.projections.patterns import Pattern, parse_pattern
from dynaview.projections.projection import Bound, OldRowsUnknown, ProjectionError
from dynaview.projections.rows import Field, Layout, PostgresOptions, RowKey, RowValues, Write

Result: TypeAlias = Literal["rows", "unmatched", "filtered", "empty", "dead-letter"]
"""What an item is to a view: it gives rows; its key does not fit ``match``; ``where`` is not true; ``each`` or the
Python function yields nothing; no row can be made of it."""

SHAPE = Shape(None)
"""Items in hand are whole."""

LONGEST = 60
"""Characters of a value that a reason shows."""

_KEY = "one"
_UNKNOWN = "the old state does not tell which rows the item had: those that its store still has of it go too"


@dataclass(frozen=True, slots=True)
class State:
    """What one state of an item is to a view. `reason` is for people and shows values of the item; empty for rows."""

    result: Result
    rows: Sequence[tuple[RowKey, RowValues]] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a change asks of a view. With a `reason` it becomes a dead letter. `note` says what else goes that the
    images alone do not tell."""

    writes: Sequence[Write]
    reason: str = ""
    note: str = ""


def likely_key(views: Iterable[ViewDeclaration]) -> tuple[str, ...]:
    """The key attributes of a table, as far as the views of it name them in ``match``; ``pk`` where they name none."""
    return tuple(sorted({name for view in views for alternative in view.match for name in alternative})) or ("pk",)


class Trial:
    """One view, ready to be tried on items. Pure; raises ValueError where the view cannot be compiled."""

    def __init__(self, view: ViewDeclaration, key: tuple[str, ...] | None = None) -> None:
        """`key` are the table's key attributes; by default what the view itself says of them."""
        self.view = view
        self.key = key or likely_key([view])
        self.bound: Bound = _bound(view, self.key)
        self.owned = names_owner(plan_view(view), self.key)
        """Whether rows name the item that wrote them."""
        self._alternatives = [
            {name: parse_pattern(text) for name, text in alternative.items()} for alternative in view.match
        ]
        self._probes: dict[str, Bound] = {}

    def state(self, image: Image) -> State:
        """What an item is to the view."""
        try:
            rows = self.bound.rows(image)
        except ProjectionError as error:
            return State("dead-letter", reason=str(error))
        return State("rows", rows) if rows else self._without_rows(image)

    def change(self, old: Image | None, new: Image | None, version: int = 1) -> Asked:
        """What a change from `old` to `new` (None: there was none, or there is none any more) asks of the view. A
        change that becomes a dead letter takes the rows of the old state with it."""
        change = change_between(old, new, self.key)
        try:
            return Asked(self.bound.writes(change, version))
        except OldRowsUnknown as error:
            return Asked(error.asked, note=_UNKNOWN)
        except ProjectionError as error:
            return Asked(error.asked, str(error), _UNKNOWN if error.owner else "")

    def unfiltered(self) -> ViewDeclaration:
        """The same view without its filter: which rows an item had or would have."""
        return replace(self.view, where=None)

    def _without_rows(self, image: Image) -> State:
        view = self.view
        if misfits := self._misfits(image):
            return State("unmatched", reason="; or ".join(misfits))
        if view.where is not None:
            kept, found = self._asked(view.where, image)
            if not kept:
                return State("filtered", reason=f"where: {view.where} is {found}{self._read(view.where, image)}")
        if view.each is not None:
            return State(
                "empty", reason=f"each: {view.each} yields no element: it is {self._asked(view.each, image)[1]}"
            )
        return State("empty", reason=f"{view.function_name or 'the view'} returned no row")

    def _misfits(self, image: Image) -> list[str]:
        """Why none of the alternatives of ``match`` fits; empty where one does."""
        found = []
        for alternative in self._alternatives:
            misfit = next(
                (text for name, pattern in alternative.items() if (text := _misfit(name, pattern, image))), None
            )
            if misfit is None:
                return []
            found.append(misfit)
        return list(dict.fromkeys(found))

    def _asked(self, expression: str, image: Image) -> tuple[bool, str]:
        """Whether `expression` on the item is true, as filters take it, and its value for people."""
        if expression not in self._probes:
            self._probes[expression] = _bound(_probe(self.view, expression), self.key)
        try:
            ((_, values),) = self._probes[expression].rows(image)
        except ProjectionError as error:
            return False, f"not to be had ({error})"
        value = values[1] if isinstance(values, tuple) else None
        return not (value is None or value is False or value in ("", [], {})), shown(value)

    def _read(self, expression: str, image: Image) -> str:
        """The values of the names that an expression reads."""
        texts = sorted(text for path in parse(expression).paths if (text := _path_text(path)) and text != expression)
        parts = [f"{text} is {self._asked(text, image)[1]}" for text in texts]
        return f" ({', '.join(parts)})" if parts else ""


def change_between(old: Image | None, new: Image | None, key: tuple[str, ...]) -> Change[Any]:
    """The change that a stream would tell. Raises ValueError where both states are None."""
    image = new if new is not None else old
    if image is None:
        raise ValueError("a change has an old image, a new one, or both")
    event = "REMOVE" if new is None else "INSERT" if old is None else "MODIFY"
    found = {name: attr for name in key if (attr := SHAPE.get(image, name)) is not None}
    return Change(event, Body("1", found, 0.0, new, old))


def shown(value: Any) -> str:
    """A value for people: JSON on one line, not too long."""
    try:
        text = json_encoder.encode(value).decode()
    except UnicodeEncodeError:  # half a surrogate pair, which is no Unicode
        text = ascii(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _bound(view: ViewDeclaration, key: tuple[str, ...]) -> Bound:
    return compile_view(view).bind(SHAPE, key, "NEW_AND_OLD_IMAGES")


def _probe(view: ViewDeclaration, expression: str) -> ViewDeclaration:
    """A view of one row an item, which holds the value of `expression` on the item."""
    fields = {
        _KEY: FieldExpression("`1`", "any", None, None, True, view.at),
        "value": FieldExpression(expression, "any", None, None, False, view.at),
    }
    return replace(
        view,
        where=None,
        each=None,
        function=None,
        function_name="",
        key=(_KEY,),
        member=None,
        score=None,
        expire=None,
        fields=fields,
        layout=Layout(view.name, (_KEY,), (Field(_KEY), Field("value")), PostgresOptions("probe")),
    )


def _misfit(name: str, pattern: Pattern, image: Image) -> str | None:
    attr: Attr | None = SHAPE.get(image, name)
    if attr is None:
        return f"{name} is missing, and match wants {pattern.text}"
    try:
        text = key_text(attr)
    except AttributeValueError:
        text = None
    if text is None:
        return f"{name} is neither text nor a number, and match wants {pattern.text}"
    return None if pattern.match(text) is not None else f"{name} is {shown(text)}, and match wants {pattern.text}"


def _path_text(path: Path) -> str:
    """The expression that is a dotted path; empty for the whole item."""
    return ".".join(name if name.isidentifier() and name.isascii() else json.dumps(name) for name in path)


def fields_of(view: ViewDeclaration, values: RowValues) -> Mapping[str, Any]:
    """The values of a row by field, what is missing or null left out."""
    if isinstance(values, dict):
        return values
    names = [field.name for field in view.layout.fields or ()]
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}
