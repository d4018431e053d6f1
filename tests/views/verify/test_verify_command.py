"""``dynaview verify`` and ``dynaview repair`` as people run them, and verification by schedule."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dynaview.projections.attributes import Attr
from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, ConditionalWrite, SinkUnavailable
from dynaview.sources.errors import BadPage
from dynaview.views.cli import cli
from dynaview.views.cli.verify import line_of
from dynaview.views.control.store import ControlStore
from dynaview.views.states import ViewState
from dynaview.views.status import all_status
from dynaview.views.verify.findings import Finding
from dynaview.views.verify.schedule import VerificationSchedule
from tests.support.calls import Operation
from tests.support.until import until
from tests.support.worker_harness import CARDS, READS, WorkerHarness

SCHEDULED = """
  cards:
    source: shop
    sink: cache
    type: hash
    key: "card:{pk}:{sk}"
    match: {pk: "{pk}", sk: "{sk}"}
    fields: {value: value}
    verify: {every: 1h, repair: true}
"""

NEVER = """
  never:
    source: shop
    sink: cache
    type: hash
    key: "never:{pk}:{sk}"
    match: {pk: "{pk}", sk: "{sk}"}
    fields: {value: value}
"""


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerHarness]:
    made = WorkerHarness(tmp_path)
    followed: list[frozenset[str]] = []

    def following(declaration: object, views: frozenset[str]) -> Any:
        followed.append(views)
        return nullcontext()

    monkeypatch.setattr("dynaview.views.verify.service.open_table", lambda source: made.table)
    monkeypatch.setattr("dynaview.views.verify.service.connect", lambda declared: made.sinks[declared.name])
    monkeypatch.setattr("dynaview.views.cli.verify.following", following)
    monkeypatch.setattr(made, "followed", followed, raising=False)
    for number in range(20):
        made.table.put({"pk": f"p{number}", "sk": "s", "value": f"v{number}"})
    made.start()
    for view in ("cards", "reads"):
        settled(made, view)
    yield made
    made.close()


def settled(harness: WorkerHarness, view: str) -> None:
    def done() -> bool:
        record = harness.control.view(view)
        return record is not None and record.filled and record.counts.read == harness.table.made

    until(done, f"{view} to be in step")


def asked(harness: WorkerHarness, *words: str) -> Result:
    return CliRunner().invoke(cli, [words[0], "-f", str(harness.folder / "dynaview.yaml"), *words[1:]])


def by_hand(harness: WorkerHarness, view: str, key: Any, values: tuple[Any, ...] | None) -> None:
    target = harness.target(view)
    (seen,) = target.read([key])
    owner = seen.owner if seen else ""
    assert target.write_if_unchanged([ConditionalWrite(Write(key, values, 0, owner), seen)]) == [APPLIED]


def harm(harness: WorkerHarness) -> None:
    by_hand(harness, "cards", "card:p1:s", None)
    by_hand(harness, "cards", "card:p2:s", ("secret",))
    by_hand(harness, "cards", "card:orphan:s", ("x",))
    by_hand(harness, "reads", ("p3", "s"), ("p3", "s", "secret"))


def test_views_in_step_end_with_0(harness: WorkerHarness) -> None:
    done = asked(harness, "verify", "--timeout", "20")
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    head, *lines = done.stdout.splitlines()
    assert head.split()[:5] == ["VIEW", "ROWS", "MISSING", "EXTRA", "DIFFERENT"]
    assert [line.split()[:5] for line in lines] == [["cards", "20", "0", "0", "0"], ["reads", "20", "0", "0", "0"]]
    assert harness.followed == [{"cards", "reads"}]  # type: ignore[attr-defined]  # the fixture's


def test_what_differs_is_listed_without_values_and_ends_with_1(harness: WorkerHarness) -> None:
    harm(harness)
    done = asked(harness, "verify", "cards", "reads")
    assert done.exit_code == 1
    for line in (
        'cards  missing  card:p1:s  item {"pk":{"S":"p1"},"sk":{"S":"s"}}',
        'cards  different  card:p2:s  item {"pk":{"S":"p2"},"sk":{"S":"s"}}  differs in value',
        "cards  extra  card:orphan:s",
        'reads  different  ["p3","s"]  item {"pk":{"S":"p3"},"sk":{"S":"s"}}  differs in value',
        "cards: 3 rows differ: dynaview repair cards",
    ):
        assert line in done.stdout.splitlines()
    assert "secret" not in done.output
    assert "secret" in asked(harness, "verify", "--values").output
    done = asked(harness, "verify", "cards", "--limit", "1")
    assert "cards: 2 more differ; --limit lists them" in done.stdout
    status = {view["view"]: view["verified"] for view in all_status(harness.control)}
    assert (status["cards"]["drift"], status["cards"]["missing"], status["reads"]["drift"]) == (3, 1, 1)
    shown = asked(harness, "status").stdout
    assert "cards: 3 rows differed when it was verified: dynaview repair cards" in shown


def test_json_says_all_of_it(harness: WorkerHarness) -> None:
    harm(harness)
    done = asked(harness, "verify", "cards", "--json")
    (report,) = json.loads(done.stdout)
    assert (report["view"], report["rows"], report["drift"], report["missing"]) == ("cards", 20, 3, 1)
    kinds = {found["row_key"]: found["kind"] for found in report["differences"]}
    assert kinds == {"card:p1:s": "missing", "card:p2:s": "different", "card:orphan:s": "extra"}
    assert "secret" not in done.output


def test_a_sample_and_single_keys_and_recent_changes(harness: WorkerHarness) -> None:
    harm(harness)
    done = asked(harness, "verify", "cards", "--sample", "100%")
    assert done.exit_code == 1
    assert "cards: a sample of 100.00% of the items; rows that no item asks for are only found by" in done.stdout
    assert asked(harness, "verify", "cards", "--key", "card:p1:s").exit_code == 1
    assert asked(harness, "verify", "cards", "--key", "card:p5:s").exit_code == 0
    assert asked(harness, "verify", "cards", "--key", "card:orphan:s").exit_code == 1
    assert asked(harness, "verify", "--key", '{"pk": "p3", "sk": "s"}').exit_code == 1
    assert asked(harness, "verify", "cards", "--key", '{"pk": {"S": "p3"}, "sk": {"S": "s"}}').exit_code == 0
    assert asked(harness, "verify", "cards", "--since", "1h").exit_code == 1
    assert asked(harness, "verify", "cards", "--since", str(time.time() - 30 * 3600)).exit_code == 2


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["verify", "none"], "no view is called none; there are cards, reads"),
        (["verify", "--sample", "0"], "give a share such as 1% or 0.01"),
        (["verify", "--sample", "101%"], "give a share"),
        (["verify", "--sample", "x"], "give a share"),
        (["verify", "--sample", "1%", "--key", "a"], "do not go together"),
        (["verify", "--since", "soon"], "give ISO 8601"),
        (["verify", "--since", "9e10"], "in the future"),
        (["verify", "--since", "48h"], "a stream reaches back 24 hours"),
        (["verify", "reads", "--key", "a"], "the key of reads is pk, sk, 1 values were given"),
        (["verify", "cards", "--key", '{"pk": "a"}'], 'an item key of this table is written as {"pk": "…", "sk": "…"}'),
        (["verify", "cards", "--key", "other:a:b"], "this is no row key of cards that tells its item"),
        (["verify", "--max-read-units", "0"], "--max-read-units"),
        (["repair"], "name the views to repair"),
        (["repair", "none"], "no view is called none"),
        (["repair", "--from-verify", "none.json"], "does not exist"),
    ],
)
def test_wrong_questions_end_with_2(harness: WorkerHarness, words: list[str], problem: str) -> None:
    done = asked(harness, *words)
    assert done.exit_code == 2, done.output
    assert problem in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.output


def test_a_view_that_cannot_be_verified_ends_with_2_and_is_not_started_by_it(harness: WorkerHarness) -> None:
    harness.declare(CARDS + READS + NEVER)
    done = asked(harness, "verify", "cards", "never")
    assert done.exit_code == 2
    assert "dynaview: never was never started: start dynaview run" in done.stderr
    assert done.stdout.splitlines()[1].split()[:2] == ["cards", "20"]
    assert harness.followed == [{"cards"}]  # type: ignore[attr-defined]  # the fixture's
    assert harness.control.view("never") is None
    harness.control.add_view("never", "shop", "cache", "another")
    assert "is not the one that built the view" in asked(harness, "verify", "never").stderr
    harness.declare(CARDS + READS)
    harness.control.states.set("cards", ViewState.GAP, "lost; dynaview rebuild cards")
    assert "its state is gap: lost; dynaview rebuild cards" in asked(harness, "repair", "cards").stderr


def test_repair_mends_and_a_second_one_finds_nothing(harness: WorkerHarness) -> None:
    harm(harness)
    before = harness.rows("cards")
    done = asked(harness, "repair", "cards", "reads", "--dry-run")
    assert (done.exit_code, harness.rows("cards")) == (1, before)
    assert "cards  missing  card:p1:s" in done.stdout
    done = asked(harness, "repair", "cards", "reads", "--verbose")
    assert done.exit_code == 0, done.output
    assert "the row is as its item asks for it now" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["cards", "3", "3", "1", "1", "1", "0", "0", "0", "0", "0"] in lines
    assert len(harness.rows("cards")) == 20
    assert "orphan" not in str(harness.rows("cards"))
    done = asked(harness, "repair", "cards", "reads", "--json")
    assert done.exit_code == 0
    assert [(report["drift"], report["left"]) for report in json.loads(done.stdout)] == [(0, []), (0, [])]
    assert asked(harness, "verify").exit_code == 0
    assert "rows differed" not in asked(harness, "status").stdout


def test_repair_of_what_was_verified_reads_only_that(harness: WorkerHarness, tmp_path: Path) -> None:
    harm(harness)
    file = tmp_path / "found.json"
    file.write_text(asked(harness, "verify", "--json").stdout)
    by_hand(harness, "cards", "card:p7:s", None)  # since then: not what was found
    harness.table.put({"pk": "p2", "sk": "s", "value": "newer"})
    settled(harness, "cards")
    scans = harness.table.counts()["scan"]
    done = asked(harness, "repair", "--from-verify", str(file), "--verbose")
    assert done.exit_code == 0, done.output
    assert harness.table.counts()["scan"] == scans
    rows = harness.rows("cards")
    assert "card:p1:s" in rows
    assert "card:orphan:s" not in rows
    assert "card:p7:s" not in rows
    assert str(rows["card:p2:s"]["value"]) == "newer"
    assert "secret" not in str(harness.rows("reads"))
    done = asked(harness, "repair", "--from-verify", str(file))
    assert [line.split()[1] for line in done.stdout.splitlines()[1:3]] == ["0", "0"]


def test_rows_that_a_file_counts_and_does_not_name_are_left(harness: WorkerHarness, tmp_path: Path) -> None:
    harm(harness)
    file = tmp_path / "found.json"
    file.write_text(asked(harness, "verify", "cards", "--json", "--limit", "1").stdout)
    done = asked(harness, "repair", "--from-verify", str(file))
    assert done.exit_code == 1
    assert "cards: 2 more rows differed than" in done.stderr
    assert asked(harness, "repair", "reads", "--from-verify", str(file)).exit_code == 2


def test_a_file_of_another_build_or_that_is_none_is_refused(harness: WorkerHarness, tmp_path: Path) -> None:
    harm(harness)
    file = tmp_path / "found.json"
    report = json.loads(asked(harness, "verify", "cards", "--json").stdout)
    for name, wrong in (("fingerprint", "x"), ("generation", 7)):
        file.write_text(json.dumps([{**report[0], name: wrong}]))
        done = asked(harness, "repair", "--from-verify", str(file))
        assert done.exit_code == 2
        assert "rebuilt or declared anew since" in done.stderr
    for text in ("", "{}", "[1]", '[{"view": "cards"}]', "\x00"):
        file.write_text(text)
        done = asked(harness, "repair", "--from-verify", str(file))
        assert done.exit_code == 2, text
    assert "card:orphan:s" in harness.rows("cards")


@pytest.mark.parametrize("operation", ["describe", "scan", "get"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_corrupt_answer_is_asked_for_again(harness: WorkerHarness, operation: Operation, times: int) -> None:
    harm(harness)  # so that items are read one by one, too
    harness.table.fail(operation, BadPage, times=times)
    done = asked(harness, "verify", "--json")
    assert done.exit_code == 1, done.output
    assert [report["error"] for report in json.loads(done.stdout)] == ["", ""]
    harness.table.fail(operation, BadPage, times=times)
    assert asked(harness, "repair", "cards", "reads").exit_code == 0


def test_a_store_that_does_not_answer_ends_with_2(harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: object) -> Any:
        raise SinkUnavailable("the store is away")

    monkeypatch.setattr("dynaview.sinks.memory.MemoryTarget.rows", away)
    done = asked(harness, "verify", "cards", "--timeout", "0.1")
    assert done.exit_code == 2
    assert "dynaview: cards: the store is away" in done.stderr


# By schedule


@pytest.fixture
def scheduled(tmp_path: Path) -> Iterator[WorkerHarness]:
    made = WorkerHarness(tmp_path, SCHEDULED + READS)
    for number in range(20):
        made.table.put({"pk": f"p{number}", "sk": "s", "value": f"v{number}"})
    made.start()
    yield made
    made.close()


@pytest.fixture
def rounds(scheduled: WorkerHarness) -> Iterator[Callable[[float], None]]:
    """Verification by schedule, on a clock of its own."""
    stop, clock = threading.Event(), [time.time()]
    control = ControlStore(scheduled.declaration.control)
    turns = iter([False] * 3)  # another worker's, at first
    made = VerificationSchedule(
        "shop", list(scheduled.declaration.views.values()), scheduled.table, scheduled.sinks, control, stop,
        look_every=0.01, now=lambda: clock[0], mine=lambda: next(turns, True),
    )  # fmt: skip
    work = threading.Thread(target=made.run)
    work.start()

    def advance(seconds: float) -> None:
        clock[0] += seconds

    yield advance
    stop.set()
    work.join(20)
    assert not work.is_alive()
    assert next(turns, None) is None  # it asked whose turn it was
    control.close()


def test_a_view_is_verified_when_it_is_due_and_mended(
    scheduled: WorkerHarness, rounds: Callable[[float], None]
) -> None:
    results = scheduled.control.verifications
    until(lambda: results.find("cards") is not None, "the first verification")
    settled(scheduled, "cards")
    first = results.find("cards")
    assert first is not None
    assert (first.rows, first.drift, first.error) == (20, 0, "")
    by_hand(scheduled, "cards", "card:p1:s", None)
    by_hand(scheduled, "cards", "card:p2:s", ("x",))
    rounds(3500)
    rounds(200)
    until(lambda: results.find("cards") != first, "the second verification")
    second = results.find("cards")
    assert second is not None
    assert (second.missing, second.different, second.mended, second.error) == (1, 1, 2, "")
    assert second.begun >= first.begun + 3600
    assert len(scheduled.rows("cards")) == 20
    assert results.find("reads") is None  # it has no schedule
    status = next(view for view in all_status(scheduled.control) if view["view"] == "cards")
    assert status["verified"]["mended"] == 2


def test_a_verification_that_fails_is_told_and_tried_again(
    scheduled: WorkerHarness, rounds: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = scheduled.control.verifications
    until(lambda: results.find("cards") is not None, "the first verification")

    def broken(self: object) -> Any:
        raise RuntimeError("secret")

    with monkeypatch.context() as patched:
        patched.setattr("dynaview.sinks.memory.MemoryTarget.rows", broken)
        rounds(3700)
        until(lambda: bool((found := results.find("cards")) and found.error), "the failure")
    failed = results.find("cards")
    assert failed is not None
    assert "RuntimeError" in failed.error
    assert "secret" not in failed.error
    rounds(3700)
    until(lambda: bool((found := results.find("cards")) and not found.error), "the next one")


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m", "a\nreads  extra  forged", "\u202egnp"])
def test_keys_of_items_are_shown_without_what_a_terminal_obeys(text: str) -> None:
    write = Write(text, None, 0)
    told = line_of(
        Finding("cards", "extra", write, None, {"pk": Attr(S=text)}, fields=(text,), stuck=text), values=True
    )
    assert told.isprintable()
