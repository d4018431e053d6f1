"""Two versions of dynaview side by side: this tree against a commit, in pairs, as ratios with confidence intervals.

    make bench-compare BASE=v0.1.0
    .venv/bin/python -m benchmarks.compare --base v0.1.0 --stores redis --rounds 9 --fail-below 0.9

In each round both run the same trial (`benchmarks.daemon`) one after the other, in changing order, and a ratio is taken
within the round: above 1 this tree is better. Told are the median and what 95 of 100 resamplings of the rounds give
(bootstrap). Both run on the libraries of this environment. ``--fail-below R`` ends with exit code 1 where a ratio is
below R for sure: where the whole interval is.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from benchmarks.daemon import Setting, Trial, options_of, servers_of, settings_of, trial
from benchmarks.surroundings import surroundings
from tests.support.servers import servers

_ROOMS = ("projections", "sinks", "sources", "local", "views")
_RESAMPLINGS = 2000

RATIOS: dict[str, Callable[[Trial, Trial], float]] = {
    "fill": lambda base, head: base.fill / head.fill,
    "follow": lambda base, head: base.follow / head.follow,
    "follow, by the clock": lambda base, head: head.rate / base.rate,
    "rebuild": lambda base, head: base.rebuild / head.rebuild,
    "verify": lambda base, head: base.verify / head.verify,
    "peak memory": lambda base, head: base.peak / head.peak,
}
"""All above 1 where `head` is better; processor time but where it says otherwise."""


class Interval(msgspec.Struct, frozen=True):
    """A median of ratios, and between what it lies in 95 of 100 resamplings."""

    median: float
    low: float
    high: float


class Compared(msgspec.Struct, frozen=True):
    """One ratio of one setting."""

    setting: str
    figure: str
    ratio: Interval


def interval(ratios: Sequence[float]) -> Interval:
    """The percentile bootstrap of the median; the same numbers give the same interval."""
    chance = random.Random(len(ratios))
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(_RESAMPLINGS))
    low, high = (medians[int(part * _RESAMPLINGS)] for part in (0.025, 0.975))
    return Interval(statistics.median(ratios), low, high)


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """A work tree of a commit, for as long as the block runs."""
    tree = folder / "base"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        yield tree
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(tree)], check=True)


def packages(tree: Path, folder: Path) -> Path:
    """A folder with a copy of a tree's packages under the name that users import: the tree may change meanwhile."""
    for room in _ROOMS:
        shutil.copytree(tree / room, folder / "dynaview" / room, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def compare(trees: Sequence[Path], settings: dict[str, Setting], rounds: int, folder: Path) -> list[Compared]:
    """Base and head in pairs, after a pair that does not count."""
    pairs: dict[str, list[tuple[Trial, Trial]]] = {name: [] for name in settings}
    for number in range(rounds + 1):
        for name, setting in settings.items():
            print(f"round {number} of {rounds}: {name}", file=sys.stderr, flush=True)
            order = (0, 1) if number % 2 else (1, 0)
            done = {which: trial(folder / "pages", setting, trees[which]) for which in order}
            if number or not rounds:
                pairs[name].append((done[0], done[1]))
    return [
        Compared(name, figure, interval([ratio(*pair) for pair in found]))
        for name, found in pairs.items()
        for figure, ratio in RATIOS.items()
        if settings[name].after or figure not in ("rebuild", "verify")
    ]


def slower(found: Sequence[Compared], limit: float) -> list[Compared]:
    """Those that are below the limit for sure."""
    return [each for each in found if each.ratio.high < limit]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, metavar="COMMIT", help="what to compare with")
    parser.add_argument("--fail-below", type=float, metavar="RATIO", help="exit code 1 where a ratio is below for sure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    parser.add_argument("--follow-only", action="store_true", help="no rebuild, no verification")
    options_of(parser)
    options = parser.parse_args()
    settings = settings_of(options, not options.follow_only)
    with servers(servers_of(options)) as urls, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pages").mkdir()
        with checked_out(options.base, folder) as base:
            trees = [packages(base, folder / "0"), packages(Path.cwd(), folder / "1")]
            found = compare(trees, settings, options.rounds, folder)
        where = surroundings(urls)
    for each in found:
        ratio = each.ratio
        print(f"{each.setting:30}{each.figure:24}{ratio.median:6.2f}  ({ratio.low:.2f}..{ratio.high:.2f})")
    if options.json is not None:
        said = {"base": options.base, "rounds": options.rounds, "surroundings": where, "ratios": found}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(said)))
    failed = [] if options.fail_below is None else slower(found, options.fail_below)
    for each in failed:
        print(f"below {options.fail_below:g} for sure: {each.setting}, {each.figure}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
