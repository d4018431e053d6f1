"""``dynaview drop``: remove a view's rows and all that is remembered of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from dynaview.projections.declaration import Declaration, SinkDeclaration, ViewDeclaration
from dynaview.projections.families import overlap
from dynaview.projections.rows import Layout, RedisOptions
from dynaview.sinks.connect import connect
from dynaview.sinks.port import SinkError
from dynaview.views.cli.options import files_option, load_files, opened_control
from dynaview.views.control.records import Generation, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.table_worker import WorkerSettings
from dynaview.views.declarations.codec import decode
from dynaview.views.states import ViewState
from dynaview.views.status import ALIVE


@click.command("drop")
@click.argument("view")
@files_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-rows", is_flag=True, help="Forget the view, and leave its rows where they are.")
def command(view: str, files: tuple[Path, ...], yes: bool, keep_rows: bool) -> None:
    """Remove VIEW: its rows in the sink, its checkpoints, counts and dead letters. The table is not touched.

    Stop the daemon (or leave the view out with --view) first. The next run fills the view anew. A view that is no
    longer declared is dropped too, from where its last declaration kept it.
    """
    declaration = load_files(files)
    with opened_control(declaration) as control:
        record = control.view(view)
        if record is None:
            if view not in declaration.views:
                known = sorted({*declaration.views, *(each.name for each in control.views())})
                raise click.UsageError(f"no view is called {view}; there are {', '.join(known)}")
            click.echo(f"{view} was never started; there is nothing to drop")
            return
        if _followed(control, record):
            click.echo(f"dynaview: a daemon follows {view}; stop it first, or let it leave the view out", err=True)
            sys.exit(1)
        try:
            kept = [] if keep_rows else _kept(declaration, record, control.generations(view))
            if not yes:
                click.confirm(_question(view, [sink for sink, _, _ in kept]), abort=True)
            for sink, layout, generation in kept:
                _drop(sink, layout, generation)
        except (SinkError, _Refused) as error:
            click.echo(f"dynaview: {error}", err=True)
            sys.exit(1)
        control.drop_view(view)
    click.echo(f"{view} is dropped" + ("; dynaview run fills it anew" if view in declaration.views else ""))


class _Refused(Exception):
    """Rows that cannot be removed; says what to do."""


def _kept(
    declaration: Declaration, record: ViewRecord, generations: Sequence[Generation]
) -> list[tuple[SinkDeclaration, Layout, int]]:
    """Where each generation is kept, as the declaration that built it says. Raises `_Refused`."""
    found = []
    for each in generations:
        try:
            built: ViewDeclaration | None = decode(each.declaration)
        except ValueError:
            built = declaration.views.get(record.name)
        if built is None:
            raise _Refused(
                f"where {record.name} is kept is not known any more: declare it as it was, or forget it with "
                "--keep-rows"
            )
        sink = declaration.sinks.get(built.sink)
        if sink is None:
            raise _Refused(
                f"{record.name} is kept in sink {built.sink}, which is not declared: declare it again, or forget the "
                "view with --keep-rows"
            )
        other = _shared(declaration, built, sink)
        if other is not None:
            raise _Refused(
                f"keys of {record.name} could also be keys of view {other}, which is declared, and would be removed "
                f"with them: forget {record.name} with --keep-rows"
            )
        found.append((sink, built.layout, each.generation))
    return found


def _shared(declaration: Declaration, built: ViewDeclaration, sink: SinkDeclaration) -> str | None:
    """Another declared view whose keys in Redis cannot be told from this one's: a view that was given another name.
    Indexes and tables say whose they are."""
    mine = built.layout.options
    if not isinstance(mine, RedisOptions):
        return None
    for view in declaration.views.values():
        theirs = view.layout.options
        if view.name != built.name and isinstance(theirs, RedisOptions) and overlap(mine.family, theirs.family):
            there = declaration.sinks[view.sink]
            if there.name == sink.name or there.url == sink.url:
                return view.name
    return None


def _question(view: str, sinks: Sequence[SinkDeclaration]) -> str:
    if not sinks:
        return f"Forget {view}, its checkpoints and its dead letters, and leave its rows where they are?"
    places = dict.fromkeys(f"{sink.name} ({sink.safe_url})" for sink in sinks)
    return f"Remove every row of {view} from {' and '.join(places)}?"


def _drop(sink: SinkDeclaration, layout: Layout, generation: int) -> None:
    store = connect(sink)
    try:
        store.open(layout, generation).drop()
    finally:
        store.close()


def _followed(control: ControlStore, record: ViewRecord) -> bool:
    """Whether a daemon runs the view: it would go on writing rows that nobody knows of. Where the last sign of life is
    recent, the next one is waited for, as a daemon that was killed leaves no word."""
    if record.state is ViewState.STOPPED or time.time() - record.seen >= ALIVE:
        return False
    deadline = time.monotonic() + WorkerSettings().alive_every + 1.0
    while time.monotonic() < deadline:
        now = control.view(record.name)
        if now is not None and now.seen > record.seen:
            return now.state is not ViewState.STOPPED
        time.sleep(0.1)
    return False
