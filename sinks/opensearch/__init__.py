"""Views kept in OpenSearch: one index a generation, an alias for readers, compare-and-set as the guard."""

from __future__ import annotations

from dynaview.sinks.opensearch.sink import OpenSearchSink

__all__ = ["OpenSearchSink"]
