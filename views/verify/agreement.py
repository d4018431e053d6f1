"""Whether a row is as its item asks: of the right owner, with the right content, or gone because it has expired."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from dynaview.projections.rows import EXPIRE, LONG_AGO, Layout, RedisOptions, Write
from dynaview.sinks.port import Stored

NEAR = 60.0
"""Seconds around a row's expiry, and around the time from when on it lies too long ago to count, in which the row may
or may not stand: clocks differ, and stores take their time."""


class Agreement:
    """What agrees in rows of one layout."""

    def __init__(self, layout: Layout, now: Callable[[], float] = time.time) -> None:
        options = layout.options
        self.expires_alone = isinstance(options, RedisOptions) and options.expire_after is not None
        """Whether rows go some time after they were written, which nobody can tell from their items."""
        self._expires_at = isinstance(options, RedisOptions) and options.expire_field
        self._now = now

    def is_right(self, write: Write, content: Any, row: Stored | None) -> bool:
        """Whether `row` stands as `write` asks; `content` is `Target.content` of it."""
        if row is None or row.content is None:
            return content is None or (row is None and self.expires_alone) or self._expires_now(write)
        return (is_of(write, row) and content == row.content) or (content is None and self._expires_now(write))

    def _expires_now(self, write: Write) -> bool:
        if not self._expires_at or not write.values:
            return False
        at = write.values.get(EXPIRE) if isinstance(write.values, dict) else write.values[-1]
        return at is not None and any(abs(float(at) + ago - self._now()) < NEAR for ago in (0.0, LONG_AGO))


def is_of(write: Write, row: Stored) -> bool:
    """Whether a row is of the item that writes."""
    return not write.owner or write.owner == row.owner
