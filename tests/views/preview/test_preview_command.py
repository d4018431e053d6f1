"""``dynaview preview`` as people run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result

from dynaview.local import servers
from tests.support.processes import child
from tests.views.preview.conftest import SHOP

ORDER = {"pk": "CUSTOMER#c1", "sk": "ORDER#o1", "status": "PAID", "total": 12.5, "lines": [{"sku": "a"}, {"sku": "b"}]}
DRAFT = {**ORDER, "sk": "ORDER#o2", "status": "DRAFT"}
DEAR = {**ORDER, "sk": "ORDER#o3", "total": 123456.5}
PROFILE = {"pk": "CUSTOMER#c1", "sk": "PROFILE", "mail": "a@example.org"}

Run = Callable[..., Result]


def lines(*items: Any) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


def test_items_and_rows_side_by_side(run: Run, shop: Path) -> None:
    (shop / "items.jsonl").write_text(lines(ORDER, DRAFT, PROFILE, DEAR))
    done = run("preview", "orders", "--items", "items.jsonl")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == (Path(__file__).parent / "side_by_side.txt").read_text()


def test_a_narrow_terminal_has_one_below_the_other(run: Run, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    done = run("preview", "orders", "--items", "-", input=lines(ORDER))
    assert 'standard input:1\n  pk: "CUSTOMER#c1"\n' in done.stdout
    assert '\nrow ["o1"]\n  order: "o1"\n' in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 50


def test_json_has_the_documented_shape(run: Run) -> None:
    done = run("preview", "orders", "--items", "-", "--json", input=lines(ORDER, DRAFT, PROFILE, DEAR))
    assert done.exit_code == 0
    shown = json.loads(done.stdout)
    assert shown.keys() == {"view", "items", "counts", "notes"}
    assert (shown["view"], shown["notes"]) == ("orders", [])
    assert shown["counts"] == {"items": 4, "rows": 1, "filtered": 1, "unmatched": 1, "empty": 0, "dead_letter": 1}
    good, draft, profile, dear = shown["items"]
    assert good == {
        "origin": "standard input:1",
        "item": {
            "pk": {"S": "CUSTOMER#c1"}, "sk": {"S": "ORDER#o1"}, "status": {"S": "PAID"}, "total": {"N": "12.5"},
            "lines": {"L": [{"M": {"sku": {"S": "a"}}}, {"M": {"sku": {"S": "b"}}}]},
        },
        "result": "rows", "reason": None, "kind": None,
        "rows": [{"key": ["o1"], "values": {"order": "o1", "customer": "c1", "total": 12.5}, "fault": None}],
    }  # fmt: skip
    assert (draft["result"], draft["rows"]) == ("filtered", [])
    assert profile["result"] == "unmatched"
    assert (dear["result"], dear["kind"]) == ("dead-letter", "content")
    assert dear["reason"] == dear["rows"][0]["fault"]
    assert "column total (numeric(6,2)) cannot hold" in dear["reason"]


def test_two_items_that_want_one_row(run: Run) -> None:
    other = {**PROFILE, "pk": "CUSTOMER#c2"}
    done = run("preview", "by_mail", "--items", "-", "--json", input=lines(PROFILE, other, PROFILE))
    first, second, again = json.loads(done.stdout)["items"]
    assert (first["result"], again["result"]) == ("rows", "rows")
    assert (second["result"], second["kind"]) == ("dead-letter", "owner")
    assert second["reason"] == "the row belongs to another item: standard input:1"


def test_what_a_change_upserts_and_deletes(run: Run, shop: Path) -> None:
    (shop / "old.json").write_text(json.dumps(ORDER))
    new = json.dumps({**ORDER, "lines": [{"sku": "b"}, {"sku": "c", "quantity": 2}]})
    done = run("preview", "lines", "--change", "old.json", new)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-6:] == [
        'upsert "o1:b"', '  sku: "b"', 'upsert "o1:c"', '  sku: "c"', "  quantity: 2", 'delete "o1:a"',
    ]  # fmt: skip
    shown = json.loads(run("preview", "lines", "--change", "old.json", new, "--json").stdout)
    assert shown.keys() == {"view", "result", "reason", "kind", "note", "upserts", "deletes", "old", "new"}
    assert (shown["result"], [row["key"] for row in shown["upserts"]], shown["deletes"]) == (
        "applied", ["o1:b", "o1:c"], ["o1:a"],
    )  # fmt: skip
    assert run("preview", "orders", "--change", "old.json", "null").stdout.endswith('delete ["o1"]\n')


def test_a_change_that_would_be_a_dead_letter_takes_the_earlier_row(run: Run) -> None:
    new = json.dumps({**ORDER, "total": "dear"})
    done = run("preview", "orders", "--change", json.dumps(ORDER), new, "--json")
    shown = json.loads(done.stdout)
    assert (shown["result"], shown["kind"], shown["upserts"], shown["deletes"]) == (
        "dead-letter", "projection", [], [["o1"]],
    )  # fmt: skip
    shown = json.loads(
        run("preview", "orders", "--change", json.dumps(ORDER), json.dumps({**ORDER, "total": 1e6}), "--json").stdout
    )
    assert (shown["result"], shown["kind"], shown["deletes"]) == ("dead-letter", "content", [["o1"]])


def test_a_change_of_another_view_is_nothing_to_do(run: Run) -> None:
    done = run("preview", "by_mail", "--change", "null", json.dumps(ORDER))
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (
        0, "by_mail: nothing to do, neither state gives a row",
    )  # fmt: skip


def test_control_characters_of_items_are_shown_as_escapes(run: Run) -> None:
    evil = {**PROFILE, "mail": "\x1b[2J\x9b31m\u202e\n", "\x1b]0;x\x07": 1, "sk": "PROFILE\r"}
    for item in (evil, {**evil, "sk": "PROFILE"}):
        done = run("preview", "by_mail", "--items", "-", input=lines(item))
        assert done.exit_code == 0
        assert all(each.isprintable() for each in done.stdout.replace("\n", ""))
        assert "\\u001b[2J\\x9b31m\\u202e\\n" in done.stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["preview"], "Missing argument 'VIEW'"),
        (["preview", "none"], "no view is called none; there are by_mail, lines, orders"),
        (["preview", "orders", "--items", "none.json"], "none.json: can't be read: No such file or directory"),
        (["preview", "orders", "--items", "a", "--key", "{}"], "do not go together"),
        (["preview", "orders", "--change", "{", "null"], "the item given: not JSON"),
        (["preview", "orders", "--change", "null", "null"], "a change has an old item, a new one, or both"),
        (["preview", "orders", "--limit", "0"], "--limit"),
        (["preview", "orders", "--items", "-", "--watch"], "cannot come from standard input"),
    ],
)
def test_wrong_questions_end_with_2(words: list[str], problem: str, run: Run) -> None:
    done = run(*words)
    assert done.exit_code == 2, done.output
    assert problem in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


@pytest.fixture
def table(dynamodb: Any, dynamodb_endpoint: str, shop: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The shop's table on DynamoDB Local."""
    name = f"preview-{uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    for number, status in enumerate(["PAID", "DRAFT", "PAID"]):
        key = {"pk": {"S": f"CUSTOMER#c{number}"}, "sk": {"S": f"ORDER#o{number}"}}
        dynamodb.put_item(TableName=name, Item={**key, "status": {"S": status}, "total": {"N": "1.5"}})
    dynamodb.put_item(TableName=name, Item={"pk": {"S": "CUSTOMER#c1"}, "sk": {"S": "PROFILE"}})
    source = f'shop: {{table: {name}, region: {servers.REGION}, endpoint: "{dynamodb_endpoint}"}}'
    (shop / "dynaview.yaml").write_text(SHOP.replace("shop: {table: shop}", source))
    yield name
    dynamodb.delete_table(TableName=name)


