"""Searches show a write a moment later than it is kept; `Target.show` ends when they do."""

from __future__ import annotations

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
