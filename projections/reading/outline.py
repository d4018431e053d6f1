"""What a declaration's files say at first sight: the views' names and the control store, unchecked."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dynaview.projections.reading.addresses import CONTROL, beside, check_control_url, substitute
from dynaview.projections.reading.document import Document
from dynaview.projections.urls import AddressError

_KNOWN = ("sources", "sinks", "views", "control")


@dataclass(frozen=True, slots=True)
class Outline:
    """Which views are declared, by name, and where the control store is."""

    views: tuple[str, ...]
    control: str = field(repr=False)


def outline(
    documents: Sequence[Document], environ: Mapping[str, str], folder: Callable[[str], str] = posixpath.dirname
) -> Outline | None:
    """What can be told of these files without checking them; None where only reading them in full tells it, or tells
    what is wrong: files that are no YAML, Python modules, keys that nobody knows, a control store that is declared
    twice or whose address is none. See `dynaview.projections.reading.reader.read` for `folder`."""
    views: list[str] = []
    controls: list[tuple[str, str]] = []
    for document in documents:
        data: Any = document.data
        if document.problems or not isinstance(data, dict):
            return None
        if any(name not in _KNOWN and not name.startswith("x-") for name in data):
            return None
        if not isinstance(data.get("views", {}), dict) or not isinstance(data.get("control", ""), str):
            return None
        views += data.get("views", {})
        controls += [(data["control"], document.file)] if "control" in data else []
    if not views or len(set(views)) < len(views) or len(controls) > 1:
        return None
    url, file = controls[0] if controls else (CONTROL, documents[0].file)
    try:
        url = substitute(url, environ)
        check_control_url(url)
    except AddressError:
        return None
    return Outline(tuple(views), beside(url, folder(file)))
