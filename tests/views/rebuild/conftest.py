"""What tests of rebuilds find running: a worker with two views that follow a table, and a table that is exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.rebuilding import BOTH, begin, item
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness
from tests.views.rebuild.exported import Life, started


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[WorkerHarness]:
    made = WorkerHarness(tmp_path)
    made.table.scan_page = 5
    for number in range(20):
        made.table.put(item(number, "first"))
    begin(made)
    for view in BOTH:  # a pipeline that is opened anew is to find nothing left to do
        until(lambda view=view: made.record(view).counts.read == 20, f"{view} to come to rest")  # type: ignore[misc]
    yield made
    made.close()


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Life]:
    made = started(tmp_path)
    yield made
    made.harness.close()
