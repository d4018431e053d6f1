"""A generation loaded beside the one that readers see, finished, and put in its place: what they see meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from opensearchpy import OpenSearch

from dynaview.projections.rows import Layout, OpenSearchOptions, Write
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.opensearch.target import OpenSearchTarget
from dynaview.sinks.port import APPLIED, SinkRefused, SinkUnavailable
from tests.sinks.opensearch.line import DROP, Answer, Line

Layouts = Callable[..., Layout]


def put(key: str, version: int = 1) -> Write:
    return Write(key, (f"{key} {version}", Decimal(version), version), version)


def shown(store: OpenSearch, name: str) -> dict[str, int]:
    """What a reader finds, as it is: no refresh."""
    hits = store.search(index=name, body={"size": 1000}, params={"preference": "_primary"})["hits"]["hits"]
    found = {hit["_id"]: hit["_source"]["count"] for hit in hits}
    assert len(found) == len(hits), "a row came twice"
    return found


def settings(store: OpenSearch, index: str) -> tuple[str | None, str]:
    found = store.indices.get_settings(index=index)[index]["settings"]["index"]
    return found.get("refresh_interval"), found["number_of_replicas"]


def mark(store: OpenSearch, index: str) -> dict[str, Any]:
    found: dict[str, Any] = store.indices.get_mapping(index=index)[index]["mappings"]["_meta"]["dynaview"]
    return found


def pair(sink: OpenSearchSink, layout: Layout) -> tuple[OpenSearchTarget, OpenSearchTarget]:
    """A generation that readers see and one that was loaded beside it."""
    first, second = sink.open(layout, 1), sink.open(layout, 2)
    first.prepare()
    first.publish()
    second.prepare(bulk=True)
    return first, second


@contextmanager
def template(store: OpenSearch, pattern: str, settings: dict[str, Any]) -> Iterator[None]:
    """What a cluster's administrator wants of all new indexes of that name."""
    store.indices.put_index_template(
        name=f"dynaview-test-{pattern}", body={"index_patterns": [f"{pattern}*"], "template": {"settings": settings}}
    )
    try:
        yield
    finally:
        store.indices.delete_index_template(name=f"dynaview-test-{pattern}")


# Loads


@pytest.mark.parametrize(
    ("declared", "loading", "finished"),
    [
        ({}, ("-1", "0"), (None, "0")),
        ({"refresh_interval": "7s", "number_of_replicas": 1}, ("-1", "0"), ("7s", "1")),
        ({"refresh_interval": "-1"}, ("-1", "0"), ("-1", "0")),
    ],
)
def test_a_load_puts_off_what_slows_it_down(
    sink: OpenSearchSink, layout: Layouts, store: OpenSearch, declared: dict[str, Any], loading: Any, finished: Any
) -> None:
    target = sink.open(layout(settings=declared), 1)
    index = f"{target.layout.view}-g1"
    target.prepare(bulk=True)
    assert settings(store, index) == loading
    assert target.write([put(f"{row}") for row in range(50)]) == [APPLIED] * 50
    assert shown(store, index) == {}
    sink.open(target.layout, 1).prepare(bulk=True)
    assert settings(store, index) == loading, "another worker starts during the load"
    target.finish()
    assert settings(store, index) == finished
    assert len(shown(store, index)) == 50
    assert "loading" not in mark(store, index)
    target.finish()
    target.prepare(bulk=True)
    assert settings(store, index) == finished
    assert sink.problems(target.layout) == []


def test_a_number_of_copies_that_goes_by_the_nodes_is_left_to_them(
    line: Line, through: OpenSearchSink, layout: Layouts
) -> None:
    asked: list[bytes] = []

    def before(method: str, path: str, body: bytes) -> Answer | None:
        if method == "PUT" and path.endswith("/_settings"):
            asked.append(body)
        return None

    line.before = before
    target = through.open(layout(settings={"auto_expand_replicas": "0-1"}), 1)
    target.prepare(bulk=True)
    target.finish()
    assert [json.loads(body) for body in asked] == [
        {"index": {"refresh_interval": "-1"}},
        {"index": {"refresh_interval": None}},
    ]


def test_what_a_load_wrote_is_seen_at_once_by_whoever_asks_us(sink: OpenSearchSink, layout: Layouts) -> None:
    target = sink.open(layout(), 1)
    target.prepare(bulk=True)
    for version in (1, 2):
        assert target.write([put("a", version), Write("b", None, version)]) == [APPLIED] * 2
        assert target.count() == 1
        assert [(row.key, row.version) for row in target.rows()] == [("a", version)]
        assert [row and row.version for row in target.read(["a", "b"])] == [version, version]


