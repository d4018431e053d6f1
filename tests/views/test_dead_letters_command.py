"""``dynaview dead-letters``: lists, shows, replays, prunes and discards, while the daemon settles what it can."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dynaview.views import replay
from dynaview.views.cli import cli
from dynaview.views.control.records import Counts, DeadLetter, DeadLetterFilter, Part, Progress
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.declarations.load import load
from tests.support.follower_harness import FollowerHarness
from tests.support.letters import bad, declare, follow, tally
from tests.support.scripted import ScriptedTable
from tests.support.until import until


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[FollowerHarness]:
    made = FollowerHarness(tmp_path)
    yield made
    if made.pipelines:
        made.stop()  # a second time does nothing; after a failure it ends the threads
    assert not made.crashed.is_set()


def letter(number: int, **other: Any) -> DeadLetter:
    item = f'{{"pk":{{"S":"CUSTOMER#{number}"}}}}'
    values = {"view": "cards", "kind": "content", "reason": f"Too odd: {number}"} | other
    return DeadLetter(item_key=item, row_key=f'["c{number}"]', version=number, shard="s", time=1.0,
                      change=b'{"eventName":"INSERT"}', **values)  # fmt: skip


Asked = Callable[..., Result]


@pytest.fixture
def ask(tmp_path: Path) -> Asked:
    file = declare(tmp_path)
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    letters = [letter(1), letter(2, kind="owner"), letter(11, view="gone"), letter(12, reason="100% wrong")]
    control.commit("cards", Progress({"shard-0": Part(letters=letters)}), None)
    control.close()

    def run(*arguments: str, **more: Any) -> Result:
        command, *rest = arguments
        return CliRunner().invoke(cli, ["dead-letters", command, "-f", str(file), *rest], **more)

    return run


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ([], [1, 2, 3, 4]),
        (["--view", "cards"], [1, 2, 4]),
        (["--key", "CUSTOMER#1"], [1]),
        (["--key", "customer#1"], []),
        (["--key", '["c2"]'], [2]),
        (["--key", "c2"], [2]),
        (["--key", '{"pk":{"S":"CUSTOMER#11"}}'], [3]),
        (["--reason", "too ODD"], [1, 2, 3]),
        (["--reason", "0%"], [4]),
        (["--reason", "o%d"], []),
        (["--kind", "owner"], [2]),
        (["--older-than", "1h"], []),
        (["--newer-than", "1h"], [1, 2, 3, 4]),
        (["2", "3", "--view", "cards"], [2]),
        (["--limit", "1"], [1]),
    ],
)
def test_letters_are_chosen(ask: Asked, arguments: list[str], ids: list[int]) -> None:
    found = ask("list", "--json", *arguments)
    assert found.exit_code == 0, found.output
    assert [each["id"] for each in json.loads(found.stdout)] == ids


def test_the_list_is_for_people(ask: Asked) -> None:
    lines = ask("list", "--limit", "3").output.splitlines()
    assert lines[0].split() == ["ID", "VIEW", "KEY", "KIND", "AGE", "REASON"]
    assert lines[2].split()[:4] == ["2", "cards", '["c2"]', "owner"]
    assert lines[-1] == "3 of 4 dead letters"


def test_a_letter_is_shown_with_its_change(ask: Asked) -> None:
    shown = ask("show", "2")
    assert '"eventName": "INSERT"' in shown.stdout
    assert "reason    Too odd: 2" in shown.stdout
    assert json.loads(ask("show", "2", "--json").stdout)[0]["change"] == {"eventName": "INSERT"}
    absent = ask("show", "99")
    assert absent.exit_code == 1
    assert "there is no dead letter 99" in absent.output


def test_discarding_asks_and_says_which(ask: Asked) -> None:
    assert ask("discard").exit_code == 2
    assert ask("discard", "--view", "cards", input="n\n").exit_code == 1
    assert len(json.loads(ask("list", "--json").stdout)) == 4
    asked = ask("discard", "--view", "cards", input="y\n")
    assert "Discard 3 dead letters for good?" in asked.output
    assert [each["id"] for each in json.loads(ask("list", "--json").stdout)] == [3]
    assert ask("discard", "--all", "--yes").output == "1 dead letter discarded\n"
    assert ask("discard", "--all").output == "0 dead letters discarded\n"


def test_what_comes_while_the_question_stands_is_not_discarded(
    tmp_path: Path, ask: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")

    def confirm(_question: str, abort: bool) -> None:
        assert abort
        control.commit("cards", Progress({"shard-0": Part(letters=[letter(20)])}), None)

    monkeypatch.setattr("click.confirm", confirm)
    assert ask("discard", "--view", "cards").output == "3 dead letters discarded\n"
    assert [kept.letter.version for kept in control.dead_letters.find(DeadLetterFilter(view="cards"))] == [20]
    control.close()


def test_ids_never_come_back(tmp_path: Path, ask: Asked) -> None:
    ask("discard", "--all", "--yes")
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.commit("cards", Progress({"shard-0": Part(letters=[letter(20)])}), None)
    assert [kept.id for kept in control.dead_letters.find()] == [5]
    control.close()


def test_discarded_letters_stay_counted(harness: FollowerHarness) -> None:
    follow(harness, bad(1), bad(2))
    assert harness.control.dead_letters.discard(DeadLetterFilter(view="one")) == 2
    assert tally(harness) == (2, 0, 0, 0, 2)
    harness.stop()


def test_letters_by_age(harness: FollowerHarness) -> None:
    follow(harness, bad(1))
    now = time.time()
    box = harness.control.dead_letters
    assert box.count(DeadLetterFilter(before=now + 1)) == (1, 1)
    assert box.count(DeadLetterFilter(before=now - 60)) == box.count(DeadLetterFilter(since=now + 1)) == (0, 0)
    harness.stop()


def test_views_that_are_not_declared_cannot_be_replayed(ask: Asked) -> None:
    result = ask("replay", "3")
    assert result.exit_code == 1
    assert "gone: the view is not declared" in result.output


def test_a_row_key_that_another_item_gave_free_is_taken_in_postgres(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two items meet on one row key; the owner goes, and the daemon applies the other's letter by itself."""
    schema = f"letters_{uuid.uuid4().hex[:12]}"
    file = declare(tmp_path, postgres_url, postgres_url, schema)
    table = ScriptedTable(clock=time.time)
    monkeypatch.setattr(replay, "open_table", lambda _source: table)
    declaration = load([file], {})
    daemon = Daemon(declaration, open_source=lambda _source: table)
    view = "cards"
    daemon.control.drop_view(view)
    daemon.start()

    def ask(*arguments: str) -> Result:
        return CliRunner().invoke(cli, [*arguments, "-f", str(file)])

    def counts() -> Counts:
        record = daemon.control.view(view)
        return Counts() if record is None else record.counts

    def state() -> str | None:
        record = daemon.control.view(view)
        return None if record is None else record.state

    try:
        until(lambda: state() == "following", "the first fill to be complete, which would leave a letter too")
        table.put({"pk": "a", "sk": "s", "id": "k", "name": "first"})
        table.put({"pk": "b", "sk": "s", "id": "k", "name": "second"})
        until(lambda: counts().read == 2, "both changes to be counted")
        assert counts() == Counts(read=2, applied=1, dead_lettered=1)
        assert json.loads(ask("status", "--json").stdout)[0]["dead_letters"] == 1
        again = ask("dead-letters", "replay", "--view", view)
        assert (again.exit_code, "rejected" in again.output) == (1, True)
        table.delete({"pk": "a", "sk": "s"})
        until(lambda: counts().read == 3, "the delete to be counted")
        target = daemon.sinks["reads"].open(declaration.views[view].layout, 1)
        until(lambda: [stored.content["name"] for stored in target.rows()] == ["second"], "the letter to be applied")
        until(lambda: counts() == Counts(read=3, applied=3), "the letter to be settled by itself")
        assert json.loads(ask("dead-letters", "replay", "--view", view, "--json").stdout) == []
    finally:
        daemon.stop()


