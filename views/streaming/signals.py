"""What the readers of a stream and the pipelines of its views tell each other while they work."""

from __future__ import annotations

import threading

from dynaview.sources.errors import SourceError
from dynaview.views.policy import ActiveErrors, Repeats


class ReaderSignals:
    """One for each stream that is followed: made first, given to its pipelines and to its readers. Thread-safe."""

    def __init__(self) -> None:
        self.errors = ActiveErrors()
        """What stands between the readers and the stream now."""
        self._repeats = Repeats()
        self.room = threading.Condition()
        """Notified when a pipeline has made room, or a reader has something new to do for one."""

    def met(self, place: str, error: SourceError) -> str | None:
        """An error stands in the readers' way at a place (a shard, say): what the log is to say of it, which is the
        same thing once for all places; None where nothing is to be said now."""
        return self._repeats.line("", error, self.errors.begin(place, error))

    @property
    def trouble(self) -> str | None:
        """What stands between the readers and the stream, for status; None while all is well."""
        return self.errors.text

    def made_room(self) -> None:
        """A pipeline has taken from its inbox, and could take more."""
        with self.room:
            self.room.notify_all()
