"""``dynaview rollback``: back to the generation before."""

from __future__ import annotations

from pathlib import Path

import click

from dynaview.views.cli.options import declared, files_option, load_files, opened_control
from dynaview.views.cli.rebuild import perform, request
from dynaview.views.control.records import Options


@click.command("rollback")
@click.argument("views", nargs=-1, required=True)
@files_option
@click.option("--detach", is_flag=True, help="Leave it to the daemon.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a view and second.")
def command(views: tuple[str, ...], files: tuple[Path, ...], detach: bool, as_json: bool) -> None:
    """Let readers of VIEWs see the generation before the last rebuild again, in one step.

    It was written all the time, so nothing is missing. It can be rolled back itself. Redis views are rebuilt in place
    and have none.

    Exit code 0: readers see it (or --detach). 1: it failed; the reason is told. 2: it cannot begin.
    """
    declaration = load_files(files)
    names = declared(declaration, views)
    with opened_control(declaration) as control:
        for name in names:
            if not any(each.role == "previous" for each in control.generations(name)):
                raise click.UsageError(f"{name}: no generation before the live one is kept")
            under_way = control.rebuilds.get(name)
            if under_way is not None and not under_way.ended and under_way.kind != "rollback":
                raise click.UsageError(
                    f"{name}: a rebuild is under way; cancel it first: dynaview rebuild {name} --cancel"
                )
        request(declaration, control, names, Options(asked_by="dynaview rollback"), "rollback")
        perform(declaration, control, names, detach, as_json)
