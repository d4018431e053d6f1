"""Dead letters: kept, chosen, replayed under the guard, discarded; law 8 holds all along."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dynaview.projections.attributes import Image
from dynaview.projections.changes import Change
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey, RowValues, Write
from dynaview.sinks.memory import MemorySink
from dynaview.sinks.port import Outcome, Rejected, Target
from dynaview.sources.port import Broken
from dynaview.views.cli import cli, dead_letters
from dynaview.views.control.records import Counts, DeadLetter, DeadLetterFilter, Part, Progress
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.daemon import Daemon
from dynaview.views.dead_letters import unreadable_letter
from dynaview.views.declarations.load import load
from dynaview.views.replay import Replay
from dynaview.views.streaming.dead_letter_limit import DeadLetterLimit
from tests.support.house import House, until
from tests.support.scripted import ScriptedTable
from tests.support.simple import SHAPE, SimpleBound


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    if made.pipelines:
        made.stop()  # a second time does nothing; after a failure it ends the threads
    assert not made.crashed.is_set()


class Mended(SimpleBound):
    """As if the function that makes the rows had been mended: what was bad is a row now."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        item = SHAPE.unpack(image)
        return [("/".join((str(item["pk"]), str(item["sk"]))), (item.get("value"),))]


class Worse(SimpleBound):
    """Cannot make rows of anything."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        raise ProjectionError("field value: worse than before")


class NoMore(SimpleBound):
    """No item is the view's."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        return []


class Twofold(SimpleBound):
    """Two rows an item."""

    def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
        return [(f"{key}/{half}", values) for key, values in super().rows(image) for half in "ab"]


def bad(number: int, value: object = None) -> dict[str, Any]:
    return {"pk": f"p{number}", "sk": "s", "bad": True, "value": value}


def good(number: int, value: object) -> dict[str, Any]:
    return {"pk": f"p{number}", "sk": "s", "value": value}


def replay(
    house: House, bound: SimpleBound, choice: DeadLetterFilter | None = None, target: Target | None = None
) -> list[str]:
    """Replay what is chosen; the results, each change's one."""
    letters = house.control.dead_letters.find(choice)
    run = Replay(house.control.dead_letters, bound, SHAPE, house.table, target or house.targets["one"])
    return [replayed.result for replayed in run.run(letters)]


def tally(house: House) -> tuple[int, int, int, int, int]:
    counts = house.counts("one")
    assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered
    return counts.read, counts.applied, counts.stale, counts.unmatched, counts.dead_lettered


def follow(house: House, *items: dict[str, Any]) -> None:
    """Let the view count these changes; the house still runs afterwards."""
    house.start()
    for item in items:
        house.table.put(item)
    house.wait_counted()


def test_what_can_be_applied_now_is_applied_and_counted_so(house: House) -> None:
    follow(house, bad(1, "one"), good(2, "two"), bad(3, "three"))
    assert tally(house) == (3, 1, 0, 0, 2)
    assert replay(house, Mended()) == ["applied", "applied"]
    assert house.rows("one") == {"p1/s": {"value": "one"}, "p2/s": {"value": "two"}, "p3/s": {"value": "three"}}
    assert tally(house) == (3, 3, 0, 0, 0)
    assert house.control.dead_letters.find() == []
    house.stop()


def test_what_is_rejected_again_is_kept_with_its_new_reason(house: House) -> None:
    follow(house, bad(1))
    before = house.control.dead_letters.find()[0]
    assert replay(house, Worse()) == ["rejected"]
    (after,) = house.control.dead_letters.find()
    assert after.letter.reason == "field value: worse than before" != before.letter.reason
    assert (after.id, after.created, after.letter.change) == (before.id, before.created, before.letter.change)
    assert tally(house) == (1, 0, 0, 0, 1)
    house.stop()


def test_a_newer_row_stays(house: House) -> None:
    follow(house, bad(1, "old"), good(1, "new"))
    assert replay(house, Mended()) == ["stale"]
    assert house.rows("one") == {"p1/s": {"value": "new"}}
    assert tally(house) == (2, 1, 1, 0, 0)
    house.stop()


