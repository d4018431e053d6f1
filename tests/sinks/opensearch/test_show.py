"""Searches show a write a moment later than it is kept; `Target.show` ends when they do."""

from __future__ import annotations

from datetime import timedelta

from opensearchpy import OpenSearch

from dynaview.projections.rows import OpenSearchOptions, Write
from dynaview.sinks.opensearch import OpenSearchSink
from dynaview.sinks.port import APPLIED
from tests.sinks.opensearch.conftest import SETTINGS, new_layout


def found(store: OpenSearch, index: str) -> int:
    return int(store.search(index=index)["hits"]["total"]["value"])


def test_searches_find_a_row_once_it_was_shown(sink: OpenSearchSink, store: OpenSearch) -> None:
    layout = new_layout(settings={**SETTINGS, "refresh_interval": "-1"})
    assert isinstance(layout.options, OpenSearchOptions)
    target = sink.open(layout, 1)
    target.prepare()
    target.publish()
    assert target.write([Write("a", ("x", None, None), 1)]) == [APPLIED]
    assert found(store, layout.options.index) == 0
    target.show()
    assert found(store, layout.options.index) == 1
    assert list(target.foreign()) == []


def test_a_deleted_row_is_shown_to_no_search_but_to_a_get_by_id(sink: OpenSearchSink, store: OpenSearch) -> None:
    """As the page on declarations and the index's own ``_meta`` tell readers."""
    target = sink.open(new_layout(), 1)
    target.prepare()
    target.publish()
    assert isinstance(target.layout.options, OpenSearchOptions)
    readers = target.layout.options.index
    assert target.write([Write("a", ("x", None, None), 1), Write("b", ("y", None, None), 1)]) == [APPLIED] * 2
    assert target.write([Write("a", None, 2)]) == [APPLIED]
    target.show()
    query = {"query": {"ids": {"values": ["a", "b"]}}}
    assert [hit["_id"] for hit in store.search(index=readers, body=query)["hits"]["hits"]] == ["b"]
    source = store.get(index=readers, id="a")["_source"]
    assert source["_deleted"] is True
    assert "name" not in source
    (index,) = store.indices.get(index=readers).values()
    assert "GET by id" in index["mappings"]["_meta"]["readers"]
    target.purge(timedelta(0))
    assert not store.exists(index=readers, id="a")
