"""Traces and metrics, as a collector receives them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from dynaview.views.telemetry import ENDPOINT, METRICS, TRACES, NotInstalled, Telemetry, wanted
from tests.support.rebuilding import begin, follows, item
from tests.support.worker_harness import WorkerHarness

SECRET = "hunter-tooth"


class Collector:
    """Receives OTLP over HTTP, and keeps it."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: list[Any] = []
        self.raw: list[bytes] = []
        self.instances: set[str] = set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(self.path, body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, path: str, body: bytes) -> None:
        """What was sent."""
        self.raw.append(body)
        if path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.instances |= {each.value.string_value for each in resource.resource.attributes}
                self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metrics += [metric for scope in measured.scope_metrics for metric in scope.metrics]

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv(ENDPOINT, made.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield made
    made.close()


def attributes(of: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in of.attributes}


def test_a_batch_is_a_span_that_links_to_the_pages_its_changes_came_with(tmp_path: Path, collector: Collector) -> None:
    made = WorkerHarness(tmp_path)
    told = Telemetry({ENDPOINT: collector.url}, lambda: [made.worker.meters], "this-process")
    assert told.spans is not None
    made.settings.spans = told.spans
    for number in range(5):
        made.table.put(item(number, SECRET))
    begin(made)
    try:
        follows(made, 1, f"{SECRET} again")
    finally:
        made.close()
        told.close()
    assert "this-process" in collector.instances
    named: dict[str, list[Any]] = {}
    for span in collector.spans:
        named.setdefault(span.name, []).append(span)
    pages = {span.span_id: attributes(span) for span in named["read page"]}
    assert all(page["dynaview.records"] >= 1 for page in pages.values())
    batches = {span.span_id: span for span in named["apply batch"]}
    assert {attributes(span)["dynaview.view"] for span in batches.values()} == {"cards", "reads"}
    assert all(link.span_id in pages for span in batches.values() for link in span.links)
    assert all(span.links for span in batches.values())
    writes = named["write rows"]
    assert {attributes(span)["dynaview.sink"] for span in writes} == {"cache", "reads"}
    assert all(span.parent_span_id in batches for span in writes)
    sums = {
        (metric.name, *sorted(attributes(point).values())): point.as_double
        for metric in collector.metrics
        for point in metric.sum.data_points
    }
    assert sums["dynaview.batches", "cards"] >= 1
    assert sums["dynaview.polls", "empty", "shop"] > 0
    assert not any(SECRET.encode() in body for body in collector.raw)


def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path, collector: Collector) -> None:
    made = WorkerHarness(tmp_path)
    told = Telemetry({TRACES: "http://127.0.0.1:1"}, list, "x")
    assert told.spans is not None
    made.settings.spans = told.spans
    made.table.put(item(1, "first"))
    begin(made)
    try:
        follows(made, 1, "second")
    finally:
        made.close()


@pytest.mark.parametrize(
    ("environ", "on"),
    [({}, False), ({ENDPOINT: ""}, False), ({ENDPOINT: "x"}, True), ({TRACES: "x"}, True), ({METRICS: "x"}, True)],
)
def test_it_is_on_where_a_collector_is_named(environ: dict[str, str], on: bool) -> None:
    assert wanted(environ) == on


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(NotInstalled, match=f"install dynaview with its extra otel, or unset {ENDPOINT}"):
        Telemetry({ENDPOINT: "http://127.0.0.1:1"}, list, "x")
