"""What every view is doing, read from the control store."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from dynaview.views.control.glance import Standing
from dynaview.views.control.records import ENDED, Generation, Rebuild, VerificationResult, ViewRecord, WorkerRecord
from dynaview.views.reasons import RETENTION, retention_left, retention_warning
from dynaview.views.states import ViewState

if TYPE_CHECKING:  # who only asks for --help does without its database
    from dynaview.views.control.store import ControlStore

ALIVE = 15.0
"""Seconds after its last sign of life in which a view counts as running."""

UNKNOWN = 120.0
"""Seconds for which it may be unknown how far behind a view is, after a start say. For longer it is bad health."""


def unknown_for(view: dict[str, Any], now: float) -> float | None:
    """For how long it has been unknown how far behind a view is (what `view_status` says of it), where that is too
    long."""
    passed = now - float(view["since"])
    return passed if view["lag"] is None and passed > UNKNOWN else None


def endangered(view: dict[str, Any]) -> str | None:
    """What is said of a view (what `view_status` says of it) to which changes will soon be lost; None where there is
    time left."""
    if view["retention_left"] is None:
        return None
    return retention_warning(view["watermark"], view["watermark"] + RETENTION - view["retention_left"])


def view_status(
    record: ViewRecord,
    kept: int = 0,
    now: float | None = None,
    verified: VerificationResult | None = None,
    generations: Sequence[Generation] = (),
    rebuild: Rebuild | None = None,
    workers: Sequence[tuple[WorkerRecord, int]] = (),
) -> dict[str, Any]:
    """One view as plain data: what ``status --json`` prints. Times are seconds since 1970, lag is in seconds.

    ``paused`` is since when it is, None where it is not. ``retention_left`` is in how many seconds DynamoDB trims what
    the view has not read; None where that is not known, or has happened.
    ``dead_letters`` is how many are kept now; ``counts.dead_lettered`` also has those that were discarded since.
    ``verified`` is the last verification's result (see `VerificationResult`), None where there was none.
    ``generations`` are those that stand, ``rebuild`` the last one, the first fill too (see `rebuild_progress`).
    ``scan`` is what the scan has found that fills or has filled what readers see: items ``read``, and those that
    ``matched`` the view; None where that is not known.
    ``workers`` are the processes that keep it, each with the number of shards that it reads for it.
    ``balanced`` says whether read = applied + stale + unmatched + dead_lettered (law 8).
    """
    now = time.time() if now is None else now
    left = None if record.state.ends else retention_left(record.watermark, now)
    counts = dataclasses.asdict(record.counts)
    filled_rows = _filled_rows(record, generations, rebuild)
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
        "paused": record.paused,
        "retention_left": left,
        "filled": record.filled,
        "filled_rows": filled_rows,
        "scan": _scan(record, generations, rebuild),
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
        "rebuild": None if rebuild is None else rebuild_progress(rebuild, now),
    }


def all_status(control: ControlStore) -> list[dict[str, Any]]:
    """The status of every view that was ever started, by name."""
    return status_of(standing_in(control))


def standing_in(control: ControlStore) -> Standing:
    """What a control store knows of its views."""
    views = control.views()
    return Standing(
        views=views,
        generations={record.name: control.generations(record.name) for record in views},
        letters=control.dead_letters.by_view(),
        verifications=control.verifications.all(),
        rebuilds={rebuild.view: rebuild for rebuild in control.rebuilds.all()},
        workers=control.leases.by_view(),
    )


def status_of(standing: Standing) -> list[dict[str, Any]]:
    """The same of what was found in a control store."""
    return [
        view_status(
            record,
            standing.letters.get(record.name, 0),
            verified=standing.verifications.get(record.name),
            generations=standing.generations.get(record.name, ()),
            rebuild=standing.rebuilds.get(record.name),
            workers=standing.workers.get(record.name, ()),
        )
        for record in standing.views
    ]


def _live(record: ViewRecord, generations: Sequence[Generation]) -> Generation | None:
    return next((each for each in generations if each.generation == record.generation), None)


def _filled_rows(record: ViewRecord, generations: Sequence[Generation], rebuild: Rebuild | None) -> int:
    """The rows that the scan has brought in of which readers see the generation."""
    if rebuild is not None and rebuild.kind == "fill" and not record.filled:
        return rebuild.rows
    live = _live(record, generations)
    return 0 if live is None else live.inserted or 0


def _scan(record: ViewRecord, generations: Sequence[Generation], rebuild: Rebuild | None) -> dict[str, int] | None:
    if rebuild is not None and rebuild.kind == "fill" and not record.filled:
        return {"read": rebuild.items, "matched": rebuild.matched}
    live = _live(record, generations)
    if live is None or live.scanned is None:
        return None
    return {"read": live.scanned, "matched": live.matched or 0}


# How far a rebuild is


KIND = {"rollback": "rollback", "fill": "first fill"}
"""Kinds of rebuilds in people's words."""


