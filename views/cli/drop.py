"""``dynaview drop``: remove a view's rows and all that is remembered of it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dynaview.sinks.connect import connect
from dynaview.sinks.port import SinkError
from dynaview.views.cli.options import files_option, load_files, opened_control


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
