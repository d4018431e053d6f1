"""dynaview validate: whether a declaration is right."""

from __future__ import annotations

import os
from pathlib import Path

import click

from dynaview.projections.declaration import DeclarationError
from dynaview.projections.reading.document import shown
from dynaview.views.cli.options import files_option, load_files
from dynaview.views.declarations.modules import NoModules


@click.command("validate")
@files_option
@click.option("--online", is_flag=True, help="Also ask the tables, their streams and the stores.")
@click.option("--no-python", is_flag=True, help="Import no Python module: for a declaration that you don't trust.")
def command(files: tuple[Path, ...], online: bool, no_python: bool) -> None:
    """Check a declaration, and name every problem at once (exit code 2), and what was most likely not meant.

    Without --online no server is asked. The Python modules that it names are imported, so their code runs, unless
    --no-python is given.
    """
    unread = NoModules(os.environ) if no_python else None
    declaration = load_files(files, unread)
    for warning in declaration.warnings:
        click.echo(str(warning), err=True)
    if unread is not None and unread.named:
        click.echo(f"not imported: {', '.join(map(shown, dict.fromkeys(unread.named)))}", err=True)
    count = len(declaration.views)
    summary = f"ok: {count} view{'s' * (count != 1)}"
    if online:
        from dynaview.views.declarations.online import check

        found = check(declaration)
        for line in found.facts:
            click.echo(line)
        if found.problems:
            raise DeclarationError(found.problems)
        summary += ", and everything they need is there"
    if declaration.warnings:
        summary += f"; {len(declaration.warnings)} warning{'s' * (len(declaration.warnings) != 1)}"
    click.echo(summary)
