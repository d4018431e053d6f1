"""What a declaration would change of the views that stand: per view the difference, what follows, and how much it is.

Asks the control store, tables and stores, and changes nothing. What cannot be asked is not known, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from dynaview.projections.declaration import Declaration, SinkDeclaration, SourceDeclaration, ViewDeclaration
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink, SinkError
from dynaview.sources.errors import BadPage, SourceError, SourceUnavailable, Throttled
from dynaview.sources.port import TableReader
from dynaview.sources.table import open_table
from dynaview.views.budget import Capacity
from dynaview.views.control.records import Generation, ViewRecord
from dynaview.views.cost import read_units
from dynaview.views.declarations.codec import decode
from dynaview.views.declarations.difference import SAME, UNSHOWN, Consequence, Difference, difference
from dynaview.views.declarations.fingerprint import fingerprint

State: TypeAlias = Literal["new", "unchanged", "changed", "removed"]

_TABLE = re.compile(r":table/([^/]+)/")


@dataclass(frozen=True, slots=True)
class Size:
    """How much a scan of a table is, as AWS counted it about six hours ago; None where that is not known."""

    table: str
    items: int | None = None
    bytes: int | None = None
    rate: float | None = None
    """Read units a second that the scan may take where nobody says otherwise; None: without a limit."""
    unknown: str = ""
    """Why it is not known."""

    @property
    def read_units(self) -> int | None:
        """What a scan of it costs."""
        return None if self.bytes is None else read_units(self.bytes)

    @property
    def seconds(self) -> float | None:
        """How long it takes at least; None where nothing limits it, or its size is not known."""
        return None if self.read_units is None or not self.rate else self.read_units / self.rate


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows a view has now."""

    count: int | None = None
    unknown: str = ""
    """Why it is not known."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One view: what it is to the declaration, and what is to be done."""

    view: str
    state: State
    do: str = ""
    """What follows, a sentence for the operator with the command; empty where nothing does."""
    to_do: bool = False
    """Whether anything has to be built, filled or removed."""
    difference: Difference = SAME
    on_change: str | None = None
    """What the declaration says of changes, of declared views."""
    size: Size | None = None
    """Of a scan, where one follows."""
    rows: Rows | None = None
    """Of a view that is rebuilt or dropped."""

    @property
    def by_itself(self) -> bool:
        """Whether the next `dynaview run` scans the table for it, together with all such views of the table."""
        return self.state == "new" or (self.state == "changed" and self.to_do and self.on_change == "rebuild")


@dataclass(frozen=True, slots=True)
class Standing:
    """What the control store knows of the views that were ever started, and how tables and stores are asked."""

    records: Mapping[str, ViewRecord]
    generations: Callable[[str], Sequence[Generation]]
    """The generations of a view that stand."""
    open_source: Callable[[SourceDeclaration], TableReader] = open_table
    open_sink: Callable[[SinkDeclaration], Sink] = connect


def plan(declaration: Declaration, standing: Standing, names: Collection[str] = ()) -> list[Planned]:
    """What is to be done for the views called `names` (none: for all), declared ones first.

    Raises `ControlUnavailable`; never for what tables and stores answer, or that they don't.
    """
    planning = _Planning(declaration, standing)
    gone = [name for name in standing.records if name not in declaration.views]
    wanted = [name for name in (*declaration.views, *gone) if not names or name in names]
    return [planning.of(name) for name in wanted]