def test_the_guard_decides_where_the_item_is_the_same_again(house: House) -> None:
    """The item has come back to the letter's state, by a change that the view has applied already."""
    follow(house, good(1, "first"))
    bound = house.pipelines["one"].outputs[0].bound = Worse()
    house.table.put(good(1, "again"))
    house.wait_counted()
    assert bound is house.pipelines["one"].outputs[0].bound
    house.pipelines["one"].outputs[0].bound = SimpleBound()
    house.table.put(good(1, "other"))
    house.table.put(good(1, "again"))
    house.wait_counted()
    assert replay(house, SimpleBound()) == ["stale"]
    (stored,) = house.targets["one"].rows()
    assert stored.version == house.control.checkpoints("one")["shard-0"].sequence
    house.stop()


def test_a_deleted_row_stays_deleted_after_its_tombstone_is_gone(house: House) -> None:
    follow(house, bad(1, "old"))
    house.table.delete(bad(1))
    house.wait_counted()
    house.targets["one"].purge(timedelta(0))
    assert replay(house, Mended()) == ["stale"]
    assert house.rows("one") == {}
    house.stop()


@pytest.mark.parametrize("event", ["upsert", "delete"])
def test_a_row_that_a_later_scan_put_in_stays(house: House, event: str) -> None:
    """A rebuild's rows stand at version 0, below any letter's."""
    follow(house, good(1, "first"))
    house.pipelines["one"].outputs[0].bound = Refusing()
    if event == "upsert":
        house.table.put(good(1, "old"))
    else:
        house.table.delete(good(1, "first"))
    house.wait_counted()
    house.pipelines["one"].outputs[0].bound = SimpleBound()
    house.table.put(good(1, "new"))
    house.wait_counted()
    target = house.sink.open(house.targets["one"].layout, 2)
    target.prepare()
    target.write(SimpleBound().inserts(SHAPE.pack(good(1, "new"))))
    assert replay(house, SimpleBound(), target=target) == ["stale"]
    assert [(stored.content, stored.version) for stored in target.rows()] == [({"value": "new"}, 0)]
    house.stop()


def test_what_is_no_longer_the_views_is_unmatched(house: House) -> None:
    follow(house, bad(1))
    assert replay(house, NoMore()) == ["unmatched"]
    assert tally(house) == (1, 0, 0, 1, 0)
    house.stop()


def test_a_delete_is_replayed(house: House) -> None:
    follow(house, good(1, "old"))
    house.pipelines["one"].outputs[0].bound = Refusing()
    house.table.delete(good(1, "old"))
    house.wait_counted()
    assert house.rows("one") != {}
    assert replay(house, SimpleBound()) == ["applied"]
    assert house.rows("one") == {}
    assert tally(house) == (2, 2, 0, 0, 0)
    house.stop()


class Refusing(SimpleBound):
    def writes(self, change: Change[Any], version: int) -> list[Write]:
        raise ProjectionError("refused")


def test_a_scanned_item_is_replayed_and_in_no_count(house: House) -> None:
    house.table.put(bad(1, "scanned"))
    house.table.trim("shard-0")
    house.start()
    until(lambda: len(house.control.dead_letters.find()) == 1, "the letter of the scan")
    assert replay(house, Worse()) == ["rejected"]
    assert replay(house, Mended()) == ["applied"]
    assert [(stored.key, stored.version) for stored in house.targets["one"].rows()] == [("p1/s", 0)]
    assert tally(house) == (0, 0, 0, 0, 0)
    house.stop()


