"""Rebuilds on real servers, killed in every phase while stores go away and readers look on.

The same at length, with random kills: `python -m tests.soak.chaos_run`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.chaos_run import run
from tests.soak.rebuild_environment import Plan

MET = {
    "beside starting", "beside scanning", "beside finishing", "beside waiting", "beside checking", "beside swapping",
    "in place starting", "in place scanning", "in place waiting", "in place checking", "in place sweeping",
    "in place swapping", "rollback starting", "rollback waiting", "rollback swapping",
}  # fmt: skip


@pytest.mark.timeout(900)  # it starts some twenty processes, one after the other
def test_killed_in_every_phase_no_reader_sees_a_step_back(
    dynamodb_endpoint: str, redis_url: str, postgres_url: str, opensearch_url: str, tmp_path: Path
) -> None:
    environment = {
        "DYNAMODB_ENDPOINT": dynamodb_endpoint,
        "REDIS_URL": redis_url,
        "DATABASE_URL": postgres_url,
        "OPENSEARCH_URL": opensearch_url,
    }
    plan = Plan(items=100, burst=25, outages=3, longest=1.0, seed=20261124)
    report = run(environment, tmp_path, plan)
    assert report.faults == [], (tmp_path / "daemon.log").read_text()[-3000:]
    assert set(report.kills) == MET
    assert report.ends == {"beside done": 2, "in place done": 1, "rollback done": 2}
    assert (report.joins, report.outages.total()) == (1, 3)
    assert report.generations == 5
    assert all(report.looks.values()), report.looks
