"""``dynaview resume``: a paused view goes on."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from dynaview.views.cli.options import declared, files_option, load_files, opened_control
from dynaview.views.control.errors import ControlError
from dynaview.views.reasons import retention_left
from dynaview.views.status import ALIVE


@click.command("resume")
@click.argument("views", nargs=-1, required=True, metavar="VIEW...")
@files_option
def command(views: tuple[str, ...], files: tuple[Path, ...]) -> None:
    """Let paused VIEWs go on where they were: they catch up by themselves.

    Exit code 0: they go on, or were not paused. 1: the control store does not answer.

    Example: dynaview resume order_search
    """
    declaration = load_files(files, stores=False)
    names = declared(declaration, views)
    with opened_control(declaration) as control:
        try:
            records = {record.name: record for record in control.views()}
            if unknown := [name for name in names if name not in records]:
                raise click.UsageError(f"{unknown[0]} was never started: dynaview run starts it")
            resumed = [name for name in names if control.states.resume(name)]
        except ControlError as error:
            click.echo(f"dynaview: {error}", err=True)
            sys.exit(1)
    now = time.time()
    for name in names:
        if name not in resumed:
            click.echo(f"{name} was not paused", err=True)
            continue
        record = records[name]
        if record.state.ends:
            click.echo(f"{name}: not paused any more; it is {record.state} still: {record.reason}")
        elif retention_left(record.watermark, now) == 0.0:
            click.echo(f"{name}: goes on; what DynamoDB has trimmed is lost to it, and its state will say so")
        elif now - record.seen >= ALIVE:
            click.echo(f"{name}: goes on with the next start of dynaview run")
        else:
            click.echo(f"{name}: goes on; dynaview wait {name} waits until it has caught up")
