"""One way to read a shard: what counts as its tip, as its end, and where it goes on after an error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dynaview.sources.errors import SourceError, StreamGone, Throttled, Trimmed
from dynaview.sources.port import Shard
from dynaview.views.streaming.offsets import START
from dynaview.views.streaming.shard_reader import ReadSettings, ShardReader
from tests.support.scripted import ScriptedTable
from tests.support.simple import SHAPE

SETTINGS = ReadSettings(tip_pages=4, tip_span=30.0, tip_margin=1.0)


def put(table: ScriptedTable, number: int) -> int:
    return int(table.put({"pk": f"p{number}", "sk": "s", "value": number}) or 0)


def reader(table: ScriptedTable, position: int = START, **changed: Any) -> ShardReader:
    stream = table.stream(table.arn, SHAPE)
    (shard,) = [each for each in stream.shards() if each.id == "shard-0"]
    return ShardReader(stream, shard, position, replace(SETTINGS, **changed), now=lambda: table.now)


def proven(made: ShardReader) -> float | None:
    return made.read_up_to


def read(made: ShardReader, times: int, table: ScriptedTable, apart: float = 1.0) -> None:
    for _ in range(times):
        table.advance(apart)
        made.read()


def test_a_run_of_empty_pages_shows_what_was_there_when_it_began() -> None:
    table = ScriptedTable()
    put(table, 1)
    made = reader(table)
    made.read()
    begun = table.now
    read(made, 3, table)
    assert proven(made) is None
    read(made, 1, table)
    assert proven(made) == begun + 1.0 - 1.0
    read(made, 2, table)
    assert proven(made) == begun + 3.0 - 1.0


@pytest.mark.parametrize("ends", ["a record", "an error", "an expired iterator"])
def test_a_run_ends(ends: str) -> None:
    table = ScriptedTable()
    made = reader(table)
    read(made, 5, table)
    assert proven(made) is not None
    if ends == "a record":
        put(table, 1)
        made.read()
    elif ends == "an error":
        table.fail("read", Throttled)
        with pytest.raises(Throttled):
            made.read()
    else:
        table.expire_iterators()
        made.read()
    assert proven(made) is None


def test_where_shards_are_read_seldom_a_long_run_of_few_pages_counts() -> None:
    table = ScriptedTable()
    made = reader(table, tip_pages=20)
    read(made, 2, table, 40.0)
    assert proven(made) is None
    began = table.now - 40.0
    read(made, 1, table, 40.0)
    assert proven(made) == began - 1.0


def test_it_rests_longer_and_longer_while_nothing_comes() -> None:
    table = ScriptedTable()
    made = reader(table, poll_first=0.1, poll_cap=0.5)
    pauses = []
    for _ in range(5):
        made.read()
        pauses.append(made.pause)
    assert pauses == [0.1, 0.2, 0.4, 0.5, 0.5]
    put(table, 1)
    made.read()
    assert made.pause == 0.0


def test_it_goes_on_behind_the_last_record_whatever_comes_between() -> None:
    table = ScriptedTable()
    table.page = 1
    positions = [put(table, number) for number in range(4)]
    made = reader(table)
    assert made.read().last == positions[0]
    table.expire_iterators()
    assert made.read().last == positions[1]
    table.fail("read", Throttled)
    with pytest.raises(Throttled):
        made.read()
    assert made.read().last == positions[2]


@pytest.mark.parametrize("closed", [True, False])
def test_a_closed_shard_of_which_nothing_is_left_has_ended(closed: bool) -> None:
    table = ScriptedTable()
    put(table, 1)
    if closed:
        table.roll("shard-0")
    table.exhaust("shard-0")
    made = reader(table)
    for _ in range(2):  # it may be a matter of the moment
        with pytest.raises(Trimmed):
            made.read()
    if closed:
        assert made.read().end
    else:
        with pytest.raises(Trimmed):
            made.read()


@pytest.mark.parametrize(("position", "error"), [(START, StreamGone), (10**20, StreamGone)])
def test_a_shard_that_does_not_exist_is_believed_to_be_gone_after_a_while(
    position: int, error: type[SourceError]
) -> None:
    table = ScriptedTable()
    put(table, 1)
    table.roll("shard-0")
    made = reader(table, position)
    table.expire("shard-0")
    for time in range(3):
        assert made.believed == (time >= 3)
        with pytest.raises(error):
            made.read()
    assert made.believed
    assert made.ended_unread == (position == START)


def test_an_open_shard_is_never_taken_for_ended() -> None:
    table = ScriptedTable()
    made = ShardReader(table.stream(table.arn, SHAPE), Shard("unknown", None, "0", None))
    for _ in range(10):
        with pytest.raises(StreamGone):
            made.read()
    assert not made.ended_unread
