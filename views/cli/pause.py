"""``dynaview pause``: nothing is done for a view until it is resumed."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from dynaview.projections.declaration import Declaration
from dynaview.views.cli.options import declared, files_option, load_files, opened_control
from dynaview.views.control.errors import ControlError
from dynaview.views.control.store import ControlStore
from dynaview.views.reasons import LONGEST_REASON

LOOK = 0.05
"""Seconds between two looks whether workers have let go."""


@click.command("pause")
@click.argument("views", nargs=-1, required=True, metavar="VIEW...")
@click.option("--reason", default="", metavar="TEXT", help="Shown by status, health and page.")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait until every worker has let go of the views.",
)
@files_option
def command(views: tuple[str, ...], reason: str, timeout: float, files: tuple[Path, ...]) -> None:
    """Do nothing for VIEWs until they are resumed, while the others of their table go on.

    For maintenance of a store: once this command has ended, no worker writes the views any more. Readers keep the rows
    as they are. Checkpoints stay where they are, and a fill or rebuild that is under way waits. Resume within 24 hours:
    what DynamoDB has trimmed by then is lost to the view, and it has to be rebuilt.

    Exit code 0: every worker has let go. 1: some have not within the time-out; they do as soon as they can.

    Example: dynaview pause order_search --reason "disks are swapped"
    """
    declaration = load_files(files, stores=False)
    names = declared(declaration, views)
    if len(reason) > LONGEST_REASON or not reason.isprintable():
        raise click.UsageError(f"--reason: one line of {LONGEST_REASON} characters at the most")
    invocations = _invocations(declaration, names)
    with opened_control(declaration) as control:
        try:
            for name in names:
                if control.view(name) is None:
                    raise click.UsageError(f"{name} was never started, so there is nothing to pause")
            for name in names:
                if not control.states.pause(name, reason):
                    click.echo(f"{name} was paused already", err=True)
            busy = _wait(control, names, timeout, invocations)
        except ControlError as error:
            click.echo(f"dynaview: {error}", err=True)
            sys.exit(1)
    for name in names:
        if (workers := busy.get(name)) is not None:
            why = "" if name in invocations else ": its store holds them up"
            click.echo(f"{name}: paused, and not yet let go by {', '.join(workers)}{why}", err=True)
        else:
            click.echo(f"{name}: paused; dynaview resume {name} lets it go on, within 24 hours")
    sys.exit(1 if busy else 0)


def _invocations(declaration: Declaration, names: Sequence[str]) -> dict[str, float]:
    """For how long invocations of a Lambda function that have begun may still write views, by view."""
    timeouts = {name: declaration.sources[declaration.views[name].source].lambda_timeout for name in names}
    return {name: seconds for name, seconds in timeouts.items() if seconds is not None}


def _wait(
    control: ControlStore, names: Sequence[str], timeout: float, invocations: Mapping[str, float]
) -> dict[str, list[str]]:
    """Wait until workers, and invocations that say nothing, have let go of views; those that have not, by view."""
    began = time.monotonic()
    deadline = began + timeout
    while True:
        busy = {name: workers for name in names if (workers := control.not_adopted(name))}
        for name, seconds in invocations.items():
            if time.monotonic() < began + seconds:
                busy[name] = [*busy.get(name, ()), f"invocations of a Lambda function (for {seconds:g} s at the most)"]
        if not busy or time.monotonic() >= deadline:
            return busy
        time.sleep(LOOK)
