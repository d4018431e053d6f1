"""Rebuilds on real servers while everything is done to them, and readers who look on all the time.

    python -m tests.soak.chaos_run --minutes 10 --items 300 --redis hash

A table has a view in each of Redis, Postgres and OpenSearch. Items are put, updated, hidden from the views, moved to
another row key and deleted without a break, while views are rebuilt and rolled back. Every process that works on that
is killed: first once in each phase, held there by a trigger in the control store, also between the swap and the record
of it; then at random moments, with outages of the stores, requests made twice and cancels among them. No reader may see
a row go back, vanish or come back, and at the end every generation that is written equals the table.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from dynaview.local import servers as local
from dynaview.sinks.port import SinkError
from dynaview.views.control.records import Rebuild
from tests.soak.faults import Outages
from tests.soak.readers import Readers
from tests.soak.rebuild_environment import REDIS, Plan, RebuildEnvironment, Report, Stuck, Writer
from tests.support.servers import servers

Say: TypeAlias = Callable[[str], None]

Stage: TypeAlias = tuple[str, str]
"""Where views are held at once: a phase of those that fill beside, and one of those in place."""

MIDWAY: Stage = ("midway", "midway")
"""Some segments of the scan are finished, and not all."""

SWAPPED: Stage = ("swapping", "swapping")
"""Readers see the new generation, and the control store does not know it."""

REBUILD: tuple[Stage, ...] = (
    ("starting", "starting"), MIDWAY, ("scanning", "scanning"), ("finishing", "waiting"), ("waiting", "checking"),
    ("checking", "sweeping"), SWAPPED,
)  # fmt: skip

ROLLBACK: tuple[Stage, ...] = (("starting", ""), ("waiting", ""), SWAPPED)

SEGMENTS = 5
FINISHED = 2
"""Segments that are finished midway."""


class Hold:
    """Keeps rebuilds from recording that a phase is over: the control store seems to be away when they try to."""

    def __init__(self, env: RebuildEnvironment) -> None:
        self._env = env

    def move(self, stage: Stage | None) -> None:
        """Hold all rebuilds at this stage and at no other; None: let them go on."""
        with contextlib.closing(sqlite3.connect(self._env.database, timeout=60, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("DROP TRIGGER IF EXISTS chaos")
            if stage is not None:
                # Fails as if the disk did: no mistake of whoever made the statement.
                what = f"CREATE TRIGGER chaos BEFORE {_end_of(stage)} BEGIN SELECT json('held by the chaos run'); END"
                database.execute(what)
            database.execute("COMMIT")

    def has(self, stage: Stage) -> bool:
        """Whether every rebuild that is under way has come there."""
        running = [each for each in self._env.rebuilds() if not each.ended]
        if not running:
            return False
        if stage is MIDWAY:
            segments = self._env.control.rebuilds.segments(running[0].job)
            return len(segments) > FINISHED and sum(each.finished for each in segments) == FINISHED
        if stage is SWAPPED:
            return all(each.phase == "swapping" and self._is_published(each) for each in running)
        return all(each.phase == stage[each.kind == "in place"] for each in running)

    def _is_published(self, rebuild: Rebuild) -> bool:
        view = self._env.declaration.views[rebuild.view]
        sink = self._env.sinks[view.sink]
        return sink.in_place or sink.published(view.layout) == rebuild.generation


def _end_of(stage: Stage) -> str:
    """The update that ends a stage, as a trigger names it."""
    if stage is MIDWAY:
        # Whichever come first: an error of one segment ends the others' try, too.
        finished = "SELECT COUNT(*) FROM dynaview_scans WHERE finished AND job = NEW.job"
        return f"UPDATE ON dynaview_scans WHEN NEW.finished AND NOT OLD.finished AND ({finished}) >= {FINISHED}"
    if stage is SWAPPED:
        return "UPDATE OF role ON dynaview_generations WHEN NEW.role = 'live' AND OLD.role <> 'live'"
    beside, in_place = stage
    return (
        "UPDATE OF phase ON dynaview_rebuilds WHEN NEW.phase <> OLD.phase AND OLD.phase = "
        f"CASE OLD.kind WHEN 'in place' THEN '{in_place}' ELSE '{beside}' END"
    )


def in_every_phase(env: RebuildEnvironment, say: Say) -> None:
    """Rebuild all three views in one go, and roll two of them back; kill what works on them once in every phase."""
    _kill_in_phases(env, ["rebuild", *env.names, "--segments", str(SEGMENTS)], env.names, REBUILD, say)
    # Without a daemon the command does everything.
    _kill_in_phases(env, ["rollback", *env.names[1:]], env.names[1:], ROLLBACK, say, daemon=False)
    env.until(lambda: not [each for each in env.commands if each.poll() is None], "the commands to end")
    env.see_ends()
    env.daemon.start()


def _kill_in_phases(
    env: RebuildEnvironment,
    words: Sequence[str],
    views: Sequence[str],
    stages: Sequence[Stage],
    say: Say,
    *,
    daemon: bool = True,
) -> None:
    hold, before = Hold(env), env.jobs()
    hold.move(stages[0])
    env.command(*words)
    env.wait_requested(views, before)
    if words[0] == "rebuild":
        join(env, views[0])
    for stage, after in zip(stages, (*stages[1:], None), strict=True):
        env.stages += 1
        env.until(lambda: hold.has(stage), f"all to be held in {stage}")  # noqa: B023 - done before the next round
        time.sleep(env.random.uniform(0.0, 0.4))
        env.kill()
        say(f"killed in {stage[0]} / {stage[1]}: {env.truth.made:,} changes")
        hold.move(after)
        if daemon:
            env.daemon.start()
        else:
            env.command(*words)
    _end(env, views)


def _end(env: RebuildEnvironment, views: Sequence[str], *, cancelled: bool = False) -> None:
    env.wait_ended(views, cancelled=cancelled)
    env.report.ends.update(f"{each.kind} {each.phase}" for each in env.rebuilds() if each.view in views)


def at_random(env: RebuildEnvironment, until: float, say: Say) -> None:
    """Rebuild, roll back, cancel, join, kill and pause as it comes, until a monotonic time."""
    chance = env.random
    while time.monotonic() < until:
        env.see_ends()
        before = env.jobs()
        kept = [name for name in env.names if _is_kept(env, name)]
        cancelled = False
        if kept and chance.random() < 0.3:
            views = chance.sample(kept, chance.randint(1, len(kept)))
            env.command("rollback", *views)
        else:
            views = chance.sample(env.names, chance.randint(1, len(env.names)))
            options = ["--segments", str(chance.randint(1, 6)), "--keep", chance.choice(("0s", "0s", "1h"))]
            options += ["--detach"] * (chance.random() < 0.3)
            env.rebuild(views, *options)
            cancelled = chance.random() < 0.15
        env.wait_requested(views, before)
        for _ in range(chance.choice((0, 1, 1, 2, 4))):
            time.sleep(min(8.0, chance.expovariate(1 / 1.5)))
            _inject(env)
        if cancelled:
            env.rebuild([chance.choice(views)], "--cancel", "--detach")
        elif chance.random() < 0.3:
            join(env, chance.choice(views))
        _end(env, views, cancelled=cancelled)
        env.wait_following()
        ended = [each for each in env.rebuilds() if each.view in views]
        told = ", ".join(f"{each.view.rpartition('_')[2]} {each.kind} {each.phase}" for each in ended)
        kills, faults = env.report.kills.total(), len(env.report.faults)
        say(f"{told}; {env.truth.made:,} changes, {kills} kills, {faults} faults")


def _is_kept(env: RebuildEnvironment, view: str) -> bool:
    """Whether there is a generation to go back to, and will be for a while."""
    return any(
        each.role == "previous" and (each.keep_until or 0.0) > time.time() + 600
        for each in env.control.generations(view)
    )


def _inject(env: RebuildEnvironment) -> None:
    kind = env.random.random()
    if kind < 0.15:
        env.pause(env.random.uniform(0.1, 4.0))
    elif kind < 0.25:
        env.kill(daemon=False)
    elif kind < 0.5:
        env.kill(commands=False)
        env.daemon.start()
    else:
        env.kill()
        env.daemon.start()


def join(env: RebuildEnvironment, view: str) -> None:
    """Ask for a rebuild that is under way already, where one is."""
    before = env.running(view)
    if before is None or before.kind == "rollback":
        return
    env.rebuild([view], "--detach").wait(60)
    after = env.running(view)
    env.report.joins += after is not None and before.job == after.job


def run(urls: Mapping[str, str], folder: Path, plan: Plan, say: Say = lambda line: None) -> Report:
    """One whole run. See `RebuildEnvironment` for `urls`."""
    began = time.monotonic()
    with RebuildEnvironment(urls, folder, plan) as env, contextlib.ExitStack() as stack:
        report, writer = env.report, Writer(env)
        writer.fill()
        env.daemon.start()
        env.wait_following()
        readers = env.readers()
        for reader in readers:
            stack.callback(reader.close)
        watching = Readers(env.truth, readers)
        try:
            with watching:
                with writer, _outages(env, say):
                    if plan.phases:
                        in_every_phase(env, say)
                    at_random(env, time.monotonic() + plan.seconds, say)
                env.wait_counted()
                env.wait_following()
            watching.conclude()
            env.compare()
            if (code := env.daemon.terminate()) != 0:
                env.fault(f"SIGTERM ended the daemon with exit code {code}")
        except (Stuck, SinkError) as error:
            env.fault(f"{type(error).__name__}: {error}")
        report.faults += watching.faults
        report.looks, report.changes = watching.looks, env.truth.made
    report.seconds = time.monotonic() - began
    return report


@contextlib.contextmanager
def _outages(env: RebuildEnvironment, say: Say) -> Iterator[None]:
    """Take stores away until the block ends: throughout the random rounds, or, where there are none, the phases."""
    plan, began = env.plan, time.monotonic()
    stages = len(REBUILD) + len(ROLLBACK)

    def progress() -> float:
        return (time.monotonic() - began) / plan.seconds if plan.seconds else env.stages / stages

    outages = Outages(env.stores, random.Random(plan.seed + 2), plan.outages, progress, plan.longest, say)
    try:
        yield
    finally:
        outages.stop()
        env.report.outages = outages.done


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="of random rounds behind the kills in every phase (5)"
    )
    parser.add_argument("--items", type=int, default=300, help="different items (300)")
    parser.add_argument("--outages", type=int, default=None, help="times that a store goes away (two a minute)")
    parser.add_argument("--redis", choices=REDIS, default="hash", help="type of Redis' rows (hash)")
    parser.add_argument("--yes", action="store_true", help="swap whatever the checks find")
    parser.add_argument("--no-phases", dest="phases", action="store_false", help="only random rounds")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    told = parser.parse_args()
    outages = round(told.minutes * 2) if told.outages is None else told.outages
    plan = Plan(told.items, told.phases, told.minutes * 60, outages, redis=told.redis, yes=told.yes, seed=told.seed)

    def say(line: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    say(f"seed {plan.seed}")
    with servers(local.NAMES), tempfile.TemporaryDirectory() as folder:
        report = run(os.environ, Path(folder), plan, say)
        if report.faults:
            print(Path(folder, "daemon.log").read_text()[-5000:], file=sys.stderr)
    for what in ("kills", "ends", "outages", "looks"):
        for kind, count in sorted(getattr(report, what).items()):
            say(f"{what}: {kind}: {count:,}")
    for fault in report.faults[:50]:
        say(f"FAULT {fault}")
    say(
        f"{report.changes:,} changes, {report.kills.total()} views met by a kill, {report.joins} joins, "
        f"{report.outages.total()} outages, {report.generations} generations equal the table, {report.seconds:.0f} s: "
        + (f"{len(report.faults)} FAULTS" if report.faults else "no reader saw anything wrong")
    )
    sys.exit(1 if report.faults else 0)


if __name__ == "__main__":
    main()
