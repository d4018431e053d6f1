"""From rows of the control store's tables, by the names of their columns, to its values. Knows no database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from dynaview.views.control.records import (
    Counts,
    Generation,
    Options,
    Rebuild,
    Task,
    VerificationResult,
    ViewRecord,
    WorkerRecord,
)
from dynaview.views.states import ViewState

Row: TypeAlias = Mapping[Any, Any]


def view_record(row: Row) -> ViewRecord:
    """What the store knows of a view. That it is paused covers whatever its workers said last."""
    plain = {name: row[name] for name in ViewRecord.__dataclass_fields__ if name not in ("counts", "write_order")}
    plain |= {"state": ViewState(plain["state"]), "filled": bool(plain["filled"])}
    if row["paused"] is not None and not plain["state"].ends:
        hint = f"dynaview resume {row['name']} lets it go on"
        reason = f"{row['pause_reason']}; {hint}" if row["pause_reason"] else hint
        plain |= {"state": ViewState.PAUSED, "reason": reason, "since": row["paused"]}
    order = tuple(map(int, row["write_order"].split()))
    counts = Counts(**{name: row[name] for name in Counts.__dataclass_fields__})
    return ViewRecord(**plain, write_order=order, counts=counts)


def generation(row: Row) -> Generation:
    """One generation of a view."""
    plain = {name: row[name] for name in Generation.__dataclass_fields__}
    return Generation(**plain | {name: bool(plain[name]) for name in ("claimed", "filled")})


def rebuild(row: Row) -> Rebuild:
    """The last rebuild of a view."""
    plain = {name: row[name] for name in Rebuild.__dataclass_fields__ if name not in ("options", "before")}
    return Rebuild(
        **plain | {"fresh": bool(plain["fresh"])},
        options=msgspec.json.decode(row["options"], type=Options),
        before=(ViewState(row["before_state"]), row["before_reason"]),
    )


def verification(result: str | bytes) -> VerificationResult:
    """How the last verification of a view ended."""
    return msgspec.json.decode(result, type=VerificationResult)


def worker(row: Row) -> WorkerRecord:
    """A worker."""
    plain = {name: row[name] for name in ("id", "source", "host", "pid", "started")}
    return WorkerRecord(**plain, group=row["grp"], sharing=bool(row["sharing"]))


def workers_of_views(
    ownership: Iterable[Row], leases: Iterable[Row], living: Iterable[WorkerRecord]
) -> dict[str, list[tuple[WorkerRecord, int]]]:
    """The living workers that share each view, with the numbers of shards that they read for it. `leases` are those
    of tasks that somebody has."""
    tasks = Counter((row["owner"], Task.of(row["resource"]).half) for row in leases)
    sharing = [member for member in living if member.sharing]
    return {
        row["view"]: [(member, tasks[member.id, row["half"] or 0]) for member in sharing if member.group == row["grp"]]
        for row in ownership
    }
