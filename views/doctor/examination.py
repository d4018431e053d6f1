"""Looking at everything that a declaration needs: machine, control store, tables, streams, rights, stores, views.

Nothing is changed. What does not answer is a finding, and the rest is looked at all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dynaview.projections.compiler.compiler import compile_view
from dynaview.projections.declaration import Declaration, SinkDeclaration, SourceDeclaration, ViewDeclaration
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink, SinkError, SinkUnavailable
from dynaview.sources.accounts import assumed_as, session_of
from dynaview.sources.errors import AccessDenied, SourceError
from dynaview.sources.port import TableReader
from dynaview.sources.rights import Rights, try_rights
from dynaview.sources.table import open_table
from dynaview.views.control.errors import ControlError, ControlMissing
from dynaview.views.control.store import ControlStore
from dynaview.views.doctor.findings import Finding
from dynaview.views.doctor.machine import disk, memory
from dynaview.views.status import ALIVE

SKEW = 5.0
"""Seconds by which clocks may differ: `wait` and lag compare this machine's with that of AWS."""

ENABLE = "dynaview run --enable-stream switches it on (it needs dynamodb:UpdateTable)"


def rights_of(source: SourceDeclaration) -> Rights:
    """What may be done with a declared table. Raises `SourceError` where it cannot even be asked."""
    session = session_of(source)
    try:
        return try_rights(session, source.table)
    finally:
        session.close()


@dataclass(frozen=True, slots=True)
class Means:
    """How tables and stores are asked."""

    open_source: Callable[[SourceDeclaration], TableReader] = open_table
    open_sink: Callable[[SinkDeclaration], Sink] = connect
    rights: Callable[[SourceDeclaration], Rights] = rights_of
    assumed: Callable[[SourceDeclaration], str] = assumed_as
    """As whom a source with a role is read."""


def examine(declaration: Declaration, means: Means | None = None) -> Iterator[Finding]:
    """Everything, one finding after the other."""
    means = means or Means()
    views = list(declaration.views.values())
    yield from memory()
    yield from _control(declaration)
    for source in declaration.sources.values():
        yield from _source(source, [view for view in views if view.source == source.name], means)
    for sink in declaration.sinks.values():
        yield from _sink(sink, [view for view in views if view.sink == sink.name], means)


def _control(declaration: Declaration) -> Iterator[Finding]:
    prefix = "sqlite:///"
    if declaration.control.startswith(prefix):
        yield disk(Path(declaration.control.removeprefix(prefix)))
    try:
        control = ControlStore(declaration.control, create=False)
    except ControlMissing:
        yield Finding("control", "control", "not made yet: dynaview run makes it")
        return
    except ControlError as error:
        do = "fix it, or name another store with control: in the declaration"
        yield Finding("control", "control", str(error), False, do)
        return
    try:
        yield Finding("control", "control", f"{control.name} answers")
        yield from _views(declaration, control)
    except ControlError as error:
        yield Finding("control", "control", str(error), False, "see that it can be reached")
    finally:
        control.close()


def _views(declaration: Declaration, control: ControlStore) -> Iterator[Finding]:
    letters = control.dead_letters.by_view()
    records = {record.name: record for record in control.views()}
    for name in declaration.views:
        record = records.get(name)
        if record is None:
            yield Finding("view", name, "never started", False, "dynaview run starts it")
        elif record.state.lasts:
            yield Finding(
                "view", name, str(record.state), False, record.reason or f"dynaview trace and status of {name}"
            )
        elif time.time() - record.seen >= ALIVE:
            yield Finding("view", name, "no daemon runs for it", False, "dynaview run")
        elif not record.state.well:
            yield Finding("view", name, str(record.state), False, record.reason or "dynaview status says more")
        elif letters.get(name):
            what, do = f"{record.state}, {letters[name]:,} dead letters", f"dynaview dead-letters list --view {name}"
            yield Finding("view", name, what, False, do)
        else:
            yield Finding("view", name, str(record.state))


def _source(source: SourceDeclaration, views: list[ViewDeclaration], means: Means) -> Iterator[Finding]:
    if source.role_arn is not None:
        try:
            yield Finding("source", source.name, f"read as {means.assumed(source)}")
        except SourceError as error:
            yield _refused(source.name, error)
            return  # nothing else would be told
    try:
        description = means.open_source(source).describe()
    except SourceError as error:
        yield _refused(source.name, error)
    else:
        key = ", ".join(description.key)
        stream = f"a stream with {description.view_type}" if description.view_type else "no stream"
        what = f"table {description.name}, key {key}, about {description.items:,} items, {stream}"
        ok = bool(description.view_type) or not views
        yield Finding("source", source.name, what, ok, "" if ok else ENABLE)
        for view in views:
            for problem in compile_view(view).problems(description.key, description.view_type or "NEW_AND_OLD_IMAGES"):
                yield Finding("view", view.name, problem.message, False, f"see {problem.at}")
    try:
        rights = means.rights(source)
    except SourceError as error:
        yield _refused(source.name, error)
        return
    allowed = [tried.action.partition(":")[2] for tried in rights.tried if tried.error is None]
    if allowed:
        yield Finding("source", source.name, f"may do {', '.join(allowed)}")
    for tried in rights.tried:
        if isinstance(tried.error, AccessDenied):
            do = f"grant {tried.error.action} on {tried.error.resource}"
            yield Finding("source", source.name, f"{tried.action} is not allowed", False, do)
        elif tried.error is not None and tried.action != "dynamodb:DescribeTable":  # told already
            yield _refused(source.name, tried.error)
    if rights.skew is not None and abs(rights.skew) > SKEW:
        what = f"this machine's clock is {abs(rights.skew):.0f} s {'ahead of' if rights.skew > 0 else 'behind'} AWS's"
        yield Finding("machine", "clock", what, False, "keep it by NTP: lag, wait and verify go by it")
    elif rights.skew is not None:
        yield Finding("machine", "clock", "as AWS's, to some seconds")


def _refused(name: str, error: SourceError) -> Finding:
    return Finding("source", name, error.what, False, error.remedy or "check the source in the declaration")


def _sink(declared: SinkDeclaration, views: list[ViewDeclaration], means: Means) -> Iterator[Finding]:
    sink = means.open_sink(declared)
    try:
        yield Finding("sink", declared.name, f"{sink.check()} at {declared.safe_url}")
        for danger in sink.dangers():
            yield Finding("sink", declared.name, danger.what, False, danger.do)
        for view in views:
            for problem in sink.problems(view.layout):
                yield Finding("view", view.name, problem, False, f"see {view.at}")
    except SinkUnavailable as error:
        yield Finding("sink", declared.name, str(error), False, "see that the store runs, and that the URL is right")
    except SinkError as error:
        yield Finding("sink", declared.name, str(error), False, f"see {declared.at}")
    finally:
        sink.close()
