"""``dynaview status``: what every view is doing."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from dynaview.views.cli.options import files_option, load_files, opened_control
from dynaview.views.status import all_status

GOOD = ("following", "filling")


@click.command("status")
@files_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a view.")
@click.option("--check", is_flag=True, help="Exit with 1 unless every view is following (or filling).")
@click.option("--max-lag", type=float, metavar="SECONDS", help="With --check: also exit with 1 above this lag.")
def command(files: tuple[Path, ...], as_json: bool, check: bool, max_lag: float | None) -> None:
    """Show views, generation, state, watermark, lag and counts (read = applied + stale + unmatched + dead)."""
    declaration = load_files(files)
    with opened_control(declaration) as control:
        views = all_status(control)
    started = {view["view"] for view in views}
    missing = [name for name in declaration.views if name not in started]
    if as_json:
        click.echo(json.dumps(views, indent=2))
    else:
        _print(views, missing)
    if check and (missing or not all(_good(view, max_lag) for view in views if view["view"] in declaration.views)):
        sys.exit(1)


def _good(view: dict[str, Any], max_lag: float | None) -> bool:
    late = max_lag is not None and (view["lag"] is None or view["lag"] > max_lag)
    return view["state"] in GOOD and not late


def _print(views: list[dict[str, Any]], missing: list[str]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("view", "sink", "gen", "state", "watermark", "lag"):
        table.add_column(name)
    for name in ("read", "applied", "stale", "unmatched", "dead", "filled"):
        table.add_column(name, justify="right")
    for view in views:
        counts = view["counts"]
        numbers = [counts[name] for name in ("read", "applied", "stale", "unmatched", "dead_lettered")]
        style = "" if view["state"] in GOOD else "yellow" if view["state"] == "stopped" else "red"
        table.add_row(
            view["view"],
            view["sink"],
            str(view["generation"]),
            f"[{style}]{view['state']}[/]" if style else view["state"],
            _clock(view["watermark"]),
            _lag(view["lag"]),
            *(f"{number:,}" for number in numbers),
            f"{view['filled_rows']:,}" + ("" if view["filled"] else " …"),
        )
    console = Console()
    if views:
        console.print(table)
    for view in views:
        if view["reason"] and view["state"] not in GOOD:
            console.print(f"{view['view']}: {view['reason']}", style="red", markup=False, soft_wrap=True)
        if not view["balanced"]:
            console.print(f"{view['view']}: counts do not add up; please report this", style="red")
    for name in missing:
        console.print(f"{name}: never started; dynaview run starts it")


def _clock(at: float | None) -> str:
    return "unknown" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) + "Z"


def _lag(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return (
        f"{seconds:.1f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.0f} h"
    )
