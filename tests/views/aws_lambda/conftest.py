"""A Lambda function for each test, by the real time: watermarks and retention go by it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynaview.views.aws_lambda import table_views
from tests.support.lambda_harness import LambdaHarness
from tests.support.scripted import ScriptedTable


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LambdaHarness]:
    """Nothing has run yet. A store that is away is not waited for."""
    monkeypatch.setattr(table_views, "PATIENCE", 0.0)
    made = LambdaHarness(tmp_path, table=ScriptedTable(clock=time.time), timeout="1s")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def begun(fresh: LambdaHarness) -> LambdaHarness:
    """As if a first round had come long ago, so that no other one is known to come."""
    fresh.begin()
    return fresh


@pytest.fixture
def harness(fresh: LambdaHarness) -> LambdaHarness:
    """A first round has come to an empty table."""
    assert all(each.current for each in fresh.round())
    return fresh
