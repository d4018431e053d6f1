"""Metrics for Prometheus, made from a snapshot whenever they are asked for.

Labels are view, source, sink, state and kind, and nothing else: no key, shard or worker makes a series of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from itertools import accumulate
from typing import Any, Literal

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dynaview.views.http.health import Limits, health
from dynaview.views.http.snapshot import Snapshot, Snapshots
from dynaview.views.meters import BOUNDS, ranges
from dynaview.views.states import ViewState

VIEW = ("view", "source", "sink")
"""The labels of what is told of a view."""

COUNTS = {
    "read": "Changes read from the stream and taken up by the view",
    "applied": "Changes that wrote or deleted rows",
    "stale": "Changes that came too late: the store held newer rows",
    "unmatched": "Changes of items that are not the view's",
    "dead_lettered": "Changes that could not be applied and became dead letters",
}
"""Counters by the name of the count: read = applied + stale + unmatched + dead_lettered."""

GAUGES: dict[str, tuple[str, Callable[[dict[str, Any]], float | None]]] = {
    "dynaview_lag_seconds": ("How far the view is behind the tip of its stream", lambda view: view["lag"]),
    "dynaview_watermark_timestamp_seconds": (
        "Up to when every change of the table is in the view, in seconds since 1970",
        lambda view: view["watermark"],
    ),
    "dynaview_retention_left_seconds": (
        "Time until DynamoDB trims what the view has not read yet",
        lambda view: view["retention_left"],
    ),
    "dynaview_paused_timestamp_seconds": (
        "Since when the view is paused, in seconds since 1970; no sample where it is not",
        lambda view: view["paused"],
    ),
    "dynaview_dead_letters": ("Dead letters that are kept now", lambda view: view["dead_letters"]),
    "dynaview_generation": ("The generation that readers see", lambda view: view["generation"]),
    "dynaview_seen_timestamp_seconds": (
        "When a worker last gave a sign of life for the view, in seconds since 1970",
        lambda view: view["seen"],
    ),
    "dynaview_workers": ("Workers that keep the view", lambda view: len(view["workers"])),
    "dynaview_leased_shards": (
        "Shards that the view's workers have leases of",
        lambda view: sum(worker["shards"] for worker in view["workers"]),
    ),
    "dynaview_verified_timestamp_seconds": (
        "When the last verification of the view began, in seconds since 1970",
        lambda view: None if view["verified"] is None else view["verified"]["begun"],
    ),
    "dynaview_drift_rows": (
        "Rows that the last verification found to differ and that were not repaired",
        lambda view: None if view["verified"] is None else view["verified"]["drift"] - view["verified"]["mended"],
    ),
    "dynaview_rebuild_items": ("Items that the last rebuild has scanned", lambda view: _rebuild(view, "items")),
    "dynaview_rebuild_expected_items": (
        "Items that the last rebuild expects to scan",
        lambda view: _rebuild(view, "of_items"),
    ),
    "dynaview_rebuild_rows": ("Rows that the last rebuild has written", lambda view: _rebuild(view, "rows")),
    "dynaview_rebuild_read_units": (
        "Read capacity units that the last rebuild has consumed",
        lambda view: _rebuild(view, "read_units"),
    ),
}


HISTOGRAMS: dict[str, tuple[Literal["view", "source"], str, str]] = {
    "dynaview_batch_rows": ("view", "batch_rows", "Rows that were sent to the store together, following the stream"),
    "dynaview_write_seconds": ("view", "write_seconds", "How long the store took for a batch that it answered"),
    "dynaview_read_seconds": ("source", "read_seconds", "How long a page of the stream took"),
}
"""What processes count of their own work: by what it is told of, and its name in `dynaview.views.meters`."""

KINDS: dict[str, tuple[Literal["view", "source"], str, str]] = {
    "dynaview_write_retries": ("view", "retries", "Times that the store or the control store had to be asked again"),
    "dynaview_rejections": ("view", "rejected", "Dead letters of the stream, by what is wrong with them"),
    "dynaview_read_retries": ("source", "retries", "Times that reading the stream failed and was tried again"),
    "dynaview_polls": ("source", "polls", "Pages of the stream that were read, with records or empty"),
}
"""The same for counters that tell kinds apart."""


def _rebuild(view: dict[str, Any], name: str) -> float | None:
    return None if view["rebuild"] is None else view["rebuild"][name]


class ViewCollector(Collector):
    """Turns snapshots into metric families."""

    def __init__(self, snapshots: Snapshots, limits: Limits) -> None:
        self._snapshots = snapshots
        self._limits = limits

    def collect(self) -> Iterable[Metric]:
        """All families, each with a sample a view (none where a value is not known)."""
        snapshot = self._snapshots.latest()
        yield InfoMetricFamily("dynaview", "The running dynaview", value={"version": version("dynaview")})
        yield GaugeMetricFamily(
            "dynaview_control_up", "Whether the control store answers (1) or not (0)", value=not snapshot.error
        )
        for name, text in COUNTS.items():
            counter = CounterMetricFamily(f"dynaview_changes_{name}", text, labels=VIEW)
            for view in snapshot.views:
                counter.add_metric(_labels(view), view["counts"][name])
            yield counter
        for name, (text, read) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=VIEW)
            for view in snapshot.views:
                if (value := read(view)) is not None:
                    gauge.add_metric(_labels(view), value)
            yield gauge
        yield from self._states(snapshot)
        yield from _histograms(snapshot)
        yield from _kinds(snapshot)

    def _states(self, snapshot: Snapshot) -> Iterable[Metric]:
        states = GaugeMetricFamily(
            "dynaview_view_state", "The view's state (1), and every state it is not in (0)", labels=(*VIEW, "state")
        )
        for view in snapshot.views:
            for state in ViewState:
                states.add_metric([*_labels(view), state.value], view["state"] == state)
        yield states
        judged = {each.view: each.ok for each in health(snapshot, self._limits).views}
        healthy = GaugeMetricFamily("dynaview_view_healthy", "Whether /health calls the view well (1)", labels=VIEW)
        for view in snapshot.views:
            healthy.add_metric(_labels(view), judged[view["view"]] and not snapshot.error)
        yield healthy


def _histograms(snapshot: Snapshot) -> Iterable[Metric]:
    for family, (of, name, text) in HISTOGRAMS.items():
        metric = HistogramMetricFamily(family, text, labels=VIEW if of == "view" else ("source",))
        for labels, numbers in _counted(snapshot, of):
            sums = accumulate(numbers.get(each, 0.0) for each in ranges(name))
            ends = [*(str(float(bound)) for bound in BOUNDS[name]), "+Inf"]
            metric.add_metric(labels, list(zip(ends, sums, strict=True)), numbers.get(f"{name}:sum", 0.0))
        yield metric


def _kinds(snapshot: Snapshot) -> Iterable[Metric]:
    for family, (of, name, text) in KINDS.items():
        metric = CounterMetricFamily(family, text, labels=(*(VIEW if of == "view" else ("source",)), "kind"))
        for labels, numbers in _counted(snapshot, of):
            for each, number in sorted(numbers.items()):
                before, _, kind = each.partition(":")
                if before == name:
                    metric.add_metric([*labels, kind], number)
        yield metric


def _counted(snapshot: Snapshot, of: str) -> Iterable[tuple[list[str], Mapping[str, float]]]:
    """Labels and numbers of every view, or source, of which something was counted."""
    for (kind, name), numbers in sorted(snapshot.meters.items()):
        if kind != of:
            continue
        if kind == "source":
            yield [name], numbers
        elif name in snapshot.by_name:
            yield _labels(snapshot.by_name[name]), numbers


def _labels(view: dict[str, Any]) -> list[str]:
    return [view[name] for name in VIEW]


class Metrics:
    """What ``/metrics`` answers: of all views, and of this process."""

    def __init__(self, snapshots: Snapshots, limits: Limits) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(ViewCollector(snapshots, limits))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Body and content type: OpenMetrics where the `Accept` header asks for it, else Prometheus' text."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
