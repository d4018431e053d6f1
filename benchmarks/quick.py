"""Every benchmark at its smallest, for its exit code: they all still run to their end. Times mean nothing here.

    make bench-quick

Servers that the environment does not name are started once for all of them.
"""

from __future__ import annotations

import subprocess
import sys
import time

from tests.support.servers import servers

RUNS: tuple[tuple[str, ...], ...] = (
    ("benchmarks", "--rounds", "0", "--records", "100", "--waiting", "2000", "--json"),
    ("benchmarks.daemon", "--changes", "700", "--rounds", "1", "--together", "--follow-only"),
    ("benchmarks.daemon", "--changes", "700", "--rounds", "1", "--stores", "redis", "--workers", "2", "--shards", "2",
     "--size", "4000", "--views", "2", "--follow-only"),
    ("benchmarks.latency", "--samples", "2", "--seconds", "0.5"),
    ("benchmarks.verify", "--peak", "2000"),
    ("benchmarks.rebuild_lag", "--rows", "1000", "--rate", "50", "--seconds", "1", "--only", "postgres"),
    ("benchmarks.idle", "--shards", "3", "--scripted", "3", "--seconds", "0.2", "--settling", "0.2"),
)  # fmt: skip
"""`benchmarks.scale` is left out: what it measures only shows with thousands of shards and views."""


def main() -> None:
    """Run all, say what failed; exit code 1 where any did."""
    failed: list[str] = []
    with servers():
        for run in RUNS:
            began = time.monotonic()
            done = subprocess.run([sys.executable, "-m", *run], stdout=subprocess.DEVNULL, check=False)
            said = "ran" if done.returncode == 0 else f"FAILED with exit code {done.returncode}"
            print(f"{time.monotonic() - began:6.1f} s  {' '.join(run)}: {said}", flush=True)
            failed += [" ".join(run)] * (done.returncode != 0)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
