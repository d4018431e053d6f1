"""What becomes of OpenSearch's errors, and what never shows in ours."""

from __future__ import annotations

import base64
import logging
import ssl
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch

from dynaview.projections.rows import Layout, Write
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.opensearch.target import OpenSearchTarget
from dynaview.sinks.port import APPLIED, Applied, SinkError, SinkRefused, SinkUnavailable
from tests.sinks.opensearch.line import Answer, Line, opened

SECRET = "geheimnis"
Layouts = Callable[..., Layout]


def put(key: str, version: int) -> Write:
    return Write(key, (f"{SECRET} {version}", None, None), version)


def said(status: int, type: str, reason: str = SECRET) -> Answer:
    error = {"type": type, "reason": reason}
    return Answer(status, {"error": {**error, "root_cause": [error]}, "status": status})


WHOLE = [
    (said(401, ""), SinkRefused, "crud"),
    (Answer(401, "Unauthorized"), SinkRefused, "crud"),
    (said(403, "security_exception"), SinkRefused, "crud"),
    (Answer(403, {"message": "User: anonymous is not authorized"}), SinkRefused, "crud"),
    (said(403, "cluster_block_exception"), SinkUnavailable, "cluster_block_exception"),
    (said(400, "index_closed_exception"), SinkUnavailable, "index_closed_exception"),
    (said(404, "index_not_found_exception"), SinkRefused, "fill the view anew"),
    (said(429, "circuit_breaking_exception"), SinkUnavailable, "circuit_breaking_exception"),
    (Answer(429, "slow down"), SinkUnavailable, "429"),
    (Answer(408, ""), SinkUnavailable, "408"),
    (said(500, "null_pointer_exception"), SinkUnavailable, "null_pointer_exception"),
    (Answer(502, "<html>Bad Gateway</html>"), SinkUnavailable, "502"),
    (said(503, "cluster_manager_not_discovered_exception"), SinkUnavailable, "cluster_manager_not_discovered"),
    (said(400, "illegal_argument_exception"), SinkRefused, "illegal_argument_exception"),
    (Answer(200, '{"items":[{"create":{"stat', 4000), SinkUnavailable, ""),
    (Answer(200, '{"items":[{"create":{"stat'), SinkUnavailable, "readable"),
    (Answer(200, {"items": []}), SinkUnavailable, "readable"),
    (Answer(200, {"items": [{"update": {"status": 200}}]}), SinkUnavailable, "readable"),
    (Answer(200, "<html>log in</html>"), SinkUnavailable, "readable"),
]


@pytest.mark.parametrize(("answer", "kind", "words"), WHOLE)
def test_errors_of_a_whole_request(
    line: Line, through: OpenSearchSink, standing: OpenSearchTarget, answer: Answer, kind: type[SinkError], words: str
) -> None:
    ours = through.open(standing.layout, 1)
    acts: dict[str, Callable[[], object]] = {
        "_bulk": lambda: ours.write([put("row", 1)]),
        "_mget": lambda: ours.read(["row"]),
        "_search": ours.count,
    }
    for request, act in acts.items():
        line.before = lambda method, path, body, request=request: (  # type: ignore[misc]  # mypy knows no defaults here
            answer if f"/{request}" in path else None
        )
        with pytest.raises(kind) as error:
            act()
        assert words in str(error.value)
        assert SECRET not in "".join(traceback.format_exception(error.value))
        assert f"{standing.layout.view}-g1" in str(error.value)
    line.before = lambda *_: None
    assert isinstance(ours.write([put("row", 1)])[0], Applied)


