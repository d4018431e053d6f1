"""``dynaview drop``: remove a view's rows and all that is remembered of it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from dynaview.sinks.connect import connect
from dynaview.sinks.port import SinkError
from dynaview.views.cli.options import files_option, load_files, opened_control
from dynaview.views.control import ControlStore, ViewRecord
from dynaview.views.status import ALIVE
from dynaview.views.worker import WorkerSettings


@click.command("drop")
@click.argument("view")
@files_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(view: str, files: tuple[Path, ...], yes: bool) -> None:
    """Remove VIEW: its rows in the sink, its checkpoints, counts and dead letters. The table is not touched.

    Stop the daemon (or leave the view out with --view) first. The next run fills the view anew.
    """
    declaration = load_files(files)
    declared = declaration.views.get(view)
    if declared is None:
        raise click.UsageError(f"no view is called {view}; there are {', '.join(sorted(declaration.views))}")
    with opened_control(declaration) as control:
        record = control.view(view)
        if record is None:
            click.echo(f"{view} was never started; there is nothing to drop")
            return
        if _followed(control, record):
            click.echo(f"dynaview: a daemon follows {view}; stop it first, or let it leave the view out", err=True)
            sys.exit(1)
        sink = declaration.sinks[declared.sink]
        if not yes:
            click.confirm(f"Remove every row of {view} from {sink.name} ({sink.safe_url})?", abort=True)
        store = connect(sink)
        try:
            store.open(declared.layout, record.generation).drop()
        except SinkError as error:
            click.echo(f"dynaview: {error}", err=True)
            sys.exit(1)
        finally:
            store.close()
        control.drop_view(view)
    click.echo(f"{view} is dropped; dynaview run fills it anew")


def _followed(control: ControlStore, record: ViewRecord) -> bool:
    """Whether a daemon runs the view: it would go on writing rows that nobody knows of. Where the last sign of life is
    recent, the next one is waited for, as a daemon that was killed leaves no word."""
    if record.state == "stopped" or time.time() - record.seen >= ALIVE:
        return False
    deadline = time.monotonic() + WorkerSettings().alive_every + 1.0
    while time.monotonic() < deadline:
        now = control.view(record.name)
        if now is not None and now.seen > record.seen:
            return now.state != "stopped"
        time.sleep(0.1)
    return False
