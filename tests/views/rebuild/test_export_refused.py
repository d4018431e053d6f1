"""Exports that no rebuild may begin or end with: each is refused with its reason, and readers see what they saw."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynaview.sources.port import ExportStatus
from dynaview.views.rebuild import exports as exported
from tests.support.exports import TABLE_ARN, data_file
from tests.support.snapshots import Snapshot
from tests.support.until import until
from tests.views.rebuild.exported import HOUR, SEATS_BESIDE, VIEWS, Life, failed, started


def test_an_export_of_another_table_is_refused(life: Life) -> None:
    other = TABLE_ARN.replace("shop", "stock")
    life.ask(life.exporter.full(life.snapshot(), tableArn=other), views=["reads"])
    assert failed(life, "reads", "is an export of", "stock", "not of").generation == 0


def test_an_export_of_the_table_before_it_was_made_anew_is_refused(life: Life) -> None:
    life.ask(life.exporter.full(life.snapshot(), tableId="table-before"), views=["reads"])
    assert failed(life, "reads", "earlier table").generation == 0


@pytest.mark.parametrize("hours", [23.1, 400])
def test_an_export_older_than_the_stream_reaches_back_is_refused(life: Life, hours: float) -> None:
    taken = life.snapshot()
    life.ask(life.exporter.full(Snapshot(taken.at - hours * HOUR, taken.items)))
    for view in VIEWS:
        assert failed(life, view, "reaches back", "incremental export", "--from-export").generation == 0


def test_an_export_from_before_the_stream_was_switched_on_is_refused(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = life.snapshot()
    monkeypatch.setattr(exported, "stream_made", lambda arn: taken.at + 1)
    life.ask(life.exporter.full(taken), views=["reads"])
    assert failed(life, "reads", "switched on").generation == 0


def test_an_export_of_the_future_is_refused(life: Life) -> None:
    taken = life.snapshot()
    life.ask(life.exporter.full(Snapshot(taken.at + HOUR, taken.items)), views=["reads"])
    assert failed(life, "reads", "has not come yet").generation == 0


def test_exports_with_a_hole_between_them_are_refused(life: Life) -> None:
    taken = life.snapshot()
    old = Snapshot(taken.at - 40 * HOUR, taken.items)
    late = Snapshot(taken.at - 30 * HOUR, taken.items)
    life.ask(life.exporter.full(old), life.exporter.incremental(late, taken), views=["reads"])
    assert failed(life, "reads", "after the end of").generation == 0


def test_an_incremental_export_alone_is_refused(life: Life) -> None:
    taken = life.snapshot()
    life.ask(life.exporter.incremental(Snapshot(taken.at - HOUR, {}), taken), views=["reads"])
    assert failed(life, "reads", "the full export").generation == 0


def test_an_incremental_export_that_cannot_tell_what_rows_to_remove_is_refused(tmp_path: Path) -> None:
    life = started(tmp_path / "x", SEATS_BESIDE)
    try:
        taken = life.snapshot()
        before = Snapshot(taken.at - HOUR, taken.items)
        life.ask(
            life.exporter.full(before), life.exporter.incremental(before, taken, view="NEW_IMAGE"), views=["seats"]
        )
        found = life.harness.wait_ended("seats", "failed")
        assert "NEW_AND_OLD_IMAGES" in found.reason
        assert found.generation == 0
    finally:
        life.harness.close()


def test_a_folder_without_an_export_is_refused(life: Life, tmp_path: Path) -> None:
    life.ask(str(tmp_path / "nothing"), views=["reads"])
    assert failed(life, "reads", "no DynamoDB export").generation == 0


def test_an_export_that_aws_says_is_filtered_is_refused(life: Life) -> None:
    place = life.exporter.full(life.snapshot())
    for arn in life.harness.table.exports:
        life.harness.table.exports[arn] = ExportStatus("COMPLETED", filtered=True)
    life.ask(place, views=["reads"])
    assert failed(life, "reads", "filtered").generation == 0


def test_an_export_that_aws_does_not_know_asks(life: Life) -> None:
    place = life.exporter.full(life.snapshot())
    life.harness.table.exports.clear()
    life.ask(place, views=["reads"])
    until(lambda: life.harness.rebuilt("reads").answer == "?", "it to ask")
    found = life.harness.rebuilt("reads")
    assert "AWS does not know the export" in found.reason
    assert found.generation == 0
    life.harness.control.rebuilds.answer("reads", "yes")
    life.harness.wait_ended("reads")
    life.harness.wait_rows("reads", life.expected("reads"))


def cut(place: str) -> None:
    file = data_file(Path(place), 2)
    file.write_bytes(file.read_bytes()[:-9])


def test_an_export_cut_short_is_refused_in_place_before_a_row_is_touched(life: Life) -> None:
    place = life.exporter.full(life.snapshot())
    cut(place)
    life.ask(place, views=["cards"])
    assert failed(life, "cards", "cut short").generation == 0
    assert {row.generation for row in life.harness.target("cards").rows()} == {1}


def test_an_export_cut_short_ends_a_rebuild_beside_and_leaves_what_readers_see(life: Life) -> None:
    place = life.exporter.full(life.snapshot())
    cut(place)
    life.ask(place, views=["reads"])
    failed(life, "reads", "cut short")
    life.put("p7")
    life.harness.wait_rows("reads", life.expected("reads"))
    assert life.harness.sinks["reads"].published(life.harness.declaration.views["reads"].layout) == 1