@pytest.mark.parametrize(
    ("status", "type", "kind"),
    [
        (429, "rejected_execution_exception", SinkUnavailable),
        (429, "cluster_block_exception", SinkUnavailable),
        (403, "cluster_block_exception", SinkUnavailable),
        (400, "index_closed_exception", SinkUnavailable),
        (500, "engine_exception", SinkUnavailable),
        (503, "unavailable_shards_exception", SinkUnavailable),
        (403, "security_exception", SinkRefused),
        (404, "index_not_found_exception", SinkRefused),
    ],
)
def test_errors_of_one_write(
    line: Line,
    through: OpenSearchSink,
    standing: OpenSearchTarget,
    status: int,
    type: str,
    kind: type[SinkError],
) -> None:
    ours = through.open(standing.layout, 1)
    ours.prepare()
    failed = {"create": {"status": status, "error": {"type": type, "reason": SECRET}}}
    done = {"create": {"status": 201, "_seq_no": 7, "_primary_term": 1}}
    busy = {"create": {"status": 429, "error": {"type": "rejected_execution_exception", "reason": SECRET}}}
    line.before = lambda method, path, body: Answer(200, {"items": [busy, failed, done, busy]})
    with pytest.raises(kind) as error:
        ours.write([put(name, 1) for name in "abcd"])
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_what_a_real_server_says_when_it_cannot(target: OpenSearchTarget, store: OpenSearch) -> None:
    name = f"{target.layout.view}-g1"
    for block in ("read_only", "read_only_allow_delete", "write"):
        store.indices.put_settings(index=name, body={f"index.blocks.{block}": True})
        with pytest.raises(SinkUnavailable):
            target.write([put("row", 1)])
        store.indices.put_settings(index=name, body={f"index.blocks.{block}": None})
    store.indices.close(index=name)
    for act in (lambda: target.write([put("row", 1)]), lambda: target.read(["row"]), target.count):
        with pytest.raises(SinkUnavailable):
            act()
    store.indices.open(index=name, params={"wait_for_active_shards": "1"})
    assert target.write([put("row", 1)]) == [APPLIED]


def test_a_slow_store_is_unavailable(line: Line, target: OpenSearchTarget) -> None:
    sink = OpenSearchSink("slow", line.url, {"timeout": 0.3})
    ours = sink.open(target.layout, 1)
    ended = threading.Event()

    def before(method: str, path: str, body: bytes) -> Answer | None:
        if "/_bulk" in path:
            ended.wait(30)
        return None

    line.before = before
    try:
        with pytest.raises(SinkUnavailable, match=r"did not answer within 0\.3 s"):
            ours.write([put("row", 1)])
    finally:
        ended.set()
        sink.close()


def test_a_listing_that_ends_early(
    line: Line, limited: Callable[..., OpenSearchSink], target: OpenSearchTarget
) -> None:
    ours = limited(page_rows=2).open(target.layout, 1)
    assert ours.write([put(f"{row}", 1) for row in range(5)]) == [APPLIED] * 5
    assert len(list(ours.rows())) == 5
    assert line.seen[-1][:2] == ("DELETE", "/_search/scroll"), "the listing was left open"
    gone = said(404, "search_phase_execution_exception")
    line.before = lambda method, path, body: gone if path == "/_search/scroll" else None
    with pytest.raises(SinkUnavailable):
        list(ours.rows())
    failing = Answer(200, {"hits": {"hits": []}, "_shards": {"failed": 1}})
    line.before = lambda method, path, body: failing if path == "/_search/scroll" else None
    with pytest.raises(SinkUnavailable, match="1 shards"):
        list(ours.rows())


@pytest.mark.parametrize(
    "answer", [{"deleted": 0, "version_conflicts": 0, "failures": [{}]}, {"deleted": 1}, "cut"], ids=str
)
def test_purging_that_does_not_finish(
    line: Line, through: OpenSearchSink, standing: OpenSearchTarget, answer: Any
) -> None:
    line.before = lambda method, path, body: Answer(200, answer) if "_delete_by_query" in path else None
    with pytest.raises(SinkUnavailable):
        through.open(standing.layout, 1).purge(timedelta(0))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"version": {"number": "8.1.0", "build_flavor": "default"}}, SinkRefused),
        ({"hello": "world"}, SinkRefused),
        ([], SinkRefused),
        ("<html>", SinkUnavailable),
    ],
    ids=str,
)
def test_something_else_answers(line: Line, through: OpenSearchSink, body: Any, kind: type[SinkError]) -> None:
    assert through.check().startswith("OpenSearch ")
    line.before = lambda *_: Answer(200, body)
    with pytest.raises(kind):
        through.check()


