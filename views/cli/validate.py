"""dynaview validate: whether a declaration is right."""

from __future__ import annotations

from pathlib import Path

import click

from dynaview.projections.declaration import DeclarationError
from dynaview.views.cli.options import files_option, load_files


@click.command("validate")
@files_option
@click.option("--online", is_flag=True, help="Also ask the tables, their streams and the stores.")
def command(files: tuple[Path, ...], online: bool) -> None:
    """Check a declaration, and name every problem at once (exit code 2).

    Without --online no server is asked.
    """
    declaration = load_files(files)
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
    click.echo(summary)
