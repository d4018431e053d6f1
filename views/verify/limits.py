"""How a verification goes about its work."""

from __future__ import annotations

from dataclasses import dataclass, field

from dynaview.views.budget import Capacity

READ = 1000
"""Rows or items that are read by their keys at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """See the module. The defaults suit every table; tests take smaller ones."""

    segments: int | None = None
    """How many parts of the table are scanned at the same time; None: by the table's size, up to four."""
    capacity: Capacity = field(default_factory=Capacity)
    """What the scan may take of the table's read capacity."""
    listed: int = 100
    """How many findings a report lists."""
    read: int = READ
    """Rows or items that are read by their keys at once."""
    waiting: int = 5000
    """Rows that wait to be judged; then those who look wait as well."""
