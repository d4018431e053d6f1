"""How many instructions the pure paths take: counted, not timed, so that a busy machine changes nothing.

    make bench-instructions                                # against the baseline; exit code 1 where one takes too many
    .venv/bin/python -m benchmarks.instructions --update   # renew the baseline of this minor version of Python

`benchmarks.pure_paths` runs each path once under valgrind's callgrind. What is judged is its count divided by that of
a yardstick, work of msgspec and of the interpreter that no line of ours takes part in: between two builds of Python
3.11 the counts differed by 13 %, these ratios by 9 % at the most. The baseline has an entry for each minor version of
Python, and is renewed when the locks are. Without valgrind, or without an entry, nothing is judged, which is said.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from benchmarks.pure_paths import CHANGES, PATHS, YARDSTICK

BASELINE = Path(__file__).with_name("instructions.json")

TOLERANCE = 0.15
"""What a path may take beyond its baseline."""

_CALLGRIND = (
    "valgrind",
    "--tool=callgrind",
    "--instr-atstart=no",
    "--toggle-collect=ffi_call",
    "--dump-after=ffi_call",
)
_DEADLINE = 600


def counts() -> dict[str, int]:
    """Instructions of each path, the yardstick's too. Raises RuntimeError where they could not be counted."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        words = [*_CALLGRIND, f"--callgrind-out-file={out}", sys.executable, "-m", "benchmarks.pure_paths"]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=_DEADLINE, check=False)
        found = [_total(out.with_name(f"out.{number + 1}")) for number in range(1 + len(PATHS))]
    if done.returncode or not all(found):
        raise RuntimeError(f"valgrind could not count: {done.stderr[-2000:]}")
    return dict(zip((YARDSTICK, *PATHS), found, strict=True))


def _total(file: Path) -> int:
    found = re.search(r"^totals: (\d+)$", file.read_text(), re.MULTILINE) if file.exists() else None
    return int(found[1]) if found else 0


def measured(found: Mapping[str, int]) -> dict[str, float]:
    """The paths by the yardstick."""
    return {path: round(found[path] / found[YARDSTICK], 4) for path in PATHS}


def too_many(found: Mapping[str, float], baseline: Mapping[str, float]) -> list[str]:
    """A line for each path that takes more than it may."""
    return [
        f"{path}: {found[path] / was - 1:+.0%} instructions over the baseline, at most {TOLERANCE:+.0%}. Mend it, or "
        "accept it: .venv/bin/python -m benchmarks.instructions --update"
        for path, was in baseline.items()
        if found[path] > was * (1 + TOLERANCE)
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write the baseline of this Python anew")
    parser.add_argument("--baseline", type=Path, default=BASELINE, metavar="FILE", help="another than the kept one")
    options = parser.parse_args()
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    kept = msgspec.json.decode(options.baseline.read_bytes(), type=dict[str, dict[str, float]])
    if shutil.which("valgrind") is None or shutil.which("vgdb") is None:
        print(
            "instructions: skipped, valgrind is not here to count them (on Debian and Ubuntu: apt-get install valgrind)"
        )
        return
    if minor not in kept and not options.update:
        print(f"instructions: skipped, there is no baseline for Python {minor}: run it with --update")
        return
    found = counts()
    ratios = measured(found)
    for path in PATHS:
        was = kept.get(minor, {}).get(path)
        against = "" if was is None else f"  {ratios[path] / was:.2f} of the baseline"
        print(f"{path:12}{found[path] / CHANGES:>10,.0f} instructions a change{against}")
    if options.update:
        kept[minor] = ratios
        options.baseline.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(kept.items())))) + b"\n")
        return
    lines = too_many(ratios, kept[minor])
    print(*lines, sep="\n", end="\n" * bool(lines), file=sys.stderr)
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
