"""Environment variables in views: replaced in the names that a store knows the view by, refused elsewhere.

One declaration so serves several stages: ``index: "${STAGE}-orders"``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dynaview.projections.declaration import Problem
from dynaview.projections.reading.addresses import emptied, substitute
from dynaview.projections.reading.document import Document, Path
from dynaview.projections.urls import AddressError

PLACES = ("index", "table", "schema", "key")
"""The keys of a view in which variables are replaced. A Postgres key is a list of fields, in which they are not."""

_OPEN = ("settings", "mappings")
"""Keys of a view whose texts are the store's own."""

_VARIABLE = re.compile(r"(?<!\$)(?:\$\$)*\$\{([^{}]*)\}?")


def with_variables(
    document: Document, environ: Mapping[str, str], problems: list[Problem]
) -> tuple[Document, frozenset[Path]]:
    """The document with variables replaced in its views, and the places where they can't be, which is told."""
    views = document.data.get("views") if isinstance(document.data, dict) else None
    if not isinstance(views, dict):
        return document, frozenset()
    wrong: dict[Path, str] = {}
    made = {name: _view(("views", name), view, environ, wrong) for name, view in views.items()}
    problems += [Problem(document.at(*path), message) for path, message in wrong.items()]
    return replace(document, data={**document.data, "views": made}), frozenset(wrong)


def _view(path: Path, view: Any, environ: Mapping[str, str], wrong: dict[Path, str]) -> Any:
    if not isinstance(view, dict):
        return view
    made = dict(view)
    for key, value in view.items():
        if key in PLACES and isinstance(value, str):
            try:
                made[key] = substitute(value, environ, braces=key == "key")
            except AddressError as error:
                wrong[*path, key] = str(error)
            else:
                if value and not made[key]:
                    wrong[*path, key] = f"is empty{emptied(value, environ)}: set it"
        elif key not in _OPEN:
            wrong |= {at: _refused(variable, at) for at, variable in _variables(value, (*path, key))}
    return made


def _variables(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """The variables in all texts below `path`, the first of each text."""
    match value:
        case str():
            found = _VARIABLE.search(value)
            if found is not None:
                yield path, found[1]
        case dict():
            for name, inner in value.items():
                yield from _variables(inner, (*path, name))
        case list():
            for index, inner in enumerate(value):
                yield from _variables(inner, (*path, index))


def _refused(variable: str, path: Path) -> str:
    shown = variable if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,60}(?::-.{0,40})?", variable) else "…"
    name = shown.partition(":-")[0]
    capture = f"; a part of the key is captured by {{{name}}}" if "match" in path else ""
    return (
        f"${{{shown}}} is not replaced here, only in sources, sinks and control and in {', '.join(PLACES[:-1])} and "
        f"{PLACES[-1]} of views: write its value{capture}"
    )
