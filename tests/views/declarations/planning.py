"""What tests of plans share: two views, their records, and a table and stores that say what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dynaview.projections.declaration import Declaration, SinkDeclaration, SourceDeclaration, ViewDeclaration
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import Sink
from dynaview.sources.port import TableReader
from dynaview.views.control.records import Counts, Generation, ViewRecord
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.declarations.plan import Standing
from tests.support.scripted import ScriptedTable

VIEWS: dict[str, Any] = {
    "cards": {
        "source": "shop",
        "sink": "cache",
        "match": {"pk": "C#{id}"},
        "key": "c:{id}",
        "fields": {"name": "name"},
    },
    "orders": {
        "source": "shop",
        "sink": "reads",
        "match": {"pk": "O#{id}"},
        "table": "orders",
        "key": "id",
        "fields": {"id": "id", "total": {"type": "integer"}},
    },
}
ARN = "arn:aws:dynamodb:eu-west-1:1:table/shop/stream/2026-01-01T00:00:00.000"

Declare = Callable[..., Declaration]


def record(view: ViewDeclaration, generation: int = 1, **more: Any) -> ViewRecord:
    given: dict[str, Any] = {
        "name": view.name,
        "source": view.source,
        "sink": view.sink,
        "fingerprint": fingerprint(view, "shop"),
        "generation": generation,
        "stream_arn": ARN,
        "stream_count": 0,
        "state": "following",
        "reason": "",
        "since": 0.0,
        "seen": 0.0,
        "watermark": None,
        "filled": True,
        "revision": 0,
        "write_order": (generation,),
        "counts": Counts(),
    }
    return ViewRecord(**{**given, **more})


def build(view: ViewDeclaration, generation: int = 1, role: Any = "live") -> Generation:
    return Generation(view.name, generation, fingerprint(view, "shop"), encode(view), role, True, True, 0.0)


class Asked:
    """A table of five items and 10,000 bytes, stores in memory, and what was asked of them."""

    def __init__(self) -> None:
        self.tables: list[str] = []
        self.memory = MemorySink("memory")
        self.source_error: Exception | None = None
        self.sink_error: Exception | None = None
        self.read_units: int | None = None

    def source(self, declared: SourceDeclaration) -> TableReader:
        self.tables.append(declared.table)
        if self.source_error is not None:
            raise self.source_error
        table = ScriptedTable(declared.table)
        describe = table.describe
        table.describe = lambda: replace(describe(), items=5, size=10_000, read_units=self.read_units)  # type: ignore[method-assign]  # a script
        return table

    def sink(self, declared: SinkDeclaration) -> Sink:
        if self.sink_error is not None:
            raise self.sink_error
        return self.memory

    def standing(self, records: Sequence[ViewRecord], *generations: Generation) -> Standing:
        by_view: Mapping[str, list[Generation]] = {
            one.name: [each for each in generations if each.view == one.name] for one in records
        }
        return Standing({one.name: one for one in records}, by_view.__getitem__, self.source, self.sink)


def edited(view: str, **keys: Any) -> dict[str, Any]:
    return {**VIEWS, view: {**VIEWS[view], **keys}}
