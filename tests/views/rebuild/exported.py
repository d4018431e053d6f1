"""What tests of rebuilds from exports share: a table whose values only grow, and its exports."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import Phase

from dynaview.views.control.records import Options, Rebuild
from dynaview.views.rebuild.context import RebuildSettings
from tests.support.first_fill import QUICK_REBUILDS
from tests.support.scripted import ScriptedTable
from tests.support.snapshots import Exporter, Snapshot, snapshot
from tests.support.until import until
from tests.support.worker_harness import CARDS, READS, WorkerHarness

VIEWS = ("cards", "reads")
HOUR = 3600.0
PHASES = (Phase.explicit, Phase.generate)
"""Without shrinking: an example takes a second."""

SEATS = """
  seats:
    source: shop
    sink: {sink}
    {place}
    match: {{pk: "{{pk}}", sk: s}}
    fields: {{seat: seat, value: value}}
"""
SEATS_BESIDE = SEATS.format(sink="reads", place="table: seats\n    key: seat")
SEATS_IN_PLACE = SEATS.format(sink="cache", place='type: hash\n    key: "seat:{seat}"')


class Life:
    """A table whose values only grow."""

    def __init__(self, harness: WorkerHarness) -> None:
        self.harness = harness
        self.exporter = Exporter(harness.folder / "exports", harness.table)
        self._last = 0

    def put(self, key: str, **more: Any) -> None:
        self._last += 1
        self.harness.table.put({"pk": key, "sk": "s", "value": str(self._last)} | more)

    def delete(self, key: str) -> None:
        self.harness.table.delete({"pk": key, "sk": "s"})

    def snapshot(self) -> Snapshot:
        return snapshot(self.harness.table)

    def expected(self, view: str) -> dict[Any, Any]:
        if view == "cards":
            return {f"card:{item['pk']}:s": {"value": item["value"]} for item in self.harness.table.items()}
        rows = [{name: item[name] for name in ("pk", "sk", "value")} for item in self.harness.table.items()]
        return {(row["pk"], row["sk"]): row for row in rows}

    def ask(self, *exports: str, views: Sequence[str] = VIEWS, yes: bool = False) -> None:
        self.harness.rebuild(*views, options=Options(exports=exports, yes=yes, segments=2))

    def caught_up(self, views: Sequence[str] = VIEWS) -> None:
        """Wait until the views show all that was written by now."""
        now = time.time()
        for view in views:
            until(lambda view=view: (self.harness.record(view).watermark or 0.0) > now, f"{view} to catch up")  # type: ignore[misc]

    def check(self, *, generation: int = 2) -> None:
        for view in VIEWS:
            assert self.harness.record(view).generation == generation
            self.harness.wait_rows(view, self.expected(view))
        assert self.harness.control.dead_letters.find() == []

    def check_seats(self) -> None:
        """Every seat shows who sits there."""
        seats = {item["seat"]: item["value"] for item in self.harness.table.items() if "seat" in item}

        def shown() -> dict[Any, Any]:
            return {row["seat"]: row["value"] for row in self.harness.rows("seats").values()}

        until(lambda: shown() == seats, f"the seats to be {seats}, not {shown()}")
        assert self.harness.control.dead_letters.find() == []


def started(
    folder: Path,
    views: str = CARDS + READS,
    table: ScriptedTable | None = None,
    rebuild: RebuildSettings = QUICK_REBUILDS,
) -> Life:
    folder.mkdir(exist_ok=True)
    life = Life(WorkerHarness(folder, views, table))
    life.harness.settings.rebuild = rebuild
    for number in range(20):
        life.put(f"p{number}", seat=f"s{number}")
    life.harness.start()
    for view in life.harness.declaration.views:
        life.harness.wait_state(view, "following")
    return life


def failed(life: Life, view: str, *words: str) -> Rebuild:
    """The rebuild failed for the reason in words, and what readers see is as it was."""
    found = life.harness.wait_ended(view, "failed")
    for word in words:
        assert word in found.reason, found.reason
    assert life.harness.record(view).generation == 1
    life.harness.wait_rows(view, life.expected(view))
    return found