HOSTILE = ["\x1b[2J\x1b]0;owned\x07", "\x9b31m", "a\nb  cards  forged", "\u202egnp.exe", "\r\x7f"]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_from_an_item_reaches_the_terminal_as_a_command(tmp_path: Path, ask: Asked, text: str) -> None:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    key, change = json.dumps({"pk": {"S": text}}, ensure_ascii=False), json.dumps({"pk": text}, ensure_ascii=False)
    odd = dataclasses.replace(letter(30), item_key=key, row_key=text, reason=f"odd {text}", change=change.encode())
    control.dead_letters.keep([odd])
    control.close()
    (number,) = [each["id"] for each in json.loads(ask("list", "--json").stdout) if each["version"] == "30"]
    for told in (ask("list"), ask("show", str(number)), ask("prune", str(number))):
        for line in told.output.splitlines():
            assert line.isprintable(), line
        assert "\x1b" not in told.output


def test_a_long_key_pushes_nothing_out_of_sight(tmp_path: Path, ask: Asked) -> None:
    control = ControlStore(f"sqlite:///{tmp_path / 'control.db'}")
    control.dead_letters.keep([dataclasses.replace(letter(30), row_key="k" * 900)])
    control.close()
    assert max(map(len, ask("list").stdout.splitlines())) < 200
    assert "k" * 900 in ask("show", "5").stdout
