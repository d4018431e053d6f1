"""What every view is doing, read from the control store."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from dynaview.views.control.records import Generation, Rebuild, VerificationResult, ViewRecord, WorkerRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.progress import plain
from dynaview.views.states import ViewState

ALIVE = 15.0
"""Seconds after its last sign of life in which a view counts as running."""

UNKNOWN = 120.0
"""Seconds for which it may be unknown how far behind a view is, after a start say. For longer it is bad health."""


def unknown_for(view: dict[str, Any], now: float) -> float | None:
    """For how long it has been unknown how far behind a view is (what `view_status` says of it), where that is too
    long."""
    passed = now - float(view["since"])
    return passed if view["lag"] is None and passed > UNKNOWN else None


def view_status(
    record: ViewRecord,
    filled_rows: int,
    kept: int = 0,
    now: float | None = None,
    verified: VerificationResult | None = None,
    generations: Sequence[Generation] = (),
    rebuild: Rebuild | None = None,
    workers: Sequence[tuple[WorkerRecord, int]] = (),
) -> dict[str, Any]:
    """One view as plain data: what ``status --json`` prints. Times are seconds since 1970, lag is in seconds.

    ``dead_letters`` is how many are kept now; ``counts.dead_lettered`` also has those that were discarded since.
    ``verified`` is the last verification's result (see `VerificationResult`), None where there was none.
    ``generations`` are those that stand, ``rebuild`` the last one (see `dynaview.views.progress`).
    ``workers`` are the processes that keep it, each with the number of shards that it reads for all its views.
    ``balanced`` says whether read = applied + stale + unmatched + dead_lettered (law 8).
    """
    now = time.time() if now is None else now
    counts = dataclasses.asdict(record.counts)
    running = now - record.seen < ALIVE
    return {
        "view": record.name,
        "source": record.source,
        "sink": record.sink,
        "generation": record.generation,
        "state": record.state if running or record.state.lasts else ViewState.STOPPED,
        "reason": record.reason,
        "since": record.since,
        "seen": record.seen,
        "watermark": record.watermark,
        "lag": None if record.watermark is None else max(0.0, now - record.watermark),
        "filled": record.filled,
        "filled_rows": filled_rows,
        "counts": counts,
        "dead_letters": kept,
        "balanced": counts["read"] == sum(count for name, count in counts.items() if name != "read"),
        "verified": None if verified is None else {**msgspec.structs.asdict(verified), "drift": verified.drift},
        "generations": [
            {"generation": each.generation, "role": each.role, "created": each.created, "keep_until": each.keep_until}
            for each in generations
        ],
        "workers": [
            {"worker": each.id, "host": each.host, "pid": each.pid, "shards": shards} for each, shards in workers
        ],
        "rebuild": None if rebuild is None else plain(rebuild, now),
    }


def all_status(control: ControlStore) -> list[dict[str, Any]]:
    """The status of every view that was ever started, by name."""
    kept, verified = control.dead_letters.by_view(), control.verifications.all()
    workers = control.leases.by_view()
    rebuilds = {rebuild.view: rebuild for rebuild in control.rebuilds.all()}
    return [
        view_status(
            record,
            sum(part.inserted for part in control.segments(record.name, record.generation)),
            kept.get(record.name, 0),
            verified=verified.get(record.name),
            generations=control.generations(record.name),
            rebuild=rebuilds.get(record.name),
            workers=workers.get(record.name, ()),
        )
        for record in control.views()
    ]
