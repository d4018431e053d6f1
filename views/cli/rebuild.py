"""``dynaview rebuild``: a view anew from its table, while it is read and written."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from dynaview.projections.declaration import Declaration, DeclarationError
from dynaview.views.budget import Capacity
from dynaview.views.cli.new_export import new_export
from dynaview.views.cli.options import declared, files_option, load_files, opened_control
from dynaview.views.cli.written import capacity, duration
from dynaview.views.control.errors import ControlError, ControlUnavailable
from dynaview.views.control.records import Kind, Options, Rebuild
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.embedded import following
from dynaview.views.daemon.interpreter import tune
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.status import KIND, progress_line, rebuild_progress

LOOK = 0.25
"""Seconds between two looks at a rebuild."""

Show = Callable[[Sequence[Rebuild]], None]


@click.command("rebuild")
@click.argument("views", nargs=-1, required=True)
@files_option
@click.option(
    "--segments",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Parts of the table scanned at the same time.  [default: by its size, up to 8]",
)
@click.option(
    "--max-read-units",
    "limit",
    callback=capacity,
    metavar="N",
    help="Read capacity units a second that the scan may take, or a share of what is provisioned.  [default: 50%]",
)
@click.option(
    "--from-export",
    "exports",
    multiple=True,
    metavar="PATH",
    help="Read an export of the table (a folder, or s3://bucket/prefix) instead of the table; once more for each "
    "incremental export behind it.",
)
@click.option(
    "--export",
    "bucket",
    metavar="S3",
    help="Let DynamoDB export the table to s3://bucket/prefix first, and read that instead of the table.",
)
@click.option("--keep", callback=duration, metavar="TIME", help="Keep the generation before it so long, such as 24h.")
@click.option("--yes", is_flag=True, help="Swap whatever the checks find; answers a rebuild that asks.")
@click.option("--cancel", is_flag=True, help="Take the rebuild back; what readers see stays as it is.")
@click.option("--detach", is_flag=True, help="Leave it to the daemon.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a view and second.")
def command(
    views: tuple[str, ...],
    files: tuple[Path, ...],
    segments: int | None,
    limit: Capacity,
    exports: tuple[str, ...],
    bucket: str | None,
    keep: float | None,
    yes: bool,
    cancel: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Build the next generation of VIEWs from a scan of their table, while they are read and the stream goes on.

    In OpenSearch and Postgres it fills beside the one that readers see, which is swapped in one step at the end and
    kept for dynaview rollback. In Redis rows are replaced in place; no key ever shows an older row. The daemon does
    the work where one runs, else this command does. Ended at any moment it goes on where it was; asked for twice it
    is joined.

    Exit code 0: readers see the new generation (or --detach). 1: it asks, failed or was cancelled. 2: it cannot begin.
    """
    declaration = load_files(files)
    names = declared(declaration, views)
    if bucket is not None and (exports or cancel):
        raise click.UsageError(f"--export makes a new export: leave out {'--from-export' if exports else '--cancel'}")
    options = Options(segments, limit, keep, yes, tuple(map(_absolute, exports)))
    with opened_control(declaration) as control:
        if cancel:
            answered = [name for name in names if control.rebuilds.answer(name, "cancel")]
            for name in names:
                if name not in answered:
                    click.echo(f"{name}: no rebuild is under way")
            names = answered
        elif bucket is not None:
            _request_exported(declaration, control, names, options, bucket)
        else:
            request(declaration, control, names, options)
        if names:
            perform(declaration, control, names, detach, as_json)


def request(
    declaration: Declaration, control: ControlStore, names: Sequence[str], options: Options, kind: Kind = "beside"
) -> None:
    """Ask for rebuilds, of one scan for each table; join those that are under way."""
    _check_ready(control, names)
    for source in declaration.sources.values():
        ours = [name for name in names if declaration.views[name].source == source.name]
        marks = {name: fingerprint(declaration.views[name], source.table) for name in ours}
        for rebuild in control.rebuilds.request(ours, source.name, marks, options, kind):
            if rebuild.phase != "requested":
                click.echo(f"{rebuild.view}: joining the {_what(rebuild)} that is under way", err=True)
            if options.yes and rebuild.answer == "?":
                control.rebuilds.answer(rebuild.view, "yes")


def _check_ready(control: ControlStore, names: Sequence[str]) -> None:
    for name in names:
        record = control.view(name)
        if record is None:
            raise click.UsageError(f"{name} was never started: dynaview run fills it")
        if record.paused is not None:
            raise click.UsageError(f"{name} is paused: dynaview resume {name} first")


