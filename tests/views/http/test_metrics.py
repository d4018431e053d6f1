"""Metrics: readable by Prometheus' own parser, with no labels but view, source, sink and state."""

from __future__ import annotations

import re
from functools import partial

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from dynaview.views.meters import Meter
from dynaview.views.states import ViewState
from tests.packaging.test_rooms import ROOT
from tests.views.http.conftest import Served


def test_every_count_and_state_of_a_view_has_a_series(served: Served) -> None:
    answer = served.ask("/metrics")
    assert answer.status == 200
    families = {family.name: family for family in plain(answer.text)}
    for name in ("read", "applied", "stale", "unmatched", "dead_lettered"):
        assert {sample.labels["view"] for sample in families[f"dynaview_changes_{name}"].samples} == {"card", "lines"}
    states = families["dynaview_view_state"].samples
    assert {sample.labels["state"] for sample in states} == {state.value for state in ViewState}
    shown = {sample.labels["state"] for sample in states if sample.labels["view"] == "card" and sample.value == 1}
    assert shown == {served.ask("/api/views/card").body["state"]}
    assert [sample.value for sample in families["dynaview_control_up"].samples] == [1]


def test_labels_are_few(served: Served) -> None:
    for family in plain(served.ask("/metrics").text):
        if family.name.startswith("dynaview_"):
            for sample in family.samples:
                assert set(sample.labels) <= {"view", "source", "sink", "state", "kind", "version", "le"}


def test_openmetrics_is_answered_where_it_is_asked_for(served: Served) -> None:
    answer = served.ask("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in openmetrics(answer.text)}  # type: ignore[no-untyped-call]
    assert {"dynaview_changes_read", "dynaview_lag_seconds", "dynaview_view_healthy"} <= names


def test_what_is_not_known_has_no_sample(served: Served) -> None:
    families = {family.name: family for family in plain(served.ask("/metrics").text)}
    assert not families["dynaview_lag_seconds"].samples
    assert not families["dynaview_rebuild_items"].samples


def test_a_control_store_that_is_away_is_told(served: Served) -> None:
    served.lose_control()
    families = {family.name: family for family in plain(served.ask("/metrics").text)}
    assert [sample.value for sample in families["dynaview_control_up"].samples] == [0]
    assert all(sample.value == 0 for sample in families["dynaview_view_healthy"].samples)


def test_the_page_names_every_metric(served: Served) -> None:
    page = (ROOT / "docs" / "http.md").read_text().split("## Metrics")[1]
    named = set(re.findall(r"^\| `(dynaview_\w+)", page, flags=re.MULTILINE))
    text = served.ask("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text
    kinds = dict(re.findall(r"^# TYPE (dynaview\w*) (\w+)$", text, flags=re.MULTILINE))
    endings = {"counter": "_total", "info": "_info"}
    assert named == {name + endings.get(kind, "") for name, kind in kinds.items()}


def _number(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, *labels: tuple[str, str]) -> float:
    return found[f"dynaview_{name}", frozenset(labels)]


def test_what_processes_count_is_added_up(served: Served) -> None:
    for seconds in (0.003, 0.003, 7.0, 60.0):  # by four processes, say
        meter, source = Meter(), Meter()
        meter.observe("write_seconds", seconds)
        meter.add("retries", "sink_unavailable", 2)
        source.add("polls", "empty", 10)
        served.control.meters.add({("view", "card"): meter.news(), ("source", "shop"): source.news()})
    served.control.meters.add({("view", "dropped"): {"retries:x": 1.0}})
    for parse, accept in ((plain, ""), (openmetrics, "application/openmetrics-text; version=1.0.0")):
        text = served.ask("/metrics", headers={"accept": accept}).text
        found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse(text)
            for sample in family.samples
        }
        view = (("view", "card"), ("source", "shop"), ("sink", "cache"))
        number = partial(_number, found)
        buckets = [number("write_seconds_bucket", *view, ("le", end)) for end in ("0.0025", "0.005", "10.0", "+Inf")]
        assert buckets == [0, 2, 3, 4]
        assert number("write_seconds_count", *view) == 4
        assert abs(number("write_seconds_sum", *view) - 67.006) < 1e-9
        assert number("write_retries_total", *view, ("kind", "sink_unavailable")) == 8
        assert number("polls_total", ("source", "shop"), ("kind", "empty")) == 40


def test_names_keep_to_the_conventions_of_openmetrics(served: Served) -> None:
    text = served.ask("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text
    for family in openmetrics(text):  # type: ignore[no-untyped-call]
        assert family.documentation, family.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name), family.name
        if "timestamp" in family.name:
            assert family.name.endswith("_timestamp_seconds")
