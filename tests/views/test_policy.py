"""One table of errors: complete, shown in the documents, and followed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from dynaview.sinks.port import RejectedKind, SinkError, SinkRefused, SinkUnavailable
from dynaview.sources import errors
from dynaview.sources.errors import AccessDenied, SourceError, SourceUnavailable, TableMissing, Throttled
from dynaview.views.control.errors import ControlError, ControlUnavailable
from dynaview.views.policy import FAULT, LETTERS, POLICIES, Action, ActiveErrors, Backoff, Policy, policy
from dynaview.views.states import ViewState
from tests.support.follower_harness import FollowerHarness
from tests.support.scripted import ScriptedTable
from tests.support.until import until

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


def section(title: str) -> list[str]:
    """The rows of the first table under a heading, without its head."""
    text = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [line for line in text.splitlines() if line.startswith("| ")][2:]


def row(shown: Policy) -> str:
    state = f" `{shown.state}` " if shown.state else " "
    return f"| {shown.what} | {shown.action.value} |{state}| {shown.do} |"


def test_the_page_for_operators_shows_the_table() -> None:
    assert section("Errors") == [row(each) for each in (*POLICIES.values(), FAULT)]


def test_the_page_for_operators_knows_every_state_and_kind_of_letter() -> None:
    assert [line.split("`")[1] for line in section("States") if "`" in line.split("|")[1]] == list(ViewState)
    kinds = section("Dead letters")[: len(LETTERS)]
    assert kinds == [f"| `{kind}` | {meaning} |" for kind, meaning in LETTERS.items()]


def kinds_of(parent: type[Exception]) -> list[type[Exception]]:
    return [parent, *(each for child in parent.__subclasses__() for each in kinds_of(child))]


@pytest.mark.parametrize("kind", [*kinds_of(SourceError), *kinds_of(SinkError), *kinds_of(ControlError)])
def test_every_error_of_ours_is_sorted(kind: type[Exception]) -> None:
    assert policy(kind.__new__(kind, "x")) is not FAULT  # some are made of more than a text; their kind decides


def test_what_heals_is_retried_and_what_waits_for_people_slowly() -> None:
    healing = [SourceUnavailable("x"), Throttled("x"), SinkUnavailable("x"), ControlUnavailable("x")]
    assert {policy(error).action for error in healing} == {Action.RETRY}
    waiting = [
        AccessDenied("x", "dynamodb:Scan", "y"),
        errors.CredentialsMissing("x"),
        TableMissing("x"),
        SinkRefused("x"),
    ]
    assert {policy(error).action for error in waiting} == {Action.SLOW}
    assert max(policy(error).cap for error in healing) < min(policy(error).cap for error in waiting)
    assert policy(ValueError("x")) is FAULT


def test_waits_follow_the_error_and_only_news_is_said() -> None:
    backoff = Backoff()
    assert [backoff.meet(Throttled("x")), backoff.next() <= 0.1] == [True, True]
    assert not backoff.meet(Throttled("y"))
    backoff.next()
    assert backoff.meet(TableMissing("x"))
    backoff.attempts = 30
    assert 15 <= backoff.next() <= 30
    backoff.meet(Throttled("x"))
    assert 5 <= backoff.next() <= 10
    backoff.reset()
    assert backoff.meet(Throttled("x"))


def test_one_trouble_at_many_places_is_news_once() -> None:
    troubles = ActiveErrors()
    denied = [AccessDenied(f"shard {number}", "dynamodb:GetRecords", "the stream") for number in range(3)]
    assert [troubles.begin(f"shard-{number}", error) for number, error in enumerate(denied)] == [True, False, False]
    assert troubles.begin("listing", AccessDenied("x", "dynamodb:DescribeStream", "the stream"))
    assert troubles.text == str(denied[0])
    for number in range(3):
        troubles.end(f"shard-{number}")
    assert "dynamodb:DescribeStream" in (troubles.text or "")
    troubles.end("listing")
    assert not troubles.text
    assert troubles.begin("shard-0", denied[0])


class Denied(AccessDenied):
    """As the scripted table raises it, which knows only one argument."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "dynamodb:GetRecords", "arn:of:the:stream")


def test_a_missing_right_is_said_once_shown_and_heals(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    harness = FollowerHarness(tmp_path, ScriptedTable(shards=8))
    harness.table.fail("read", Denied, times=24)
    with caplog.at_level(logging.WARNING):
        harness.start()
        until(lambda: harness.state("one") == "waiting", "the trouble to show")
        record = harness.control.view("one")
        assert record is not None
        assert "grant dynamodb:GetRecords on arn:of:the:stream" in record.reason
        harness.table.put({"pk": "p", "sk": "s", "value": 1})
        harness.wait_equal()
        harness.wait_counted()
        until(lambda: harness.state("one") == "following", "the trouble to be over")
    said = [line for line in caplog.messages if "grant dynamodb:GetRecords" in line]
    assert len(said) == 1
    harness.stop()


def test_every_reason_of_a_store_to_reject_a_write_is_a_kind_of_letter() -> None:
    assert {kind.value for kind in RejectedKind} | {"projection", "unreadable"} == set(LETTERS)
