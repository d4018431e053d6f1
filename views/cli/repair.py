"""``dynaview repair``: repair the rows that differ from what a view's table asks for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from dynaview.views.budget import Capacity
from dynaview.views.cli.beside import printable
from dynaview.views.cli.columns import aligned
from dynaview.views.cli.options import files_option, load_files, opened_control
from dynaview.views.cli.verify import chosen, fail, keep, line_of, perform, scanning, show
from dynaview.views.verify.findings import DRIFT, Report, VerifyError
from dynaview.views.verify.limits import Limits
from dynaview.views.verify.repair import MEANINGS, Repair, Repairs, RowRepair, plain_repair
from dynaview.views.verify.selection import Listed, read_file
from dynaview.views.verify.service import Asked

HEAD = ("VIEW", "FOUND", "MENDED", *(kind.upper() for kind in DRIFT), "CHANGED", "LEFT", "DEAD")


@click.command("repair")
@click.argument("views", nargs=-1)
@files_option
@click.option("--dry-run", is_flag=True, help="Only list what would be repaired.")
@click.option(
    "--from-verify",
    "file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Look only at the rows that dynaview verify --json wrote to FILE: no scan.",
)
@click.option("--foreign", is_flag=True, help="Also remove Redis keys and members that dynaview did not put there.")
@scanning
@click.option(
    "--limit", type=click.IntRange(0), default=100, show_default=True, help="List so many rows that are left."
)
@click.option("--verbose", is_flag=True, help="Say of every row what became of it.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a view.")
def command(
    views: tuple[str, ...],
    files: tuple[Path, ...],
    dry_run: bool,
    file: Path | None,
    foreign: bool,
    segments: int | None,
    max_read_units: Capacity,
    timeout: float,
    limit: int,
    verbose: bool,
    as_json: bool,
) -> None:
    """Verify VIEWS, and repair exactly what differs: write missing and different rows, remove extra ones.

    Safe beside the daemon, and may be run again at any time: a row is written only where it still stands as it was
    found, so a change that comes between always wins. Rows that dead letters explain are left to dynaview dead-letters
    replay.

    Exit code 0: everything is right at the end. 1: rows are left, and it is said why. 2: a view could not be verified.
    """
    if not views and file is None:
        raise click.UsageError("name the views to repair, or --from-verify FILE")
    declaration = load_files(files)
    listed = _listed(file)
    names = chosen(declaration, views or tuple(listed))
    if absent := [name for name in names if file is not None and name not in listed]:
        raise click.UsageError(f"{file} does not speak of {', '.join(absent)}")
    asked = Asked(listed=listed, seconds=timeout, limits=Limits(segments, max_read_units, limit))
    repairing = Repairs(listed=limit, foreign=foreign)
    if verbose and not as_json:
        repairing.told = _tell

    with opened_control(declaration) as control:
        reports = perform(declaration, control, names, asked, None if dry_run else repairing)
        repairs = repairing.by_view
        if file is None:
            keep(control, reports, None, {name: repair.number("mended") for name, repair in repairs.items()})
    if as_json:
        click.echo(json.dumps([plain_repair(report, repairs.get(report.view)) for report in reports], indent=2))
    elif dry_run:
        show(reports, values=False)
    else:
        _show(reports, repairs)
    errors = fail(reports)
    left = sum(_left(report, repairs.get(report.view)) for report in reports)
    for name in names:
        if file is not None and listed[name].more:
            left += listed[name].more
            click.echo(
                f"{name}: {listed[name].more:,} more rows differed than {file} names: repair without it", err=True
            )
    sys.exit(2 if errors else 1 if left else 0)


def _listed(file: Path | None) -> dict[str, Listed]:
    try:
        return {} if file is None else read_file(file)
    except VerifyError as error:
        raise click.UsageError(str(error)) from None


def _left(report: Report, repair: Repair | None) -> int:
    return report.drift if repair is None else repair.number("left")


def _tell(mended: RowRepair) -> None:
    click.echo(f"{line_of(mended.finding)}  {printable(mended.reason or MEANINGS[mended.outcome])}")


def _show(reports: Sequence[Report], repairs: Mapping[str, Repair]) -> None:
    done = [(report, repairs[report.view]) for report in reports if not report.error]
    if done:
        for line in aligned([HEAD, *(_row(report, repair) for report, repair in done)], 1):
            click.echo(line)
    for report, repair in done:
        for mended in repair.left:
            reason = "" if mended.finding.stuck else printable(mended.reason)
            click.echo(f"{line_of(mended.finding)}  {reason}".rstrip())
        for note in report.notes:
            click.echo(printable(f"{report.view}: {note}"))
        if report.dead_lettered:
            click.echo(
                f"{report.view}: {report.dead_lettered:,} rows are explained by dead letters, and left: "
                f"dynaview dead-letters replay --view {report.view}"
            )


def _row(report: Report, repair: Repair) -> tuple[str, ...]:
    kinds = (repair.number("mended", kind) for kind in DRIFT)
    numbers = (
        report.drift, repair.number("mended"), *kinds,
        repair.number("changed"), repair.number("left"), report.dead_lettered,
    )  # fmt: skip
    return report.view, *(f"{number:,}" for number in numbers)
