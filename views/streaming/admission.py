"""A view's record at its first start, and whether the view may run as it is declared: against its table, its record,
and what the stream still holds."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

from dynaview.projections.declaration import ViewDeclaration
from dynaview.sources.port import TableDescription
from dynaview.views.control.records import Checkpoint, ViewRecord
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.codec import encode
from dynaview.views.declarations.fingerprint import fingerprint
from dynaview.views.reasons import RETENTION, gap_reason, moment, rebuild_hint, stream_gap
from dynaview.views.states import ViewState


def registered(control: ControlStore, view: ViewDeclaration, table: str, stream_arn: str | None) -> ViewRecord:
    """The view's record, made where this is its first start. Raises `ControlUnavailable`."""
    mark, declaration = fingerprint(view, table), encode(view)
    record = control.add_view(view.name, view.source, view.sink, mark, declaration=declaration)
    control.redeclare(view.name, mark, declaration)  # what does not touch rows may have changed
    if record.stream_arn is None and stream_arn is not None:
        control.set_stream(view.name, stream_arn)
        record = dataclasses.replace(record, stream_arn=stream_arn)
    return record


def lost(
    view: ViewDeclaration, record: ViewRecord, description: TableDescription, checkpoints: Mapping[str, Checkpoint]
) -> str | None:
    """Why changes are lost to a view that begins now, for its state `gap`; None where none are known to be."""
    if record.state is ViewState.GAP:  # its checkpoints may stand behind what was lost, so nothing else may show it
        return record.reason
    if record.stream_arn != description.stream_arn:
        return stream_gap(description.name, description.stream_arn, record.watermark, view.name, view.on_gap)
    # A shard of which nothing was read is opened at its oldest record, where a loss would not show.
    unread = any(not at.finished and at.sequence is None for at in checkpoints.values())
    last = record.seen if record.watermark is None else min(record.seen, record.watermark)
    if unread and time.time() - last > RETENTION:
        what = "the view was last followed more than 24 hours ago, longer than streams reach back"
        end = moment(time.time() - RETENTION)
        return gap_reason(what, moment(record.watermark), end, view.name, view.on_gap)
    return None


def of_another_table(view: ViewDeclaration, record: ViewRecord, description: TableDescription) -> str | None:
    """Why the rows of a view are not this table's, for its state `changed`; None where they are. Nothing is lost: where
    the earlier table is declared again, the view goes on."""
    before, found, _ = (record.stream_arn or "").partition("/stream/")
    if not found or before == description.arn:
        return None
    return (
        f"its rows are of the table {before}, and the declaration ({view.at}) names {description.arn} now; restore it, "
        f"or {rebuild_hint(view.name)}"
    )


def changed(view: ViewDeclaration) -> str:
    """What the operator is told of a view whose declaration changed."""
    return f"the declaration ({view.at}) is not the one that built the view; restore it, or {rebuild_hint(view.name)}"
