"""Dead letters of followed views: items that make them, views that cannot apply them, replays and counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynaview.projections.attributes import Image
from dynaview.projections.columns import Columns
from dynaview.projections.projection import Bound, ProjectionError
from dynaview.projections.rows import RowKey, RowValues, Write
from dynaview.sinks.port import Outcome, Rejected, Target, exceptions
from dynaview.views.control.records import DeadLetterFilter
from dynaview.views.replay import Replay
from tests.support.follower_harness import FollowerHarness
from tests.support.simple import SHAPE, SimpleBound

DECLARATION = """
sources: {{shop: {{table: shop, region: eu-west-1}}}}
sinks: {{reads: {{postgres: "{url}"}}}}
control: {control}
views:
  cards:
    source: shop
    sink: reads
    schema: {schema}
    table: cards
    key: [id]
    fields: {{id: {{from: id, type: text}}, name: {{from: name, type: text}}}}
"""


def declare(folder: Path, url: str = "postgresql://nowhere/x", control: str = "", schema: str = "public") -> Path:
    file = folder / "dynaview.yaml"
    file.write_text(DECLARATION.format(url=url, control=control or f"sqlite:///{folder / 'control.db'}", schema=schema))
    return file


class Repaired(SimpleBound):
    """As if the function that makes the rows had been fixed: what was bad is a row now."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        item = SHAPE.unpack(image)
        return [("/".join((str(item["pk"]), str(item["sk"]))), (item.get("value"),))]


class Worse(SimpleBound):
    """Cannot make rows of anything."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        raise ProjectionError("field value: worse than before")


class NoMore(SimpleBound):
    """No item is the view's."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        return []


class Twofold(SimpleBound):
    """Two rows an item."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        return [(f"{key}/{half}", values) for key, values in super().rows(image) for half in "ab"]


def bad(number: int, value: object = None) -> dict[str, Any]:
    return {"pk": f"p{number}", "sk": "s", "bad": True, "value": value}


def good(number: int, value: object) -> dict[str, Any]:
    return {"pk": f"p{number}", "sk": "s", "value": value}


def replay(
    harness: FollowerHarness, bound: Bound, choice: DeadLetterFilter | None = None, target: Target | None = None
) -> list[str]:
    """Replay what is chosen; the results, each change's one."""
    letters = harness.control.dead_letters.find(choice)
    run = Replay(harness.control.dead_letters, bound, SHAPE, harness.table, target or harness.targets["one"])
    return [replayed.result for replayed in run.run(letters)]


def tally(harness: FollowerHarness) -> tuple[int, int, int, int, int]:
    counts = harness.counts("one")
    assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered
    return counts.read, counts.applied, counts.stale, counts.unmatched, counts.dead_lettered


def follow(harness: FollowerHarness, *items: dict[str, Any]) -> None:
    """Let the view count these changes; the harness still runs afterwards."""
    harness.start()
    for item in items:
        harness.table.put(item)
    harness.wait_counted()


class Rejecting:
    """Lets a target reject some row keys for their content."""

    def __init__(self, target: Target, *keys: str) -> None:
        self.inner = target
        self.keys = keys

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        return [Rejected("too odd") if write.key in self.keys else self.inner.write([write])[0] for write in writes]

    def write_columns(self, columns: Columns) -> dict[int, Outcome]:
        return exceptions(self.write(columns.writes()))
