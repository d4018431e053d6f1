"""What the demo shows while it runs: a live picture in a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dynaview.views.demo.arrivals import Arrival

_LINES = 6
_EVERY = 2.0
"""Seconds between two plain lines."""


@dataclass(slots=True)
class ViewPicture:
    """One view at this moment."""

    name: str
    store: str
    place: str
    """What readers of the store address."""
    state: str = ""
    rows: int = 0
    applied: int = 0
    lag: float | None = None
    """Seconds from a change's write to its row, as seen from outside; grows while the row is awaited."""
    median: float | None = None
    """Seconds, the median over the last rows."""
    last: Arrival | None = None


@dataclass(slots=True)
class Picture:
    """All that is shown."""

    seconds: float
    views: dict[str, ViewPicture]
    elapsed: float = 0.0
    phase: str = "writing"
    written: Counter[str] = field(default_factory=Counter)
    said: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES))

    @property
    def total(self) -> int:
        """How many changes were written."""
        return self.written.total()


class Screen:
    """Shows a picture as it changes. Use as a context manager; other output goes through its console."""

    def __init__(self, console: Console, picture: Picture) -> None:
        self.console = console
        self.picture = picture
        self._live = (
            Live(console=console, get_renderable=self.render, refresh_per_second=8) if console.is_terminal else None
        )
        self._next_line = 0.0
        self._shown: dict[str, Arrival] = {}

    def block(self) -> AbstractContextManager[object]:
        """The time in which the picture is shown."""
        return self._live or nullcontext()

    def update(self) -> None:
        """Show what has changed, in a terminal at the next refresh, elsewhere every two seconds."""
        picture = self.picture
        if self._live is None and picture.elapsed >= self._next_line:
            self._next_line = picture.elapsed + _EVERY
            for line in self.lines():
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def lines(self) -> list[str]:
        """The picture as plain lines: one of numbers, then the rows that have arrived since the last."""
        picture = self.picture
        rows = ", ".join(f"{view.name} {view.rows}" for view in picture.views.values())
        lag = max((view.lag for view in picture.views.values() if view.lag is not None), default=None)
        head = f"{picture.elapsed:4.0f} s  {picture.phase}: {picture.total} changes ({_kinds(picture.written)})"
        lines = [f"{head}; rows: {rows}; lag {_after(lag)}"]
        for view in picture.views.values():
            if view.last is not None and self._shown.get(view.name) is not view.last:
                self._shown[view.name] = view.last
                lines.append(
                    f"        {view.store}: {view.last.key} {_content(view.last)} ({_after(view.last.seconds)})"
                )
        return lines

    def render(self) -> Group:
        """The picture for a terminal."""
        picture = self.picture
        return Group(self._writing(picture), self._views(picture), self._rows(picture))

    def _writing(self, picture: Picture) -> Panel:
        done = min(picture.elapsed / picture.seconds, 1.0) if picture.seconds else 1.0
        bar = "━" * round(30 * done)
        head = Text.assemble((bar.ljust(30, "─"), "green"), f"  {picture.total} changes: {_kinds(picture.written)}")
        lines = [Text(f"  {said}", style="dim", no_wrap=True, overflow="ellipsis") for said in picture.said]
        lines += [Text("")] * (_LINES - len(lines))
        return Panel(Group(head, *lines), title=f"DynamoDB table shop: {picture.phase}", title_align="left")

    def _views(self, picture: Picture) -> Table:
        table = Table(expand=True, box=None, pad_edge=True)
        table.add_column("view", no_wrap=True)
        table.add_column("kept in", no_wrap=True)
        table.add_column("state", no_wrap=True)
        for name in ("rows", "applied", "lag", "median"):
            table.add_column(name, justify="right", no_wrap=True)
        for view in picture.views.values():
            state = f"[green]{view.state}[/]" if view.state == "following" else f"[yellow]{escape(view.state)}[/]"
            numbers = f"{view.rows:,}", f"{view.applied:,}", _after(view.lag), _after(view.median)
            table.add_row(escape(view.name), escape(f"{view.store} {view.place}"), state, *numbers)
        return table

    def _rows(self, picture: Picture) -> Panel:
        lines = []
        for view in picture.views.values():
            last = view.last
            if last is None:
                lines.append(Text(f"{view.name}: no change yet", style="dim"))
                continue
            line = Text(no_wrap=True, overflow="ellipsis")
            line.append(f"{_after(last.seconds):>8}  ", style="cyan")
            line.append(f"{view.store} ", style="bold")
            line.append(f"{last.key}  ")
            line.append(_content(last), style="red" if last.content is None else "")
            lines.append(line)
        return Panel(
            Group(*lines), title="the last row that arrived in each view, read from its store", title_align="left"
        )


def _kinds(written: Mapping[str, int]) -> str:
    return ", ".join(f"{written.get(kind, 0)} {kind}s" for kind in ("insert", "update", "delete"))


def _content(arrival: Arrival) -> str:
    if arrival.content is None:
        return "is gone"
    shown = ((name, value) for name, value in arrival.content.items() if not name.startswith("_"))
    return ", ".join(f"{name}={_short(value, 40)}" if name else _short(value, 100) for name, value in shown)


def _short(value: Any, longest: int) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _after(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds >= 2 else f"{seconds * 1000:.0f} ms"
