"""Declarations as the control store keeps them, so that a generation goes on as what built it says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import At, PythonProjection, ViewDeclaration
from dynaview.views.declarations.functions import Lost, code_mark
from dynaview.views.declarations.notation import parsed, plain

_FORMAT = 1
_FILE = "the control store"


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
    view = parsed(written["view"], At(f"views.{name}", _FILE, 1))
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
            view = replace(view, function=found)
        compile_view(view)
    except ValueError:
        return None
    return view