def test_items_of_the_table(run: Run, table: str) -> None:
    shown = json.loads(run("preview", "orders", "--json").stdout)
    assert shown["counts"] == {"items": 3, "rows": 2, "filtered": 1, "unmatched": 0, "empty": 0, "dead_letter": 0}
    assert {item["origin"] for item in shown["items"]} == {f"table {table}"}
    assert json.loads(run("preview", "orders", "--json", "--unmatched").stdout)["counts"]["unmatched"] == 1
    assert json.loads(run("preview", "orders", "--json", "--limit", "1").stdout)["counts"]["items"] == 1
    shown = json.loads(run("preview", "lines", "--json").stdout)
    assert shown["counts"]["empty"] == 3
    assert "the stream carries NEW_IMAGE" in shown["notes"][0]  # rows of each cannot be followed with it


def test_one_item_of_the_table(run: Run, table: str) -> None:
    done = run("preview", "orders", "--json", "--key", '{"pk": "CUSTOMER#c0", "sk": "ORDER#o0"}')
    ((row,),) = [item["rows"] for item in json.loads(done.stdout)["items"]]
    assert row["values"] == {"order": "o0", "customer": "c0", "total": 1.5}
    done = run("preview", "orders", "--key", '{"pk": "x", "sk": "y"}')
    assert (done.exit_code, "the table has no item" in done.stdout) == (0, True)
    done = run("preview", "orders", "--key", '{"pk": "x"}')
    assert done.exit_code == 2
    assert 'an item key of this table is written as {"pk": "…", "sk": "…"}' in done.stderr


def test_a_table_that_is_not_there(run: Run, table: str, shop: Path) -> None:
    file = shop / "dynaview.yaml"
    file.write_text(file.read_text().replace(table, "no-such-table"))
    done = run("preview", "orders")
    assert done.exit_code == 2
    assert "no-such-table" in done.stderr


def test_it_is_shown_again_whenever_a_file_is_saved_until_ctrl_c(shop: Path) -> None:
    (shop / "items.json").write_text(json.dumps(ORDER))
    command = [sys.executable, "-m", "dynaview.views.cli", "preview", "orders", "--items", "items.json", "--watch"]
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        told: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=lambda: told.extend(iter(process.stdout.readline, "")))  # type: ignore[union-attr]
        reader.start()
        try:
            until(lambda: told.count("watching for changes; Ctrl-C ends it\n") == 1)
            assert "orders: 1 item, 1 row\n" in told
            (shop / "dynaview.yaml").write_text(SHOP.replace("'DRAFT'", "'PAID'"))
            until(lambda: told.count("watching for changes; Ctrl-C ends it\n") == 2)
            assert "orders: 1 item, 0 rows, 1 filtered\n" in told
            (shop / "dynaview.yaml").write_text("views: [")
            until(lambda: told.count("watching for changes; Ctrl-C ends it\n") == 3)
        finally:
            os.kill(process.pid, signal.SIGINT)
            reader.join(30)
        assert process.wait(30) == 130
    assert "Traceback" not in "".join(told)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)
