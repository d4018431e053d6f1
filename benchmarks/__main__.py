"""``python -m benchmarks``: ratios to raw ceilings, all contenders in turns, as medians with their spread."""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import decode, from_dynamodb, into_opensearch, into_postgres, into_redis, memory, rebuild, verify
from benchmarks.chart import ratios_svg
from benchmarks.dollars import dollars
from benchmarks.surroundings import surroundings
from benchmarks.timing import Group, Rates, measure, plain
from benchmarks.workload import Workload
from tests.support.servers import servers

_STORES = ("redis", "postgres", "opensearch")
_GROUPS: Mapping[str, tuple[Callable[[Workload], list[Group]], tuple[str, ...]]] = {
    "decode": (lambda workload: [decode.group(workload)], ()),
    "redis": (lambda workload: [into_redis.group(workload)], ("redis",)),
    "postgres": (lambda workload: [into_postgres.group(workload)], ("postgres",)),
    "opensearch": (lambda workload: [into_opensearch.group(workload)], ("opensearch",)),
    "dynamodb": (lambda workload: [from_dynamodb.group(workload)], (*_STORES, "dynamodb")),
    "rebuild": (rebuild.groups, (*_STORES, "dynamodb")),
    "verify": (lambda workload: [verify.group(workload)], (*_STORES, "dynamodb")),
}
"""What makes each name's groups, and the servers that they need."""

_MEMORY = "memory"
_MEMORY_REACH = 300


def main() -> None:
    """The command line."""
    names = (*_GROUPS, _MEMORY)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds that count (9)")
    parser.add_argument("--records", type=int, default=21_000, help="changes a round (21000)")
    parser.add_argument("--waiting", type=int, default=1_000_000, help="changes that wait for the memory's peak")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="GROUP", help=", ".join(names))
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="keep results.json and a picture of the ratios there"
    )
    options = parser.parse_args()
    console, progress = Console(), Console(stderr=True)
    logging.getLogger("dynaview").setLevel(logging.ERROR)
    found: list[Mapping[str, object]] = []
    chosen = [name for name in _GROUPS if name in options.only]
    needed = list(dict.fromkeys(server for name in chosen for server in _GROUPS[name][1]))
    if chosen:
        with servers(needed) as _, tempfile.TemporaryDirectory() as folder, progress.status("") as status:
            workload = Workload(dict(os.environ), Path(folder), options.records)
            status.update("making changes")
            groups = [group for name in chosen for group in _GROUPS[name][0](workload)]
            rates = measure(groups, options.rounds, lambda line: status.update(line))
            found.append({"group": "surroundings", **surroundings(os.environ)})
        if not options.json:
            _show(console, groups, rates, options.rounds)
        found += plain(groups, rates)
    if _MEMORY in options.only:
        with progress.status(f"{_MEMORY}: {options.waiting:,} changes wait"):
            peaks = memory.measure(options.waiting)
        if not options.json:
            _show_memory(console, peaks)
        found.append({"group": _MEMORY, "reach_bytes": _MEMORY_REACH << 20, **msgspec.to_builtins(peaks)})
    if options.json:
        console.print_json(data=found)
    if options.out is not None:
        keep(options.out, found, options.rounds)


def keep(folder: Path, found: Sequence[Mapping[str, object]], rounds: int) -> None:
    """Write what was found as results.json and ratios.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    where = next((each for each in found if each["group"] == "surroundings"), {})
    title = f"dynaview, {rounds} rounds, {where.get('cores')} cores, Python {where.get('python')}, {where.get('at')}"
    (folder / "ratios.svg").write_text(ratios_svg(found, title), encoding="utf-8")


def _show(console: Console, groups: Sequence[Group], rates: Rates, rounds: int) -> None:
    ratios = Table("group", "figure", title=f"Ratios: median and spread of {rounds} rounds")
    for title in ("median", "spread", "reach"):
        ratios.add_column(title, justify="right")
    for group in groups:
        for figure in group.figures:
            spread = rates.ratio(group, figure)
            reach = "" if figure.reach is None else f"{figure.reach:g}"
            what = f"{figure.over} ÷ {figure.under}"
            ratios.add_row(group.name, what, f"{spread.median:.2f}", f"{spread.low:.2f}..{spread.high:.2f}", reach)
    speeds = Table("group", "contender", title="Rates (they drift: only ratios count)")
    speeds.add_column("records/s", justify="right")
    speeds.add_column("spread", justify="right")
    speeds.add_column("µs of this process", justify="right")
    speeds.add_column("$ a million", justify="right")
    for group in groups:
        for contender in group.contenders:
            rate, cost = rates.rate(group, contender.name), rates.cost(group, contender.name).median
            price = "" if (found := dollars(contender.name, cost)) is None else f"{found:.4f}"
            between = f"{rate.low:,.0f}..{rate.high:,.0f}"
            speeds.add_row(group.name, contender.name, f"{rate.median:,.0f}", between, f"{cost:.1f}", price)
    console.print(ratios)
    console.print(speeds)


def _show_memory(console: Console, peaks: memory.Peaks) -> None:
    table = Table("memory", title=f"Peak resident memory, {peaks.changes:,} changes, three views")
    table.add_column("MB", justify="right")
    table.add_column("reach", justify="right")
    for name, value in (("at start", peaks.started), ("while they wait", peaks.held), ("caught up", peaks.caught_up)):
        table.add_row(name, f"{value / 2**20:.0f}", "" if name == "at start" else f"< {_MEMORY_REACH}")
    console.print(table)


if __name__ == "__main__":
    main()
