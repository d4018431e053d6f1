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
from tests.support.house import House, until
from tests.support.letters import Rejecting, Repaired, bad, declare, good
from tests.support.scripted import ScriptedTable


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    if made.pipelines:
        made.stop()  # a second time does nothing; after a failure it ends the threads
    assert not made.crashed.is_set()


def test_a_view_with_too_many_letters_stops_and_goes_on_at_the_next_start(tmp_path: Path) -> None:
    house = House(tmp_path, names=("one", "two"))
    house.pipeline_settings.letters = 4
    house.table.page = 3
    house.start()
    until(lambda: house.state("one") == house.state("two") == "following", "the first fill to be complete")
    for number in range(30):
        house.table.put(bad(number))
    until(lambda: house.state("one") == house.state("two") == "overrun", "both views to stop")
    until(lambda: house.counts("one").read > 4, "the letters to be counted")
    counts = house.counts("one")
    assert (
        5
        <= counts.read
        == counts.dead_lettered
        == len(house.control.dead_letters.find(DeadLetterFilter(view="one")))
        < 20 + 3
    )
    position = house.control.checkpoints("one")["shard-0"].sequence
    assert position == house.control.dead_letters.find(DeadLetterFilter(view="one"))[-1].letter.version
    record = house.control.view("one")
    assert record is not None
    assert "more than 4 dead letters within 600 seconds, the last: field value: bad is bad" in record.reason
    house.stop()
    assert house.state("one") == "overrun"
    house.bound = Repaired()
    house.start()
    house.table.put(good(99, "after"))
    until(lambda: house.counts("one").read == 31, "everything to be read")
    assert house.state("one") == "following"
    assert house.counts("one").dead_lettered == counts.dead_lettered
    assert len(house.rows("one")) == 31 - counts.dead_lettered
    house.stop()


def test_other_views_go_on_beside_an_overrun(tmp_path: Path) -> None:
    house = House(tmp_path, names=("one", "two"))
    house.pipeline_settings.letters = 4
    house.start()
    until(lambda: house.state("one") == house.state("two") == "following", "the first fill to be complete")
    house.pipelines["two"].outputs[0].bound = Repaired()
    for number in range(30):
        house.table.put(bad(number))
    until(lambda: house.counts("two").read == 30, "the other view to read everything")
    until(lambda: house.state("one") == "overrun", "the view to stop")
    assert house.state("two") == "following"
    house.stop()


def test_rejections_of_the_store_count_towards_the_limit(house: House) -> None:
    house.pipeline_settings.letters = 4
    house.table.page = 3
    refusing: Any = Rejecting(house.targets["one"], *(f"p{number}/s" for number in range(30)))
    house.targets["one"] = refusing
    house.start()
    until(lambda: house.state("one") == "following", "the first fill to be complete")
    for number in range(30):
        house.table.put(good(number, "x"))
    until(lambda: house.state("one") == "overrun", "the view to stop")
    until(lambda: house.counts("one").read > 4, "the letters to be counted")
    assert 5 <= house.counts("one").dead_lettered == len(house.control.dead_letters.find()) <= 24
    house.stop()


def test_a_fill_with_too_many_letters_stops_and_goes_on_at_the_next_start(house: House) -> None:
    for number in range(30):
        house.table.put(bad(number))
    house.table.trim("shard-0")
    house.table.scan_page = 3
    house.pipeline_settings.letters = 4
    house.start()
    until(lambda: house.state("one") == "overrun", "the view to stop")
    assert len(house.control.dead_letters.find()) == 6
    house.stop()
    house.bound = Repaired()
    house.start()
    until(lambda: house.state("one") == "following", "the fill to be complete")
    assert len(house.rows("one")) == 24
    house.stop()


def test_the_declaration_sets_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And another limit is no reason to fill the view anew."""
    store = MemorySink("store")
    monkeypatch.setattr("dynaview.views.daemon.daemon.connect", lambda declared: store)
    table = ScriptedTable(clock=time.time)
    for number in range(6):
        table.put({"pk": f"p{number}", "sk": "s", "id": True})  # one has the row, five are rejected
    file = declare(tmp_path)

    def state(limits: str, wanted: str) -> None:
        text = file.read_text().split("    dead_letters:")[0]
        file.write_text(f"{text}    dead_letters: {limits}\n")
        daemon = Daemon(load([file], {}), open_source=lambda _source: table)
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
