"""What has changed of late, as a table's stream has kept it (24 hours): which items, and what they were before."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from dynaview.projections.attributes import Image, Shape, item_key
from dynaview.projections.changes import Change
from dynaview.sources.errors import StreamGone, Trimmed
from dynaview.sources.port import Key, StreamReader, TableDescription, TableReader
from dynaview.views.reasons import moment
from dynaview.views.retry import Retrier, Stopped
from dynaview.views.streaming.offsets import Delivery
from dynaview.views.streaming.shard_reader import ReadSettings, ShardReader

REACH = 24 * 3600.0
"""Seconds that a stream reaches back."""

PACE = ReadSettings(poll_first=0.2, poll_cap=0.2)
"""A third reader beside the daemon's two takes one page of a shard at a time, five a second at the most."""

_LABEL = re.compile(r"/stream/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+)$")

Changed: TypeAlias = tuple[list[Key], list[tuple[Key, Image]]]
"""Keys of items that were not told before, and earlier states of items."""


class Recent:
    """The changes of one table that its stream still holds."""

    def __init__(
        self,
        table: TableReader,
        description: TableDescription,
        shape: Shape,
        retrier: Retrier,
        settings: ReadSettings = PACE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._description = description
        self._shape = shape
        self._retrier = retrier
        self._settings = settings
        self._clock = clock

    def obstacle(self, at: float) -> str | None:
        """Why the stream cannot tell all that has changed since then; None where it can."""
        whole = "verify the whole view (without --since)"
        if self._description.stream_arn is None:
            return f"the stream of table {self._description.name} is off, so what has changed is not known: {whole}"
        reach = self._clock() - REACH
        if at < reach:
            return f"a stream reaches back 24 hours, to {moment(reach)}: {whole}"
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
        for changes in self._records(stream, until):
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

    def _records(self, stream: StreamReader, until: float) -> Iterator[Sequence[Change[Any]]]:
        """The records of all shards, each up to its end, to records of `until`, or to its tip. Shards take turns: the
        daemon reads them as well, so each is left alone for a while after every page."""
        shards = self._retrier.insist(stream.shards)
        due = deque((0.0, ShardReader(stream, shard, settings=self._settings)) for shard in shards)
        while due:
            at, reader = due.popleft()
            if self._retrier.stop.wait(max(0.0, at - time.monotonic())):
                raise Stopped
            if (delivery := self._page(reader)) is None:
                continue
            if delivery.changes:
                yield delivery.changes
            late = bool(delivery.changes) and delivery.changes[-1].body.time > until
            seen = reader.read_up_to is not None and reader.read_up_to >= until
            if not (delivery.end or late or seen):
                due.append((time.monotonic() + max(self._settings.poll_cap, reader.pause), reader))

    def _page(self, reader: ShardReader) -> Delivery | None:
        """The next page of a shard; None where nothing of it is left."""
        while not reader.believed:
            try:
                return self._retrier.insist(reader.read)
            except Trimmed:  # what is gone is older than what is asked for
                reader.begin_again()
            except StreamGone:  # the shard has expired since it was listed
                return None
        return None
