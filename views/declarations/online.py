"""What only servers know of a declaration: tables and their streams, stores and what is in them. Changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import Declaration, Problem, SinkDeclaration, SourceDeclaration, ViewDeclaration
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink, SinkError, SinkUnavailable
from dynaview.sources.errors import BadPage, SourceError, SourceUnavailable, StreamDisabled, Throttled
from dynaview.sources.port import TableDescription, TableReader
from dynaview.sources.table import open_table
from dynaview.views.policy import Backoff

ATTEMPTS = 3
"""How often a table is asked that does not answer now."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the servers said: facts for people, a line each, and problems."""

    facts: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def check(
    declaration: Declaration,
    open_source: Callable[[SourceDeclaration], TableReader] = open_table,
    open_sink: Callable[[SinkDeclaration], Sink] = connect,
) -> Found:
    """Ask every table and store of the declaration. Never raises for what they answer, or that they don't."""
    found = Found()
    views = list(declaration.views.values())
    for source in declaration.sources.values():
        _ask_table(source, [view for view in views if view.source == source.name], open_source, found)
    for sink in declaration.sinks.values():
        _ask_store(sink, [view for view in views if view.sink == sink.name], open_sink, found)
    return found


def _ask_table(
    source: SourceDeclaration,
    views: list[ViewDeclaration],
    open_source: Callable[[SourceDeclaration], TableReader],
    found: Found,
) -> None:
    try:
        table = _described(open_source(source))
    except SourceError as error:
        found.problems.append(Problem(source.at, str(error)))
        return
    stream = f"stream with {table.view_type}" if table.view_type else "no stream"
    found.facts.append(
        f"{source.name}: table {table.name}, key {', '.join(table.key)}, about {table.items} items, {stream}"
    )
    if table.view_type is None and views:
        found.problems.append(Problem(source.at, str(StreamDisabled(f"table {table.name} has no stream"))))
    for view in views:
        # Without a stream, the one that would be switched on.
        found.problems.extend(compile_view(view).problems(table.key, table.view_type or "NEW_AND_OLD_IMAGES"))


def _described(reader: TableReader) -> TableDescription:
    """The table; what heals by itself has `ATTEMPTS` to do so."""
    backoff, nobody = Backoff(), threading.Event()
    while True:
        try:
            return reader.describe()
        except (SourceUnavailable, Throttled, BadPage):
            if backoff.attempts + 1 >= ATTEMPTS:
                raise
            backoff.wait(nobody)


def _ask_store(
    declared: SinkDeclaration, views: list[ViewDeclaration], open_sink: Callable[[SinkDeclaration], Sink], found: Found
) -> None:
    sink = open_sink(declared)
    try:
        found.facts.append(f"{declared.name}: {sink.check()} at {declared.safe_url}")
        for view in views:
            found.problems.extend(Problem(view.at, problem) for problem in sink.problems(view.layout))
    except SinkUnavailable as error:
        found.problems.append(Problem(declared.at, f"{error}: does the store run, and is the URL right?"))
    except SinkError as error:
        found.problems.append(Problem(declared.at, str(error)))
    finally:
        sink.close()
