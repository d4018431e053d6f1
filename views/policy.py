"""Errors sorted in one table: what each kind means for a view, and the sentence for the operator."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

from dynaview.sources.errors import (
    AccessDenied,
    CredentialsMissing,
    SourceError,
    SourceRefused,
    StreamDisabled,
    TableMissing,
)


@dataclass(slots=True)
class Backoff:
    """Capped exponential waits with full jitter, in seconds; endless, for what heals by itself."""

    first: float = 0.1
    cap: float = 15.0
    attempts: int = 0

    def reset(self) -> None:
        """Begin again after a success."""
        self.attempts = 0

    def next(self) -> float:
        """How long to wait before the next attempt."""
        ceiling = min(self.cap, self.first * 2.0 ** min(self.attempts, 20))
        self.attempts += 1
        waited: float = ceiling * (0.5 + random.random() / 2)
        return waited

    def wait(self, stop: threading.Event) -> bool:
        """Wait before the next attempt; True where `stop` was set meanwhile."""
        return stop.wait(self.next())


def slow(error: SourceError) -> bool:
    """Whether an error waits for an operator rather than for time: tried again, but rarely."""
    return isinstance(error, AccessDenied | CredentialsMissing | TableMissing | StreamDisabled | SourceRefused)


def anew(view: str) -> str:
    """What mends a view whose rows cannot be brought up to date from the stream."""
    return f"fill the view anew: dynaview drop {view}, then dynaview run"
