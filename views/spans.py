"""Spans of the work, for whoever traces it. See `dynaview.views.telemetry` for who does."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Spans(Protocol):
    """What pages and batches are told to. Names and numbers only: never what is in an item. Thread-safe, and raises
    nothing."""

    def page(self, source: str, shard: str, records: int, seconds: float) -> object | None:
        """A page with records was read, and took so long until now; what links to it."""

    def batch(self, view: str, changes: int, pages: Iterable[object | None]) -> AbstractContextManager[object]:
        """So many changes are brought into a view until the end of the block; they came with these pages."""

    def write(self, sink: str, rows: int) -> AbstractContextManager[object]:
        """So many rows are written to a store until the end of the block, within a batch."""


class NoSpans:
    """Nobody traces."""

    def page(self, source: str, shard: str, records: int, seconds: float) -> None:
        """See `Spans`."""
        return

    def batch(self, view: str, changes: int, pages: Iterable[object | None]) -> AbstractContextManager[object]:
        """See `Spans`."""
        return _NOTHING

    def write(self, sink: str, rows: int) -> AbstractContextManager[object]:
        """See `Spans`."""
        return _NOTHING


_NOTHING = nullcontext()
