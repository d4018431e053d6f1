"""Records that AWS has given up: they are still in the stream, so a round reads them; unless that is too late."""

from __future__ import annotations

import logging
import time

from dynaview.views.aws_lambda.events import DroppedBatch
from dynaview.views.aws_lambda.table_views import TableViews
from dynaview.views.control.store import ControlStore
from dynaview.views.reasons import RETENTION, shard_gap
from dynaview.views.states import ViewState
from dynaview.views.streaming.offsets import START

log = logging.getLogger(__name__)


def lose(table: TableViews, batch: DroppedBatch, control: ControlStore) -> None:
    """Say of every view that lacks the records whether it still can have them: what DynamoDB has trimmed by now is lost
    to it (law 4). Raises `ControlUnavailable`."""
    old = batch.made is not None and time.time() - batch.made > RETENTION
    records = {record.name: record for record in control.views()}
    for name, view in table.views.items():
        record = records.get(name)
        if record is None or record.state.ends or record.stream_arn != batch.stream.arn:
            continue
        kept = control.checkpoints(name).get(batch.shard)
        if kept is not None and (kept.finished or (kept.sequence is not None and kept.sequence >= batch.last)):
            continue  # a round has brought them
        what = f"AWS gave up {batch.size} records of shard {batch.shard} ({batch.why})"
        if not old:
            log.warning("view %s: %s; they are read from the stream now", name, what)
            continue
        position = START if kept is None or kept.sequence is None else kept.sequence
        reason = shard_gap(
            f"{what}, and the stream no longer has them", batch.shard, position, record.watermark, name, view.on_gap
        )
        log.error("view %s: %s: %s", name, ViewState.GAP, reason)
        control.states.report(name, ViewState.GAP, reason, record.revision, None)
