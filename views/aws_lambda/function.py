"""A Lambda function: what it is told by its environment, and what it answers to each event.

DYNAVIEW_CONFIG   the declaration files, separated by colons (by default dynaview.yaml); relative names are relative to
                  the function's code (LAMBDA_TASK_ROOT)
DYNAVIEW_VIEWS    only these views, separated by commas

Connections, and what was made of declarations and records, are kept from one invocation to the next.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dynaview.projections.declaration import Declaration, SourceDeclaration
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink
from dynaview.sources.port import TableReader
from dynaview.views.aws_lambda.events import DroppedBatch, EventRefused, Schedule, StreamBatch, recognise
from dynaview.views.aws_lambda.table_views import Limits, TableViews, Taken, serves
from dynaview.views.control.store import ControlStore
from dynaview.views.declarations.load import load

log = logging.getLogger(__name__)

RESERVE = (0.1, 2.0)
"""What is left of an invocation's time for its end: this share of it, and so many seconds at the most."""

SLACK = 1.0
"""Seconds that a function's timeout may differ from what is declared."""


class NotDurable(Exception):
    """Nothing of a batch is in the views yet, so AWS is to bring all of it again."""


class Unhealthy(Exception):
    """A round has found views for which somebody has to act."""


class LambdaContext(Protocol):
    """What the runtime says of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Until the function's timeout."""


def open_table(source: SourceDeclaration) -> TableReader:
    """Brings boto3 with it, which takes a third of a second to import."""
    from dynaview.sources.table import open_table

    return open_table(source)


class Function:
    """What an execution environment keeps. Lambda gives it one invocation at a time."""

    def __init__(
        self,
        declaration: Declaration,
        views: frozenset[str] | None = None,
        *,
        open_source: Callable[[SourceDeclaration], TableReader] = open_table,
        sinks: Mapping[str, Sink] | None = None,
    ) -> None:
        """Connects to the control store; stores are connected to when the first records come. Raises `ControlError`,
        and ValueError for a view that is not declared."""
        unknown = sorted((views or frozenset()) - declaration.views.keys())
        if unknown:
            raise ValueError(f"DYNAVIEW_VIEWS: no view is called {', '.join(unknown)}")
        self.declaration = declaration
        self._open_source = open_source
        self._control = ControlStore(declaration.control)
        self._views = {name: view for name, view in declaration.views.items() if views is None or name in views}
        used = sorted({view.sink for view in self._views.values()})
        self._sinks = sinks or {name: connect(declaration.sinks[name]) for name in used}
        self._tables = [
            TableViews(source, of_it, self._sinks, self._control)
            for source in declaration.sources.values()
            if (of_it := {name: view for name, view in self._views.items() if view.source == source.name})
        ]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Function:
        """As the environment says. Raises `DeclarationError`, `ControlError` and ValueError."""
        root = Path(environ.get("LAMBDA_TASK_ROOT") or ".")
        files = [root / name for name in (environ.get("DYNAVIEW_CONFIG") or "dynaview.yaml").split(":") if name]
        named = [name.strip() for name in environ.get("DYNAVIEW_VIEWS", "").split(",")]
        views = frozenset(filter(None, named))
        return cls(load(files, environ, stores=False), views or None)

    def close(self) -> None:
        """Give back connections."""
        for sink in self._sinks.values():
            sink.close()
        self._control.close()

    def handle(self, event: Any, context: LambdaContext) -> dict[str, Any]:
        """Do what an event asks for. Raises `EventRefused`, `NotDurable`, `Unhealthy`, and what stands in the way:
        AWS then brings the event again."""
        begun = time.monotonic()
        seconds = context.get_remaining_time_in_millis() / 1000
        known = recognise(event)
        if isinstance(known, StreamBatch):
            return self._batch(known, begun, seconds)
        if isinstance(known, Schedule):
            return self._round(seconds)
        return self._dropped(known, seconds)

    # Records

    def _batch(self, batch: StreamBatch, begun: float, seconds: float) -> dict[str, Any]:
        if batch.stream is None:
            return {"batchItemFailures": []}
        served = [table for table in self._tables if serves(table.source, batch.stream)]
        if not served:
            raise EventRefused(
                f"records of the table {batch.stream.table_arn}, which no source of {self.declaration.file} is: "
                "declare it, or give the function a mapping of a table that is declared"
            )
        for table in served:
            _check_timeout(table.source, seconds)
        limits = Limits(begun + seconds - min(seconds * RESERVE[0], RESERVE[1]))
        taken = min((table.take(batch, limits) for table in served), key=lambda each: each.durable)
        return self._answer(batch, taken, begun)

    def _answer(self, batch: StreamBatch, taken: Taken, begun: float) -> dict[str, Any]:
        total = len(batch.records)
        log.info(
            "table %s: %d of %d records in %.2f s, up to those of %s",
            batch.stream.table if batch.stream else "",
            taken.durable,
            total,
            time.monotonic() - begun,
            _made(batch.records[: taken.durable]),
        )
        if taken.durable == total:
            return {"batchItemFailures": []}
        first = _sequence(batch.records[taken.durable])
        # A mapping that was made without partial answers would take any answer for success: an error it cannot.
        if taken.durable == 0 or first is None:
            raise NotDurable(f"none of {total} records is in the views: {taken.why}")
        log.warning("from record %s on the batch is to come again: %s", first, taken.why)
        return {"batchItemFailures": [{"itemIdentifier": first}]}

    # What is not shown by single batches

    def _round(self, seconds: float) -> dict[str, Any]:
        from dynaview.views.aws_lambda.rounds import make_round

        found = make_round(self.declaration, self._views.keys(), seconds, self._open_source)
        for each in found:
            log.log(logging.ERROR if each.wrong else logging.INFO, "view %s: %s", each.view, each.plain())
        if wrong := [f"{each.view}: {each.state}: {each.reason}" for each in found if each.wrong]:
            raise Unhealthy("; ".join(wrong))
        return {"views": {each.view: each.plain() for each in found}}

    def _dropped(self, batches: Sequence[DroppedBatch], seconds: float) -> dict[str, Any]:
        from dynaview.views.aws_lambda.dropped import lose

        for batch in batches:
            if not any(serves(table.source, batch.stream) for table in self._tables):
                raise EventRefused(f"word of records of the table {batch.stream.table_arn}, which no source is")
            for table in self._tables:
                if serves(table.source, batch.stream):
                    lose(table, batch, self._control)
        return self._round(seconds)


def _check_timeout(source: SourceDeclaration, seconds: float) -> None:
    """Rebuilds rest on it that no invocation lasts longer than is declared. Raises `EventRefused`."""
    declared = source.lambda_timeout
    if declared is None:
        raise EventRefused(
            f"source {source.name} ({source.at}) does not say that a Lambda function writes its views: add "
            f"lambda_timeout: {round(seconds)}s to it, the function's timeout, wherever the declaration is used"
        )
    if seconds > declared + SLACK:
        raise EventRefused(
            f"this function may run for {seconds:.0f} s, and source {source.name} ({source.at}) says lambda_timeout: "
            f"{declared:.0f}s, after which rebuilds go on: make the two the same"
        )


def _sequence(record: Mapping[str, Any]) -> str | None:
    body = record.get("dynamodb")
    found = body.get("SequenceNumber") if isinstance(body, dict) else None
    return found if isinstance(found, str) and found else None


def _made(records: Sequence[Mapping[str, Any]]) -> str:
    body = records[-1].get("dynamodb") if records else None
    found = body.get("ApproximateCreationDateTime") if isinstance(body, dict) else None
    return "an unknown time" if found is None else str(found)
