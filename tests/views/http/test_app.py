"""The routes: what they answer, and what they answer to rubbish."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from starlette.routing import Route

from dynaview.views.http.address import Address
from dynaview.views.http.openapi import document
from tests.views.http.conftest import TOKEN, Served


def conforms(body: Any, schema: str) -> None:
    """See that a body is what the OpenAPI document says."""
    components = document()["components"]
    text = msgspec.json.encode({"components": components, "$ref": f"#/components/schemas/{schema}"}).decode()
    jsonschema.validate(body, msgspec.json.decode(text))


def test_a_process_that_answers_lives(served: Served) -> None:
    assert served.ask("/livez").status == 200


def test_it_is_ready_once_every_declared_view_was_started(tmp_path: Path) -> None:
    made = Served(tmp_path)
    try:
        made.begin("card")
        answer = made.ask("/readyz")
        assert (answer.status, answer.body) == (503, {"ok": False, "reason": "never started: lines"})
        made.begin("lines")
        assert made.ask("/readyz").status == 200
    finally:
        made.close()


def test_health_names_what_is_wrong_with_each_view(served: Served) -> None:
    answer = served.ask("/health")
    assert answer.body["views"].keys() == {"card", "lines"}
    assert answer.status == (200 if answer.body["ok"] else 503)


def test_a_control_store_that_goes_away_is_told_and_comes_back(served: Served) -> None:
    before = served.ask("/api/status").body
    assert not before["error"]
    served.lose_control()
    assert served.ask("/health").status == 503
    during = served.ask("/api/status").body
    assert during["error"]
    assert [view["view"] for view in during["views"]] == ["card", "lines"]
    assert served.post("/api/views/card/rebuild").status == 503
    assert served.ask("/livez").status == 200
    served.regain_control()
    assert not served.ask("/api/status").body["error"]


def test_answers_are_as_the_openapi_document_says(served: Served) -> None:
    for view in served.ask("/api/status").body["views"]:
        conforms(view, "Status")
    conforms(served.ask("/api/views/card").body, "Status")
    conforms(served.ask("/api/views/none").body, "Error")


def test_the_openapi_document_names_every_route(served: Served) -> None:
    routes = [route for route in served.application.asgi.routes if isinstance(route, Route)]
    paths = {route.path.replace(":int", "") for route in routes} - {"/", "/static/{name}"}
    assert set(served.ask("/api/openapi.json").body["paths"]) == paths


def test_an_unknown_view_names_the_declared_ones(served: Served) -> None:
    answer = served.ask("/api/views/cart")
    assert (answer.status, answer.body["error"]) == (404, "unknown view 'cart'; declared views: card, lines")


@pytest.mark.parametrize(
    "path", ["/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e", "/static/x.js", "/no"]
)
def test_no_path_leads_out_of_the_page(served: Served, path: str) -> None:
    answer = served.ask(path)
    assert answer.status == 404
    assert answer.body["error"]


def test_the_page_loads_nothing_from_elsewhere(served: Served) -> None:
    page = served.ask("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    asked = {f"/static/{name}" for name in ("app.js", "app.css", "icon.svg")}
    assert all(name in page.text for name in asked)
    for _ in range(5):  # modules import others
        texts = {name: served.ask(name) for name in asked}
        asked |= {name for answer in texts.values() for name in re.findall(r'from "([^"]*)"', answer.text)}
    assert len(texts) > 3
    for name, answer in texts.items():
        assert answer.status == 200, name
        assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", ""), name


# What changes anything


def test_a_rebuild_is_asked_for_joined_and_cancelled(served: Served) -> None:
    asked = served.post("/api/views/card/rebuild", {"max_read_units": 50})
    assert (asked.status, asked.body["rebuild"]["phase"]) == (202, "requested")
    rebuild = served.control.rebuilds.get("card")
    assert rebuild is not None
    assert rebuild.options.capacity.units == 50
    assert served.post("/api/views/card/rebuild").status == 202
    assert served.post("/api/views/card/cancel").status == 202
    found = served.control.rebuilds.get("card")
    assert found is not None
    assert found.job == rebuild.job
    assert found.answer == "cancel"


def test_what_is_not_under_way_cannot_be_cancelled_or_rolled_back(served: Served) -> None:
    assert served.post("/api/views/card/cancel").status == 409
    assert served.post("/api/views/card/rollback").status == 409
    assert served.post("/api/views/card/paint").status == 404


def test_a_view_is_paused_and_resumed(served: Served) -> None:
    assert served.post("/api/views/card/resume").status == 409
    answer = served.post("/api/views/card/pause", {"reason": "<b>disks</b>"})
    assert (answer.status, answer.body["let_go"]) == (202, True)
    view = served.ask("/api/views/card").body
    assert (view["state"], view["paused"]) == ("paused", answer.body["paused"])
    assert view["problem"] == "paused: <b>disks</b>; dynaview resume card lets it go on"
    assert served.ask("/health").body["views"]["card"]["ok"] is False
    assert served.post("/api/views/card/rebuild").status == 409
    assert served.post("/api/views/card/resume").body["paused"] is None
    assert served.post("/api/views/card/rebuild").status == 202


@pytest.mark.parametrize("body", [{"reason": "x" * 501}, {"reason": "a\nb"}, {"reason": 1}, {"because": "x"}])
def test_a_reason_is_a_line(served: Served, body: Any) -> None:
    assert served.post("/api/views/card/pause", body).status == 400
    assert served.ask("/api/views/card").body["paused"] is None


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", "ümlaut"])
def test_nothing_is_changed_without_the_token(served: Served, token: str | None) -> None:
    for path in ("/api/views/card/rebuild", "/api/dead-letters/discard"):
        answer = served.post(path, {"ids": [1]}, token=token and token.encode().decode("latin-1"))
        assert answer.status == 401
        assert TOKEN not in answer.text
    assert served.ask("/api/dead-letters/1").status == 401
    assert served.control.rebuilds.get("card") is None


def test_without_a_token_of_its_own_a_server_changes_nothing(tmp_path: Path) -> None:
    made = Served(tmp_path, token=None)
    try:
        made.begin("card", "lines")
        answer = made.post("/api/views/card/rebuild")
        assert answer.status == 403
        assert "DYNAVIEW_HTTP_TOKEN" in answer.body["error"]
        assert made.ask("/api/status").body["writable"] is False
    finally:
        made.close()


def test_pages_of_other_sites_are_refused(served: Served) -> None:
    assert served.post("/api/views/card/rebuild", origin="http://evil.example").status == 403
    assert served.ask("/api/status", headers={"host": "evil.example"}).status == 421
    assert served.post("/api/views/card/rebuild", origin=served.url).status == 202


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b"[" * 60_000, 400),
        ({"segments": "many"}, 400),
        ({"segments": 0}, 400),
        ({"max_read_units": -1}, 400),
        ({"keep": -5}, 400),
        ({"feilds": 1}, 400),
        (b" " * 100_000, 413),
    ],
)
def test_bodies_that_are_none_are_refused(served: Served, body: Any, status: int) -> None:
    answer = served.post("/api/views/card/rebuild", body)
    assert (answer.status, bool(answer.body["error"])) == (status, True)
    assert served.control.rebuilds.get("card") is None


def test_a_body_of_another_type_is_refused(served: Served) -> None:
    assert served.post("/api/views/card/rebuild", b"segments=3", **{"content-type": "text/plain"}).status == 415


def test_a_body_without_a_length_is_cut_off(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=20) as line:
        head = (
            "POST /api/views/card/rebuild HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
            f"content-type: application/json\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        )
        line.sendall(head.encode())
        for _ in range(20):
            line.sendall(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
        line.sendall(b"0\r\n\r\n")
        assert b" 413 " in line.recv(1000).split(b"\r\n")[0]


# Event streams


def test_events_carry_the_status_of_all_views(served: Served) -> None:
    answer = served.pool.request("GET", f"{served.url}/api/events", preload_content=False, timeout=20.0)
    first = next(iter(answer.stream(65536)))
    assert first.startswith(b"data: ")
    assert [view["view"] for view in msgspec.json.decode(first[6:])["views"]] == ["card", "lines"]
    answer.close()


def test_event_streams_are_limited_and_end_with_the_server(tmp_path: Path) -> None:
    made = Served(tmp_path, streams=2)
    made.begin("card", "lines")
    streams = [
        made.pool.request("GET", f"{made.url}/api/events", preload_content=False, timeout=20.0) for _ in range(2)
    ]
    reading = [each.stream(65536) for each in streams]  # a stream that is read no further is closed
    assert all(next(each).startswith(b"data: ") for each in reading)
    refused = made.ask("/api/events")
    assert (refused.status, refused.headers["retry-after"]) == (503, "30")
    made.close()
    assert all(b"" not in list(each) for each in reading)


# Addresses


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("8080", "127.0.0.1", 8080),
        ("0.0.0.0:80", "0.0.0.0", 80),
        ("[::1]:81", "::1", 81),
        ("db.local:0", "db.local", 0),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize("text", ["", "http", "1.2.3.4:", ":80", "70000", "-1", "localhost:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        Address.parse(text)


def test_a_port_in_use_is_named() -> None:
    with Address.parse("0").listen() as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use; give --http"):
            Address.parse(str(port)).listen()


def test_many_who_ask_at_once_are_one_look_at_the_control_store(served: Served) -> None:
    gate = threading.Barrier(8)
    answers: list[int] = []

    def ask() -> None:
        gate.wait(20)
        answers.append(served.ask("/health").status)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(answers) == 8
