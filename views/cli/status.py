"""``dynaview status``: what every view is doing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dynaview.views.cli.columns import aligned, fitted, terminal_width
from dynaview.views.cli.options import files_option, found_control, load_files, opened_control
from dynaview.views.control.glance import glance
from dynaview.views.declarations.files import at_first_sight
from dynaview.views.states import ViewState
from dynaview.views.status import all_status, endangered, status_of, under_way, unknown_for

if TYPE_CHECKING:
    from dynaview.views.declarations.costs import TableCost

HEAD = (
    *("VIEW", "SINK", "GEN", "STATE", "LAG", "WATERMARK", "READ", "APPLIED", "STALE", "UNMATCHED", "DEAD", "KEPT"),
    *("FILLED", "VERIFIED"),
)
SPARE = ("SINK", "GEN", "UNMATCHED", "STALE", "VERIFIED", "READ", "FILLED", "WATERMARK", "APPLIED", "KEPT", "DEAD")
"""What a narrow terminal does without, the least important first."""

WORDS = 6
"""So many columns hold words; the others hold numbers."""


@click.command("status")
@files_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a view.")
@click.option(
    "--check",
    is_flag=True,
    help="Exit with 1 unless every view is following (or filling), and it is known how far behind.",
)
@click.option("--max-lag", type=float, metavar="SECONDS", help="With --check: also exit with 1 above this lag.")
@click.option("--cost", is_flag=True, help="Show what following costs as well, by the shards that there are.")
def command(files: tuple[Path, ...], as_json: bool, check: bool, max_lag: float | None, cost: bool) -> None:
    """Show views, generation, state, watermark, lag and counts (read = applied + stale + unmatched + dead)."""
    declared, views = _looked(files)
    started = {view["view"] for view in views}
    missing = [name for name in declared if name not in started]
    following = _costs(files) if cost else {}
    if as_json:
        click.echo(json.dumps([_with_cost(view, following) for view in views], indent=2))
    else:
        _print(views, missing)
        for source, each in following.items():
            click.echo(f"{source}: {each.line}")
    if check and (missing or not all(_good(view, max_lag) for view in views if view["view"] in declared)):
        sys.exit(1)


def _looked(files: tuple[Path, ...]) -> tuple[Collection[str], list[dict[str, Any]]]:
    """The names of the declared views, and what all views are doing that were ever started.

    Where the control store is a file that can be read as it is, both are read past the libraries that are slow to load,
    and mistakes in the declaration of a view do not hide what the views are doing."""
    outline = at_first_sight(files, os.environ)
    if outline is not None and (standing := glance(outline.control)) is not None:
        return outline.views, status_of(standing)
    declaration = load_files(files, stores=False)
    with found_control(declaration) as control:
        return declaration.views, [] if control is None else all_status(control)


def _costs(files: tuple[Path, ...]) -> dict[str, TableCost]:
    """What following costs by source: of those whose views have been started, by the shards that the control store
    knows. Imported here, as only who asks for it pays for SQLAlchemy."""
    from dynaview.views.declarations.costs import followed

    declaration = load_files(files, stores=False)
    with opened_control(declaration) as control:
        return {each.source: each for each in followed(declaration, control.checkpoints)}


def _with_cost(view: dict[str, Any], following: Mapping[str, TableCost]) -> dict[str, Any]:
    found = following.get(view["source"])
    if found is None:
        return view
    return {**view, "cost": {"open_shards": found.shards, "stream_reads_a_month": found.reads}}


def _good(view: dict[str, Any], max_lag: float | None) -> bool:
    late = max_lag is not None and (view["lag"] is None or view["lag"] > max_lag)
    given_up = (
        not view["filled"] and view["rebuild"] is not None and view["rebuild"]["phase"] in ("failed", "cancelled")
    )
    return ViewState(view["state"]).well and not late and not given_up and unknown_for(view, time.time()) is None


def _print(views: list[dict[str, Any]], missing: list[str]) -> None:
    if views:
        _print_table(views, terminal_width())
    for view in views:
        if view["paused"] is not None and view["state"] != ViewState.PAUSED:
            click.echo(f"{view['view']}: it is paused too: dynaview resume {view['view']}")
        if view["reason"]:
            click.echo(f"{view['view']}: {view['reason']}")
        if (warning := endangered(view)) is not None:
            click.echo(f"{view['view']}: {warning}")
        if ViewState(view["state"]).well and (unknown := unknown_for(view, time.time())) is not None:
            lag = f"how far it is behind has not been known for {unknown:.0f} s"
            click.echo(f"{view['view']}: {lag}; see the log of dynaview run")
        verified = view["verified"]
        if verified is not None and verified["error"]:
            click.echo(f"{view['view']}: could not be verified: {verified['error']}")
        elif verified is not None and verified["drift"] > verified["mended"]:
            left = verified["drift"] - verified["mended"]
            click.echo(f"{view['view']}: {left:,} rows differed when it was verified: dynaview repair {view['view']}")
        if nothing := _nothing(view):
            click.echo(f"{view['view']}: {nothing}")
        if (rebuild := view["rebuild"]) is not None and (line := under_way(rebuild)):
            click.echo(f"{view['view']}: {line}")
        if not view["balanced"]:
            click.echo(f"{view['view']}: the counts do not add up; please report this")
    for line in _workers([view for view in views if len(view["workers"]) > 1]):
        click.echo(line)
    for name in missing:
        click.echo(f"{name}: never started; dynaview run starts it")


def _nothing(view: dict[str, Any]) -> str:
    """What to say of a view that no item has ever matched."""
    scan = view["scan"]
    if not view["filled"] or scan is None or not scan["read"] or scan["matched"] or view["counts"]["applied"]:
        return ""
    return f"0 of {scan['read']:,} items matched when it was filled: do its match and where say what they should?"


def _print_table(views: list[dict[str, Any]], width: int | None) -> None:
    rows: list[tuple[str, ...]] = [HEAD, *map(_row, views)]
    kept, left_out = fitted(rows, SPARE if width is not None else (), width or 0)
    for line in aligned(kept, sum(name in HEAD[:WORDS] for name in kept[0])):
        click.echo(line)
    if left_out:
        click.echo(f"(left out, as the terminal is narrow: {', '.join(left_out)}; --json shows all)")


def _workers(views: Sequence[dict[str, Any]]) -> list[str]:
    """Views of a source share their workers, so one line says it for all that are read by the same ones."""
    alike: dict[str, dict[str, list[str]]] = {}
    for view in views:
        each = (f"{worker['host']}:{worker['pid']} reads {worker['shards']:,}" for worker in view["workers"])
        text = f"{len(view['workers'])} workers share the shards: {', '.join(each)}"
        alike.setdefault(view["source"], {}).setdefault(text, []).append(view["view"])
    return sorted(
        f"{source if len(texts) == 1 else ', '.join(names)}: {text}"
        for source, texts in alike.items()
        for text, names in texts.items()
    )


def _row(view: dict[str, Any]) -> tuple[str, ...]:
    counts = view["counts"]
    return (
        view["view"],
        view["sink"],
        str(view["generation"]),
        view["state"],
        _lag(view["lag"]),
        _clock(view["watermark"]),
        *(f"{counts[name]:,}" for name in ("read", "applied", "stale", "unmatched", "dead_lettered")),
        f"{view['dead_letters']:,}",
        f"{view['filled_rows']:,}" + ("" if view["filled"] else "+"),
        _verified(view["verified"]),
    )


def _verified(result: dict[str, Any] | None) -> str:
    if result is None:
        return "never"
    return f"{_lag(max(0.0, time.time() - result['begun']))} ago"


def _clock(at: float | None) -> str:
    return "unknown" if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


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
