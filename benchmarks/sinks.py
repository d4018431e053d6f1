"""What is alike for all stores: guarded writes, and following pages that lie in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.pipeline import PagesStream, follow
from benchmarks.records import Pages
from benchmarks.timing import Clock, clock
from benchmarks.workload import View, Workload, batches
from dynaview.projections.rows import Write
from dynaview.sinks.port import APPLIED, Target


def anew(view: View) -> Target:
    """The view's target, empty and prepared."""
    target = view.target()
    target.prepare()
    target.drop()
    target = view.target()
    target.prepare()
    target.publish()
    return target


def write(target: Target, writes: Sequence[Write], threads: int = 1) -> Clock:
    """Time guarded writes, 1000 a batch, from that many threads."""
    parts = [batches(part) for part in batches(writes, -(-len(writes) // threads))]

    def send(part: Sequence[Sequence[Write]]) -> bool:
        return all(outcome is APPLIED for batch in part for outcome in target.write(batch))

    with ThreadPoolExecutor(threads) as pool, clock(len(writes)) as timed:
        applied = all(pool.map(send, parts)) if threads > 1 else send(parts[0])
    if not applied:
        raise RuntimeError("a write was not applied")
    return timed


def followed(workload: Workload, view: View) -> Callable[[], Clock]:
    """End to end: the changes in memory, followed into an empty store."""
    bodies, pages = workload.bodies(), Pages(workload.count)

    def run() -> Clock:
        target = anew(view)
        stream = PagesStream(bodies, pages.lasts, view.shape)
        return follow(stream, view, target, workload.folder, pages.last, workload.count)

    return run
