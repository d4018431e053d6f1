"""``dynaview trace`` as people run it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dynaview.sinks.port import SinkUnavailable
from dynaview.views.cli import cli
from tests.support.worker_harness import CARDS, READS, WorkerHarness
from tests.views.trace.test_trace import by_hand, settled

KEY = {"pk": "p1", "sk": "s\x1b[2J"}


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerHarness]:
    made = WorkerHarness(tmp_path, CARDS + READS)
    monkeypatch.setattr("dynaview.views.trace.service.open_table", lambda source: made.table)
    monkeypatch.setattr("dynaview.views.trace.service.connect", lambda declared: made.sinks[declared.name])
    made.table.put({**KEY, "value": "secret\u202e"})
    made.start()
    settled(made)
    yield made
    made.close()


def asked(harness: WorkerHarness, *words: str, key: str = json.dumps(KEY)) -> Result:
    return CliRunner().invoke(cli, ["trace", "-f", str(harness.folder / "dynaview.yaml"), "--key", key, *words])


def test_text_says_what_stands_and_hides_what_is_in_the_rows(harness: WorkerHarness) -> None:
    done = asked(harness)
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:3] == ["shop: the table has the item", "", "cards: right"]
    assert lines[3].startswith("  following, generation 1, lag ")
    assert lines[4] == "  row card:p1:s\\x1b[2J: asked for"
    assert lines[5].startswith("    generation 1 (live): right: row, of ")
    assert "secret" not in done.output
    assert all(each.isprintable() for each in done.output.replace("\n", ""))
    done = asked(harness, "--values")
    assert '      {"value":"secret\\u202e"}' in done.stdout.splitlines()


def test_what_is_wrong_ends_with_1_and_the_command(harness: WorkerHarness) -> None:
    by_hand(harness, "cards", "card:p1:s\x1b[2J", ("other",))
    done = asked(harness, "cards")
    assert done.exit_code == 1
    assert "cards: wrong: dynaview verify cards --key " in done.stdout
    assert "differs in value" in done.stdout
    assert asked(harness, "reads").exit_code == 0


def test_json_has_the_documented_shape(harness: WorkerHarness) -> None:
    shown = json.loads(asked(harness, "--json").stdout)
    assert shown.keys() == {"items", "views", "notes"}
    assert (shown["items"], shown["notes"]) == ({"shop": True}, [])
    cards, reads = shown["views"]
    assert cards.keys() == {
        "view", "source", "sink", "verdict", "do", "state", "generation", "watermark", "lag", "item", "owner", "rows",
        "dead_letters", "notes",
    }  # fmt: skip
    assert (cards["view"], cards["verdict"], cards["do"], cards["dead_letters"]) == ("cards", "right", None, [])
    assert cards["item"] == {"result": "rows", "reason": None}
    (row,) = cards["rows"]
    assert row.keys() == {"key", "asked", "fault", "stored"}
    (stored,) = row["stored"]
    assert stored.keys() == {
        "generation", "role", "stands", "verdict", "version", "stream", "sequence", "owner", "written_by_generation",
        "differs",
    }  # fmt: skip
    assert (stored["stands"], stored["verdict"], stored["stream"]) == ("row", "right", 0)
    assert int(stored["sequence"]) == int(stored["version"])
    assert reads["rows"][0]["key"] == ["p1", "s\x1b[2J"]
    shown = json.loads(asked(harness, "--json", "--values").stdout)
    assert shown["items"]["shop"]["value"] == {"S": "secret\u202e"}
    assert shown["views"][0]["rows"][0]["values"] == {"value": "secret\u202e"}
    assert shown["views"][0]["rows"][0]["stored"][0]["content"] == {"value": "secret\u202e"}


def test_an_item_that_is_not_there(harness: WorkerHarness) -> None:
    done = asked(harness, key='{"pk": "none", "sk": "none"}')
    assert done.exit_code == 0
    assert "shop: the table has no such item" in done.stdout
    assert json.loads(asked(harness, "--json", key='{"pk": "none", "sk": "none"}').stdout)["items"] == {"shop": False}


def test_a_store_that_is_away_ends_with_2(harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise SinkUnavailable("scripted: away")

    monkeypatch.setattr(harness.sinks["cache"], "open", away)
    done = asked(harness)
    assert done.exit_code == 2
    assert "cards: unknown: scripted: away" in done.stdout
    assert "reads: right" in done.stdout


@pytest.mark.parametrize(
    ("words", "key", "problem"),
    [
        (["none"], "{}", "no view is called none; there are cards, reads"),
        ([], "x", 'an item key of this table is written as {"pk": "…", "sk": "…"}'),
        ([], '{"pk": "\\u001b"}', 'an item key of this table is written as {"pk": "…", "sk": "…"}'),
    ],
)
def test_wrong_questions_end_with_2(harness: WorkerHarness, words: list[str], key: str, problem: str) -> None:
    done = asked(harness, *words, key=key)
    assert done.exit_code == 2
    assert problem in " ".join(done.stderr.split())
