"""Verifying items that cannot be projected or stored, and rows that meet on one key."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dynaview.projections.attributes import Image
from dynaview.projections.compiler.compiler import owner
from dynaview.projections.projection import ProjectionError
from dynaview.projections.rows import RowKey, RowValues
from dynaview.views.control.records import DeadLetterFilter
from dynaview.views.verify.findings import CONFLICT
from tests.support.follower_harness import FollowerHarness
from tests.support.simple import SHAPE, SimpleBound
from tests.support.until import until
from tests.support.verifying import (
    Moving,
    by_hand,
    filled,
    found,
    held,
    item,
    row,
    settled,
    verification,
    whole,
)


def test_items_of_which_no_row_can_be_made_ask_for_none(harness: FollowerHarness) -> None:
    filled(harness)
    harness.table.put(item(1, bad=True))  # its row has gone with it
    harness.table.put(item(20, bad=True))  # it never had one
    until(lambda: harness.control.dead_letters.count()[0] == 2, "the letters")
    report = whole(harness)
    assert (report.drift, report.dead_lettered, report.listed) == (0, 2, [])
    harness.control.dead_letters.discard(DeadLetterFilter(view="one"))
    by_hand(harness.targets["one"], "orphan", (1,))
    assert found(whole(harness)) == {("extra", "orphan")}


@pytest.mark.parametrize("kept", [True, False])
def test_a_row_that_such_an_item_left_is_extra_whether_or_not_its_letter_is_kept(
    harness: FollowerHarness, kept: bool
) -> None:
    """As it was left before dead letters took the rows of their items."""
    filled(harness)
    harness.table.put(item(1, bad=True))
    harness.wait_counted()
    by_hand(harness.targets["one"], row(1), (1,))
    if not kept:
        harness.control.dead_letters.discard(DeadLetterFilter(view="one"))
    report = whole(harness)
    assert (report.drift, found(report)) == (1, {("extra", row(1))})
    (report,) = verification(harness).sample(1.0)
    assert found(report) == {("extra", row(1))}
    assert report.listed[0].write.values is None


def test_a_letter_explains_that_the_row_of_its_very_state_is_missing(harness: FollowerHarness) -> None:
    class Down(SimpleBound):
        def rows(self, image: Image) -> list[tuple[RowKey, RowValues]]:
            raise ProjectionError("down")

    filled(harness)
    writer = harness.pipelines["one"].outputs[0]
    working, writer.bound = writer.bound, Down()
    harness.table.put(item(1, "while it was down"))
    harness.wait_counted()
    writer.bound = working
    report = whole(harness)
    assert (report.drift, found(report)) == (0, {("dead-lettered", row(1))})
    harness.table.put(item(1, "later"))
    harness.wait_counted()
    assert whole(harness).drift == 0
    assert harness.control.dead_letters.count()[0] == 1  # overtaken, so it explains nothing
    held(harness).pop(row(1))
    assert found(whole(harness)) == {("missing", row(1))}


def test_an_overtaken_letter_does_not_explain_the_same_content_of_a_newer_version(harness: FollowerHarness) -> None:
    filled(harness)
    harness.table.put(item(1, bad=True))
    harness.wait_counted()
    (letter,) = [kept.letter for kept in harness.control.dead_letters.find()]
    harness.table.put(item(1, "as it is"))
    harness.wait_counted()
    harness.control.dead_letters.discard(DeadLetterFilter(view="one"))
    body = {"SequenceNumber": str(letter.version), "Keys": {"pk": {"S": "p1"}, "sk": {"S": "s"}}}
    image = {"pk": {"S": "p1"}, "sk": {"S": "s"}, "value": {"S": "as it is"}}
    change = json.dumps({"eventName": "MODIFY", "dynamodb": {**body, "NewImage": image, "OldImage": image}})
    harness.control.dead_letters.keep([replace(letter, change=change.encode())])
    by_hand(harness.targets["one"], row(1), None)
    assert found(whole(harness)) == {("missing", row(1))}
    held(harness).pop(row(1))  # nothing is left to tell
    assert found(whole(harness)) == {("dead-lettered", row(1))}


def test_a_row_that_a_letter_did_not_bring_is_explained_until_the_letter_is_gone(harness: FollowerHarness) -> None:
    harness.bound = Moving()
    harness.table.put(item(1, at=["a"]))
    harness.start()
    settled(harness)
    harness.table.put(item(2, at=["a", "b"]))  # two items on one row key: a dead letter
    until(lambda: harness.control.dead_letters.count()[0] == 1, "the letter")
    report = whole(harness)
    assert (report.drift, found(report)) == (0, {("dead-lettered", "a")})
    harness.control.dead_letters.discard(DeadLetterFilter(view="one"))
    report = whole(harness)
    assert found(report) == {("owner", "a")}
    assert report.listed[0].stuck == CONFLICT


# Owners


def test_a_row_of_an_owner_that_does_not_ask_for_it_is_found(harness: FollowerHarness) -> None:
    harness.bound = Moving()
    harness.table.put(item(1, at=["a", "b"]))
    harness.start()
    settled(harness)
    by_hand(harness.targets["one"], "a", (1,), by="0123456789abcdef")
    report = whole(harness)
    assert found(report) == {("owner", "a")}
    finding = report.listed[0]
    assert finding.stuck == ""
    assert finding.seen is not None
    assert finding.seen.owner == "0123456789abcdef"
    assert finding.write.owner == owner(SHAPE.pack({"pk": "p1", "sk": "s"}))


def test_without_all_of_the_table_a_wrong_owner_is_told_but_not_to_be_mended(harness: FollowerHarness) -> None:
    harness.bound = Moving()
    harness.table.put(item(1, at=["a"]))
    harness.start()
    settled(harness)
    by_hand(harness.targets["one"], "a", (1,), by="0123456789abcdef")
    (report,) = verification(harness).sample(1.0)
    assert found(report) == {("owner", "a")}
    assert "whole verification" in report.listed[0].stuck
