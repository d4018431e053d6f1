"""How much OpenSearch is asked for at once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one store. The defaults suit every cluster; tests take smaller ones."""

    request_bytes: int = 5_000_000
    """The most that one request carries, and so the longest document. Clusters allow at least 10 MB
    (``http.max_content_length``; 100 MB unless the provider set less)."""
    request_writes: int = 5_000
    looks: int = 2_000
    """Rows whose positions one request asks for."""
    rounds: int = 100
    """How often a write may lose its compare-and-set. Each loss means that another writer won, so even a few are
    rare."""
    read_rows: int = 500
    """Rows that one request reads by their keys."""
    page_rows: int = 1_000
    """Rows in a page of a listing."""
    shown_within: float = 120.0
    """Seconds until a write shows at the latest, where a refresh cannot be asked for (Serverless: 10 to 60)."""
    shown_pause: float = 1.0
    """Seconds between two looks at whether it does."""
    purge_rows: int = 5_000
    """Tombstones that one request removes, so that it ends well within the timeout."""


LIMITS = Limits()
