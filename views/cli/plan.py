"""``dynaview plan``: what the declaration would change of the views that stand."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from dynaview.views.cli.options import files_option, found_control, load_files
from dynaview.views.control.records import Generation
from dynaview.views.declarations.costs import TableCost, costs
from dynaview.views.declarations.plan import Planned, Rows, Size, Standing, plan


@click.command("plan")
@click.argument("views", nargs=-1)
@files_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, one object a view.")
@click.option("--check", is_flag=True, help="Exit with 1 when anything is to be filled, rebuilt or dropped.")
@click.option("--cost", is_flag=True, help="Show what following, a scan and an export of each table cost instead.")
def command(views: tuple[str, ...], files: tuple[Path, ...], as_json: bool, check: bool, cost: bool) -> None:
    """Show what changed in the declaration of each of VIEWS (default: all) since it was built, and what follows.

    Nothing is changed. Sizes of tables and views are asked where a scan would follow; without AWS or a store they are
    not known, and the rest is shown all the same.
    """
    declaration = load_files(files)
    if cost:
        _tell_costs(costs(declaration), as_json)
        return
    with found_control(declaration) as control:
        records = {} if control is None else {record.name: record for record in control.views()}
        for name in views:
            if name not in declaration.views and name not in records:
                known = ", ".join(sorted({*declaration.views, *records}))
                raise click.UsageError(f"no view is called {name}; there are {known}")
        planned = plan(declaration, Standing(records, _none if control is None else control.generations), views)
    if as_json:
        click.echo(json.dumps([_object(each) for each in planned], indent=2))
    else:
        for line in lines(planned):
            click.echo(line)
    if check and any(each.to_do for each in planned):
        sys.exit(1)


def _tell_costs(found: Sequence[TableCost], as_json: bool) -> None:
    if as_json:
        told = [
            {
                **{field.name: getattr(each, field.name) for field in dataclasses.fields(each)},
                "unknown": each.unknown or None,
                "stream_reads_a_month": each.reads,
                "control_commits_a_month": each.commits,
            }
            for each in found
        ]
        click.echo(json.dumps(told, indent=2))
        return
    for each in found:
        for line in cost_lines(each):
            click.echo(line)


def cost_lines(cost: TableCost) -> Iterator[str]:
    """What a table costs, for people."""
    if cost.reads is None or cost.scan is None or cost.export is None:
        yield f"{cost.source} (table {cost.table}): what it costs is not known: {cost.unknown}"
    else:
        yield f"{cost.source} (table {cost.table}), in units of AWS:"
        yield f"  following: {cost.line}"
        yield f"  a first fill, rebuild or verify: about {cost.scan:,} read units; a full export: {cost.export:,.2f} GB"
    views = "1 view" if cost.views == 1 else f"{cost.views:,} views"
    yield f"  control store: about {cost.commits:,.0f} transactions a month for {views} in which nothing happens"


def _none(view: str) -> list[Generation]:
    """Nothing was ever built."""
    return []


def lines(planned: Sequence[Planned]) -> Iterator[str]:
    """The plan for people."""
    for each in planned:
        yield f"{each.view}: {each.state}" + (f": {each.do}" if each.do else "")
        yield from (f"  {change}" for change in each.difference.changes)
        if each.rows is not None:
            yield f"  {_rows(each.rows)}"
    for size in dict.fromkeys(each.size for each in planned if each.size is not None):
        yield _size(size)
        together = [each.view for each in planned if each.size == size and each.by_itself]
        if len(together) > 1:
            yield f"  by one scan: {', '.join(together)}"
    counted = Counter(each.state for each in planned if each.to_do)
    states = [f"{counted[state]} {state}" for state in ("new", "changed", "removed") if counted[state]]
    yield f"to do: {', '.join(states)}" if states else "nothing to do"


def _size(size: Size) -> str:
    if size.items is None or size.bytes is None:
        return f"table {size.table}: how large it is is not known: {size.unknown}"
    return (
        f"table {size.table}: about {size.items:,} items, {_bytes(size.bytes)}; "
        f"a scan costs about {size.read_units:,} read units"
        + ("" if size.seconds is None else f", at {size.rate:,.0f} a second at least {_time(size.seconds)}")
    )


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _rows(rows: Rows) -> str:
    if rows.count is None:
        return f"how many rows the view has is not known: {rows.unknown}"
    return f"the view has {rows.count:,} rows"


def _bytes(count: int) -> str:
    amount, unit = float(count), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{count:,} bytes" if unit == "bytes" else f"{amount:,.1f} {unit}"


def _object(each: Planned) -> dict[str, Any]:
    size, rows = each.size, each.rows
    return {
        "view": each.view,
        "state": each.state,
        "to_do": each.to_do,
        "do": each.do,
        "consequence": each.difference.consequence if each.state in ("changed", "unchanged") else None,
        "columns": list(each.difference.columns),
        "on_change": each.on_change,
        "changes": [
            {"path": change.path, "key": change.key or None, "before": change.before, "after": change.after}
            for change in each.difference.changes
        ],
        "table": None
        if size is None
        else {
            "name": size.table,
            "items": size.items,
            "bytes": size.bytes,
            "read_units": size.read_units,
            "seconds": size.seconds,
            "unknown": size.unknown or None,
        },
        "rows": None if rows is None else {"count": rows.count, "unknown": rows.unknown or None},
    }
