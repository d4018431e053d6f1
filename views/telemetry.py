"""Traces and metrics for an OpenTelemetry collector, by OTLP over HTTP: an extra, ``pip install './dynaview[otel]'``.

On where one of OpenTelemetry's own variables names a collector (``OTEL_EXPORTER_OTLP_ENDPOINT``, or that of traces or
of metrics); the other ``OTEL_…`` variables (headers, sampler, service name) are the SDK's. A span for each page of the
stream that brought records, and one for each batch that links to the pages its changes came with; in spans and metrics
are names and numbers, never what is in an item.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import TYPE_CHECKING

from dynaview.views.meters import Meters

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.util.types import AnyValue

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES, METRICS = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"

COUNTERS: Mapping[str, tuple[str, str, str]] = {
    "dynaview.polls": ("polls:", "{page}", "Pages of the stream that were read"),
    "dynaview.retries": ("retries:", "{try}", "What was tried again, of a view or a source"),
    "dynaview.rejections": ("rejected:", "{change}", "Dead letters of the stream"),
    "dynaview.batches": ("batch_rows<", "{batch}", "Batches that stores have answered"),
    "dynaview.rows": ("batch_rows:sum", "{row}", "Rows in these"),
    "dynaview.write.duration": ("write_seconds:sum", "s", "Time that stores took for them"),
    "dynaview.read.duration": ("read_seconds:sum", "s", "Time that pages of the stream took"),
}
"""Metrics: the beginning of the names of the numbers that make them (see `dynaview.views.meters`), unit and text."""


class NotInstalled(Exception):
    """The extra is missing; the text says what to do."""


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a collector."""
    return any(environ.get(name) for name in (ENDPOINT, TRACES, METRICS))


class Telemetry:
    """Sends spans, and what this process counts. `close` sends what is left. Thread-safe."""

    def __init__(self, environ: Mapping[str, str], meters: Callable[[], Iterable[Meters]], instance: str) -> None:
        """`meters` gives those of all tables; `instance` tells this process from others. Raises `NotInstalled`."""
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise NotInstalled(
                "the environment names an OpenTelemetry collector, and what speaks to it is not installed: install "
                f"dynaview with its extra otel, or unset {ENDPOINT}"
            ) from None
        self._meters = meters
        given = {"service.name": environ.get("OTEL_SERVICE_NAME") or "dynaview", "service.instance.id": instance}
        resource = Resource.create({**given, "service.version": version("dynaview")})
        self._traces: TracerProvider | None = None
        self._metrics: MeterProvider | None = None
        if environ.get(ENDPOINT) or environ.get(TRACES):
            self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
            self._traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        if environ.get(ENDPOINT) or environ.get(METRICS):
            reader = PeriodicExportingMetricReader(OTLPMetricExporter())
            self._metrics = MeterProvider([reader], resource, shutdown_on_exit=False)
            self._observe(self._metrics)
        self.spans = None if self._traces is None else _Spans(self._traces)

    def close(self) -> None:
        """Send what is left, some seconds at the most."""
        if self._traces is not None:
            self._traces.shutdown()
        if self._metrics is not None:
            self._metrics.shutdown()

    def _observe(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("dynaview", version("dynaview"))
        for name, (begins, unit, text) in COUNTERS.items():
            meter.create_observable_counter(name, [self._reading(begins)], unit, text)

    def _reading(self, begins: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        from opentelemetry.metrics import Observation

        def read(_options: CallbackOptions) -> Iterable[Observation]:
            for meters in self._meters():
                for (of, name), meter in meters.all().items():
                    sums: dict[str, float] = {}
                    for number, value in meter.numbers().items():
                        if number.startswith(begins):
                            kind = number.removeprefix(begins) if begins.endswith(":") else ""
                            sums[kind] = sums.get(kind, 0.0) + value
                    for kind, value in sums.items():
                        yield Observation(value, {of: name, **({"kind": kind} if kind else {})})

        return read


class _Spans:
    """See `dynaview.views.spans`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("dynaview", version("dynaview"))

    def page(self, source: str, shard: str, records: int, seconds: float) -> object | None:
        """See `Spans`."""
        now = time.time_ns()
        attributes: dict[str, AnyValue] = {
            "dynaview.source": source,
            "dynaview.shard": shard,
            "dynaview.records": records,
        }
        span = self._tracer.start_span("read page", attributes=attributes, start_time=now - int(seconds * 1e9))
        span.end(now)
        return span.get_span_context()

    def batch(self, view: str, changes: int, pages: Iterable[object | None]) -> AbstractContextManager[object]:
        """See `Spans`."""
        from opentelemetry.trace import Link, SpanContext

        links: Sequence[Link] = [Link(page) for page in pages if isinstance(page, SpanContext)]
        attributes: dict[str, AnyValue] = {"dynaview.view": view, "dynaview.changes": changes}
        return self._tracer.start_as_current_span(
            "apply batch", attributes=attributes, links=links, record_exception=False, set_status_on_exception=False
        )

    def write(self, sink: str, rows: int) -> AbstractContextManager[object]:
        """See `Spans`."""
        attributes: dict[str, AnyValue] = {"dynaview.sink": sink, "dynaview.rows": rows}
        return self._tracer.start_as_current_span(
            "write rows", attributes=attributes, record_exception=False, set_status_on_exception=False
        )
