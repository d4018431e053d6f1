"""Waiting until searches find what was written, where a store shows it later than it keeps it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from opensearchpy import OpenSearch

from dynaview.projections.rows import Write
from dynaview.sinks.connect import connect
from dynaview.views.cli import cli
from dynaview.views.control.records import ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load
from dynaview.views.waiting import Searchable

VIEWS = """
control: sqlite:///{folder}/control.db
sources: {{shop: {{table: shop}}}}
sinks: {{search: {{opensearch: "{url}"}}}}
views:
  {index}:
    source: shop
    sink: search
    index: {index}
    key: "{{id}}"
    settings: {{number_of_replicas: 0, refresh_interval: "-1"}}
    fields: {{id: id, name: name}}
"""


class Shown:
    """A target that counts how often it was asked to show what it has."""

    def __init__(self) -> None:
        self.times = 0

    def show(self) -> None:
        self.times += 1


class Goal:
    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)

    def reached(self, record: ViewRecord) -> bool:
        return self.answers.pop(0)

    def __str__(self) -> str:
        return "the goal"


def test_the_store_is_asked_once_all_else_is_reached() -> None:
    shown: Any = Shown()
    record: Any = type("Record", (), {"generation": 3})()
    opened: list[int] = []

    def open(generation: int) -> Any:
        opened.append(generation)
        return shown

    goal = Searchable(Goal(False, False, True), open)
    assert [goal.reached(record) for _ in range(3)] == [False, False, True]
    assert shown.times == 1
    assert opened == [3]
    assert str(goal) == "the goal"


@pytest.fixture
def index() -> str:
    return f"wait-{uuid4().hex[:12]}"


def waited(file: Path, index: str, *options: str) -> Result:
    words = ["wait", index, "-f", str(file), "--key", "a", "--version", "7", "--timeout", "5"]
    return CliRunner().invoke(cli, [*words, *options])


def test_a_search_finds_what_was_waited_for(tmp_path: Path, opensearch_url: str, index: str) -> None:
    file = tmp_path / "dynaview.yaml"
    file.write_text(VIEWS.format(folder=tmp_path, url=opensearch_url, index=index))
    declaration = load([file], {})
    view = declaration.views[index]
    sink = connect(declaration.sinks["search"])
    target = sink.open(view.layout, 1)
    target.prepare()
    target.publish()
    with closing(ControlStore(declaration.control)) as control:
        control.add_view(index, "shop", "search", "f", "arn")
    target.write([Write("a", ("a", "x"), 10**40 + 7)])
    client = OpenSearch(opensearch_url)

    def found() -> int:
        return int(client.search(index=index)["hits"]["total"]["value"])

    assert waited(file, index, "--stored").exit_code == 0
    assert found() == 0
    done = waited(file, index)
    assert done.exit_code == 0, done.output
    assert found() == 1
    client.close()
    sink.close()
