"""Batches of records become rows, wherever they fail in between."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from dynaview.projections.rows import Write
from dynaview.sinks.memory import MemoryTarget
from dynaview.sinks.port import SinkUnavailable
from dynaview.views.aws_lambda import table_views
from dynaview.views.aws_lambda.events import EventRefused
from dynaview.views.aws_lambda.function import NotDurable
from dynaview.views.states import ViewState
from tests.support.lambda_harness import LambdaHarness


def item(number: int, **more: Any) -> dict[str, Any]:
    return {"pk": f"p{number % 7}", "sk": str(number), "value": f"v{number}", **more}


def test_records_become_rows(begun: LambdaHarness) -> None:
    table, mapping = begun.table, begun.mapping()
    for number in range(20):
        table.put(item(number))
    table.put(item(3, value="newer"))
    table.delete(item(4))
    mapping.drain()
    assert len(begun.rows("reads")) == 19
    assert begun.rows("reads")["p3", "3"]["value"] == "newer"
    assert begun.rows("cards").keys() == {f"card:p{n % 7}:{n}" for n in range(20) if n != 4}
    assert begun.record("cards").state is ViewState.FILLING


def test_a_pipe_brings_lists(begun: LambdaHarness) -> None:
    mapping = begun.mapping(pipe=True)
    begun.table.put(item(1))
    mapping.drain()
    assert begun.rows("reads").keys() == {("p1", "1")}


def test_a_poison_change_is_a_dead_letter_and_holds_up_nothing(begun: LambdaHarness) -> None:
    mapping = begun.mapping()
    begun.table.put(item(1))
    begun.table.put(item(2, value={"a": 1}))  # no text: no row can be made
    begun.table.break_record(item(3))
    begun.table.put(item(4))
    mapping.drain(1)
    assert begun.rows("reads").keys() == {("p1", "1"), ("p4", "4")}
    letters = begun.control.dead_letters.find()
    assert {(each.letter.view, each.letter.kind) for each in letters} >= {
        ("reads", "projection"),
        ("reads", "unreadable"),
        ("cards", "unreadable"),
    }
    assert {each.letter.shard for each in letters} == {"lambda"}
    known = len(letters)
    mapping.replay(mapping.lane("shard-0"), 4)
    mapping.drain(1)
    assert len(begun.control.dead_letters.find()) == known, "what AWS repeats leaves no second letter"


def down(target: MemoryTarget, writes: Sequence[Write]) -> None:
    raise SinkUnavailable("scripted: down")


def test_a_store_that_is_away_holds_the_batch_up(begun: LambdaHarness) -> None:
    mapping = begun.mapping("reads")
    begun.table.put(item(1))
    begun.reads.trouble = down
    with pytest.raises(NotDurable, match="view reads: scripted: down"):
        begun.function("reads").handle(mapping.event(begun.records()), mapping.context)
    assert begun.record("reads").state is ViewState.RETRYING
    with pytest.raises(AssertionError, match="3 invocations"):
        mapping.drain(3)
    begun.reads.trouble = None
    mapping.drain(1)
    assert begun.rows("reads").keys() == {("p1", "1")}
    assert begun.record("reads").state is ViewState.FILLING


def test_the_answer_names_the_first_record_that_is_not_durable(
    begun: LambdaHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_views, "CHUNK", 3)
    mapping = begun.mapping("reads")
    sequences = [begun.table.put(item(number)) for number in range(10)]
    written = 0

    def full(target: MemoryTarget, writes: Sequence[Write]) -> None:
        nonlocal written
        written += len(writes)
        if written > 6:
            raise SinkUnavailable("scripted: full")

    begun.reads.trouble = full
    event = mapping.event(begun.records())
    answer = begun.function("reads").handle(event, mapping.context)
    assert answer == {"batchItemFailures": [{"itemIdentifier": sequences[6]}]}
    assert len(begun.rows("reads")) == 6
    mapping.deliver(mapping.due()[0])
    written, begun.reads.trouble = 0, None
    mapping.drain(1)
    assert len(begun.rows("reads")) == 10


def test_time_that_runs_out_ends_the_batch_in_order(begun: LambdaHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_views, "CHUNK", 3)
    mapping = begun.mapping("reads")
    sequences = [begun.table.put(item(number)) for number in range(10)]
    monkeypatch.setattr(time, "monotonic", clock := Clock())
    begun.reads.trouble = lambda target, writes: clock.advance(20.0)
    answer = begun.function("reads").handle(mapping.event(begun.records()), mapping.context)
    assert answer == {"batchItemFailures": [{"itemIdentifier": sequences[3]}]}


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def test_a_view_that_rounds_bring_on_holds_up_no_other_one(harness: LambdaHarness) -> None:
    mapping = harness.mapping()
    harness.table.put(item(1))
    mapping.drain(1)
    harness.reads.trouble = down
    harness.table.put(item(2))
    mapping.drain(1)
    assert harness.rows("cards").keys() == {"card:p1:1", "card:p2:2"}
    assert harness.rows("reads").keys() == {("p1", "1")}
    harness.reads.trouble = None
    assert all(each.current for each in harness.round())
    assert harness.rows("reads").keys() == {("p1", "1"), ("p2", "2")}


def test_a_fault_of_one_view_is_its_own(begun: LambdaHarness) -> None:
    def odd(target: MemoryTarget, writes: Sequence[Write]) -> None:
        raise RuntimeError("scripted")

    mapping = begun.mapping()
    begun.reads.trouble = odd
    begun.table.put(item(1))
    mapping.drain(1)
    assert begun.record("reads").state is ViewState.FAILED
    assert begun.rows("cards").keys() == {"card:p1:1"}


def test_an_event_of_another_table_is_refused(begun: LambdaHarness) -> None:
    mapping = begun.mapping()
    begun.table.put(item(1))
    event = mapping.event(begun.records())
    other = mapping.arn.replace("table/shop", "table/other")
    for record in event["Records"]:
        record["eventSourceARN"] = other
    with pytest.raises(EventRefused, match="table/other, which no source of"):
        begun.function().handle(event, mapping.context)
    for record in event["Records"]:
        record["eventSourceARN"] = mapping.arn.replace("eu-west-1", "eu-central-1")
    with pytest.raises(EventRefused, match=r"eu-central-1.*source shop \(.*\) are of arn:aws:dynamodb:eu-west-1"):
        begun.function().handle(event, mapping.context)


def test_a_timeout_that_rebuilds_do_not_know_is_refused(begun: LambdaHarness) -> None:
    mapping = begun.mapping()
    begun.table.put(item(1))
    mapping.context.seconds = 300.0
    with pytest.raises(EventRefused, match=r"may run for 300 s.*lambda_timeout: 1s"):
        begun.function().handle(mapping.event(begun.records()), mapping.context)


def test_a_new_stream_of_the_table_is_a_gap(harness: LambdaHarness) -> None:
    """What was written while none was on is in none; what comes late of the stream before is passed by."""
    harness.table.put(item(1))
    before = harness.mapping()
    late = before.event(harness.records())
    before.drain()
    harness.table.recreate()
    harness.table.put(item(2))
    harness.mapping().drain(1)
    for view in ("reads", "cards"):
        record = harness.record(view)
        assert record.state is ViewState.GAP
        assert "has another stream now" in record.reason
    harness.rebuild("reads", "cards")
    harness.round()
    assert harness.rows("reads").keys() == {("p2", "2")}
    assert harness.function().handle(late, before.context) == {"batchItemFailures": []}
    assert harness.rows("reads").keys() == {("p2", "2")}
    harness.table.put(item(3))
    harness.mapping().drain(1)
    assert harness.rows("reads").keys() == {("p2", "2"), ("p3", "3")}


def test_a_stream_that_shows_too_little_is_refused_by_name(begun: LambdaHarness) -> None:
    begun.table.put(item(1))
    mapping = begun.mapping("reads")
    event = mapping.event(begun.records())
    for record in event["Records"]:
        record["dynamodb"]["StreamViewType"] = "KEYS_ONLY"
        del record["dynamodb"]["NewImage"]
    with pytest.raises(EventRefused, match=r"no view of table shop may be written: view reads: .*KEYS_ONLY"):
        begun.function("reads").handle(event, mapping.context)
    assert begun.record("reads").state is ViewState.REFUSED


def test_word_of_records_given_up_makes_a_round(harness: LambdaHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.table.put(item(1))
    word = harness.mapping().word_of("shard-0", harness.records())
    rounds: list[object] = []

    def make_round(*told: object) -> list[object]:
        rounds.append(told)
        return []

    monkeypatch.setattr("dynaview.views.aws_lambda.rounds.make_round", make_round)
    function = harness.function()
    message = {"eventSource": "aws:sqs", "body": json.dumps(word)}
    assert function.handle({"Records": [message]}, harness.mapping().context) == {"views": {}}
    assert len(rounds) == 1
    other = json.dumps(word).replace("table/shop", "table/other")
    with pytest.raises(EventRefused, match="table/other, which no source is"):
        function.handle({"Records": [{**message, "body": other}]}, harness.mapping().context)
