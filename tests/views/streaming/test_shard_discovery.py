"""Discovery hears of what happens just before it falls asleep: an end of the daemon, the end of a shard."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dynaview.views.control.records import Checkpoint
from dynaview.views.streaming.shard_discovery import ShardDiscovery
from tests.support.follower_harness import QUICK, FollowerHarness
from tests.support.until import until


@pytest.fixture
def harness(tmp_path: Path) -> FollowerHarness:
    made = FollowerHarness(tmp_path)
    made.settings = replace(QUICK, discover_every=60.0)
    return made


def just_before_it_sleeps(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do it once when discovery has seen that nothing has to be looked for."""
    childless = ShardDiscovery.childless
    done = threading.Event()

    def look(self: ShardDiscovery) -> list[str]:
        found = childless(self)
        if not done.is_set() and "shard-0" in self.cursors and not found:
            done.set()
            act()
        return found

    monkeypatch.setattr(ShardDiscovery, "childless", look)


def test_an_end_just_before_it_sleeps_is_heard(harness: FollowerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[str] = []
    stopped = threading.Event()

    def run() -> None:
        left.extend(harness.follower.stop(20.0))
        stopped.set()

    def stop() -> None:
        until(lambda: bool(harness.follower._threads), "all threads to be started")
        thread = threading.Thread(target=run)
        thread.start()
        thread.join(0.2)  # time to wake whoever sleeps

    just_before_it_sleeps(monkeypatch, stop)
    harness.start()
    assert stopped.wait(40)
    assert left == []
    harness.stop()


def test_a_shard_that_ends_just_before_it_sleeps_has_its_children_found(
    harness: FollowerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end() -> None:
        harness.table.close("shard-0")
        until(lambda: "shard-0" in harness.follower._discovery._ended, "the shard to be read to its end")
        threading.Event().wait(0.2)  # time to wake whoever sleeps

    just_before_it_sleeps(monkeypatch, end)
    harness.start()
    until(lambda: harness.control.checkpoints("one").get("shard-0", Checkpoint()).finished, "the end of the shard")
    harness.table.reveal()
    until(lambda: "shard-1" in harness.control.checkpoints("one"), "the child to be found", 10)
    harness.stop()
