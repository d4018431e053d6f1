"""Too many dead letters stop a view, and nothing is passed by."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dynaview.sinks.memory import MemorySink
from dynaview.views.control.records import DeadLetterFilter
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.declarations.load import load
from dynaview.views.streaming.dead_letter_limit import DeadLetterLimit
from tests.support.follower_harness import FollowerHarness
from tests.support.letters import Rejecting, Repaired, bad, declare, good
from tests.support.scripted import ScriptedTable
from tests.support.until import until


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[FollowerHarness]:
    made = FollowerHarness(tmp_path)
    yield made
    if made.pipelines:
        made.stop()  # a second time does nothing; after a failure it ends the threads
    assert not made.crashed.is_set()


def test_a_view_with_too_many_letters_stops_and_goes_on_at_the_next_start(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path, names=("one", "two"))
    harness.pipeline_settings.letters = 4
    harness.table.page = 3
    harness.start()
    until(lambda: harness.state("one") == harness.state("two") == "following", "the first fill to be complete")
    for number in range(30):
        harness.table.put(bad(number))
    until(lambda: harness.state("one") == harness.state("two") == "overrun", "both views to stop")
    until(lambda: harness.counts("one").read > 4, "the letters to be counted")
    counts = harness.counts("one")
    assert (
        5
        <= counts.read
        == counts.dead_lettered
        == len(harness.control.dead_letters.find(DeadLetterFilter(view="one")))
        < 20 + 3
    )
    position = harness.control.checkpoints("one")["shard-0"].sequence
    assert position == harness.control.dead_letters.find(DeadLetterFilter(view="one"))[-1].letter.version
    record = harness.control.view("one")
    assert record is not None
    assert "more than 4 dead letters within 600 seconds, the last: field value: bad is bad" in record.reason
    harness.stop()
    assert harness.state("one") == "overrun"
    harness.bound = Repaired()
    harness.start()
    harness.table.put(good(99, "after"))
    until(lambda: harness.counts("one").read == 31, "everything to be read")
    assert harness.state("one") == "following"
    assert harness.counts("one").dead_lettered == counts.dead_lettered
    assert len(harness.rows("one")) == 31 - counts.dead_lettered
    harness.stop()


def test_other_views_go_on_beside_an_overrun(tmp_path: Path) -> None:
    harness = FollowerHarness(tmp_path, names=("one", "two"))
    harness.pipeline_settings.letters = 4
    harness.start()
    until(lambda: harness.state("one") == harness.state("two") == "following", "the first fill to be complete")
    harness.pipelines["two"].outputs[0].bound = Repaired()
    for number in range(30):
        harness.table.put(bad(number))
    until(lambda: harness.counts("two").read == 30, "the other view to read everything")
    until(lambda: harness.state("one") == "overrun", "the view to stop")
    assert harness.state("two") == "following"
    harness.stop()


def test_rejections_of_the_store_count_towards_the_limit(harness: FollowerHarness) -> None:
    harness.pipeline_settings.letters = 4
    harness.table.page = 3
    refusing: Any = Rejecting(harness.targets["one"], *(f"p{number}/s" for number in range(30)))
    harness.targets["one"] = refusing
    harness.start()
    until(lambda: harness.state("one") == "following", "the first fill to be complete")
    for number in range(30):
        harness.table.put(good(number, "x"))
    until(lambda: harness.state("one") == "overrun", "the view to stop")
    until(lambda: harness.counts("one").read > 4, "the letters to be counted")
    assert 5 <= harness.counts("one").dead_lettered == len(harness.control.dead_letters.find()) <= 24
    harness.stop()


def test_a_fill_with_too_many_letters_stops_and_goes_on_at_the_next_start(harness: FollowerHarness) -> None:
    for number in range(30):
        harness.table.put(bad(number))
    harness.table.trim("shard-0")
    harness.table.scan_page = 3
    harness.pipeline_settings.letters = 4
    harness.start()
    until(lambda: harness.state("one") == "overrun", "the view to stop")
    assert len(harness.control.dead_letters.find()) == 6
    harness.stop()
    harness.bound = Repaired()
    harness.start()
    until(lambda: harness.state("one") == "following", "the fill to be complete")
    assert len(harness.rows("one")) == 24
    harness.stop()


def test_the_declaration_sets_the_limit(tmp_path: Path) -> None:
    """And another limit is no reason to fill the view anew."""
    store = MemorySink("store")
    table = ScriptedTable(clock=time.time)
    for number in range(6):
        table.put({"pk": f"p{number}", "sk": "s", "id": True})  # one has the row, five are rejected
    file = declare(tmp_path)

    def state(limits: str, wanted: str) -> None:
        text = file.read_text().split("    dead_letters:")[0]
        file.write_text(f"{text}    dead_letters: {limits}\n")
        daemon = Daemon(load([file], {}), open_source=lambda _source: table, open_sink=lambda _declared: store)
        daemon.start()
        try:
            until(lambda: (found := daemon.control.view("cards")) is not None and found.state == wanted, wanted)
        finally:
            daemon.stop()

    state("{limit: 4, within: 60}", "overrun")
    state("{limit: 20}", "following")


def test_letters_that_come_slowly_are_no_overrun() -> None:
    now = [0.0]
    limit = DeadLetterLimit(10, 600, clock=lambda: now[0])
    for _ in range(50):
        assert not limit.passed(1)
        now[0] += 60
    assert not limit.passed(1)
    assert limit.passed(1)
    assert not limit.passed(0)
