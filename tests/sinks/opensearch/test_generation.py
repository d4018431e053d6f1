"""Indexes and aliases: made, marked, shown to readers, left alone, lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from opensearchpy import OpenSearch

from dynaview.projections.rows import Field, Layout, OpenSearchOptions, RedisOptions, Write
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.opensearch.mapping import DERIVED
from dynaview.sinks.opensearch.target import OpenSearchTarget
from dynaview.sinks.port import APPLIED, STALE, SinkRefused
from tests.sinks.opensearch.line import Answer, Line

Layouts = Callable[..., Layout]


def put(key: str, version: int) -> Write:
    return Write(key, (f"{key} {version}", None, None), version)


def listed(store: OpenSearch, name: str) -> list[str]:
    """What readers of the alias find."""
    store.indices.refresh(index=name)
    return sorted(hit["_id"] for hit in store.search(index=name, body={"size": 100})["hits"]["hits"])


def taken(error: pytest.ExceptionInfo[SinkRefused], *words: str) -> bool:
    return all(word in str(error.value) for word in words)


# Mapping


def test_the_mapping_follows_the_field_types(sink: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    scalars = tuple(Field(type, type) for type in DERIVED)
    arrays = tuple(Field(f"{type}s", f"{type}[]") for type in DERIVED if type not in ("any", "json"))
    own = (
        Field("body", "text", mapping={"type": "text", "analyzer": "standard"}),
        Field("title", "text", mapping={"type": "text"}),
    )
    explicit = {"title": {"type": "keyword", "ignore_above": 10}, "extra": {"type": "ip"}}
    target = sink.open(layout((*scalars, *arrays, *own), explicit, {"refresh_interval": "7s"}), 3)
    target.prepare()
    name = f"{target.layout.view}-g3"
    made = store.indices.get(index=name)[name]
    assert made["mappings"]["dynamic"] == "strict"
    assert made["settings"]["index"]["refresh_interval"] == "7s"
    hidden = {"type": "keyword", "index": False, "doc_values": False}
    assert made["mappings"]["properties"] == {
        "any": {"type": "keyword"},
        "text": {"type": "keyword"},
        "texts": {"type": "keyword"},
        "integer": {"type": "integer"},
        "integers": {"type": "integer"},
        "bigint": {"type": "long"},
        "bigints": {"type": "long"},
        "decimal": {"type": "double"},
        "decimals": {"type": "double"},
        "double": {"type": "double"},
        "doubles": {"type": "double"},
        "boolean": {"type": "boolean"},
        "booleans": {"type": "boolean"},
        "timestamp": {"type": "date"},
        "timestamps": {"type": "date"},
        "date": {"type": "date"},
        "dates": {"type": "date"},
        "json": {"type": "object", "enabled": False},
        "binary": {"type": "binary"},
        "binarys": {"type": "binary"},
        "body": {"type": "text", "analyzer": "standard"},
        "title": {"type": "keyword", "ignore_above": 10},
        "extra": {"type": "ip"},
        "_v": hidden,
        "_o": {"type": "keyword", "doc_values": False},
        "_deleted": {"type": "boolean"},
        "_deleted_at": {"type": "date"},
    }


def test_open_refuses_what_is_no_layout_for_opensearch(sink: OpenSearchSink, layout: Layouts) -> None:
    with pytest.raises(ValueError, match="not laid out"):
        sink.open(Layout("cache", (), (), RedisOptions()), 1)
    for bad in (layout((Field("_v"),)), layout(mappings={"_deleted": {"type": "keyword"}})):
        with pytest.raises(ValueError, match="dynaview's own"):
            sink.open(bad, 1)


def test_fields_with_dots_are_what_opensearch_makes_of_them(sink: OpenSearchSink, layout: Layouts) -> None:
    target = sink.open(layout((Field("shipping.city", "text"), Field("shipping.zip", "text"))), 1)
    target.prepare()
    sink.open(target.layout, 1).prepare()
    assert target.write([Write("row", ("Berlin", None), 1)]) == [APPLIED]
    (stored,) = target.read(["row"])
    assert stored is not None
    assert stored.content == {"shipping.city": "Berlin"}


# What is not ours


@pytest.mark.parametrize("what", ["index", "alias", "generation", "generation alias"])
def test_what_others_made_is_never_touched(sink: OpenSearchSink, layout: Layouts, store: OpenSearch, what: str) -> None:
    wanted = layout()
    name = wanted.view
    theirs = {"index": name, "alias": f"{name}-theirs", "generation": f"{name}-g1", "generation alias": f"{name}-own"}
    store.index(index=theirs[what], id="theirs", body={"a": 1})
    if what == "alias":
        store.indices.put_alias(index=theirs[what], name=name)
    if what == "generation alias":
        store.indices.put_alias(index=theirs[what], name=f"{name}-g1")
    before = store.indices.get(index=theirs[what])
    target = sink.open(wanted, 1)
    for act in (target.prepare, target.publish, lambda: target.write([put("row", 1)]), lambda: target.read(["theirs"])):
        with pytest.raises(SinkRefused) as error:
            act()
        assert name in str(error.value)
        assert any(word in str(error.value) for word in ("choose another index name", "fill the view anew"))
    if what != "generation alias":
        target.drop()
        (problem,) = sink.problems(wanted)
        assert "choose another index name" in problem
    assert store.indices.get(index=theirs[what]) == before
    assert store.count(index=theirs[what])["count"] <= 1
    assert store.get(index=theirs[what], id="theirs")["_source"] == {"a": 1}


def test_the_index_of_another_view_is_never_touched(sink: OpenSearchSink, layout: Layouts) -> None:
    first = sink.open(layout(), 1)
    first.prepare()
    first.publish()
    first.write([put("row", 1)])
    second = sink.open(replace(first.layout, view="another"), 1)
    for act in (second.prepare, second.publish, lambda: second.write([put("row", 9)])):
        with pytest.raises(SinkRefused, match=f"belongs to view {first.layout.view}"):
            act()
    second.drop()
    assert sink.problems(second.layout) != []
    assert first.write([put("row", 1)]) == [STALE]
    assert first.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda options: {"fields": (Field("name", "integer"),)},
        lambda options: {"fields": None},
        lambda options: {"options": replace(options, mappings={"name": {"type": "text"}})},
        lambda options: {"options": replace(options, settings={"number_of_shards": 2, "number_of_replicas": 0})},
    ],
)
def test_another_shape_needs_filling_anew(
    sink: OpenSearchSink, target: OpenSearchTarget, change: Callable[[Any], dict[str, Any]]
) -> None:
    target.publish()
    assert isinstance(target.layout.options, OpenSearchOptions)
    changed = replace(target.layout, **change(target.layout.options))
    other = sink.open(changed, 1)
    for act in (other.prepare, other.publish, lambda: other.read(["row"])):
        with pytest.raises(SinkRefused, match="fill the view anew"):
            act()
    (problem,) = sink.problems(changed)
    assert "fill the view anew" in problem
    assert sink.problems(target.layout) == []
    following = sink.open(changed, 2)
    following.prepare()
    following.publish()
    assert sink.problems(changed) == []


def test_a_mapping_changed_by_hand_needs_filling_anew(sink: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    target = sink.open(layout(), 1)
    target.prepare()
    target.publish()
    index = f"{target.layout.view}-g1"
    mark = store.indices.get_mapping(index=index)[index]["mappings"]["_meta"]
    made = store.indices.get(index=index)[index]
    store.indices.delete(index=index)
    # As a restored or re-indexed copy would be: our mark, our door, another mapping.
    made["mappings"]["properties"]["count"] = {"type": "keyword"}
    del made["mappings"]["properties"]["total"]
    store.indices.create(index=index, body={"mappings": made["mappings"] | {"_meta": mark}, "aliases": made["aliases"]})
    with pytest.raises(SinkRefused, match="count is mapped as keyword, not integer"):
        target.prepare()
    assert "total is mapped as nothing" in "".join(sink.problems(target.layout))


def test_settings_and_mappings_that_opensearch_refuses(sink: OpenSearchSink, layout: Layouts) -> None:
    for bad, words in (
        (layout(mappings={"name": {"type": "keywrod"}}), ("keywrod", "name")),
        (layout(settings={"number_of_shadrs": 1}), ("number_of_shadrs",)),
        (layout(index="Upper"), ("lowercase",)),
    ):
        with pytest.raises(SinkRefused) as error:
            sink.open(bad, 1).prepare()
        assert taken(error, *words)
        if bad.view != "Upper":
            (problem,) = sink.problems(bad)
            assert all(word in problem for word in words)


# Readers


def test_readers_see_rows_of_one_generation_and_no_tombstones(
    sink: OpenSearchSink, layout: Layouts, store: OpenSearch
) -> None:
    first, second = (sink.open(layout_, number) for layout_ in [layout()] for number in (1, 2))
    name = first.layout.view
    for number, target in enumerate((first, second), start=1):
        target.prepare()
        target.write([put("both", 5), put(f"only {number}", 5), put("gone", 5)])
        target.write([Write("gone", None, 6), Write("never", None, 6)])
    assert not store.indices.exists_alias(name=name)
    first.publish()
    assert listed(store, name) == ["both", "only 1"]
    second.publish()
    second.publish()
    assert listed(store, name) == ["both", "only 2"]
    assert [*store.indices.get_alias(name=name)] == [f"{name}-g2"]
    first.publish()
    assert listed(store, name) == ["both", "only 1"]
    second.drop()
    assert listed(store, name) == ["both", "only 1"]
    first.drop()
    assert not store.indices.exists_alias(name=name)


def test_the_swap_is_one_request(line: Line, through: OpenSearchSink, layout: Layouts) -> None:
    wanted = layout()
    first, second = through.open(wanted, 1), through.open(wanted, 2)
    first.prepare()
    first.publish()
    second.prepare()
    line.seen.clear()
    second.publish()
    assert [path for method, path, _ in line.seen if method != "GET" and "alias" in path] == ["/_aliases"]


def test_publishing_at_once_leaves_one_generation(sink: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    wanted = layout()
    targets = [sink.open(wanted, number) for number in (1, 2, 3)]
    for target in targets:
        target.prepare()
    with ThreadPoolExecutor(3) as pool:
        for _ in range(5):
            list(pool.map(lambda target: target.publish(), targets))
            assert len(store.indices.get_alias(name=wanted.view)) == 1


# Lost


def test_an_index_deleted_by_hand_is_never_made_on_the_fly(target: OpenSearchTarget, store: OpenSearch) -> None:
    name = f"{target.layout.view}-g1"
    assert target.write([put("row", 1)]) == [APPLIED]
    store.indices.delete(index=name)
    for act in (
        lambda: target.write([put("row", 2)]),
        lambda: target.write([put("new", 2)]),
        lambda: target.read(["row"]),
        lambda: target.count(),
        lambda: list(target.rows()),
        target.publish,
    ):
        with pytest.raises(SinkRefused, match="fill the view anew"):
            act()
    assert store.indices.get(index=f"{target.layout.view}*") == {}


@pytest.mark.parametrize("read", ["read", "count", "rows", "write"])
def test_an_index_deleted_under_our_feet(target: OpenSearchTarget, store: OpenSearch, read: str) -> None:
    assert target.write([put("row", 1)]) == [APPLIED]
    store.indices.delete(index=f"{target.layout.view}-g1")
    acts: dict[str, Callable[[], object]] = {
        "read": lambda: target.read(["row"]),
        "count": target.count,
        "rows": lambda: list(target.rows()),
        "write": lambda: target.write([put("row", 2)]),
    }
    with pytest.raises(SinkRefused, match="fill the view anew"):
        acts[read]()
    target.prepare()
    assert target.write([put("row", 1)]) == [APPLIED], "what was remembered of the lost index counts no more"


def test_an_index_made_again_by_another_is_not_taken_for_the_old_one(
    sink: OpenSearchSink, target: OpenSearchTarget
) -> None:
    # The row stands at the same sequence number and term in both, so only the door tells them apart.
    assert target.write([put("row", 5)]) == [APPLIED]
    other = sink.open(target.layout, 1)
    other.drop()
    other.prepare()
    assert other.write([put("row", 9)]) == [APPLIED]
    with pytest.raises(SinkRefused, match="fill the view anew"):
        target.write([put("row", 6)])
    assert target.write([put("row", 6)]) == [STALE]
    (stored,) = target.read(["row"])
    assert stored is not None
    assert stored.version == 9


def test_preparing_again_finds_the_index_that_another_made(sink: OpenSearchSink, target: OpenSearchTarget) -> None:
    assert target.write([put("row", 5)]) == [APPLIED]
    other = sink.open(target.layout, 1)
    other.drop()
    other.prepare()
    assert other.write([put("row", 2)]) == [APPLIED]
    target.prepare()
    assert target.write([put("row", 4)]) == [APPLIED]


def test_an_index_without_its_door_needs_filling_anew(
    sink: OpenSearchSink, target: OpenSearchTarget, store: OpenSearch
) -> None:
    store.indices.delete_alias(index=f"{target.layout.view}-g1", name=f"{target.layout.view}-g1-*")
    with pytest.raises(SinkRefused, match="fill the view anew"):
        target.write([put("row", 1)])
    with pytest.raises(SinkRefused, match="fill the view anew"):
        sink.open(target.layout, 1).prepare()


def test_dropping_while_another_drops(line: Line, through: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    target = through.open(layout(), 1)
    target.prepare()

    def before(method: str, path: str, body: bytes) -> Answer | None:
        if method == "DELETE":
            store.indices.delete(index=f"{target.layout.view}-g1")
        return None

    line.before = before
    target.drop()
    target.drop()


# The highest


def test_a_closed_index_counts_as_a_generation_and_a_copy_does_not(
    sink: OpenSearchSink, layout: Layouts, store: OpenSearch
) -> None:
    view = layout()
    for number in (1, 2, 3):
        sink.open(view, number).prepare()
    store.indices.close(index=f"{view.view}-g3")
    assert sink.highest(view) == 3
    store.indices.put_settings(index=f"{view.view}-g2", body={"index.blocks.write": True})
    store.indices.clone(index=f"{view.view}-g2", target=f"{view.view}-g9")
    assert store.indices.get_mapping(index=f"{view.view}-g9")[f"{view.view}-g9"]["mappings"]["_meta"]["dynaview"]
    store.indices.delete(index=f"{view.view}-g3")
    store.indices.delete(index=f"{view.view}-g2")
    assert sink.highest(view) == 1


def test_what_others_made_is_no_generation(sink: OpenSearchSink, layout: Layouts, store: OpenSearch) -> None:
    view = layout()
    store.indices.create(index=f"{view.view}-g5")
    # Another view under the same name, as before it was called otherwise.
    sink.open(replace(view, view="before"), 6).prepare()
    neighbour = layout(index=f"{view.view}-g")
    sink.open(neighbour, 7).prepare()
    assert sink.highest(view) == 0
    assert sink.highest(neighbour) == 7
