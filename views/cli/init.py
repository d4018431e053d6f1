"""``dynaview init``: a commented declaration to begin with."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import get_args

import click

from dynaview.views.cli.options import DEFAULT_FILE
from dynaview.views.preview.draft import Sink, starter

TABLE = re.compile(r"[A-Za-z0-9_.:/-]{3,1024}", re.ASCII)


@click.command("init")
@click.argument("file", type=click.Path(path_type=Path), default=DEFAULT_FILE)
@click.option("--table", default="my-table", show_default=True, metavar="NAME", help="The DynamoDB table.")
@click.option("--sink", type=click.Choice(get_args(Sink)), default="redis", show_default=True, help="The first store.")
def command(file: Path, table: str, sink: Sink) -> None:
    """Write a commented declaration of one view to FILE (by default: dynaview.yaml). Nothing is overwritten.

    It passes dynaview validate as it stands. To begin with views proposed for a table that you have: dynaview infer.

    \b
    Example:
      dynaview init --table shop --sink postgres

    Exit code 0: written. 2: the file is there already or cannot be written.
    """
    if TABLE.fullmatch(table) is None:
        raise click.BadParameter("not the name of a DynamoDB table", param_hint="--table")
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(starter(table, sink))
    except FileExistsError:
        click.echo(f"dynaview: {file} is there already, and stays as it is; name another file", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"dynaview: {file}: can't be written: {error.strerror}", err=True)
        sys.exit(2)
    option = "" if str(file) == DEFAULT_FILE else f" -f {file}"
    click.echo(f"wrote {file}; edit it, then: dynaview validate{option}")