def test_missing_rights_are_a_problem(line: Line, through: OpenSearchSink, layout: Layouts) -> None:
    denied = said(403, "security_exception", "no permissions for [indices:admin/get]")
    line.before = lambda method, path, body: denied
    (problem,) = through.problems(layout())
    assert "crud" in problem
    line.before = lambda method, path, body: denied if "_simulate" in path else None
    assert through.problems(layout()) == []
    line.before = lambda method, path, body: Answer(503, "")
    with pytest.raises(SinkUnavailable):
        through.problems(layout())


# Secrets


def test_credentials_are_sent_and_never_shown(line: Line, layout: Layouts) -> None:
    password = "p@ss/w:rd%"
    url = line.url.replace("http://", "http://user:p%40ss%2Fw%3Ard%25@")
    sink = OpenSearchSink("search", url, {})
    assert sink.check().startswith("OpenSearch ")
    sent = line.seen[0][2]["authorization"]
    assert sent == "Basic " + base64.b64encode(f"user:{password}".encode()).decode()
    line.before = lambda method, path, body: Answer(401, "Unauthorized")
    with pytest.raises(SinkRefused) as denied:
        sink.check()
    sink.close()
    nowhere = OpenSearchSink("search", "http://user:p%40ss%2Fw%3Ard%25@127.0.0.1:9", {"timeout": 1})
    with pytest.raises(SinkUnavailable) as unreachable:
        nowhere.open(layout(), 1).write([put("row", 1)])
    for error in (denied, unreachable):
        shown = "".join(traceback.format_exception(error.value)) + repr(sink) + repr(nowhere)
        assert "ss%2F" not in shown
        assert password not in shown
        assert "user" not in str(error.value).replace("grant its user", "")


@pytest.mark.parametrize("url", ["opensearch://host", "localhost:9200", "http://", "http://u:geheimnis@", "http://h:x"])
def test_a_url_that_makes_no_sense(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        OpenSearchSink("search", url, {})
    assert SECRET not in str(error.value)


def test_rows_never_reach_the_logs(
    line: Line, through: OpenSearchSink, target: OpenSearchTarget, caplog: pytest.LogCaptureFixture
) -> None:
    trace = logging.getLogger("opensearchpy.trace")
    trace.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "opensearchpy.trace"):
            ours = through.open(target.layout, 1)
            ours.write([put("row", 1)])
            ours.read(["row"])
            list(ours.rows())
            for answer in (said(503, "x"), said(400, "y"), Answer(200, SECRET), Answer(500, SECRET)):
                line.before = lambda method, path, body, answer=answer: answer  # type: ignore[misc]  # as above
                with pytest.raises(SinkError):
                    ours.write([put("row", 2)])
    finally:
        trace.removeHandler(caplog.handler)
    assert SECRET not in caplog.text


# TLS


def test_certificates_are_checked(opensearch_url: str, certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with opened(opensearch_url, tls) as line:
        known: list[dict[str, Any]] = [{"ca_file": str(certificate)}, {"verify": False}]
        for options in known:
            sink = OpenSearchSink("search", line.url, options)
            assert sink.check().startswith("OpenSearch ")
            sink.close()
        for options in ({}, {"verify": True}):
            sink = OpenSearchSink("search", line.url, options)
            with pytest.raises(SinkRefused, match="ca_file"):
                sink.check()
            sink.close()
    with pytest.raises(ValueError, match="no ca_file"):
        OpenSearchSink("search", line.url, {"ca_file": "/nowhere.pem"})
