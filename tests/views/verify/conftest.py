"""What tests of verification share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.follower_harness import FollowerHarness


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[FollowerHarness]:
    """A view that a test fills and follows as it likes; nothing may have gone wrong that nobody expected."""
    made = FollowerHarness(tmp_path)
    yield made
    if made.pipelines:
        made.stop()
    assert not made.crashed.is_set()