def _request_exported(
    declaration: Declaration, control: ControlStore, names: Sequence[str], options: Options, bucket: str
) -> None:
    """Let DynamoDB export each table, and ask for rebuilds that read the exports."""
    _check_ready(control, names)
    for rebuild in control.rebuilds.all():
        if rebuild.view in names and not rebuild.ended and rebuild.kind != "fill":
            raise click.UsageError(
                f"a {_what(rebuild)} of {rebuild.view} is under way already, which an export would come too late for: "
                "leave --export out to join it, or take it back with --cancel"
            )
    for source in declaration.sources.values():
        ours = [name for name in names if declaration.views[name].source == source.name]
        if ours:
            place = new_export(source, bucket, ours)
            request(declaration, control, ours, msgspec.structs.replace(options, exports=(place,)))


def perform(declaration: Declaration, control: ControlStore, names: Sequence[str], detach: bool, as_json: bool) -> None:
    """Show how far they are until all have ended, and end with their exit code."""
    if detach:
        click.echo(f"left to dynaview run: {', '.join(names)}; see dynaview status")
        return
    tune()
    try:
        with following(declaration, frozenset(names)), _shown(as_json) as show:
            found = _watch(control, names, show, as_json)
    except (ControlError, DeclarationError, ValueError) as error:
        click.echo(f"dynaview: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo(f"\nleft as it is; a daemon goes on with it. To take it back: dynaview rebuild {names[0]} --cancel")
        sys.exit(130)
    for rebuild in found:
        click.echo(_end(rebuild), err=as_json)
    sys.exit(0 if all(rebuild.phase == "done" for rebuild in found) else 1)


def _watch(control: ControlStore, names: Sequence[str], show: Show, as_json: bool) -> list[Rebuild]:
    while True:
        try:
            found = [each for each in control.rebuilds.all() if each.view in names]
        except ControlUnavailable as error:
            click.echo(f"dynaview: {error}", err=True)
            time.sleep(1.0)
            continue
        show(found)
        for rebuild in found:
            if rebuild.answer == "?":
                _ask(control, rebuild, as_json)
        if all(rebuild.ended or rebuild.answer == "?" for rebuild in found):
            return found
        time.sleep(LOOK)


def _ask(control: ControlStore, rebuild: Rebuild, as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        return
    yes = click.confirm(f"{rebuild.view}: {rebuild.reason}. Go on?")
    control.rebuilds.answer(rebuild.view, "yes" if yes else "cancel")


def _end(rebuild: Rebuild) -> str:
    name, what = rebuild.view, _what(rebuild)
    if rebuild.answer == "?":
        return f"{name}: the {what} asks: {rebuild.reason}; go on with dynaview rebuild {name} --yes, or --cancel"
    if rebuild.phase == "done":
        seconds = rebuild.updated - rebuild.requested
        if rebuild.kind == "rollback":
            return f"{name}: readers see generation {rebuild.generation} again ({seconds:.1f} s)"
        swept = f", {rebuild.swept:,} rows removed that no item asks for" if rebuild.swept else ""
        letters = f", {rebuild.letters:,} dead letters" if rebuild.letters else ""
        return (
            f"{name}: readers see generation {rebuild.generation}: {rebuild.items:,} items, {rebuild.rows:,} rows "
            f"from the scan{swept}{letters}, {rebuild.units:,.0f} read units, {seconds:.1f} s"
        )
    return f"{name}: the {what} {'was cancelled' if rebuild.phase == 'cancelled' else 'failed'}" + (
        f": {rebuild.reason}" if rebuild.reason else ""
    )


def _what(rebuild: Rebuild) -> str:
    return KIND.get(rebuild.kind, "rebuild")


def _absolute(path: str) -> str:
    """The daemon may run in another folder."""
    return path if "://" in path else str(Path(path).resolve())


@contextmanager
def _shown(as_json: bool) -> Iterator[Show]:
    """Shows rebuilds: as JSON, as bars on a terminal, or not at all."""
    if as_json:
        last = [0.0]

        def lines(rebuilds: Sequence[Rebuild]) -> None:
            ended = all(rebuild.ended or rebuild.answer == "?" for rebuild in rebuilds)
            if ended or time.monotonic() - last[0] >= 1.0:
                last[0] = time.monotonic()
                for rebuild in rebuilds:
                    click.echo(json.dumps(rebuild_progress(rebuild)))

        yield lines
        return
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}"),
        console=console, transient=True, disable=not console.is_terminal, auto_refresh=True,
    ) as progress:  # fmt: skip
        bars: dict[str, TaskID] = {}

        def draw(rebuilds: Sequence[Rebuild]) -> None:
            for rebuild in rebuilds:
                if rebuild.view not in bars:
                    bars[rebuild.view] = progress.add_task(rebuild.view, text="", total=None)
                items = max(rebuild.of_items, rebuild.items)
                progress.update(
                    bars[rebuild.view],
                    text=progress_line(rebuild_progress(rebuild)),
                    completed=rebuild.items,
                    total=items or None,
                )

        yield draw
