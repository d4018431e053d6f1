"""``dynaview demo``: see it work, on real servers, without setting anything up."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from dynaview.local.errors import LocalServerError
from dynaview.sinks.port import SinkError
from dynaview.sources.errors import SourceError
from dynaview.views.control.errors import ControlError
from dynaview.views.demo.play import Settings, play
from dynaview.views.demo.table import TableError


@click.command("demo")
@click.option("--seconds", type=click.FloatRange(1, 3600), default=30.0, show_default=True, help="How long to write.")
@click.option("--rate", type=click.FloatRange(0.1, 200), default=15.0, show_default=True, help="Changes a second.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another number makes another day in the shop.")
@click.option(
    "--crash/--no-crash", default=True, show_default=True, help="Kill the daemon half-way, and start it again."
)
def command(seconds: float, rate: float, seed: int, crash: bool) -> None:
    """Keep views of a shop's table in Redis, OpenSearch and Postgres, on real servers of this machine.

    Starts DynamoDB Local, Valkey, PostgreSQL and OpenSearch, creates a table, follows it with the daemon, writes
    changes, shows the rows arriving, compares every view with the table, and cleans up. Exits with 1 where a view
    differs. Nothing on this machine or in any account is touched.
    """
    console = Console()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job ignores SIGINT otherwise
        signal.signal(number, signal.default_int_handler)
    directory = Path(tempfile.mkdtemp(prefix="dynaview-demo-"))
    code = 1
    try:
        code = 0 if play(console, directory, Settings(seconds, rate, seed, crash)) else 1
    except (LocalServerError, TableError, SinkError, SourceError, ControlError) as error:
        click.echo(f"dynaview: {error}", err=True)
    except KeyboardInterrupt:
        code = 130
        with contextlib.suppress(KeyboardInterrupt):
            click.echo("\nStopped; no process is left.", err=True)
    finally:
        if code == 1 and (directory / "servers").exists():
            click.echo(f"The logs are kept in {directory}", err=True)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    sys.exit(code)