def test_what_a_template_of_the_cluster_asks_for_is_put_back(
    sink: OpenSearchSink, layout: Layouts, store: OpenSearch
) -> None:
    wanted = layout()
    bare = replace(wanted, options=OpenSearchOptions(wanted.view, {}, {}))
    with template(store, wanted.view, {"number_of_replicas": 2, "refresh_interval": "9s"}):
        target = sink.open(bare, 1)
        target.prepare(bulk=True)
        assert settings(store, f"{wanted.view}-g1") == ("-1", "0")
        target.finish()
    assert settings(store, f"{wanted.view}-g1") == ("9s", "2")


def test_an_operators_own_settings_are_left_alone(sink: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    target = sink.open(layout(), 1)
    target.prepare()
    index = f"{target.layout.view}-g1"
    store.indices.put_settings(index=index, body={"index": {"refresh_interval": "-1", "number_of_replicas": 1}})
    for act in (target.finish, target.prepare, target.publish, lambda: target.prepare(bulk=True)):
        act()
        assert settings(store, index) == ("-1", "1")


@pytest.mark.parametrize(("lost", "act"), [("_mapping", "finish"), ("_settings", "prepare"), ("_mapping", "publish")])
def test_a_load_whose_end_is_cut_off_is_ended_by_the_next(
    line: Line, through: OpenSearchSink, layout: Layouts, store: OpenSearch, lost: str, act: str
) -> None:
    target = through.open(layout(settings={"refresh_interval": "7s"}), 1)
    target.prepare(bulk=True)
    target.write([put("a")])
    line.after = lambda method, path, body: DROP if method == "PUT" and lost in path else None
    with pytest.raises(SinkUnavailable):
        target.finish()
    line.after = lambda *_: None
    getattr(target, act)()
    assert settings(store, f"{target.layout.view}-g1") == ("7s", "0")
    assert "loading" not in mark(store, f"{target.layout.view}-g1")


@pytest.mark.parametrize("lost", ["_mapping", "_settings"])
def test_a_load_whose_beginning_is_cut_off(
    line: Line, through: OpenSearchSink, layout: Layouts, store: OpenSearch, lost: str
) -> None:
    target = through.open(layout(settings={"refresh_interval": "7s"}), 1)
    line.before = lambda method, path, body: DROP if method == "PUT" and lost in path else None
    with pytest.raises(SinkUnavailable):
        target.prepare(bulk=True)
    line.before = lambda *_: None
    target.prepare(bulk=True)
    assert target.write([put("a")]) == [APPLIED]
    target.finish()
    assert settings(store, f"{target.layout.view}-g1") == ("7s", "0")
    assert shown(store, f"{target.layout.view}-g1") == {"a": 1}


def test_copies_that_are_being_made_are_waited_for(line: Line, through: OpenSearchSink, layout: Layouts) -> None:
    target = through.open(layout(), 1)
    target.prepare(bulk=True)
    busy = Answer(408, {"timed_out": True, "initializing_shards": 1})
    line.before = lambda method, path, body: busy if "_cluster/health" in path else None
    with pytest.raises(SinkUnavailable, match="waiting for the copies of"):
        target.finish()
    line.before = lambda *_: None
    line.seen.clear()
    target.finish()
    (asked,) = [path for _, path, _ in line.seen if "_cluster/health" in path]
    assert "wait_for_no_initializing_shards=true" in asked
    assert "timeout=10s" in asked, "half of what we wait for an answer"


def test_finishing_what_is_not_there_or_not_ours(sink: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    target = sink.open(layout(), 1)
    with pytest.raises(SinkRefused, match="is not there"):
        target.finish()
    store.indices.create(index=f"{target.layout.view}-g1")
    with pytest.raises(SinkRefused, match="was not made by dynaview"):
        target.finish()
    with pytest.raises(SinkRefused, match="was not made by dynaview"):
        target.prepare(bulk=True)


# Swaps


def test_readers_never_see_neither_nor_both_nor_an_older_row(
    sink: OpenSearchSink, layout: Layouts, store: OpenSearch
) -> None:
    keys = [f"{number:02}" for number in range(40)]
    wanted = layout(settings={"refresh_interval": "20ms"})
    first, second = pair(sink, wanted)
    for target in (first, second):
        target.write([put(key) for key in keys] + [Write("gone", None, 1)])
        target.finish()
    done, turn = threading.Event(), threading.Semaphore(0)
    order = [first, second]

    def write() -> int:
        """As the pipeline does: both, the one that readers are about to see first."""
        version = 1
        while not done.is_set():
            version += 1
            for target in tuple(order):
                assert target.write([put(key, version) for key in keys]) == [APPLIED] * len(keys)
            turn.release()
        return version

    def read() -> int:
        newest, reads = dict.fromkeys(keys, 0), 0
        while not done.is_set():
            rows = shown(store, wanted.view)
            assert sorted(rows) == keys
            assert all(rows[key] >= newest[key] for key in keys), "a row went back"
            newest, reads = rows, reads + 1
        return reads

    with ThreadPoolExecutor(4) as pool:
        doing = [pool.submit(what) for what in (write, read, read)]
        for one in doing:
            one.add_done_callback(lambda _: done.set())
        try:
            for number in range(8):
                order.reverse()
                target = (second, first)[number % 2]
                assert order[0] is target
                # The batch that was under way may still be in the other order.
                while turn.acquire(blocking=False):
                    pass
                for _ in range(2):
                    assert turn.acquire(timeout=20)
                if done.is_set():
                    break
                target.publish()
        finally:
            done.set()
        assert all(one.result(timeout=20) > 0 for one in doing)


def test_what_readers_saw_until_the_swap_they_see_after_it(
    line: Line, through: OpenSearchSink, layout: Layouts, store: OpenSearch
) -> None:
    """The worst moment: both are written, and the one that readers see is refreshed, just before the swap."""
    first, second = pair(through, layout(settings={"refresh_interval": "10ms"}))
    second.finish()
    name = first.layout.view
    seen: list[dict[str, int]] = []

    def before(method: str, path: str, body: bytes) -> Answer | None:
        if method == "POST" and path.startswith("/_aliases"):
            line.before = lambda *_: None
            for target in (second, first):
                target.write([put("row", 5)])
            pause = threading.Event()
            for _ in range(40):
                # More than one of its refreshes would have come by.
                pause.wait(0.005)
                seen.append(shown(store, name))
            seen.append(shown(store, f"{name}-g2"))
        return None

    for target in (second, first):
        target.write([put("row", 4)])
    line.before = before
    second.publish()
    *until_now, next = seen
    assert until_now[-1] == {"row": 4}, "what readers see is held until the swap"
    assert next["row"] >= 4
    assert settings(store, f"{name}-g1") == settings(store, f"{name}-g2") == ("10ms", "0")


def test_what_was_written_is_seen_right_after_the_swap(
    sink: OpenSearchSink, layout: Layouts, store: OpenSearch
) -> None:
    first, second = pair(sink, layout(settings={"refresh_interval": "1h"}))
    second.finish()
    second.write([put("row", 5)])
    second.publish()
    assert shown(store, first.layout.view) == {"row": 5}


def test_a_load_that_is_published_unfinished_is_seen_all_the_same(
    sink: OpenSearchSink, layout: Layouts, store: OpenSearch
) -> None:
    first, second = pair(sink, layout())
    second.write([put("row", 5)])
    second.publish()
    assert shown(store, first.layout.view) == {"row": 5}
    assert settings(store, f"{first.layout.view}-g2") == (None, "0")


@pytest.mark.parametrize(
    ("where", "heals"),
    [
        ("before the swap", "publish"),
        ("before the swap", "prepare"),
        ("before the swap", "publish the other"),
        ("after the swap", "publish"),
        ("after the swap", "bulk"),
    ],
)
def test_a_worker_that_dies_in_a_swap_leaves_nothing_held(
    line: Line,
    through: OpenSearchSink,
    sink: OpenSearchSink,
    layout: Layouts,
    store: OpenSearch,
    where: str,
    heals: str,
) -> None:
    first, second = pair(through, layout(settings={"refresh_interval": "7s"}))
    second.finish()
    name = first.layout.view
    dead = threading.Event()

    def cut(method: str, path: str, body: bytes) -> Answer | None:
        if method == "POST" and path.startswith("/_aliases"):
            dead.set()
        return DROP if dead.is_set() else None

    if where == "before the swap":
        line.before = cut
    else:
        line.after = cut
    with pytest.raises(SinkUnavailable):
        second.publish()
    line.before = line.after = lambda *_: None
    assert settings(store, f"{name}-g1") == ("-1", "0")
    assert sink.published(first.layout) == (1 if where == "before the swap" else 2)
    acts: dict[str, Callable[[], None]] = {
        "publish": second.publish,
        "prepare": first.prepare,
        "publish the other": first.publish,
        "bulk": lambda: first.prepare(bulk=True),
    }
    acts[heals]()
    assert settings(store, f"{name}-g1") == settings(store, f"{name}-g2") == ("7s", "0")
    assert "swapping" not in mark(store, f"{name}-g1")


def test_a_swap_that_is_refused_leaves_all_as_it_was(
    line: Line, through: OpenSearchSink, layout: Layouts, store: OpenSearch
) -> None:
    first, second = pair(through, layout(settings={"refresh_interval": "7s"}))
    first.write([put("row", 5)])
    refusal = Answer(403, {"error": {"type": "security_exception", "reason": "no permissions"}, "status": 403})
    line.before = lambda method, path, body: refusal if path.startswith("/_aliases") else None
    with pytest.raises(SinkRefused, match="manage_aliases"):
        second.publish()
    name = first.layout.view
    assert store.indices.get_alias(name=name).keys() == {f"{name}-g1"}
    assert settings(store, f"{name}-g1") == ("7s", "0")


@pytest.mark.parametrize("path", ["_settings", "_mapping", "_cluster/health", "_refresh"])
def test_rights_that_a_load_needs(line: Line, through: OpenSearchSink, layout: Layouts, path: str) -> None:
    refusal = Answer(403, {"error": {"type": "security_exception", "reason": "no permissions"}, "status": 403})
    target = through.open(layout(), 1)
    target.prepare(bulk=True)
    line.before = lambda method, asked, body: refusal if path in asked else None
    with pytest.raises(SinkRefused, match="grant its user the cluster action groups"):
        target.finish()


# What is published


def test_the_generation_that_is_published_is_told(sink: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    wanted = layout()
    assert sink.published(wanted) is None
    targets = {number: sink.open(wanted, number) for number in (1, 2, 12)}
    for target in targets.values():
        target.prepare()
    assert sink.published(wanted) is None
    for number in (1, 12, 2):
        targets[number].publish()
        assert sink.published(wanted) == number
    targets[12].drop()
    assert sink.published(wanted) == 2
    assert shown(store, wanted.view) == {}
    targets[2].drop()
    assert sink.published(wanted) is None
    assert not store.indices.exists_alias(name=wanted.view)
    targets[1].publish()
    assert sink.published(replace(wanted, view="another")) is None


def test_what_others_made_is_not_published(sink: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    wanted = layout()
    store.indices.create(index=wanted.view)
    assert sink.published(wanted) is None


def test_the_filter_hides_tombstones_after_every_swap(sink: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    first, second = pair(sink, layout())
    for target in (first, second):
        target.write([put("row"), Write("gone", None, 1)])
    for target in (second, first, second):
        target.publish()
        assert shown(store, first.layout.view) == {"row": 1}


# Room


def test_room_is_the_size_of_a_generation_and_what_is_free(
    sink: OpenSearchSink, layout: Layouts, store: OpenSearch
) -> None:
    target = sink.open(layout(), 1)
    assert sink.room(target.layout, 1) is None
    target.prepare()
    target.write([put(f"{row}") for row in range(2000)])
    assert target.count() == 2000
    store.indices.flush(index=f"{target.layout.view}-g1")
    room = sink.room(target.layout, 1)
    assert room is not None
    size = store.indices.stats(index=f"{target.layout.view}-g1")["_all"]["total"]["store"]["size_in_bytes"]
    assert room.used == size > 20_000
    disk = store.nodes.stats(metric="fs")["nodes"]
    free = min(node["fs"]["total"]["available_in_bytes"] for node in disk.values())
    assert abs(room.free - free) < free / 2 + 2**30


@pytest.mark.parametrize("path", ["_stats", "_cat/allocation"])
def test_room_without_the_right_to_ask(line: Line, through: OpenSearchSink, layout: Layouts, path: str) -> None:
    target = through.open(layout(), 1)
    target.prepare()
    refusal = Answer(403, {"error": {"type": "security_exception", "reason": "no permissions"}, "status": 403})
    line.before = lambda method, asked, body: refusal if path in asked else None
    assert through.room(target.layout, 1) is None
    line.before = lambda method, asked, body: Answer(503, "busy") if path in asked else None
    with pytest.raises(SinkUnavailable):
        through.room(target.layout, 1)


def test_room_on_the_fullest_of_several_nodes(line: Line, through: OpenSearchSink, layout: Layouts) -> None:
    target = through.open(layout(), 1)
    target.prepare()
    nodes = [{"disk.avail": "5000"}, {"disk.avail": "3000"}, {"disk.avail": None}]
    line.before = lambda method, path, body: Answer(200, json.dumps(nodes)) if "_cat/allocation" in path else None
    room = through.room(target.layout, 1)
    assert room is not None
    assert room.free == 3000
    line.before = lambda method, path, body: Answer(200, "[]") if "_cat/allocation" in path else None
    assert through.room(target.layout, 1) is None
    line.before = lambda method, path, body: Answer(200, '{"a": 1}') if "_cat/allocation" in path else None
    with pytest.raises(SinkUnavailable, match="no readable answer"):
        through.room(target.layout, 1)
