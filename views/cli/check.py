"""``dynaview check``: whether views still make the rows that are expected of them, for CI."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dynaview.views.cli.beside import printable
from dynaview.views.cli.options import files_option, load_files
from dynaview.views.preview.expected import Compared, compare, update
from dynaview.views.preview.items import ItemsError
from dynaview.views.preview.open_view import previews

FOLDER = "checks"


@click.command("check")
@click.argument("folder", type=click.Path(path_type=Path), default=FOLDER)
@files_option
@click.option("--view", "views", multiple=True, metavar="NAME", help="Only this view; may be given more than once.")
@click.option("--update", "updating", is_flag=True, help="Write the rows as they are made now into the folder.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a view.")
def command(folder: Path, files: tuple[Path, ...], views: tuple[str, ...], updating: bool, as_json: bool) -> None:
    """Compare the rows that views make of the items in FOLDER with the expected ones in it. No store is asked.

    FOLDER (by default: checks) has items in items/, and may have changes in changes/; --update writes what each view
    makes of them to rows/VIEW.json. Look at these files, keep them beside the declaration, and run check in CI.

    \b
    Examples:
      dynaview check --update      write rows/VIEW.json, then look at them
      dynaview check               in CI: exit code 1 where rows changed

    Exit code 0: all rows are as expected (or were written). 1: some are not. 2: asked in a wrong way, or the
    declaration or a file cannot be read.
    """
    declaration = load_files(files)
    for name in views:
        if name not in declaration.views:
            raise click.UsageError(f"no view is called {name}; there are {', '.join(sorted(declaration.views))}")
    names = list(dict.fromkeys(views)) or list(declaration.views)
    try:
        with previews(declaration, names) as made:
            found = list(compare(folder, made.values(), declaration.views, not views))
        written = [each for each in found if updating and update(each)]
    except ItemsError as error:
        click.echo(f"dynaview: {printable(str(error))}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"dynaview: {error.filename}: can't be written: {error.strerror}", err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps([_plain(each, each in written) for each in found], indent=2))
    else:
        _show(found, written)
    sys.exit(1 if not updating and any(each.verdict != "same" for each in found) else 0)


def _plain(each: Compared, written: bool) -> dict[str, Any]:
    numbers = {"items": each.items, "rows": each.rows}
    return {
        "view": each.view, "result": each.verdict, **numbers, "file": str(each.file), "diff": list(each.diff),
        "written": written,
    }  # fmt: skip


def _show(found: Sequence[Compared], written: Sequence[Compared]) -> None:
    for each in found:
        if each in written:
            click.echo(f"{each.view}: {'removed' if each.verdict == 'unknown' else 'wrote'} {each.file}")
            continue
        for line in each.diff:
            click.echo(printable(line))
        click.echo(f"{each.view}: {_said(each)}")
    wrong = [each for each in found if each.verdict != "same" and each not in written]
    if wrong:
        click.echo("if that is what you want: dynaview check --update", err=True)


def _said(each: Compared) -> str:
    match each.verdict:
        case "same" if not each.items:
            return "no item is the view's: add one, or nothing of it is checked"
        case "same":
            return f"as expected ({each.items} items, {each.rows} rows)"
        case "differs":
            return f"not as {each.file} expects"
        case "new":
            return f"nothing is expected yet: there is no {each.file}"
        case "unknown":
            return f"no view is called that, but there is {each.file}"
