"""The page of a running daemon: a rebuild from the button to its end, and what is said once the daemon is killed."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from dynaview.sinks.connect import connect
from dynaview.views.declarations.load import load
from tests.support.browser import serious
from tests.support.until import until
from tests.views.http.browser.conftest import Opened
from tests.views.http.conftest import TOKEN

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

DECLARED = """
sources: {{shop: {{table: {name}, endpoint: "{endpoint}"}}}}
sinks: {{reads: {{postgres: "{postgres}"}}}}
views:
  {name}: {{source: shop, sink: reads, table: {name}, key: [pk], fields: {{pk: {{from: pk, type: text}}}}}}
  {name}_odd:
    source: shop
    sink: reads
    table: {name}_odd
    key: [pk]
    python: ./odd.py:odd
    fields: {{pk: {{type: text}}}}
"""

ODD = """
from pathlib import Path

MENDED = Path(__file__).with_name("mended")


def odd(item):
    if item["pk"] == "odd" and not MENDED.exists():
        raise ValueError("what it asks is away")
    return {"pk": item["pk"]}
"""
"""A function that cannot make a row of one item until a file is there."""


class Running:
    """A daemon in a process of its own, with its page."""

    def __init__(self, folder: Path, name: str) -> None:
        self.view = name
        self.folder = folder
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dynaview.views.cli", "run", "--http", "0"],
                cwd=folder,
                stderr=log,
                env={**os.environ, "DYNAVIEW_HTTP_TOKEN": TOKEN},
            )
        try:
            until(self._is_served, "the page to be served", 90)
        except AssertionError:
            self.kill()
            raise
        found = re.search(r"served on \S+ port (\d+)", self._log.read_text())
        assert found is not None
        self.url = f"http://127.0.0.1:{found[1]}"

    def _is_served(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        return "served on" in self._log.read_text()

    def kill(self) -> None:
        """End it at once, as a lack of memory would."""
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, dynamodb: DynamoDBClient, dynamodb_endpoint: str, postgres_url: str
) -> Iterator[Running]:
    name, folder = f"page{uuid.uuid4().hex[:10]}", tmp_path_factory.mktemp("running")
    file = folder / "dynaview.yaml"
    file.write_text(DECLARED.format(name=name, endpoint=dynamodb_endpoint, postgres=postgres_url))
    (folder / "odd.py").write_text(ODD)
    with contextlib.ExitStack() as stack:
        dynamodb.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        stack.callback(dynamodb.delete_table, TableName=name)
        for number in range(20):
            dynamodb.put_item(TableName=name, Item={"pk": {"S": f"item{number}"}})
        declaration = load([file], {})
        sink = stack.enter_context(contextlib.closing(connect(declaration.sinks["reads"])))
        for view in declaration.views.values():
            for generation in (2, 1):
                stack.callback(sink.open(view.layout, generation).drop)
        made = Running(folder, name)
        stack.callback(made.kill)
        yield made


def test_a_rebuild_is_started_and_seen_to_its_end(running: Running, opened: Opened) -> None:
    page = opened()
    page.goto(running.url)
    expect(page.locator("#rows").get_by_text("following")).to_have_count(2, timeout=60_000)
    page.get_by_role("button", name=running.view, exact=True).click()
    expect(page.locator("#detail")).to_contain_text("first fill done: 20 items")
    page.get_by_role("button", name="Rebuild", exact=True).click()
    page.locator("#ask-ok").click()
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text("Asked for; a worker does it.")
    expect(page.get_by_role("button", name="Cancel the rebuild")).to_be_visible()
    expect(page.get_by_text("rebuild done: 20 items, 20 rows")).to_be_visible(timeout=120_000)
    expect(page.locator("[data-fact=generation]")).to_have_text("2")
    expect(page.get_by_role("button", name="Roll back")).to_be_enabled()
    expect(page.locator("#detail")).to_contain_text(re.compile(r"Shards \([1-9]"))


def test_an_item_is_traced_its_letter_replayed_and_its_view_verified(
    running: Running, opened: Opened, dynamodb: DynamoDBClient
) -> None:
    dynamodb.put_item(TableName=running.view, Item={"pk": {"S": "odd"}})
    page = opened()
    page.goto(f"{running.url}/#{running.view}_odd")
    letters = page.locator("#letters")
    expect(letters).to_contain_text("raised ValueError", timeout=60_000)
    page.get_by_label("The key of an item").fill('{"pk": "odd"}')
    page.get_by_role("button", name="Trace it").click()
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    trace = page.locator("#trace-box")
    expect(trace).to_contain_text("the table has the item", timeout=60_000)
    expect(trace).to_contain_text("dead-lettered")
    letters.get_by_role("button", name="Replay dead letter").click()
    expect(page.locator("#said")).to_contain_text("1 rejected", timeout=60_000)
    (running.folder / "mended").touch()
    letters.get_by_role("button", name="Replay all").click()  # the daemon tries it again too, and may be quicker
    expect(page.locator("#said")).to_contain_text(re.compile("1 applied|none were left|1 gone"), timeout=60_000)
    expect(letters).to_contain_text("None.")
    page.get_by_role("button", name="Trace it").click()
    expect(trace.locator(".state")).to_have_text("right", timeout=60_000)
    page.get_by_role("button", name="Verify").click()
    page.locator("#ask-ok").click()
    expect(page.locator("#said")).to_have_text("Every row is as its item asks.", timeout=120_000)
    expect(page.locator("[data-fact=verified]")).to_contain_text("0 of 21 rows differed")
    assert serious(page) == []


def test_a_killed_daemon_is_told_and_nothing_more_is_promised(running: Running, opened: Opened) -> None:
    page = opened()
    page.goto(running.url)
    expect(page.locator("#rows tr")).to_have_count(2)
    running.kill()
    expect(page.get_by_role("alert")).to_contain_text("The connection to dynaview is lost")
    page.get_by_role("button", name=running.view, exact=True).click()
    expect(page.locator("#letters")).to_contain_text("dynaview does not answer")
    expect(page.locator("#rows tr")).to_have_count(2)
