"""Rounds prove what batches cannot, and bring what batches missed; rebuilds go on in them while invocations write."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from click.testing import CliRunner

from dynaview.projections.rows import Write
from dynaview.sinks.memory import MemoryTarget
from dynaview.views.aws_lambda import dropped, events
from dynaview.views.aws_lambda.table_views import Unproven
from dynaview.views.aws_lambda.view_writer import ours
from dynaview.views.cli import pause
from dynaview.views.states import ViewState
from tests.support.event_source import Killed
from tests.support.lambda_harness import LambdaHarness


def item(number: int, value: str = "old") -> dict[str, Any]:
    return {"pk": f"p{number}", "sk": "s", "value": value}


def values(harness: LambdaHarness, view: str = "reads") -> dict[Any, str]:
    return {key: row["value"] for key, row in harness.rows(view).items()}


def test_a_round_fills_counts_and_proves(fresh: LambdaHarness) -> None:
    harness = fresh
    for number in range(30):
        harness.table.put(item(number))
    harness.table.trim("shard-0")  # the items are older than what the stream holds
    for number in range(5):
        harness.table.put(item(number, "new"))
    mapping = harness.mapping()
    with pytest.raises(Unproven, match="no round has come to the views of table shop yet"):
        harness.function().handle(mapping.event(harness.records()), mapping.context)
    assert all(each.current for each in harness.round())
    assert values(harness) == {(f"p{n}", "s"): "new" if n < 5 else "old" for n in range(30)}
    mapping.drain()
    counts = harness.record("reads").counts
    assert (counts.read, counts.applied + counts.stale) == (5, 5), "each change is counted once, however often it came"
    harness.table.put(item(7, "newer"))
    mapping.drain()
    assert values(harness)["p7", "s"] == "newer"
    mapping.replay(mapping.lane(harness.table.shard_of(item(7))), 3)
    mapping.drain()
    assert all(each.current for each in harness.round())
    assert harness.record("reads").counts.read == 6
    assert harness.record("reads").state is ViewState.FOLLOWING


def test_a_batch_that_was_given_up_is_read_from_the_stream(harness: LambdaHarness) -> None:
    mapping = harness.mapping(retries=1)

    def killed(target: MemoryTarget, writes: Sequence[Write]) -> None:
        raise Killed

    harness.reads.trouble = killed
    harness.table.put(item(1))
    mapping.drain(2)
    (word,) = mapping.dropped
    assert word["DDBStreamBatchInfo"]["batchSize"] == 1
    assert values(harness) == {}
    harness.reads.trouble = None
    known = events.recognise(word)
    assert isinstance(known, list)
    for table in harness.function()._tables:
        dropped.lose(table, known[0], harness.control)
    assert harness.record("reads").state is ViewState.FOLLOWING
    assert all(each.current for each in harness.round())
    assert values(harness) == {("p1", "s"): "old"}


def test_a_batch_that_was_given_up_too_late_is_a_gap(harness: LambdaHarness) -> None:
    mapping = harness.mapping(retries=0)
    harness.table.put(item(1))
    shard = harness.table.shard_of(item(1))
    (record,) = harness.records()
    record.time -= 25 * 3600
    known = events.recognise(mapping.word_of(shard, [record]))
    assert isinstance(known, list)
    for table in harness.function()._tables:
        dropped.lose(table, known[0], harness.control)
    record_of = harness.record("reads")
    assert record_of.state is ViewState.GAP
    assert f"AWS gave up 1 records of shard {shard} (RetryAttemptsExhausted)" in record_of.reason
    assert "dynaview rebuild reads" in record_of.reason
    mapping.drain(1)
    assert values(harness) == {}, "a view with a gap takes nothing more"
    assert [each.wrong for each in harness.round()] == [True, True]
    harness.rebuild("reads", "cards")
    harness.round()
    assert harness.record("reads").state is ViewState.FOLLOWING
    assert values(harness) == {("p1", "s"): "old"}


def test_what_was_brought_already_is_no_loss(harness: LambdaHarness) -> None:
    mapping = harness.mapping()
    harness.table.put(item(1))
    assert all(each.current for each in harness.round())
    shard = harness.table.shard_of(item(1))
    (record,) = harness.records()
    record.time -= 25 * 3600
    known = events.recognise(mapping.word_of(shard, [record]))
    assert isinstance(known, list)
    for table in harness.function()._tables:
        dropped.lose(table, known[0], harness.control)
    assert harness.record("reads").state is ViewState.FOLLOWING


def test_what_the_stream_has_lost_is_a_gap(harness: LambdaHarness) -> None:
    """A jump: the checkpoint's successor is gone, whatever the mapping has shown."""
    harness.table.put(item(1))
    assert all(each.current for each in harness.round())
    harness.table.put(item(1, "a"))
    harness.table.put(item(1, "b"))
    harness.table.trim(harness.table.shard_of(item(1)))
    found = harness.round()
    assert {each.state for each in found} == {ViewState.GAP}
    assert all(each.wrong for each in found)