def rebuild_progress(rebuild: Rebuild, now: float | None = None) -> dict[str, Any]:
    """A rebuild as ``--json`` prints it. Times are seconds since 1970, `left` is in seconds; what is not known yet is
    None."""
    now = time.time() if now is None else now
    scanning = rebuild.phase == "scanning" and rebuild.scan_began is not None
    passed = (rebuild.scan_end or now) - rebuild.scan_began if rebuild.scan_began is not None else None
    rate = rebuild.items / passed if passed else None
    to_come = max(0, rebuild.of_items - rebuild.items)
    return {
        "view": rebuild.view,
        "kind": rebuild.kind,
        "phase": rebuild.phase,
        "reason": rebuild.reason,
        "asks": rebuild.answer == "?",
        "generation": rebuild.generation or None,
        "asked_by": rebuild.options.asked_by,
        "requested": rebuild.requested,
        "updated": rebuild.updated,
        "items": rebuild.items,
        "of_items": rebuild.of_items,
        "matched": rebuild.matched,
        "rows": rebuild.rows,
        "swept": rebuild.swept,
        "dead_letters": rebuild.letters,
        "items_per_second": rate,
        "read_units": rebuild.units,
        "of_read_units": rebuild.units / rebuild.items * max(rebuild.of_items, rebuild.items)
        if rebuild.items
        else None,
        "left": to_come / rate if scanning and rate else None,
    }


def progress_line(told: dict[str, Any]) -> str:
    """What `rebuild_progress` tells, for people."""
    of = f" of about {told['of_items']:,}" if told["of_items"] > told["items"] else ""
    matched = f"{told['matched']:,} matched"
    parts = [str(told["phase"]), f"{told['items']:,}{of} items", matched, f"{told['rows']:,} rows"]
    if told["items_per_second"]:
        parts.append(f"{told['items_per_second']:,.0f} items/s")
    if told["of_read_units"]:
        parts.append(f"{told['read_units']:,.0f} of about {told['of_read_units']:,.0f} read units")
    if told["left"] is not None:
        parts.append(f"{told['left']:,.0f} s left")
    return ", ".join(parts)


def under_way(told: dict[str, Any]) -> str:
    """The same for a status: what is under way, asks or failed; empty where nothing needs to be told."""
    what, name = KIND.get(told["kind"], "rebuild"), told["view"]
    if told["asks"]:
        return f"its {what} asks: {told['reason']}; go on with dynaview rebuild {name} --yes, or --cancel"
    if told["phase"] == "failed":
        return f"its last {what} failed: {told['reason']}"
    if told["phase"] == "cancelled" and told["kind"] == "fill":
        return f"its first fill was cancelled; the next start of dynaview run, or dynaview rebuild {name}, fills it"
    if told["phase"] in ENDED:
        return ""
    return f"{what}: {progress_line(told)}"
