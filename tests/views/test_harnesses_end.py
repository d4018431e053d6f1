"""A harness that a failed test leaves behind ends with it: its threads would take the processor from later tests."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.support import running
from tests.support.cluster import Cluster
from tests.support.follower_harness import FollowerHarness
from tests.support.worker_harness import WorkerHarness


def begun(kind: str, folder: Path) -> None:
    if kind == "follower":
        FollowerHarness(folder).start()
    elif kind == "worker":
        WorkerHarness(folder).start()
    else:
        Cluster(folder).join()


@pytest.mark.parametrize("kind", ["follower", "worker", "cluster"])
def test_what_a_test_left_running_is_ended(kind: str, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    begun(kind, tmp_path)
    assert set(threading.enumerate()) > before
    assert len(running.stop_all()) == 1
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("kind", ["follower", "worker", "cluster"])
def test_what_an_example_of_a_property_left_running_is_ended(kind: str, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with running.none_left():
        begun(kind, tmp_path)
    assert set(threading.enumerate()) <= before
    assert running.stop_all() == []
