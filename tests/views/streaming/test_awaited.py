"""How soon an idle shard is read again because somebody waits for a moment."""

from __future__ import annotations

from dynaview.views.streaming.awaited import HURRY, LASTS, AwaitedMoments
from dynaview.views.streaming.shard_reader import ReadSettings, ShardReader
from tests.support.scripted import ScriptedTable
from tests.support.simple import SHAPE

SETTINGS = ReadSettings(tip_pages=20, tip_margin=1.0)


def idle(table: ScriptedTable) -> tuple[ShardReader, AwaitedMoments]:
    """A reader of a shard in which nothing happens, in the table's own time."""
    stream = table.stream(table.arn, SHAPE)
    reader = ShardReader(stream, stream.shards()[0], settings=SETTINGS, now=lambda: table.now)
    return reader, AwaitedMoments(SETTINGS, lambda: table.now, lambda: table.now)


def until_shown(table: ScriptedTable, moment: float, noted: bool = True) -> tuple[int, float]:
    """Reads, and seconds, from a moment until a shard is shown to be read up to it."""
    reader, awaited = idle(table)
    reads, began = 0, table.now
    while True:
        if noted:
            awaited.note(moment)
        reader.read()
        reads += 1
        if reader.read_up_to is not None and reader.read_up_to > moment:
            return reads, table.now - began
        table.advance(awaited.rest(reader, reader.pause))


def test_reads_that_would_prove_nothing_are_not_made() -> None:
    reads, seconds = until_shown(table := ScriptedTable(), table.now)
    assert seconds < 1.0 + 25 * HURRY
    assert reads <= 20 + 6  # a run, and what an idle shard is read in the margin before it
    assert until_shown(table, table.now, noted=False)[1] > 10.0


def test_a_moment_that_has_passed_is_proven_at_once() -> None:
    reads, seconds = until_shown(table := ScriptedTable(), table.now - 5.0)
    assert (reads, round(seconds, 2)) == (20, round(19 * HURRY, 2))


def test_who_waits_for_an_earlier_moment_does_not_wait_for_a_later_one() -> None:
    reader, awaited = idle(table := ScriptedTable())
    awaited.note(table.now + 100.0)
    assert awaited.rest(reader, 0.5) == 0.5
    awaited.note(table.now - 5.0)
    assert awaited.rest(reader, 0.5) == HURRY


def test_nobody_hurries_for_what_is_shown_or_waited_for_no_more() -> None:
    reader, awaited = idle(table := ScriptedTable())
    for _ in range(20):
        reader.read()
        table.advance(1.0)
    awaited.note(table.now - 30.0)
    assert awaited.rest(reader, 0.5) == 0.5
    awaited.note(table.now - 2.0)
    assert awaited.rest(reader, 0.5) == HURRY
    table.advance(LASTS)
    assert awaited.rest(reader, 0.5) == 0.5
