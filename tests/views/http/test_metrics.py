"""Metrics: readable by Prometheus' own parser, with no labels but view, source, sink and state."""

from __future__ import annotations

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from dynaview.views.states import ViewState
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
                assert set(sample.labels) <= {"view", "source", "sink", "state", "version"}


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
