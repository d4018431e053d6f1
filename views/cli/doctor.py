"""``dynaview doctor``: whether everything that the declaration needs is there and in good health."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import click

from dynaview.views.cli.beside import printable
from dynaview.views.cli.options import files_option, load_files
from dynaview.views.doctor.examination import examine
from dynaview.views.doctor.findings import Finding


@click.command("doctor")
@files_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object for each thing looked at.")
def command(files: tuple[Path, ...], as_json: bool) -> None:
    """Look at machine, control store, tables, streams, rights, stores and views, and say what to do about each problem.

    Each IAM action that following and filling need is tried once, at the price of one item. Nothing is changed.

    \b
    Examples:
      dynaview doctor
      dynaview doctor --json | jq '.[] | select(.ok == false)'

    Exit code 0: all is well. 1: something is not. 2: the declaration is wrong.
    """
    declaration = load_files(files)
    found: list[Finding] = []
    if not as_json:
        python = sys.version.split()[0]
        click.echo(f"ok    dynaview {version('dynaview')}, Python {python}, {len(declaration.views)} views declared")
    for finding in examine(declaration):
        found.append(finding)
        if not as_json:
            click.echo(f"{'ok   ' if finding.ok else 'WRONG'} {finding.area} {finding.name}: {printable(finding.what)}")
            if finding.do:
                click.echo(f"      do: {printable(finding.do)}")
    if as_json:
        click.echo(json.dumps([finding.plain() for finding in found], indent=2))
    wrong = sum(not finding.ok for finding in found)
    if wrong:
        click.echo(f"{wrong} problem{'s' * (wrong != 1)}", err=True)
        sys.exit(1)
