"""``dynaview local``: real servers on this machine for one's own trials."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import click
from rich.console import Console

from dynaview.local import supervisor
from dynaview.local.errors import LocalServerError
from dynaview.local.servers import ALL_NAMES, NAMES, TITLES, environment
from dynaview.local.state import Run, State, as_json

P = ParamSpec("P")

_directory = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".dynaview"),
    show_default=True,
    help="Where the servers keep their files.",
)


def _plain_errors(function: Callable[P, None]) -> Callable[P, None]:
    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except LocalServerError as error:
            click.echo(f"dynaview: {error}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)

    return guarded


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    if not value:
        return NAMES
    asked = [name.strip() for name in value.split(",") if name.strip()]
    for name in asked:
        if name not in ALL_NAMES:
            raise click.BadParameter(f"there is no server {name}; choose from {', '.join(ALL_NAMES)}")
    return tuple(name for name in ALL_NAMES if name in asked)


@click.group("local")
def command() -> None:
    """Real DynamoDB Local, Valkey, PostgreSQL and OpenSearch on this machine, without Docker or Java.

    They listen on this machine only. PostgreSQL keeps its data from one `up` to the next; the others start empty.
    """


@command.command("up")
@click.option("--only", "names", callback=_names, metavar="NAMES", help=f"Some of {','.join(ALL_NAMES)}.")
@_directory
@click.option("--detach/--foreground", default=True, show_default=True, help="In the background, or until Ctrl-C.")
@_plain_errors
def up(names: tuple[str, ...], directory: Path, detach: bool) -> None:
    """Start the servers and print the environment variables to use.

    Only `export` lines go to standard output: eval "$(dynaview local up)" starts the servers and sets the variables.
    """
    directory = directory.absolute()
    state = State(directory)
    if (run := state.running()) is not None:
        click.echo(f"They run already ({_listed(run)}), {_since(run)}.", err=True)
        if absent := [name for name in names if name not in run.urls]:
            click.echo(f"Not running: {', '.join(absent)}. First: dynaview local down", err=True)
        _print_exports(run)
        return
    console = Console(stderr=True)
    console.print(f"Starting {', '.join(TITLES[name] for name in names)}", highlight=False)
    if detach:
        run = supervisor.detach(directory, names, console)
        click.echo(f"Started. Stop them with: dynaview local down{_dir_option(directory)}", err=True)
        _print_exports(run)
        return

    def ready(run: Run) -> None:
        _print_exports(run)
        click.echo("Started. Stop them with Ctrl-C.", err=True)

    supervisor.serve(directory, names, console, ready)
    click.echo("Stopped.", err=True)


@command.command("status")
@_directory
@click.option("--json", "as_json_", is_flag=True, help="Print one JSON object.")
@_plain_errors
def status(directory: Path, as_json_: bool) -> None:
    """Show what runs, since when and where. Exits with 1 where nothing runs or a server has ended by itself."""
    state = State(directory.absolute())
    run = state.running()
    if as_json_:
        click.echo(json.dumps(as_json(run), indent=2))
    elif run is not None:
        _print_table(run)
    elif (last := state.read()) is not None:
        click.echo(f"Nothing runs. The servers started {_since(last)} ended without dynaview local down.")
    else:
        click.echo("Nothing runs. dynaview local up starts the servers.")
    sys.exit(0 if run is not None and all(server.alive for server in run.servers) else 1)


@command.command("env")
@_directory
@_plain_errors
def env(directory: Path) -> None:
    """Print the environment variables of what runs, as `export` lines."""
    run = State(directory.absolute()).running()
    if run is None:
        raise LocalServerError(f"no local servers run in {directory}: dynaview local up")
    _print_exports(run)


def _key(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip())
    if value is not None and len(names) not in (1, 2):
        raise click.BadParameter("a table's key has one or two attributes: --key pk or --key pk,sk")
    return names


@command.command("load")
@click.argument("table")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--key", callback=_key, metavar="NAMES", help="The key of a new table: NAME or NAME,NAME.  [default: pk,sk]"
)
@_directory
@_plain_errors
def load_items(table: str, file: Path, key: tuple[str, ...], directory: Path) -> None:
    """Put the items of FILE into TABLE of DynamoDB Local; a table that is missing is made, with its stream.

    FILE has one item a line (- reads standard input), as plain JSON, {"pk": "CUSTOMER#1", "sk": "PROFILE"}, or as
    DynamoDB JSON, as exports have it. An item whose key the table holds already is replaced.
    """
    from dynaview.views.cli.load import load  # boto3 takes a while to import, and the other commands do without

    load(table, file, key, directory)


@command.command("down")
@_directory
@click.option("--delete", is_flag=True, help="Remove their data and logs, too.")
@_plain_errors
def down(directory: Path, delete: bool) -> None:
    """End all servers."""
    directory = directory.absolute()
    stopped = supervisor.stop(directory)
    if delete:
        supervisor.delete(directory)
    click.echo(("Stopped." if stopped else "Nothing was running.") + (" Data removed." if delete else ""))


def _print_exports(run: Run) -> None:
    for name, value in environment(run.urls).items():
        click.echo(f"export {name}={shlex.quote(value)}")


def _print_table(run: Run) -> None:
    # Not a rich table: a URL that is broken into lines cannot be copied.
    rows = [(server.name, server.title, "running" if server.alive else "ENDED", server.url) for server in run.servers]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        click.echo("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
    click.echo(f"{_since(run).capitalize()}, held by process {run.pid}.")
    for server in run.servers:
        if not server.alive:
            click.echo(f"{server.title} ended by itself; its log is {server.log}", err=True)


def _listed(run: Run) -> str:
    return ", ".join(server.title for server in run.servers)


def _since(run: Run) -> str:
    return f"since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(run.since))}"


def _dir_option(directory: Path) -> str:
    return "" if directory == Path(".dynaview").absolute() else f" --dir {shlex.quote(str(directory))}"
