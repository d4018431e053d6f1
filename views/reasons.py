"""What is said of a view that stops: because changes are lost to it, or because of an error that nobody expected.

A gap (law 4) is final: the view keeps its rows and adds nothing until it is rebuilt, also after a restart. Its reason
says what happened, from when to when changes may be missing, and which command fixes it.

A fault of dynaview stops one view, and holds up no other (law 7). Such a view keeps its rows and its checkpoints, which
stand before whatever caused the error, so the next start tries it again. It does not try by itself: what failed once
for no known reason may have failed half way.
"""

from __future__ import annotations

import re
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

OnGap = Literal["stop", "rebuild"]

RETENTION = 24 * 3600.0
"""Seconds for which DynamoDB keeps the records of a stream."""

LONGEST_REASON = 500
"""Characters of the reason that somebody gives for a pause."""

WARNED = 4 * 3600.0
"""Seconds before that within which a view that is behind is warned of."""


def gap_reason(what: str, start: str, end: str, view: str, on_gap: OnGap) -> str:
    """The reason of a gap. `what` happened; changes from `start` to `end` (a time or a position) may be missing."""
    return f"{what}; changes from {start} to {end} may be missing; {_remedy(view, on_gap)}"


def shard_gap(what: str, shard: str, position: int, watermark: float | None, view: str, on_gap: OnGap) -> str:
    """The reason of a gap in a shard of which the view has everything up to `position` (negative: nothing).

    What DynamoDB has trimmed cannot be told, so it ends at the latest now.
    """
    after = f"shard {shard}, after {position:021d}" if position >= 0 else f"shard {shard}, its beginning"
    return gap_reason(what, f"{moment(watermark)} ({after})", moment(time.time()), view, on_gap)


def stream_gap(table: str, arn: str | None, watermark: float | None, view: str, on_gap: OnGap) -> str:
    """The reason of a gap between two streams of a table; `arn` is the stream that is on now, None where none is.

    Changes that are made while no stream is on are in none.
    """
    if arn is None:
        what, end = f"the stream of table {table} was switched off", "whenever it is switched on again"
    else:
        what, end = (
            f"table {table} has another stream now (switched off and on, or the table was made anew)",
            _born(arn),
        )
    return gap_reason(what, moment(watermark), end, view, on_gap)


def retention_left(watermark: float | None, now: float) -> float | None:
    """Seconds until DynamoDB trims what a view has not read yet, 0 where it may have done so already; None where it is
    not known how far the view is."""
    return None if watermark is None else max(0.0, watermark + RETENTION - now)


def retention_warning(watermark: float | None, now: float) -> str | None:
    """What is said of a view that is so far behind that changes will be lost to it; None where there is time left."""
    left = retention_left(watermark, now)
    if left is None or left > WARNED:
        return None
    since = moment(watermark)
    if not left:
        return f"changes since {since} may be lost to it: DynamoDB keeps them for 24 hours"
    return f"in {left / 3600:.1f} h changes since {since} are lost to it: DynamoDB keeps them for 24 hours"


def moment(at: float | None) -> str:
    """A time (seconds since 1970) for people, cut to the second; None is one that is not known."""
    return "an unknown time" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _remedy(view: str, on_gap: OnGap) -> str:
    if on_gap == "rebuild":
        return "a rebuild begins by itself, as on_gap asks"
    return rebuild_hint(view)


def stream_made(arn: str) -> float | None:
    """When a stream was switched on, in seconds since 1970; None where its ARN does not say."""
    try:
        return datetime.fromisoformat(arn.rpartition("/stream/")[2]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _born(arn: str) -> str:
    """When a stream was made: its label, the end of its ARN, is that time in UTC."""
    found = re.search(r"/stream/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", arn)
    return f"{found[1]}Z" if found else "the beginning of that stream"


def rebuild_hint(view: str) -> str:
    """What fixes a view whose rows cannot be brought up to date from the stream."""
    return f"fill the view anew: dynaview rebuild {view}"


def fault_reason(error: BaseException) -> str:
    """What the operator is told. The error's own text is left out: it may show values of rows."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-3:]]
    return (
        f"an unexpected {type(error).__name__} ({' > '.join(places)}), which is a fault of dynaview: please report it. "
        "Nothing is lost, the checkpoints stand before it; the next dynaview run tries again"
    )
