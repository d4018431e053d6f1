"""``dynaview check``: expected rows as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.views.preview.conftest import SHOP

ORDER = {"pk": "CUSTOMER#c1", "sk": "ORDER#o1", "status": "PAID", "total": 12.5, "lines": [{"sku": "b"}, {"sku": "a"}]}
DRAFT = {**ORDER, "sk": "ORDER#o2", "status": "DRAFT"}
DEAR = {**ORDER, "sk": "ORDER#o3", "total": 123456.5, "lines": None}
PROFILE = {"pk": "CUSTOMER#c1", "sk": "PROFILE", "mail": "a@example.org"}

Run = Callable[..., Result]


@pytest.fixture
def checks(shop: Path) -> Path:
    folder = shop / "checks"
    (folder / "items").mkdir(parents=True)
    (folder / "items" / "orders.jsonl").write_text("".join(json.dumps(each) + "\n" for each in (ORDER, DRAFT, DEAR)))
    (folder / "items" / "profile.json").write_text(json.dumps({"Items": [PROFILE]}))
    return folder


def expected(checks: Path, view: str) -> Any:
    return json.loads((checks / "rows" / f"{view}.json").read_text())


def test_rows_are_written_once_and_then_as_expected(run: Run, checks: Path) -> None:
    done = run("check")
    assert done.exit_code == 1
    assert "orders: nothing is expected yet: there is no checks/rows/orders.json" in done.stdout
    assert "if that is what you want: dynaview check --update" in done.stderr
    assert not (checks / "rows").exists()
    done = run("check", "--update")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "orders: wrote checks/rows/orders.json")
    done = run("check")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "orders: as expected (3 items, 1 rows)",
        "lines: as expected (3 items, 4 rows)",
        "by_mail: as expected (1 items, 1 rows)",
    ]
    before = {file: file.stat().st_mtime_ns for file in (checks / "rows").iterdir()}
    assert run("check", "--update").exit_code == 0
    assert {file: file.stat().st_mtime_ns for file in (checks / "rows").iterdir()} == before


def test_the_files_hold_rows_and_results_and_no_words_of_ours(run: Run, checks: Path) -> None:
    run("check", "--update")
    key = {"pk": "CUSTOMER#c1"}
    assert expected(checks, "orders") == {
        "items": [
            {"file": "items/orders.jsonl", "item": {**key, "sk": "ORDER#o1"},
             "rows": [{"key": ["o1"], "values": {"order": "o1", "customer": "c1", "total": 12.5}}]},
            {"file": "items/orders.jsonl", "item": {**key, "sk": "ORDER#o2"}, "result": "filtered"},
            {"file": "items/orders.jsonl", "item": {**key, "sk": "ORDER#o3"},
             "result": "dead-letter", "kind": "content"},
        ]
    }  # fmt: skip
    first, _, third = expected(checks, "lines")["items"]
    assert [row["key"] for row in first["rows"]] == ["o1:a", "o1:b"]
    assert third["result"] == "empty"


def test_what_changed_is_a_diff_and_exit_code_1(run: Run, checks: Path, shop: Path) -> None:
    run("check", "--update")
    (shop / "dynaview.yaml").write_text(SHOP.replace("customer: customer", "client: customer"))
    done = run("check")
    assert done.exit_code == 1
    changed = [line.replace(" ", "") for line in done.stdout.splitlines() if line[:2] in ("- ", "+ ")]
    assert sorted(changed) == ['+"client":"c1",', '-"customer":"c1",']
    assert "orders: not as checks/rows/orders.json expects" in done.stdout
    assert "lines: as expected" in done.stdout
    assert run("check", "--view", "lines").exit_code == 0
    shown = {each["view"]: each for each in json.loads(run("check", "--json").stdout)}
    assert shown["orders"].keys() == {"view", "result", "items", "rows", "file", "diff", "written"}
    assert (shown["orders"]["result"], shown["lines"]["result"]) == ("differs", "same")
    assert any(line.startswith("+") and '"client": "c1"' in line for line in shown["orders"]["diff"])
    assert run("check", "--update").exit_code == 0
    assert run("check").exit_code == 0


def test_a_view_that_is_gone_is_told_and_removed(run: Run, checks: Path) -> None:
    run("check", "--update")
    (checks / "rows" / "old.json").write_text("{}")
    done = run("check")
    assert done.exit_code == 1
    assert "old: no view is called that, but there is checks/rows/old.json" in done.stdout
    assert run("check", "--view", "orders").exit_code == 0
    assert "old: removed checks/rows/old.json" in run("check", "--update").stdout
    assert not (checks / "rows" / "old.json").exists()


def test_expected_rows_may_be_written_by_hand(run: Run, checks: Path) -> None:
    run("check", "--update")
    file = checks / "rows" / "orders.json"
    plain = json.loads(file.read_text())
    plain["items"][0]["rows"][0]["values"]["total"] = 12.50
    file.write_text(json.dumps(dict(reversed(plain.items()))))
    assert run("check").exit_code == 0
    file.write_text('{"items": [')
    done = run("check")
    assert done.exit_code == 2
    assert "checks/rows/orders.json: not JSON" in done.stderr


def test_changes_are_checked_too(run: Run, checks: Path) -> None:
    (checks / "changes").mkdir()
    moved = {**ORDER, "lines": [{"sku": "b"}]}
    (checks / "changes" / "moves.jsonl").write_text(
        "".join(json.dumps(each) + "\n" for each in ({"old": ORDER, "new": moved}, {"old": PROFILE}, {"new": DEAR}))
    )
    run("check", "--update")
    (change,) = expected(checks, "lines")["changes"]
    assert (change["upserts"], change["deletes"]) == ([{"key": "o1:b", "values": {"sku": "b"}}], ["o1:a"])
    (change,) = expected(checks, "by_mail")["changes"]
    assert (change["upserts"], change["deletes"]) == ([], ["mail:a@example.org"])
    assert expected(checks, "orders")["changes"][1] == {
        "file": "changes/moves.jsonl", "item": {"pk": "CUSTOMER#c1", "sk": "ORDER#o3"},
        "result": "dead-letter", "kind": "content", "upserts": [], "deletes": [],
    }  # fmt: skip
    assert run("check").exit_code == 0


def test_items_of_another_table_are_kept_apart_by_folders(run: Run, checks: Path) -> None:
    for source in ("shop", "other"):
        (checks / "items" / source).mkdir()
        item = {**ORDER, "sk": f"ORDER#{source}"}
        (checks / "items" / source / "more.json").write_text(json.dumps(item))
    run("check", "--update")
    assert "items/shop/more.json" in [entry["file"] for entry in expected(checks, "orders")["items"]]
    assert "items/other/more.json" not in [entry["file"] for entry in expected(checks, "orders")["items"]]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["check", "none"], "none: there are no items: put some into none/items"),
        (["check", "--view", "none"], "no view is called none; there are by_mail, lines, orders"),
    ],
)
def test_wrong_questions_end_with_2(run: Run, checks: Path, words: list[str], problem: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert problem in done.stderr


def test_an_item_that_is_none_ends_with_2(run: Run, checks: Path) -> None:
    (checks / "items" / "bad.jsonl").write_text('{"pk": "a"}\n7\n')
    done = run("check")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "checks/items/bad.jsonl:2: an item is a JSON object" in done.stderr
