"""Declarations as plain JSON, exactly: as the control store keeps them, so that a generation goes on as what built it
says, and as fingerprints are made of them.

Texts, whole numbers, true, false and null stand for themselves, floats for floats. Everything else is an object whose
``!`` says what it is. Places in files are left out, and of a function only its mark is kept.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import (
    At,
    DeadLetterLimits,
    FieldExpression,
    PythonProjection,
    Verification,
    ViewDeclaration,
)
from dynaview.projections.rows import Field, Index, Layout, OpenSearchOptions, PostgresOptions, RedisOptions
from dynaview.views.declarations.functions import Lost, code_mark, compiled_by

_FORMAT = 1
_FILE = "the control store"
_PLACES = frozenset({"at", "places"})
_KIND = "!"
_PARTS: Mapping[str, type[Any]] = {
    part.__name__: part
    for part in (
        *(ViewDeclaration, FieldExpression, DeadLetterLimits, Verification),
        *(Layout, Field, Index, RedisOptions, OpenSearchOptions, PostgresOptions),
    )
}
_FROM_TEXT: Mapping[str, Callable[[str], Any]] = {
    "decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "bytes": base64.b64decode,
}


def encode(view: ViewDeclaration) -> str:
    """A view's declaration as text, the same each time. Holds names of source and sink, no addresses; no secrets."""
    return json.dumps({"format": _FORMAT, "view": plain(view)}, separators=(",", ":"))


def decode(text: str) -> ViewDeclaration:
    """What `encode` wrote, to compare, show or drop: its layout and fingerprint are exactly the original's, but a
    Python function comes back as `Lost`.

    Raises ValueError for text of another version of dynaview that cannot be read here (or "", where none was kept).
    """
    try:
        written: Any = json.loads(text)
    except ValueError:
        raise ValueError("no recorded declaration") from None
    if not isinstance(written, dict) or written.get("format") != _FORMAT or not isinstance(written.get("view"), dict):
        raise ValueError("a declaration that another version of dynaview recorded")
    name = written["view"].get("name")
    view = _parsed(written["view"], At(f"views.{name}", _FILE, 1))
    if not isinstance(view, ViewDeclaration):
        raise ValueError("not a recorded declaration")  # noqa: TRY004 - wrong content, not a wrong call
    return view


def decode_runnable(text: str, functions: Mapping[str, PythonProjection] | None = None) -> ViewDeclaration | None:
    """What `encode` wrote, to make rows with: it projects exactly as the original did.

    `functions` are the Python functions at hand (see `functions_of`). None where the declaration cannot be had again:
    its function is not among them or its code has changed, or the text is of another version of dynaview.
    """
    try:
        view = decode(text)
        if isinstance(view.function, Lost):
            found = (functions or {}).get(view.function_name)
            if found is None or code_mark(found) != view.function.mark:
                return None
            view = dataclasses.replace(view, function=found)
        compile_view(view)
    except ValueError:
        return None
    return view


def plain(part: Any, without: frozenset[str] = frozenset()) -> Any:
    """A declaration, or a part of one, as JSON has it. `without` names fields to leave out, at any depth."""
    match part:
        case None | bool() | int() | float() | str():
            return part
        case Decimal():
            return {_KIND: "decimal", "of": str(part)}
        case datetime():
            return {_KIND: "datetime", "of": part.isoformat()}
        case date():
            return {_KIND: "date", "of": part.isoformat()}
        case bytes():
            return {_KIND: "bytes", "of": base64.b64encode(part).decode()}
        case list():
            return [plain(one, without) for one in part]
        case tuple():
            return {_KIND: "tuple", "of": [plain(one, without) for one in part]}
        case Mapping():
            return {_KIND: "map", "of": [[name, plain(one, without)] for name, one in part.items()]}
    if dataclasses.is_dataclass(part) and type(part).__name__ in _PARTS:
        names = [one.name for one in dataclasses.fields(part) if one.name not in _PLACES | without]
        return {_KIND: type(part).__name__, **{name: plain(getattr(part, name), without) for name in names}}
    if callable(part):
        found = {_KIND: "function", "mark": code_mark(part), "python": compiled_by(part)}
        return {name: one for name, one in found.items() if name not in without}
    raise TypeError(f"a declaration holds no {type(part).__name__}")


def _parsed(written: Any, at: At) -> Any:
    """What `plain` wrote; a function comes back as `Lost`, and every part stands at `at`.

    Raises ValueError for what this version of dynaview does not know.
    """
    if isinstance(written, list):
        return [_parsed(one, at) for one in written]
    if not isinstance(written, dict):
        return written
    try:
        return _special(written, at)
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"not a recorded declaration: {type(error).__name__}") from error


def _special(written: dict[str, Any], at: At) -> Any:
    kind = written[_KIND]
    if kind in _FROM_TEXT:
        return _FROM_TEXT[kind](written["of"])
    if kind == "tuple":
        return tuple(_parsed(one, at) for one in written["of"])
    if kind == "map":
        return {name: _parsed(one, at) for name, one in written["of"]}
    if kind == "function":
        return Lost(written["mark"], written["python"])
    part = _PARTS[kind]
    places = {"at": at, "places": {}}
    known = {one.name for one in dataclasses.fields(part)}
    given = {name: _parsed(one, at) for name, one in written.items() if name != _KIND}
    return part(**given, **{name: place for name, place in places.items() if name in known})
