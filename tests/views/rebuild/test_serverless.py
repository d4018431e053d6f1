"""A view in a stand-in of OpenSearch Serverless: filled, followed, verified, repaired and rebuilt, while credentials
end in the middle."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.opensearch.limits import Limits
from dynaview.views.verify.findings import Report
from dynaview.views.verify.repair import Repairs
from dynaview.views.verify.service import Asked, verify_declared
from tests.sinks.opensearch.line import Answer, opened
from tests.support.rebuilding import item, paused
from tests.support.serverless import Serverless
from tests.support.sigv4 import Gate, Key
from tests.support.until import until
from tests.support.worker_harness import WorkerHarness

REGION = "eu-west-1"
VIEW = "orders"


class Search:
    """The view, its worker, and the gate that every request passes."""

    def __init__(self, folder: Path, server: str, url: str, gate: Gate) -> None:
        self.gate = gate
        self.index = f"srv{uuid.uuid4().hex[:8]}"
        self._server = server
        self._http = urllib3.PoolManager()
        self.harness = WorkerHarness(folder)
        self.harness.declare_text(
            f"""
control: "sqlite:///{folder}/control.db"
sources: {{shop: {{table: shop}}}}
sinks: {{search: {{opensearch: "{url}", auth: aws, service: aoss, region: {REGION}}}}}
views:
  {VIEW}:
    source: shop
    match: {{pk: "{{pk}}", sk: "{{sk}}"}}
    sink: search
    index: {self.index}
    key: "{{pk}}"
    fields: {{pk: pk, value: value}}
"""
        )
        declared = self.harness.declaration.sinks["search"]
        limits = Limits(shown_pause=0.02, shown_within=20, page_rows=40)
        self.sink = OpenSearchSink("search", declared.url, declared.options, limits)
        self.harness.sinks = {"search": self.sink}

    def by_hand(self, method: str, path: str, body: dict[str, Any]) -> None:
        answer = self._http.request(
            method,
            f"{self._server}/{self.index}-g1/{path}",
            body=json.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status < 300, answer.data

    def verify(self, repairs: Repairs | None = None) -> Report:
        (report,) = verify_declared(
            self.harness.declaration, self.harness.control, [VIEW], Asked(), repairs=repairs,
            open_source=lambda source: self.harness.table,
        )  # fmt: skip
        assert report.error == ""
        return report

    def wait_rows(self) -> None:
        wanted = {each["pk"]: dict(each, pk=each["pk"]) for each in self.harness.table.items()}
        self.harness.wait_rows(VIEW, {key: {"pk": key, "value": each["value"]} for key, each in wanted.items()})

    def close(self) -> None:
        self.harness.close()
        for generation in (1, 2):
            self.harness.target(VIEW, generation).drop()
        self.sink.close()


@pytest.fixture
def search(tmp_path: Path, opensearch_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Search]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "one")
    gate = Gate("aoss", REGION, {"AKIA1": Key("one"), "AKIA2": Key("two")})
    with opened(opensearch_url) as line:

        def look(method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer | None:
            said = gate.refusal(method, path, body, headers)
            return None if said is None else Answer(403, {"message": said})

        line.gate = look
        line.before = Serverless(opensearch_url, refresh="50ms").answer
        made = Search(tmp_path, opensearch_url, line.url, gate)
        try:
            yield made
        finally:
            made.close()


def test_a_view_in_serverless_is_kept_mended_and_rebuilt_while_credentials_end(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = search.harness
    for number in range(90):
        harness.table.put(item(number, f"value {number}"))
    harness.start()
    harness.wait_state(VIEW, "following")
    until(lambda: harness.record(VIEW).filled, "the fill")
    harness.table.put(item(3, "changed"))
    harness.table.delete(item(4, ""))
    search.wait_rows()

    assert (search.verify().drift, search.verify().rows) == (0, 89)
    search.by_hand("POST", "_update/p1?refresh=true", {"doc": {"value": "lost"}})
    search.by_hand("DELETE", "_doc/p2?refresh=true", {})
    report = search.verify()
    assert {(found.kind, found.key) for found in report.listed} == {("different", "p1"), ("missing", "p2")}
    repairs = Repairs()
    search.verify(repairs)
    assert repairs.by_view[VIEW].number("mended") == 2
    assert search.verify().drift == 0

    with paused(harness, "scanning") as reached:
        harness.rebuild(VIEW)
        assert reached.wait(60)
        search.gate.keys["AKIA1"].expired = True
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA2")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "two")
        harness.table.put(item(5, "meanwhile"))
    harness.wait_ended(VIEW)
    assert search.gate.passed[-1] == "AKIA2"
    assert harness.record(VIEW).generation == 2
    assert search.sink.published(harness.declaration.views[VIEW].layout) == 2
    search.wait_rows()
    assert search.verify().drift == 0
    assert harness.control.dead_letters.count()[0] == 0