class _Planning:
    """One plan. Each table is asked once."""

    def __init__(self, declaration: Declaration, standing: Standing) -> None:
        self._declaration = declaration
        self._standing = standing
        self._sizes: dict[str, Size] = {}

    def of(self, name: str) -> Planned:
        view, record = self._declaration.views.get(name), self._standing.records.get(name)
        if view is None:
            assert record is not None
            return self._removed(record)
        if record is None:
            do = "dynaview run fills it"
            return Planned(name, "new", do, True, on_change=view.on_change, size=self._size(view.source))
        return self._declared(view, record)

    def _declared(self, view: ViewDeclaration, record: ViewRecord) -> Planned:
        table = self._declaration.sources[view.source].table
        mark = fingerprint(view, table)
        if not record.filled and record.generation == 1 and record.fingerprint != mark:
            do = "dynaview run fills it: it was never whole as it was declared before"
            return Planned(view.name, "new", do, True, on_change=view.on_change, size=self._size(view.source))
        generations = {each.generation: each for each in self._standing.generations(view.name)}
        old, unreadable = _remembered(generations.get(record.generation))
        found = SAME
        if old is not None:
            found = difference(old, view, (_table_of(record.stream_arn) or table, table))
        if record.fingerprint == mark:
            found = Difference(found.changes, "nothing")
            do = _settled(found)
            return Planned(view.name, "changed" if found.changes else "unchanged", do, False, found, view.on_change)
        if found.consequence == "nothing":
            found = Difference(found.changes or ((UNSHOWN,) if old is not None else ()), "rebuild")
        do = _do(view, found)
        if unreadable:
            do = f"what changed is not known ({unreadable}); {do}"
        for each in generations.values():
            if each.role == "next":
                do = _under_way(view.name, each.fingerprint == mark)
        rows = self._rows(old or view, record.generation)
        return Planned(view.name, "changed", do, True, found, view.on_change, self._size(view.source), rows)

    def _removed(self, record: ViewRecord) -> Planned:
        generations = {each.generation: each for each in self._standing.generations(record.name)}
        old, unreadable = _remembered(generations.get(record.generation))
        do = f"no longer declared; dynaview drop {record.name} removes its rows"
        if record.sink not in self._declaration.sinks:
            do = f"no longer declared; declare its sink {record.sink} again, then dynaview drop {record.name}"
        rows = Rows(unknown=unreadable) if old is None else self._rows(old, record.generation)
        return Planned(record.name, "removed", do, True, rows=rows)

    def _size(self, source: str) -> Size:
        if source not in self._sizes:
            declared = self._declaration.sources[source]
            try:
                table = self._standing.open_source(declared).describe()
            except SourceError as error:
                self._sizes[source] = Size(declared.table, unknown=_why(error))
            else:
                self._sizes[source] = Size(declared.table, table.items, table.size, Capacity().rate(table))
        return self._sizes[source]

    def _rows(self, view: ViewDeclaration, generation: int) -> Rows:
        declared = self._declaration.sinks.get(view.sink)
        if declared is None:
            return Rows(unknown=f"its sink {view.sink} is not declared")
        try:
            sink = self._standing.open_sink(declared)
        except ValueError as error:
            return Rows(unknown=str(error))
        try:
            return Rows(sink.open(view.layout, generation).count())
        except (SinkError, ValueError) as error:
            return Rows(unknown=str(error))
        finally:
            sink.close()


def _remembered(generation: Generation | None) -> tuple[ViewDeclaration | None, str]:
    """The declaration that built a generation, or why it cannot be told."""
    if generation is None:
        return None, "its generation is not recorded"
    try:
        return decode(generation.declaration), ""
    except ValueError as error:
        return None, str(error)


def _why(error: SourceError) -> str:
    """Why a table's size is not known. Nothing is tried again here, as remedies of passing errors say."""
    return error.what if isinstance(error, SourceUnavailable | Throttled | BadPage) else str(error)


def _table_of(stream_arn: str | None) -> str | None:
    found = _TABLE.search(stream_arn or "")
    return found[1] if found else None


def _settled(found: Difference) -> str:
    if not found.changes:
        return ""
    if any(change.path == "indexes" for change in found.changes):
        return "the rows stay as they are; indexes are made and removed at the next start"
    return "the rows stay as they are"


def _do(view: ViewDeclaration, found: Difference) -> str:
    needed: dict[Consequence, str] = {
        "column": f"the rows lack {', '.join(found.columns)} until a rebuild",
        "rebuild": "a rebuild is needed",
    }
    match view.on_change:
        case "rebuild":
            return f"{needed[found.consequence]}; dynaview run starts it"
        case "stop":
            return f"{needed[found.consequence]}, and the view stops until then; dynaview rebuild {view.name} starts it"
    return f"{needed[found.consequence]}; dynaview rebuild {view.name} starts it"


def _under_way(view: str, same: bool) -> str:
    if same:
        return "a rebuild by this declaration is under way"
    return f"a rebuild by another declaration is under way; dynaview rebuild --cancel {view} ends it"
