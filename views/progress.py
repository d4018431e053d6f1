"""How far a rebuild is, as plain data for people and programs."""

from __future__ import annotations

import time
from typing import Any

from dynaview.views.control.records import ENDED, Rebuild


def plain(rebuild: Rebuild, now: float | None = None) -> dict[str, Any]:
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


def line(told: dict[str, Any]) -> str:
    """What `plain` tells, for people."""
    parts = [str(told["phase"]), f"{told['items']:,} items", f"{told['rows']:,} rows"]
    if told["items_per_second"]:
        parts.append(f"{told['items_per_second']:,.0f} items/s")
    if told["of_read_units"]:
        parts.append(f"{told['read_units']:,.0f} of about {told['of_read_units']:,.0f} read units")
    if told["left"] is not None:
        parts.append(f"{told['left']:,.0f} s left")
    return ", ".join(parts)


def under_way(told: dict[str, Any]) -> str:
    """The same for a status: what is under way, asks or failed; empty where nothing needs to be told."""
    what = "rollback" if told["kind"] == "rollback" else "rebuild"
    name = told["view"]
    if told["asks"]:
        return f"its {what} asks: {told['reason']}; go on with dynaview rebuild {name} --yes, or --cancel"
    if told["phase"] == "failed":
        return f"its last {what} failed: {told['reason']}"
    if told["phase"] in ENDED:
        return ""
    return f"{what}: {line(told)}"
