"""``dynaview verify``: whether views hold what their tables ask for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

from dynaview.projections.declaration import Declaration
from dynaview.views.budget import Capacity
from dynaview.views.cli.beside import printable
from dynaview.views.cli.columns import aligned
from dynaview.views.cli.options import files_option, load_files, opened_control
from dynaview.views.cli.written import capacity, past, share
from dynaview.views.control.errors import ControlError
from dynaview.views.control.store import ControlStore
from dynaview.views.daemon.embedded import following
from dynaview.views.daemon.interpreter import tune
from dynaview.views.verify.findings import DRIFT, Finding, Report, VerifyError
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.repair import Repairs
from dynaview.views.verify.schedule import result_of
from dynaview.views.verify.service import Asked, ready, verify_declared

F = TypeVar("F", bound=Callable[..., Any])

HEAD = ("VIEW", "ROWS", "MISSING", "EXTRA", "DIFFERENT", "OWNER", "FOREIGN", "STALE", "CHANGING", "DEAD", "SECONDS")

LISTED, LISTED_JSON = 20, 10_000


def scanning(function: F) -> F:
    """Options of commands that scan a table."""
    for option in (
        click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="S",
                     help="Seconds that a view may take to catch up, and a store or table to come back."),
        click.option("--max-read-units", callback=capacity, metavar="N",
                     help="Read capacity units a second that the scan may take, or a share of what is provisioned."
                          "  [default: 50%]"),
        click.option("--segments", type=click.IntRange(1, 1000), metavar="N",
                     help="Parts of the table scanned at the same time.  [default: by its size, up to 4]"),
    ):  # fmt: skip
        function = option(function)
    return function


@click.command("verify")
@click.argument("views", nargs=-1)
@files_option
@click.option("--sample", callback=share, metavar="SHARE", help="Only about this share of the items: 1% or 0.01.")
@click.option("--key", "keys", multiple=True, metavar="K", help="Only this row key, or item key as JSON; repeatable.")
@click.option(
    "--since", callback=past, metavar="TIME", help="Only items changed since then: ISO 8601, seconds, or 90s, 10m, 2h."
)
@scanning
@click.option("--limit", type=click.IntRange(0), metavar="N", help="List so many differences.  [default: 20]")
@click.option("--values", is_flag=True, help="List what is in the rows as well.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a view.")
def command(
    views: tuple[str, ...],
    files: tuple[Path, ...],
    sample: float | None,
    keys: tuple[str, ...],
    since: float | None,
    segments: int | None,
    max_read_units: Capacity,
    timeout: float,
    limit: int | None,
    values: bool,
    as_json: bool,
) -> None:
    """Compare VIEWs (by default all) with their tables, while both go on changing.

    A row counts only where the view has caught up and it still differs: missing, extra (no item asks for it),
    different (the names of the fields are listed), owner (it belongs to another item), foreign (a Redis key or
    member that dynaview did not put there). Told as numbers, and no drift: stale (behind at the first look, then
    right), changing (changed at every look), dead (its item cannot be projected or stored). A sample, --key and
    --since find no extra rows but those of the items they look at. --since takes the changed items from the table's
    stream, which reaches back 24 hours.

    Exit code 0: nothing differs. 1: something does; dynaview repair repairs it. 2: a view could not be verified.
    """
    if (sample is not None) + bool(keys) + (since is not None) > 1:
        raise click.UsageError("--sample, --key and --since do not go together")
    declaration = load_files(files)
    names = chosen(declaration, views)
    listed = limit if limit is not None else LISTED_JSON if as_json else LISTED
    limits = Limits(segments, max_read_units, listed)
    asked = Asked(sample, keys, since, seconds=timeout, limits=limits)
    with opened_control(declaration, code=2) as control:
        reports = perform(declaration, control, names, asked)
        if not keys and since is None:
            keep(control, reports, sample)
    if as_json:
        click.echo(json.dumps([report.plain(values) for report in reports], indent=2))
    else:
        show(reports, values)
    errors = fail(reports)
    sys.exit(2 if errors else 1 if any(report.drift for report in reports) else 0)


def chosen(declaration: Declaration, views: Sequence[str]) -> list[str]:
    """The named views, or all. Raises `click.UsageError` for one that is not declared."""
    for name in views:
        if name not in declaration.views:
            raise click.UsageError(f"no view is called {name}; there are {', '.join(sorted(declaration.views))}")
    return list(dict.fromkeys(views)) or list(declaration.views)


def perform(
    declaration: Declaration, control: ControlStore, names: Sequence[str], asked: Asked, repairs: Repairs | None = None
) -> list[Report]:
    """Verify, and show on a terminal how far it is. A wrong question ends the command with exit code 2."""
    tune()
    try:
        known = frozenset(name for name in names if _is_ready(declaration, control, name))
        # Whoever keeps the views may end meanwhile; a view that is not ready is not to be started by looking at it.
        with following(declaration, known) if known else nullcontext(), _progress() as progress:
            return verify_declared(
                declaration, control, names, asked, repairs=repairs, notice=_notice, progress=progress
            )
    except VerifyError as error:
        raise click.UsageError(str(error)) from None
    except (ControlError, ValueError) as error:
        click.echo(f"dynaview: {error}", err=True)
        sys.exit(2)


def _is_ready(declaration: Declaration, control: ControlStore, name: str) -> bool:
    view = declaration.views[name]
    try:
        ready(control, view, declaration.sources[view.source].table)
    except VerifyError:
        return False
    return True


def keep(
    control: ControlStore, reports: Sequence[Report], sample: float | None, mended: dict[str, int] | None = None
) -> None:
    """Let ``dynaview status`` show the results."""
    try:
        for report in reports:
            if not report.error:
                control.verifications.save(result_of(report, sample or 1.0, (mended or {}).get(report.view, 0)))
    except ControlError as error:
        _notice(f"the results are not kept: {error}")


def show(reports: Sequence[Report], values: bool) -> None:
    """A line a view, then what was found."""
    done = [report for report in reports if not report.error]
    if done:
        for line in aligned([HEAD, *map(_row, done)], 1):
            click.echo(line)
    for report in done:
        for finding in report.listed:
            click.echo(line_of(finding, values))
        more = report.drift - sum(finding.kind in DRIFT for finding in report.listed)
        if more:
            click.echo(f"{report.view}: {more:,} more differ; --limit lists them")
        for note in report.notes:
            click.echo(printable(f"{report.view}: {note}"))
        if report.drift:
            click.echo(f"{report.view}: {report.drift:,} rows differ: dynaview repair {report.view}")


def fail(reports: Sequence[Report]) -> int:
    """Say which views could not be verified, and how many these are."""
    errors = [report for report in reports if report.error]
    for report in errors:
        text = report.error if report.error.startswith(report.view) else f"{report.view}: {report.error}"
        click.echo(f"dynaview: {printable(text)}", err=True)
    return len(errors)


def line_of(finding: Finding, values: bool = False) -> str:
    """One finding for people: its keys, and what differs."""
    plain = finding.plain(values)
    words = [f"{finding.view}  {finding.kind}  {plain['row_key']}"]
    if plain["item_key"]:
        words.append(f"item {plain['item_key']}")
    if finding.fields:
        words.append(f"differs in {', '.join(finding.fields)}")
    if values:
        words.append(f"expected {json.dumps(plain['expected'], ensure_ascii=False)}")
        words.append(f"stored {json.dumps(plain['stored'], ensure_ascii=False)}")
    if finding.stuck:
        words.append(finding.stuck)
    return printable("  ".join(words))


def _row(report: Report) -> tuple[str, ...]:
    numbers = (
        report.rows, report.missing, report.extra, report.different, report.owner, report.foreign,
        report.stale, report.changing, report.dead_lettered,
    )  # fmt: skip
    return (report.view, *(f"{number:,}" for number in numbers), f"{report.seconds:.1f}")


def _notice(text: str) -> None:
    click.echo(f"waiting: {printable(text)}", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda items, of: None
        return
    with console.status("listing the store's rows") as status:
        yield lambda items, of: status.update(f"{items:,} items read, of about {max(items, of):,}")
