"""Faults scripted around any target: refused, failed after the write, half a batch, held."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from dynaview.projections.columns import Columns
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import (
    CanonicalRows,
    ConditionalWrite,
    Foreign,
    Outcome,
    RefusedRow,
    SinkRefused,
    SinkUnavailable,
    Stored,
    Target,
    exceptions,
)

Fault: TypeAlias = Literal["refuse", "lose", "half", "forbid"]
"""refuse: fail before the write. lose: write, then fail, as when the answer is lost. half: write half, then fail.
forbid: fail as for missing rights."""


class FaultyTarget:
    """A target that goes wrong as scripted, and keeps the versions it has shown of each row."""

    def __init__(self, inner: Target) -> None:
        self.inner = inner
        self.layout = inner.layout
        self.generation = inner.generation
        self.faults: list[Fault] = []
        """Played from the first on, one a write."""
        self.down = False
        """While set, every write is refused."""
        self.batches: list[int] = []
        self._open = threading.Event()
        self._open.set()
        self.entered = threading.Event()
        """Set when a write has come while held."""

    @contextmanager
    def held(self) -> Iterator[None]:
        """Writes wait until the block ends."""
        self.entered.clear()
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def release(self) -> None:
        """Let held writes go."""
        self._open.set()

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        self.batches.append(len(writes))
        if not self._open.is_set():
            self.entered.set()
            self._open.wait(30)
        if self.down:
            raise SinkUnavailable("scripted: down")
        fault = self.faults.pop(0) if self.faults else None
        if fault == "refuse":
            raise SinkUnavailable("scripted: refused")
        if fault == "forbid":
            raise SinkRefused("scripted: forbidden; grant everything")
        if fault == "half":
            self.inner.write(writes[: len(writes) // 2])
            raise SinkUnavailable("scripted: failed half way")
        outcomes = self.inner.write(writes)
        if fault == "lose":
            raise SinkUnavailable("scripted: answer lost")
        return outcomes

    def write_columns(self, columns: Columns) -> dict[int, Outcome]:
        return exceptions(self.write(columns.writes()))

    def write_if_unchanged(self, conditional_writes: Sequence[ConditionalWrite]) -> list[Outcome]:
        return self.inner.write_if_unchanged(conditional_writes)

    def prepare(self, bulk: bool = False) -> None:
        self.inner.prepare(bulk)

    def finish(self, kept: Sequence[RefusedRow] = ()) -> list[RefusedRow]:
        return self.inner.finish(kept)

    def publish(self) -> None:
        self.inner.publish()

    def content(self, write: Write) -> Any:
        return self.inner.content(write)

    def canonical(self, write: Write) -> bytes | None:
        return self.inner.canonical(write)

    def fault(self, write: Write) -> str | None:
        return self.inner.fault(write)

    def read(self, keys: Sequence[RowKey], contents: bool = True) -> list[Stored | None]:
        return self.inner.read(keys, contents)

    def rows(self) -> Iterator[Stored]:
        return self.inner.rows()

    def rows_of(self, owners: Collection[str]) -> Iterator[Stored]:
        return self.inner.rows_of(owners)

    def earlier(self) -> Iterator[Stored]:
        return self.inner.earlier()

    def canonical_rows(self) -> Iterator[CanonicalRows]:
        return self.inner.canonical_rows()

    def show(self) -> None:
        self.inner.show()

    def foreign(self) -> Iterator[Foreign]:
        return self.inner.foreign()

    def remove_foreign(self, foreign: Sequence[Foreign]) -> int:
        return self.inner.remove_foreign(foreign)

    def count(self) -> int:
        return self.inner.count()

    def purge(self, older_than: timedelta) -> int:
        return self.inner.purge(older_than)

    def drop(self) -> None:
        self.inner.drop()
