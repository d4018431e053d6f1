"""Moments that somebody waits for, and how soon idle shards are read again because of them.

What lets a watermark pass a moment where nothing changes is a run of empty pages, the first of which was asked for when
the moment and a margin had passed (see `shard_reader`). Reads before that prove nothing of the moment, so until then a
shard rests as it always does; from then on it is read as often as can be, until the run is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dynaview.views.streaming.shard_reader import ReadSettings, ShardReader

HURRY = 0.02
"""The longest rest between two reads of a shard that are to prove something."""

LASTS = 2.0
"""Seconds after which a moment is forgotten, unless it is noted again."""


class AwaitedMoments:
    """See the module. Thread-safe."""

    def __init__(
        self,
        settings: ReadSettings,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` tells the time in seconds since 1970."""
        self._settings = settings
        self._now = now
        self._monotonic = monotonic
        self._noted: dict[float, float] = {}
        """Until when each moment is remembered, as the monotonic clock has it; never changed, but replaced."""

    def note(self, moment: float) -> None:
        """Somebody waits until a watermark has passed a moment (seconds since 1970)."""
        self._noted = {**self._left(), moment: self._monotonic() + LASTS}

    def rest(self, reader: ShardReader, usual: float) -> float:
        """How long an idle shard rests before it is read again, `usual` where nobody waits."""
        shown = reader.read_up_to
        left = [moment for moment in self._left() if shown is None or shown <= moment]
        if not left:
            return usual
        hurry = min(HURRY, self._settings.poll_first)
        begins = min(left) + self._settings.tip_margin - self._now()
        return min(usual, max(hurry, begins))

    def _left(self) -> dict[float, float]:
        noted, now = self._noted, self._monotonic()
        return {moment: until for moment, until in noted.items() if until > now} if noted else noted
