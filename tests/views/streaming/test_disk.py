"""A full disk under the control store: checkpoints stand still, status says why, nothing is lost or counted twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from dynaview.views.cli import cli
from dynaview.views.control.store import ControlStore
from dynaview.views.status import all_status
from tests.support.follower_harness import FollowerHarness
from tests.support.full import full
from tests.support.until import until


@pytest.mark.parametrize("restart", ["no restart", "stopped", "crashed"])
def test_a_full_disk_holds_up_a_view_and_loses_nothing(tmp_path: Path, restart: str) -> None:
    harness = FollowerHarness(tmp_path)
    harness.start()
    harness.table.put({"pk": "a", "sk": "0", "value": 0})
    harness.wait_counted()
    until(lambda: harness.state("one") == "following", "the first fill")
    before = harness.control.checkpoints("one")
    with full(harness.control):
        harness.table.put({"pk": "big", "sk": "1", "bad": "x" * 60_000})  # its dead letter needs room
        for number in range(30):
            harness.table.put({"pk": f"p{number}", "sk": "s", "value": number})
        until(lambda: harness.state("one") == "waiting", "the full disk to show")
        [view] = all_status(harness.control)
        assert "full" in view["reason"]
        assert view["counts"]["read"] == 1
        assert view["balanced"]
        file = tmp_path / "dynaview.yaml"
        file.write_text(
            f"control: {harness.url}\nsources: {{shop: {{table: shop}}}}\nsinks: {{cache: {{redis: 'redis://localhost:1'}}}}\n"
            "views: {one: {source: shop, sink: cache, key: '{pk}', fields: {pk: pk}}}\n"
        )
        shown = CliRunner().invoke(cli, ["status", "-f", str(file)])
        assert "database or disk is full" in shown.output
        if restart == "stopped":
            harness.stop()
        elif restart == "crashed":
            harness.crash()
        again = ControlStore(harness.url)
        assert again.checkpoints("one") == before
        again.close()
    if restart != "no restart":
        harness.start()
    harness.wait_counted()
    harness.wait_equal()
    until(lambda: harness.state("one") == "following", "the view to follow again")
    counts = harness.counts("one")
    assert (counts.read, counts.dead_lettered) == (harness.table.made, 1)
    assert counts.read == counts.applied + counts.stale + counts.unmatched + counts.dead_lettered
    assert harness.control.dead_letters.by_view() == {"one": 1}
    harness.stop()
