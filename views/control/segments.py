"""How far a parallel scan is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Segment:
    """How far one segment of a fill is. `position` is the source's own text, None at the beginning."""

    segment: int
    segments: int
    position: str | None = None
    finished: bool = False
    scanned: int = 0
    inserted: int = 0
    dead_lettered: int = 0