def test_of_an_item_only_the_newest_letter_is_kept(house: House) -> None:
    """Overtaken letters explain nothing: a change of the same item has taken their place, or a scanned state of it."""
    house.table.put(bad(1, "scanned"))
    house.table.trim("shard-0")
    house.start()
    until(lambda: len(house.control.dead_letters.find()) == 1, "the letter of the scan")
    for number in range(4):
        house.table.put(bad(1, number))
    house.table.put(bad(2))
    until(lambda: house.counts("one").read == 5, "all but the trimmed record to be counted")
    kept = [kept.letter for kept in house.control.dead_letters.find()]
    assert [letter.item_key for letter in kept] == [
        '{"pk":{"S":"p1"},"sk":{"S":"s"}}',
        '{"pk":{"S":"p2"},"sk":{"S":"s"}}',
    ]
    assert b'{"N":"3"}' in kept[0].change
    assert tally(house) == (5, 0, 3, 0, 2)
    house.control.dead_letters.keep([dataclasses.replace(kept[0], version=0, shard="scan", counted=False)])
    assert [each.letter for each in house.control.dead_letters.find()] == kept
    house.stop()


def raw_record(sequence: int, value: dict[str, Any]) -> bytes:
    image = {"pk": {"S": "p1"}, "sk": {"S": "s"}, "value": value}
    body = {"SequenceNumber": str(sequence), "Keys": {"pk": {"S": "p1"}, "sk": {"S": "s"}}, "NewImage": image}
    return json.dumps({"eventName": "INSERT", "dynamodb": {**body, "StreamViewType": "NEW_IMAGE"}}).encode()


def test_unreadable_records_are_read_again(house: House) -> None:
    follow(house)
    house.table.disable_stream()
    house.table.put(good(1, "seen"))
    # Neither gives its number, so both stand at the version of the record before them.
    for value in ({"S": "seen"}, {"Q": "a type that DynamoDB does not have"}):
        letter = unreadable_letter("one", Broken(0, raw_record(77, value), "odd"), "shard-0", 50)
        house.control.commit("one", Progress({"shard-0": Part(None, Counts(read=1, dead_lettered=1), [letter])}), None)
    assert len(house.control.dead_letters.find()) == 2
    # The second one tells its item all the same, and that item is right by now.
    assert sorted(replay(house, SimpleBound())) == ["applied", "stale"]
    assert house.control.dead_letters.find() == []
    assert [(stored.content, stored.version) for stored in house.targets["one"].rows()] == [({"value": "seen"}, 77)]
    assert tally(house) == (2, 1, 1, 0, 0)
    house.stop()


def test_what_does_not_even_tell_its_item_is_kept(house: House) -> None:
    follow(house)
    letter = unreadable_letter("one", Broken(0, b'{"dynamodb":{"Keys":7}}', "odd"), "shard-0", 50)
    house.control.commit("one", Progress({"shard-0": Part(None, Counts(read=1, dead_lettered=1), [letter])}), None)
    assert replay(house, SimpleBound()) == ["rejected"]
    (left,) = house.control.dead_letters.find()
    assert left.letter.kind == "unreadable"
    assert "cannot be read" in left.letter.reason
    assert tally(house) == (1, 0, 0, 0, 1)
    house.stop()


class Rejecting:
    """Lets a target reject some row keys for their content."""

    def __init__(self, target: Target, *keys: str) -> None:
        self.inner = target
        self.keys = keys

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        return [Rejected("too odd") if write.key in self.keys else self.inner.write([write])[0] for write in writes]


def test_a_change_with_several_rows_is_one_change(house: House) -> None:
    house.bound = Twofold()
    inner: Any = house.targets["one"]
    refusing: Any = Rejecting(inner, "p1/s/a", "p1/s/b")
    house.targets["one"] = refusing
    follow(house, good(1, "x"))
    assert [kept.letter.row_key for kept in house.control.dead_letters.find()] == ["p1/s/a", "p1/s/b"]
    assert tally(house) == (1, 0, 0, 0, 1)
    refusing.keys = ("p1/s/b",)
    assert replay(house, Twofold(), DeadLetterFilter(key="p1/s/a")) == ["rejected"]
    assert [kept.letter.row_key for kept in house.control.dead_letters.find()] == ["p1/s/b"]
    assert tally(house) == (1, 0, 0, 0, 1)
    refusing.keys = ()
    assert replay(house, Twofold()) == ["applied"]
    assert tally(house) == (1, 1, 0, 0, 0)
    assert house.rows("one").keys() == {"p1/s/a", "p1/s/b"}
    house.targets["one"] = inner
    house.stop()


