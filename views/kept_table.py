"""A table and the views that are kept of it: what everything that works on them starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dynaview.projections.declaration import SourceDeclaration, ViewDeclaration
from dynaview.sinks.port import Sink
from dynaview.sources.port import TableReader
from dynaview.views.control.store import ControlStore


@dataclass(frozen=True, slots=True)
class KeptTable:
    """One table, the views that are kept of it, and where."""

    source: SourceDeclaration
    views: Mapping[str, ViewDeclaration]
    reader: TableReader
    sinks: Mapping[str, Sink]
    control: ControlStore
