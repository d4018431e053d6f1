"""Other views in the same database whose keys could also be this view's, told by the keys that every family has.

Two dynaviews with control stores of their own know nothing of each other. Where their key templates overlap without
being equal (``two:{pk}`` and ``{pk}:{sk}``), rows of one would hold fields of the other, and deletes of one remove rows
of the other.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from dynaview.projections.families import overlap
from dynaview.sinks.port import SinkRefused
from dynaview.sinks.redis import generation as generations
from dynaview.sinks.redis.client import Link
from dynaview.sinks.redis.names import Family, family_of

FRESH = 10.0
"""Seconds for which a look through all keys serves: the views of one file are made ready one after the other."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another family that overlaps."""

    key: str
    """Which holds its generation."""
    template: str
    view: str
    """Empty where that is not known: this user may not read the key."""
    generation: int

    def __str__(self) -> str:
        whose = f"view {self.view}" if self.view else "a view of somebody else"
        return (
            f"keys of this view could also be keys of {whose}, {self.template}, which is kept in the same database "
            f"(key {self.key}): begin the key templates differently or use another database; where that view is "
            "gone, drop it (dynaview drop) or remove that key"
        )


class Neighbours:
    """Those of one database. Safe to use from several threads."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._looked = -FRESH
        self._names: list[str] = []

    def of(self, family: Family, view: str, generation: int) -> list[Neighbour]:
        """Families that overlap with this one and are not the same view's. Raises `SinkError`.

        The same view may stand under an earlier template, while it is rebuilt under the next; where the other holds no
        lower generation than one that is about to be made here, it is another view of the same name.
        """
        found: list[Neighbour] = []
        prepared: int | None = None
        for name in self._look():
            literals = family_of(name)
            if literals is None or literals == family.literals or not overlap(literals, family.literals):
                continue
            try:
                held = generations.read(self._link, name)
            except SinkRefused:  # not a key of this user's
                held = (0, "")
            if held is None:
                continue
            if held[1] == view:
                if prepared is None:
                    prepared = generations.look(self._link, family) or 0
                if prepared >= generation or held[0] < generation:
                    continue
            found.append(Neighbour(name, "*".join(literals), held[1], held[0]))
        return found

    def _look(self) -> list[str]:
        with self._lock:
            if time.monotonic() - self._looked >= FRESH:
                self._names = list(generations.names(self._link))
                self._looked = time.monotonic()
            return self._names