def test_two_replays_at_once_count_once(house: House) -> None:
    follow(house, bad(1, "one"))
    letters = house.control.dead_letters.find()
    first, second = (
        Replay(house.control.dead_letters, Mended(), SHAPE, house.table, house.targets["one"]) for _ in range(2)
    )
    assert [each.result for each in first.run(letters)] == ["applied"]
    assert [each.result for each in second.run(letters)] == ["gone"]
    assert [each.result for each in Replay(
        house.control.dead_letters, Worse(), SHAPE, house.table, house.targets["one"]
    ).run(letters)] == ["gone"]  # fmt: skip
    assert tally(house) == (1, 1, 0, 0, 0)
    house.stop()


# Too many of them


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
    house.bound = Mended()
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
    house.pipelines["two"].outputs[0].bound = Mended()
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
    house.bound = Mended()
    house.start()
    until(lambda: house.state("one") == "following", "the fill to be complete")
    assert len(house.rows("one")) == 24
    house.stop()


def test_the_declaration_sets_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And another limit is no reason to fill the view anew."""
    store = MemorySink("store")
    monkeypatch.setattr("dynaview.views.daemon.daemon.connect", lambda declared: store)
    table = ScriptedTable(clock=time.time)
    for number in range(5):
        table.put({"pk": f"p{number}", "sk": "s", "id": True})  # not a text that a key could be made of
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


# The command line

DECLARATION = """
sources: {{shop: {{table: shop, region: eu-west-1}}}}
sinks: {{reads: {{postgres: "{url}"}}}}
control: {control}
views:
  cards:
    source: shop
    sink: reads
    schema: {schema}
    table: cards
    key: [id]
    fields: {{id: {{from: id, type: text}}, name: {{from: name, type: text}}}}
"""


def declare(folder: Path, url: str = "postgresql://nowhere/x", control: str = "", schema: str = "public") -> Path:
    file = folder / "dynaview.yaml"
    file.write_text(DECLARATION.format(url=url, control=control or f"sqlite:///{folder / 'control.db'}", schema=schema))
    return file


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


def test_discarded_letters_stay_counted(house: House) -> None:
    follow(house, bad(1), bad(2))
    assert house.control.dead_letters.discard(DeadLetterFilter(view="one")) == 2
    assert tally(house) == (2, 0, 0, 0, 2)
    house.stop()


def test_letters_by_age(house: House) -> None:
    follow(house, bad(1))
    now = time.time()
    box = house.control.dead_letters
    assert box.count(DeadLetterFilter(before=now + 1)) == (1, 1)
    assert box.count(DeadLetterFilter(before=now - 60)) == box.count(DeadLetterFilter(since=now + 1)) == (0, 0)
    house.stop()


def test_views_that_are_not_declared_cannot_be_replayed(ask: Asked) -> None:
    result = ask("replay", "3")
    assert result.exit_code == 1
    assert "gone: the view is not declared" in result.output


def test_a_row_key_that_another_item_gave_free_is_replayed_in_postgres(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two items meet on one row key; the owner goes, and the other's letter is replayed beside the running daemon."""
    schema = f"letters_{uuid.uuid4().hex[:12]}"
    file = declare(tmp_path, postgres_url, postgres_url, schema)
    table = ScriptedTable(clock=time.time)
    monkeypatch.setattr(dead_letters, "open_table", lambda _source: table)
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
        replayed = ask("dead-letters", "replay", "--view", view, "--key", "k", "--json")
        assert replayed.exit_code == 0, replayed.output
        assert [each["result"] for each in json.loads(replayed.stdout)] == ["applied"]
        target = daemon.sinks["reads"].open(declaration.views[view].layout, 1)
        assert [stored.content["name"] for stored in target.rows()] == ["second"]
        assert counts() == Counts(read=3, applied=3)
    finally:
        daemon.stop()
