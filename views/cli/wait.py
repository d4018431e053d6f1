"""``dynaview wait``: until a view shows what was written."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

import click

from dynaview.projections.declaration import Declaration
from dynaview.sinks.port import SinkError
from dynaview.views.cli.options import files_option, load_files
from dynaview.views.cli.written import moment
from dynaview.views.control.errors import ControlError, ControlMissing
from dynaview.views.control.store import ControlStore
from dynaview.views.waiting import Goal, Moment, WaitError, opened_row, searchable, wait_for

HALF = "--key and --version belong together"


def _version(_ctx: click.Context, _option: click.Parameter, written: str | None) -> int | None:
    if written is None:
        return None
    if not (written.isascii() and written.isdigit() and len(written) <= 60):
        raise click.BadParameter("give the sequence number of a stream record: digits only")
    return int(written)


def _shown(declaration: Declaration, view: str, goal: Goal, searched: bool) -> AbstractContextManager[Goal]:
    return searchable(declaration, view, goal) if searched else nullcontext(goal)


def _control(url: str, timeout: float) -> ControlStore:
    """The control store; one that dynaview run has not made yet may come in time."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return ControlStore(url, create=False)
        except ControlMissing:
            if time.monotonic() >= deadline:
                raise
            time.sleep(min(0.2, timeout))


@click.command("wait")
@click.argument("view")
@files_option
@click.option("--until", callback=moment, metavar="TIME", help="ISO 8601 or seconds since 1970.  [default: now]")
@click.option("--key", metavar="K", help="Wait for one row: its key; where it has parts, a JSON array of them.")
@click.option("--version", callback=_version, metavar="V", help="With --key: the stream's sequence number.")
@click.option(
    "--searchable/--stored",
    "searched",
    default=True,
    show_default=True,
    help="OpenSearch: until searches find it (the index is refreshed), or until GET by id does.",
)
@click.option("--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="S", help="Seconds.")
def command(
    view: str,
    files: tuple[Path, ...],
    until: float | None,
    key: str | None,
    version: int | None,
    searched: bool,
    timeout: float,
) -> None:
    """Wait until VIEW shows what was written to its table up to a time (by default: now), or a version of one row.

    Exit code 0: it does. 1: it did not within the time-out, or the view is in a state that lasts (gap, changed,
    refused); the line says how far it was. 2: asked in a wrong way.
    """
    goal = Moment.now() if until is None else Moment(until)  # before anything else takes time
    if (key is None) != (version is None):
        raise click.UsageError(HALF)
    if until is not None and key is not None:
        raise click.UsageError("wait for a time or for a row, not for both")
    declaration = load_files(files)
    if view not in declaration.views:
        raise click.UsageError(f"no view is called {view}; there are {', '.join(sorted(declaration.views))}")
    try:
        row = nullcontext(goal) if key is None or version is None else opened_row(declaration, view, key, version)
        with (
            row as stored,
            _shown(declaration, view, stored, searched) as wanted,
            closing(_control(declaration.control, timeout)) as control,
        ):
            standing = wait_for(
                control, view, wanted, timeout=timeout, notice=lambda text: click.echo(f"waiting: {text}", err=True)
            )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except (WaitError, SinkError, ControlError) as error:
        click.echo(f"dynaview: {error}", err=True)
        sys.exit(1)
    click.echo(f"{view} shows {wanted} (waited {standing.waited:.1f} s)")
