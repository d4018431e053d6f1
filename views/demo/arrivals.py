"""Watching rows arrive: what a change asks of each view, and when the view's store shows it."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dynaview.projections.attributes import Shape
from dynaview.projections.changes import Body, Change
from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import ViewDeclaration
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey, Write
from dynaview.sinks.port import Target
from dynaview.views.demo.shop import Event

_KEPT = 200
"""Arrivals over which the median is taken."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A row that came to be as a change asked, or went."""

    view: str
    key: str
    content: Mapping[str, Any] | None
    """None for a row that went."""
    seconds: float
    """After the write to the table had been answered, as seen by looking now and then."""


class Watch:
    """One view: asks its store for the row of the last change until that is there. Then for the next one's."""

    def __init__(self, view: ViewDeclaration, target: Target, key: tuple[str, ...]) -> None:
        self.view = view
        self.target = target
        self._shape = Shape(None)
        self._bound = compile_view(view).bind(self._shape, key, "NEW_AND_OLD_IMAGES")
        self._awaited: tuple[Write, float] | None = None
        self._seconds: deque[float] = deque(maxlen=_KEPT)

    def writes(self, event: Event) -> list[Write]:
        """What the event asks of the view."""
        key = self._shape.pack(event.key)
        old, new = (None if item is None else self._shape.pack(item) for item in (event.old, event.new))
        name = {"insert": "INSERT", "update": "MODIFY", "delete": "REMOVE"}[event.kind]
        try:
            return self._bound.writes(Change(name, Body("1", key, new=new, old=old)), 1)
        except ProjectionError:
            return []

    def _before(self, event: Event) -> dict[RowKey, Any]:
        """The content of the rows of the item as it was."""
        if event.old is None:
            return {}
        try:
            writes = self._bound.inserts(self._shape.pack(event.old))
        except ProjectionError:
            return {}
        return {write.key: self.target.content(write) for write in writes}

    def expect(self, event: Event, now: float) -> None:
        """Wait for what the event asks of the view, unless another row is still awaited.

        A row that the event leaves as it is tells nothing and is not waited for.
        """
        before = self._before(event)
        writes = [write for write in self.writes(event) if self.target.content(write) != before.get(write.key)]
        if self._awaited is not None:
            awaited = self._awaited[0].key
            writes = [write for write in writes if write.key == awaited]  # that one is overtaken
        if writes:
            self._awaited = writes[-1], now

    def look(self, now: float) -> Arrival | None:
        """The awaited row, once it is there. Raises `SinkError`."""
        if self._awaited is None:
            return None
        write, since = self._awaited
        (found,) = self.target.read([write.key])
        content = None if found is None else found.content
        if content != self.target.content(write):
            if now - since > 5.0:  # a later change of the same item has overtaken it
                self._awaited = None
            return None
        self._awaited = None
        self._seconds.append(now - since)
        return Arrival(self.view.name, _key(write.key), self._named(content), now - since)

    def lag(self, now: float) -> float | None:
        """Seconds that the view is behind, as far as can be seen: how long the awaited row has been awaited, or the
        last one was; None before the first."""
        if self._awaited is not None:
            return now - self._awaited[1]
        return self._seconds[-1] if self._seconds else None

    @property
    def median(self) -> float | None:
        """Seconds from a write to its row, the median of those seen."""
        return statistics.median(self._seconds) if self._seconds else None

    def _named(self, content: Any) -> Mapping[str, Any] | None:
        if content is None or isinstance(content, Mapping):
            return content
        fields = self.view.layout.fields
        if isinstance(content, list | tuple) and fields is not None:
            return {field.name: value for field, value in zip(fields, content, strict=False)}
        return {"": content}


def _key(key: RowKey) -> str:
    return key if isinstance(key, str) else " / ".join(str(part) for part in key)
