"""How far a rebuild is, as plain data for people and programs."""

from __future__ import annotations

import time
from typing import Any

from dynaview.views.rebuilds.store import Rebuild


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