def test_invocations_write_both_generations_of_a_rebuild(harness: LambdaHarness) -> None:
    mapping = harness.mapping()
    for number in range(10):
        harness.table.put(item(number))
    mapping.drain()
    assert all(each.current for each in harness.round())
    harness.rebuild("reads")
    harness.round()
    assert harness.record("reads").generation == 2
    assert harness.record("reads").write_order == (2, 1)
    harness.table.put(item(3, "both"))
    mapping.drain()
    assert {harness.rows("reads", g)["p3", "s"]["value"] for g in (1, 2)} == {"both"}


def test_a_rebuild_waits_for_invocations_that_know_no_generation_of_it(
    harness: LambdaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that began before writes the old generation alone: readers are not swapped while such a row may come."""
    mapping = harness.mapping()
    harness.table.put(item(1))
    mapping.drain()
    assert all(each.current for each in harness.round())
    harness.rebuild("reads")
    began = time.monotonic()
    harness.round()
    assert harness.record("reads").generation == 2
    assert time.monotonic() - began >= 1.0, "lambda_timeout"


def test_a_paused_view_is_brought_on_when_it_is_resumed(harness: LambdaHarness) -> None:
    mapping = harness.mapping()
    harness.control.states.pause("reads", "")
    harness.table.put(item(1))
    mapping.drain(1)
    assert values(harness) == {}
    assert len(harness.rows("cards")) == 1
    harness.control.states.resume("reads")
    assert all(each.current for each in harness.round())
    assert values(harness) == {("p1", "s"): "old"}


def test_a_round_heals_no_overrun(harness: LambdaHarness) -> None:
    """Each round is a start, and a thousand dead letters a minute are not what a limit is for."""
    record = harness.record("reads")
    harness.control.states.report("reads", ViewState.OVERRUN, "too many", record.revision, None)
    harness.round()
    assert harness.record("reads").state is ViewState.OVERRUN


def test_two_rounds_at_once_share_the_work(harness: LambdaHarness) -> None:
    for number in range(50):
        harness.table.put(item(number))
    found: list[bool] = []
    threads = [
        threading.Thread(target=lambda: found.append(all(each.current for each in harness.round()))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True, True]
    assert harness.record("reads").counts.read == 50
    assert len(values(harness)) == 50


def test_a_change_that_comes_late_is_not_taken_for_news(harness: LambdaHarness) -> None:
    """After a rebuild the scanned row is of version 0: any change would be newer than that."""
    harness.table.put(item(1, "first"))
    harness.table.put(item(1, "second"))
    for record in harness.records():
        record.time -= 10
    assert all(each.current for each in harness.round())
    harness.rebuild("reads")
    harness.round()
    assert harness.record("reads").generation == 2
    mapping = harness.mapping(batch=1)
    mapping.deliver(mapping.due()[0])
    assert values(harness) == {("p1", "s"): "second"}


def test_a_generation_that_is_filled_is_the_workers_alone(harness: LambdaHarness) -> None:
    """Until the watermark has passed the moment since when workers write it (see tests/models/beside.py)."""
    control, rebuilds = harness.control, harness.control.rebuilds
    harness.rebuild("reads")
    (asked,) = [each for each in rebuilds.all() if each.phase == "requested"]
    record = harness.record("reads")
    begun = rebuilds.begin(
        asked, record.fingerprint, "", "beside", number=2, alone=False, fresh=False, stream_arn=None, of_items=0
    )
    assert harness.record("reads").write_order == (2, 1)
    assert ours(control, harness.record("reads")) == (1,)
    assert record.watermark is not None
    begun = rebuilds.update(begun, written=record.watermark + 1)
    rebuilds.filled(begun)
    assert ours(control, harness.record("reads")) == (1,)
    begun = rebuilds.update(begun, written=record.watermark - 1)
    assert ours(control, harness.record("reads")) == (2, 1)
    before = harness.record("reads")
    control.rebuilds.swapped("reads", 2, time.time() + 60)
    rebuilds.update(begun, written=record.watermark + 1)
    assert ours(control, before) == (1,), "the record was read before the watermark rose, and the swap came between"
    assert ours(control, harness.record("reads")) == (2, 1)


def test_a_pause_waits_for_invocations_that_have_begun(harness: LambdaHarness) -> None:
    """They say nothing: after the function's timeout none of them writes any more."""
    began = time.monotonic()
    said = CliRunner().invoke(pause.command, ["reads", "-f", str(harness.folder / "dynaview.yaml")])
    assert said.exit_code == 0, said.output
    assert time.monotonic() - began >= 1.0
    said = CliRunner().invoke(pause.command, ["cards", "--timeout", "0", "-f", str(harness.folder / "dynaview.yaml")])
    assert said.exit_code == 1
    assert "not yet let go by invocations of a Lambda function (for 1 s at the most)" in said.output
