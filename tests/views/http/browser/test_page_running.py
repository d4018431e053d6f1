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
"""


class Running:
    """A daemon in a process of its own, with its page."""

    def __init__(self, folder: Path, name: str) -> None:
        self.view = name
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dynaview.views.cli", "run", "--http", "0"],
                cwd=folder,
                stderr=log,
                env={**os.environ, "DYNAVIEW_HTTP_TOKEN": TOKEN},
            )
        try:
            until(self._is_served, "the page to be served")
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
        for generation in (2, 1):
            stack.callback(sink.open(declaration.views[name].layout, generation).drop)
        made = Running(folder, name)
        stack.callback(made.kill)
        yield made


def test_a_rebuild_is_started_and_seen_to_its_end(running: Running, opened: Opened) -> None:
    page = opened()
    page.goto(running.url)
    row = page.locator("#rows tr")
    expect(row.get_by_text("following")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name=running.view).click()
    expect(page.locator("#detail")).to_contain_text("first fill done: 20 items")
    page.get_by_role("button", name="Rebuild", exact=True).click()
    page.locator("#ask-ok").click()
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.locator("#said")).to_have_text("Asked for; a worker does it.")
    expect(page.get_by_role("button", name="Cancel the rebuild")).to_be_visible()
    expect(page.locator("#detail")).to_contain_text("rebuild done: 20 items, 20 rows", timeout=60_000)
    expect(page.locator("[data-fact=generation]")).to_have_text("2")
    expect(page.get_by_role("button", name="Roll back")).to_be_enabled()
    expect(page.locator("#detail")).to_contain_text(re.compile(r"Shards \([1-9]"))


def test_a_killed_daemon_is_told_and_nothing_more_is_promised(running: Running, opened: Opened) -> None:
    page = opened()
    page.goto(running.url)
    expect(page.locator("#rows tr")).to_have_count(1)
    running.kill()
    expect(page.get_by_role("alert")).to_contain_text("The connection to dynaview is lost")
    page.get_by_role("button", name=running.view).click()
    expect(page.locator("#letters")).to_contain_text("dynaview does not answer")
    expect(page.locator("#rows tr")).to_have_count(1)
