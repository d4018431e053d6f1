"""A target whose listing and reads can be watched and made to fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dynaview.projections.rows import RowKey
from dynaview.sinks.canonical import listed
from dynaview.sinks.port import CanonicalRows, SinkRefused, SinkUnavailable, Stored


def once(act: Callable[[], object]) -> Callable[[], object]:
    """Does it the first time only."""
    left = [act]
    return lambda: left.pop()() if left else None


class Listing:
    """A target whose listing and reads can be watched and made to fail."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.layout = inner.layout
        self.generation = inner.generation
        self.content = inner.content
        self.after: Callable[[], object] = lambda: None
        """Called once, when the first listing has ended."""
        self.before_read: Callable[[], object] = lambda: None
        self.failures: list[str] = []
        self.refusing = False

    def rows(self) -> Iterator[Stored]:
        if self.refusing:
            raise SinkRefused("grant everything")
        found = list(self.inner.rows())
        yield from found[: len(found) // 2]
        if "rows" in self.failures:
            self.failures.remove("rows")
            raise SinkUnavailable("away")
        yield from found[len(found) // 2 :]
        once, self.after = self.after, lambda: None
        once()

    def canonical_rows(self) -> Iterator[CanonicalRows]:
        return listed(self.rows())

    def read(self, keys: Sequence[RowKey], contents: bool = True) -> list[Stored | None]:
        if "read" in self.failures:
            self.failures.remove("read")
            raise SinkUnavailable("away")
        self.before_read()
        found: list[Stored | None] = self.inner.read(keys)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
