"""What nobody should ask: numbers that are none, tokens that are wrong, more than a server can hold open."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest

from dynaview.views.control.records import DeadLetter, Part, Progress
from dynaview.views.http import letters
from dynaview.views.http.actions import ACTIONS, PATIENT
from tests.support.until import until
from tests.views.http.conftest import TOKEN, Served

HUGE = 10**30

CHANGING = (
    *(f"/api/views/card/{action}" for action in ACTIONS),
    *(f"/api/dead-letters/{action}" for action in letters.ACTIONS),
    "/api/trace",
    "/api/tasks/none/cancel",
)


@pytest.mark.parametrize("path", CHANGING)
def test_whatever_changes_something_or_shows_items_needs_the_token_and_a_page_of_this_server(
    served: Served, path: str
) -> None:
    assert served.post(path, {}, token=None).status == 401
    assert served.post(path, {}, token="wrong").status == 401
    assert served.post(path, {}, origin="http://evil.example").status == 403
    assert served.ask(path).status in (404, 405)


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff\xfe", b"[" * 60_000, b'{"a": ' * 5000, b'"text"', b"1"])
def test_bodies_that_are_none_are_refused_everywhere(served: Served, path: str, body: bytes) -> None:
    answer = served.post(path, body)
    assert (answer.status, bool(answer.body["error"])) == (400, True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/views/card/verify", {"sample": 0}),
        ("/api/views/card/verify", {"sample": 2}),
        ("/api/views/card/verify", {"keys": "one"}),
        ("/api/views/card/verify", {"sample": 0.5, "keys": ["c:1"]}),
        ("/api/views/card/verify", {"since": -1}),
        ("/api/views/card/repair", {"foreign": "yes"}),
        ("/api/views/card/rebuild", {"segments": HUGE}),
        ("/api/dead-letters/discard", {"ids": [HUGE]}),
        ("/api/dead-letters/discard", {"ids": [-1]}),
        ("/api/dead-letters/discard", {}),
        ("/api/dead-letters/replay", {}),
        ("/api/trace", {}),
        ("/api/trace", {"key": []}),
        ("/api/trace", {"key": {}, "feilds": 1}),
    ],
)
def test_what_is_out_of_range_is_named(served: Served, path: str, body: Any) -> None:
    answer = served.post(path, body)
    assert answer.status == 400, answer
    assert answer.body["error"]
    assert served.control.tasks.all() == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/dead-letters?limit=many", 400),
        (f"/api/dead-letters?after={HUGE}", 400),
        ("/api/dead-letters?limit=-1", 400),
        ("/api/views/card/wait?timeout=1e9", 400),
        ("/api/views/card/wait?until=nan", 400),
        ("/api/views/card/wait?key=x", 400),
        ("/api/views/card/wait?key=x&version=1.5", 400),
        ("/api/views/cart/wait", 404),
        ("/api/tasks/none", 404),
        ("/api/views/%3Cscript%3E", 404),
        ("/api/views/" + "x" * 5000, 404),
    ],
)
def test_parameters_that_make_no_sense_are_refused(served: Served, path: str, status: int) -> None:
    answer = served.ask(path)
    assert (answer.status, bool(answer.body["error"])) == (status, True), answer


def test_a_letter_that_cannot_be_is_not_there(served: Served) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert served.ask(f"/api/dead-letters/{HUGE}", headers=headers).status == 404


def test_keys_of_items_are_text_in_json_whatever_is_in_them(served: Served) -> None:
    key = '{"pk":{"S":"<script>alert(1)</script>\\u0000\\u202e"}}'
    letter = DeadLetter("card", key, "", 1, "s", 0.0, "projection", "<img onerror=x>", b"{}")
    served.control.commit("card", Progress({"s": Part(letters=[letter])}), None)
    answer = served.ask("/api/dead-letters")
    assert answer.body["dead_letters"][0]["item_key"] == key
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_requests_that_wait_hold_up_no_others(served: Served) -> None:
    served.control.set_seen(["card"])
    statuses = list[int]()

    def wait() -> None:
        statuses.append(served.ask("/api/views/card/wait?searchable=false&timeout=3").status)

    waiting = [threading.Thread(target=wait) for _ in range(PATIENT + 5)]
    for thread in waiting:
        thread.start()
    until(lambda: 503 in statuses, "every thread to be taken")
    begun = time.monotonic()
    assert served.ask("/livez").status == 200
    assert served.ask("/api/status").status == 200
    assert time.monotonic() - begun < 2
    for thread in waiting:
        thread.join(20)
    assert sorted(statuses) == [503] * 5 + [504] * PATIENT
    assert served.ask("/api/views/card/wait?searchable=false&timeout=0").status == 504


def test_a_thousand_event_streams_are_too_many_and_hold_up_nobody(served: Served) -> None:
    request = b"GET /api/events HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with ExitStack() as stack:
        lines = list[socket.socket]()
        for _ in range(1000):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", served.server.port), timeout=30))
            line.sendall(request)
            lines.append(line)
        statuses = [line.recv(12)[9:12] for line in lines]
        assert 0 < statuses.count(b"200") <= 200
        assert statuses.count(b"200") + statuses.count(b"503") == 1000
        for line in lines[200:]:
            line.close()
        until(lambda: served.ask("/health").status in (200, 503) and served.ask("/livez").status == 200, "an answer")


def test_a_server_ends_though_somebody_waits(served: Served) -> None:
    served.control.set_seen(["card"])
    statuses = list[int]()
    thread = threading.Thread(
        target=lambda: statuses.append(served.ask("/api/views/card/wait?searchable=false&timeout=60").status)
    )
    thread.start()
    until(lambda: served.control.view("card").awaited is not None, "the request to wait")  # type: ignore[union-attr]
    served.server.stop()
    thread.join(10)
    assert statuses == [503]
