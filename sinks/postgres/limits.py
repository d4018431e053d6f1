"""How much Postgres is asked for at once, and how long it is waited for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one store. Times are in seconds. The defaults suit every server; tests take smaller ones."""

    page_rows: int = 2_000
    """Rows in a page of a listing."""
    purge_rows: int = 5_000
    """Tombstones that one statement removes."""
    grace: float = 5.0
    """Beyond the time-out until we stop waiting for a server that does not even end the statement."""
    lock_wait: float = 0.5
    """For a lock on a relation. Whoever wants to read queues behind us for as long."""
    lock_pause: float = 0.5
    """Left to those who queued."""
    lock_attempts: int = 10


LIMITS = Limits()
