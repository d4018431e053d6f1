"""What all measurements share: one view of orders in each store, and the changes it is fed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.records import Pages
from dynaview.projections.attributes import Shape
from dynaview.projections.changes import version_of
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import Declaration
from dynaview.projections.projection import Bound, ViewType, shape_of
from dynaview.projections.rows import Layout, Write
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink, Target
from dynaview.sources.pages import RecordsDecoder
from dynaview.views.declarations.load import load

KEY = ("pk", "sk")
IMAGES: ViewType = "NEW_AND_OLD_IMAGES"

FIELDS = ("order_id", "customer_id", "status", "total", "quantity", "gift", "placed_at", "city")
"""The eight fields of a row."""

_VIEW = """
  {name}:
    source: shop
    match: {{pk: "CUSTOMER#{{customer_id}}", sk: "ORDER#{{order_id}}"}}
    where: status != 'DRAFT'
    {kept}
    fields:
      order_id: {{from: order_id, type: text}}
      customer_id: {{from: customer_id, type: text}}
      status: {{from: status, type: text}}
      total: {{from: total, type: decimal}}
      quantity: {{from: quantity, type: integer}}
      gift: {{from: gift, type: boolean}}
      placed_at: {{from: placed_at, type: text}}
      city: {{from: shipping.city, type: text}}
"""

_KEPT = {
    "redis": 'sink: redis\n    type: hash\n    key: "{run}:{{customer_id}}:{{order_id}}"',
    "postgres": "sink: postgres\n    table: {run}_orders\n    key: [customer_id, order_id]",
    "opensearch": 'sink: opensearch\n    index: {run}-orders\n    key: "{{customer_id}}:{{order_id}}"',
}

_URLS = {"redis": "REDIS_URL", "postgres": "DATABASE_URL", "opensearch": "OPENSEARCH_URL"}
_NOWHERE = {"REDIS_URL": "redis://localhost:1", "DATABASE_URL": "postgresql://localhost:1/none"}


@dataclass(frozen=True, slots=True)
class View:
    """The view of orders in one store."""

    name: str
    bound: Bound
    shape: Shape
    layout: Layout
    sink: Sink

    def target(self) -> Target:
        """A handle that remembers nothing yet."""
        return self.sink.open(self.layout, 1)

    def writes(self, bodies: Sequence[bytes]) -> list[Write]:
        """What these pages ask of the view."""
        decoder, found = RecordsDecoder(self.shape, IMAGES), list[Write]()
        for body in bodies:
            for change in decoder.decode(body).changes:
                found += self.bound.writes(change, version_of(0, change.body.sequence))
        return found


@dataclass
class Workload:
    """One run: its servers, its folder, and pages in memory. `run` keeps its names apart from all others."""

    environment: Mapping[str, str]
    folder: Path
    count: int
    run: str = field(default_factory=lambda: f"bench{uuid4().hex[:8]}")
    _bodies: dict[int, list[bytes]] = field(default_factory=dict)

    def apart(self, name: str) -> Workload:
        """The same with other names in the stores, for a group whose views must not be those of others."""
        return Workload(self.environment, self.folder, self.count, f"{self.run}{name}")

    def bodies(self, revision: int = 1) -> list[bytes]:
        """The pages that bring every order to that revision."""
        if revision not in self._bodies:
            self._bodies[revision] = list(Pages(self.count, revision))
        return self._bodies[revision]

    def view(self, store: str) -> View:
        """The view of orders in ``redis``, ``postgres`` or ``opensearch``; connects when it is first used."""
        declaration = self.declaration(store)
        (view,), (sink,) = declaration.views.values(), declaration.sinks.values()
        projection = compile_view(view)
        shape = shape_of([projection], KEY)
        bound = projection.bind(shape, KEY, IMAGES)
        return View(view.name, bound, shape, view.layout, connect(sink))

    def declaration(self, store: str) -> Declaration:
        """What declares that view; its control store is a file in the folder."""
        name = f"{self.run}_{store}"
        file = self.folder / f"{name}.yaml"
        kept = _KEPT[store].format(run=self.run)
        url = _URLS[store]
        text = f'sources: {{shop: {{table: orders}}}}\nsinks: {{{store}: {{{store}: "${{{url}}}"}}}}\nviews:'
        file.write_text(f"control: sqlite:///{self.folder / name}.db\n{text}" + _VIEW.format(name=name, kept=kept))
        return load([file], {**_NOWHERE, **self.environment})


def declaration_text(control: str, source: str, stores: Sequence[str], run: str, views: int = 1) -> str:
    """So many views of orders in each store; `source` is the source's mapping, the stores' URLs come from the
    environment."""
    sinks = "".join(f'  {store}: {{{store}: "${{{_URLS[store]}}}"}}\n' for store in stores)
    kept = [
        (f"{run}_{store}_{number}", _KEPT[store].format(run=f"{run}n{number}"))
        for number in range(views)
        for store in stores
    ]
    declared = "".join(_VIEW.format(name=name, kept=where) for name, where in kept)
    return f"control: {control}\nsources: {{shop: {source}}}\nsinks:\n{sinks}views:{declared}"


def batches(rows: Sequence[Any], size: int = 1000) -> list[Sequence[Any]]:
    """`rows` in parts of that size."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
