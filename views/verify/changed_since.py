"""What has changed of late, as a table's stream has kept it (24 hours): which items, and what they were before."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

from dynaview.projections.attributes import Image, Shape, item_key
from dynaview.projections.changes import Change
from dynaview.sources.errors import IteratorExpired, StreamGone, Trimmed
from dynaview.sources.port import Key, Page, StreamReader, TableDescription, TableReader
from dynaview.views.reasons import moment
from dynaview.views.retry import Retrier

REACH = 24 * 3600.0
"""Seconds that a stream reaches back."""

EMPTY_PAGES = 20
"""So many empty pages one after the other are taken for the tip of an open shard; fewer prove nothing."""

_LABEL = re.compile(r"/stream/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)$")

Changed: TypeAlias = tuple[list[Key], list[tuple[Key, Image]]]
"""Keys of items that were not told before, and earlier states of items."""


class Recent:
    """The changes of one table that its stream still holds."""

    def __init__(self, table: TableReader, description: TableDescription, shape: Shape, patience: Retrier) -> None:
        self._table = table
        self._description = description
        self._shape = shape
        self._patience = patience

    def obstacle(self, at: float) -> str | None:
        """Why the stream cannot tell all that has changed since then; None where it can."""
        whole = "verify the whole view (without --since)"
        if self._description.stream_arn is None:
            return f"the stream of table {self._description.name} is off, so what has changed is not known: {whole}"
        if at < time.time() - REACH:
            return f"a stream reaches back 24 hours, to {moment(time.time() - REACH)}: {whole}"
        label = _LABEL.search(self._description.stream_arn)
        on = None if label is None else datetime.fromisoformat(label[1]).replace(tzinfo=UTC).timestamp()
        if on is not None and at < on:
            return f"the stream of table {self._description.name} is on only since {moment(on)}: {whole}"
        return None

    def changed(self, at: float) -> Iterator[Changed]:
        """What has changed since then up to now, a page of records at a time. Raises `SourceError`, `Stopped`."""
        until = time.time()
        stream = self._table.stream(self._description.stream_arn or "", self._shape)
        seen: set[int] = set()
        for shard in self._patience.insist(stream.shards):
            for changes in self._records(stream, shard.id, until):
                yield self._told(changes, at, seen)

    def _told(self, changes: Sequence[Change[Any]], at: float, seen: set[int]) -> Changed:
        keys: list[Key] = []
        states: list[tuple[Key, Image]] = []
        for change in changes:
            if change.body.time < int(at):  # AWS cuts it to the second
                continue
            key, name = change.body.key, hash(item_key(change.body.key))
            if name not in seen:
                seen.add(name)
                keys.append(key)
            if change.body.old is not None:
                states.append((key, change.body.old))
        return keys, states

    def _records(self, stream: StreamReader, shard: str, until: float) -> Iterator[Sequence[Change[Any]]]:
        """The records of one shard up to its end, to records of `until`, or to its tip."""
        after: str | None = None
        iterator: str | None = None
        empty = 0
        while empty < EMPTY_PAGES:
            try:
                if iterator is None:
                    iterator = self._patience.insist(partial(stream.open, shard, after))
                page: Page[Any] = self._patience.insist(partial(stream.read, iterator))
            except IteratorExpired:
                iterator = None
                continue
            except Trimmed:  # what is gone is older than what is asked for
                after = iterator = None
                continue
            except StreamGone:  # the shard has expired since it was listed
                return
            empty = 0 if page.changes or page.broken else empty + 1
            if page.changes:
                yield page.changes
                after = page.changes[-1].body.sequence
                if page.changes[-1].body.time > until:
                    return
            if page.next is None:
                return
            iterator = page.next
