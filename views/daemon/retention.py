"""Views that are so far behind that the stream will soon have trimmed what they have not read: told hours before."""

from __future__ import annotations

import time
from collections.abc import Callable

from dynaview.views.control.records import ViewRecord
from dynaview.views.reasons import retention_warning

EVERY = 3600.0
"""Seconds between two warnings of one view."""


class RetentionWatch:
    """Says of which views the log is to warn, and remembers when it has."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}

    def line(self, record: ViewRecord) -> str | None:
        """What is to be said of a view now; None where there is nothing, or it was said within `EVERY`."""
        now = self._clock()
        text = None if record.state.ends else retention_warning(record.watermark, now)
        if text is None:
            self._told.pop(record.name, None)
            return None
        if now - self._told.get(record.name, 0.0) < EVERY:
            return None
        self._told[record.name] = now
        return f"{text}; it is {record.state}: {record.reason}" if record.reason else text
