"""Tracing an item through all views that may hold it: tables, stores and the control store opened and asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from dynaview.projections.attributes import Attr
from dynaview.projections.canonical import canonical_value, json_encoder
from dynaview.projections.compiler.trial import SHAPE
from dynaview.projections.declaration import Declaration
from dynaview.sinks.connect import connect
from dynaview.sinks.port import Sink, SinkError
from dynaview.sources.errors import SourceError
from dynaview.sources.port import Key, TableReader
from dynaview.sources.table import open_table
from dynaview.views.control.errors import ControlError
from dynaview.views.control.store import ControlStore
from dynaview.views.retry import Retrier
from dynaview.views.trace.passing import Changes, Passed
from dynaview.views.trace.records import ViewTrace
from dynaview.views.trace.view_trace import Traced, Tracer
from dynaview.views.verify.origins import item_key_of
from dynaview.views.waiting import Moment, WaitError, wait_for


class TraceError(ValueError):
    """A key that no table of the declaration has."""


@dataclass(slots=True)
class Trace:
    """What was found. `items` has the item of each table (None: there is none) that the key fits."""

    items: dict[str, dict[str, Attr] | None] = field(default_factory=dict)
    views: list[ViewTrace] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def json(self, values: bool) -> bytes:
        """As a JSON object; contents only where `values` are asked for."""
        items = {source: image if values else image is not None for source, image in self.items.items()}
        plain = {"items": items, "views": [each.plain(values) for each in self.views], "notes": self.notes}
        return json_encoder.encode(encodable(plain))


def encodable(value: Any) -> Any:
    """A copy of plain data in which everything can be written as JSON."""
    match value:
        case dict():
            return {str(name): encodable(inner) for name, inner in value.items()}
        case list() | tuple():
            return [encodable(inner) for inner in value]
        case bytes():
            return value.decode(errors="backslashreplace")
    return canonical_value(value)


def trace(
    declaration: Declaration,
    control: ControlStore | None,
    written: str,
    names: Sequence[str],
    *,
    timeout: float = 15.0,
    deep: bool = False,
    open_source: Callable[[str], TableReader] | None = None,
    open_sink: Callable[[str], Sink] | None = None,
) -> Trace:
    """Trace the item with the key that people have `written` through these views, by the tables that the key fits.
    `control` is None where no control store has been made yet.

    Where rows differ, a view gets `timeout` seconds to see what was written before the look. Raises `TraceError`.
    """
    found = Trace()
    misfits: list[str] = []
    sources = dict.fromkeys(declaration.views[name].source for name in names)
    with ExitStack() as stack:
        stores: dict[str, Sink] = {}

        def store(name: str) -> Sink:
            if name not in stores:
                stores[name] = open_sink(name) if open_sink else connect(declaration.sinks[name])
                if open_sink is None:
                    stack.callback(stores[name].close)
            return stores[name]

        for source in sources:
            views = [declaration.views[name] for name in names if declaration.views[name].source == source]
            try:
                table = open_source(source) if open_source else open_table(declaration.sources[source])
                key_names = table.describe().key
                try:
                    key = item_key_of(written, key_names)
                except ValueError as error:
                    misfits.append(f"{source}: {error}")
                    continue
                read = time.time()
                (image,) = table.get([key], SHAPE)
            except SourceError as error:
                found.views += [ViewTrace(view.name, source, view.sink, do=str(error)) for view in views]
                continue
            found.items[source] = image
            item = Traced(key, image, read)
            for view in views:
                traced = ViewTrace(view.name, source, view.sink)
                try:
                    sink = store(view.sink)
                    tracer = Tracer(
                        view,
                        declaration.sources[source].table,
                        key_names,
                        control,
                        lambda generation, view=view, sink=sink: sink.open(view.layout, generation),  # type: ignore[misc]
                        deep,
                    )
                    traced = tracer.trace(item, _waiting(control, view.name, timeout))
                except (SinkError, ControlError) as error:
                    traced.do = str(error)
                found.views.append(traced)
    if not found.views:
        raise TraceError("; ".join(misfits) or "no view is declared")
    found.notes += misfits
    return found


@dataclass(frozen=True, slots=True)
class Passing:
    """The changes of an item in one table."""

    source: str
    refused: Mapping[str, str]
    """Views that cannot be kept from its stream, and why."""
    changes: Iterator[Passed]


def follow(
    declaration: Declaration,
    control: ControlStore | None,
    written: str,
    names: Sequence[str],
    retrier: Retrier,
    open_source: Callable[[str], TableReader] | None = None,
) -> Passing:
    """The changes of an item from where the views are now, as they pass. The key has to fit one table only.

    Raises `TraceError`, `SourceError`, `ControlUnavailable`.
    """
    misfits: list[str] = []
    fitting: list[tuple[str, TableReader, Key]] = []
    for source in dict.fromkeys(declaration.views[name].source for name in names):
        table = open_source(source) if open_source else open_table(declaration.sources[source])
        try:
            fitting.append((source, table, item_key_of(written, table.describe().key)))
        except ValueError as error:
            misfits.append(f"{source}: {error}")
    if len(fitting) != 1:
        several = f"tables of {', '.join(source for source, *_ in fitting)} have such a key: name views of one of them"
        raise TraceError(several if fitting else "; ".join(misfits) or "no view is declared")
    ((source, table, key),) = fitting
    description = table.describe()
    if description.stream_arn is None:
        raise TraceError(f"table {description.name} has no stream that is switched on: dynaview run --enable-stream")
    views = [declaration.views[name] for name in names if declaration.views[name].source == source]
    changes = Changes(
        table.stream(description.stream_arn, SHAPE),
        key,
        views,
        description.key,
        description.view_type or "NEW_AND_OLD_IMAGES",
        retrier,
    )
    checkpoints = [] if control is None else [control.checkpoints(view.name) for view in views]
    return Passing(source, changes.refused, changes.passing(checkpoints))


def _waiting(control: ControlStore | None, view: str, timeout: float) -> Callable[[float], bool]:
    def caught_up(read: float) -> bool:
        if control is None:
            return False
        try:
            wait_for(control, view, Moment(read), timeout=timeout)
        except WaitError:
            return False
        return True

    return caught_up
