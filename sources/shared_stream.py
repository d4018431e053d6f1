"""A stream whose pages processes of one machine hand to each other (see `page_ring`).

An iterator is a text of its own: the shard, the position behind which it stands, and AWS's iterator. So it can be
answered with a page that another process has read, which may begin before that position.

Only pages in the middle of a shard are handed on. An empty page, which with many others shows that a shard is read to
its tip, and the end of a shard are AWS's own answer to each process.
"""

from __future__ import annotations

from typing import Any

from dynaview.sources.errors import SourceRefused
from dynaview.sources.page_ring import PageRing
from dynaview.sources.port import Page, Shard
from dynaview.sources.stream import DynamoStream


class SharedStream:
    """A `StreamReader` over another one. Safe to use from several threads."""

    def __init__(self, stream: DynamoStream, ring: PageRing) -> None:
        self.arn = stream.arn
        self._stream = stream
        self._ring = ring

    def shards(self) -> list[Shard]:
        """See `StreamReader.shards`."""
        return self._stream.shards()

    def children(self, shard_id: str) -> list[Shard]:
        """See `StreamReader.children`."""
        return self._stream.children(shard_id)

    def open(self, shard_id: str, after: str | None) -> str:
        """See `StreamReader.open`."""
        return _text(shard_id, None if after is None else int(after), self._stream.open(shard_id, after))

    def read(self, iterator: str, limit: int = 1000) -> Page[Any]:
        """See `StreamReader.read`."""
        shard, after, of_aws = _parts(iterator)
        if after is None:  # at the oldest record that is left now
            page = self._stream.read(of_aws, limit)
            return _at(page, shard, _behind(page, None))
        if (body := self._ring.find(self.arn, shard, after)) is not None:
            page = self._stream.decode(body)
            if not page.broken and page.next is not None:  # to this process's shape
                page.changes = [change for change in page.changes if int(change.body.sequence) > after]
                return _at(page, shard, _behind(page, after))
        return self._fetch(shard, after, of_aws, limit)

    def _fetch(self, shard: str, after: int, of_aws: str, limit: int) -> Page[Any]:
        """Ask AWS, and hand on what others may need."""
        last: int | None = None
        try:
            body = self._stream.fetch(of_aws, limit)
            page = self._stream.decode(body)
            if page.changes and not page.broken and page.next is not None:
                last = _behind(page, after)
        finally:
            if last is None:
                self._ring.give_up(self.arn, shard, after)
        if last is not None:
            self._ring.put(self.arn, shard, after, last, body)
        return _at(page, shard, _behind(page, after))


def _at(page: Page[Any], shard: str, after: int | None) -> Page[Any]:
    """The page, with an iterator behind a position."""
    if page.next is not None:
        page.next = _text(shard, after, page.next)
    return page


def _behind(page: Page[Any], after: int | None) -> int | None:
    """The position behind a page that was read behind `after`; None where it is not known: a record that cannot be read
    may not tell its own."""
    sequences = [change.body.sequence for change in page.changes[-1:]]
    for record in page.broken:
        if record.sequence is None:
            return None
        sequences.append(record.sequence)
    return max(map(int, sequences), default=after)


def _text(shard: str, after: int | None, of_aws: str) -> str:
    return f"{shard} {'' if after is None else after} {of_aws}"


def _parts(iterator: str) -> tuple[str, int | None, str]:
    try:
        shard, after, of_aws = iterator.split(" ", 2)
        return shard, int(after) if after else None, of_aws
    except ValueError:
        raise SourceRefused("not an iterator of this stream") from None
